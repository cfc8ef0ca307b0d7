"""Which layers a table lists: those that move positions or cost something, folded and sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Literal, get_args

from atrous.analysis import Inspection, Layer
from atrous.analysis.scale import Scale
from atrous.geometry import Local, Reads
from atrous.network import Node, layer_names
from atrous.network.ops import AdaptivePool, Conv, Pool, Resize
from atrous.shown import how_many

__all__ = ["SORTS", "Listing", "Row", "Sort", "listing"]

Sort = Literal["order", "name", "field", "macs", "params", "memory"]
SORTS: tuple[str, ...] = get_args(Sort)

# Ops that put elements elsewhere or compute one from its own place: nothing to see in a table.
_QUIET = {"constant", "elementwise", "expand", "permute", "reorder", "reshape"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a layer, or a module as its last layer with the costs added up."""

    name: str
    op: str
    layer: Layer
    macs: int
    params: int
    activation_bytes: int
    uncounted: bool = False
    """Whether some op's MACs are not known, and not in `macs`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows to show, and what was left out of them."""

    rows: tuple[Row, ...]
    layers: int
    quiet: int
    quiet_params: int
    cut: int
    scales: Mapping[str, Scale] = field(default_factory=dict, hash=False)
    names: tuple[str, ...] = ()
    """What any layer or module is called, among which the rows' names are told apart."""


def listing(
    inspection: Inspection,
    *,
    every: bool = False,
    depth: int | None = None,
    sort: Sort = "order",
    top: int | None = None,
) -> Listing:
    """The rows of an inspection's table.

    Unless `every`, layers that keep positions where they are and do no multiply-accumulates are
    left out. `depth` folds layers into modules of that many names; a module's field and shape are
    its last layer's. `sort` puts the largest first, except `order` and `name`. `top` keeps that
    many rows.
    """
    pairs = list(zip(inspection.layers, inspection.network.nodes, strict=True))
    ends = {layer.tensor for layer in inspection.outputs}
    groups: dict[str, list[tuple[Layer, Node]]] = {}
    for layer, node in pairs:
        key = layer.name if depth is None else _collapsed_name(layer, depth)
        groups.setdefault(key, []).append((layer, node))
    counts = {
        name: 0 if param.buffer else param.count
        for name, param in inspection.network.params.items()
    }
    rows: list[Row] = []
    quiet: list[Row] = []
    left = 0
    for name, members in groups.items():
        row = _row(name, members, counts)
        loud = every or any(_counts(node) or layer.tensor in ends for layer, node in members)
        (rows if loud else quiet).append(row)
        left += 0 if loud else len(members)
    ordered = _sorted(rows, sort)
    shown = ordered if top is None else ordered[:top]
    return Listing(
        tuple(shown),
        len(pairs),
        left,
        sum(row.params for row in quiet),
        len(ordered) - len(shown),
        scales=inspection.scales,
        names=layer_names(inspection.network.nodes),
    )


def op_text(layer: Layer, node: Node) -> str:
    """The op in a few letters: `conv k3 s2 d2`; padding is left to the view of one layer."""
    op = node.op
    name = layer.op
    detail = [part for part in layer.detail.split() if not part.startswith("p")]
    if isinstance(op, Conv) and op.groups > 1 and op.groups == op.channels:
        name = "dw"
        detail = [part for part in detail if not part.startswith("g")]
    elif isinstance(op, Pool):
        name = "avg" if op.how == "average" else op.how
    elif isinstance(op, AdaptivePool):
        name = "global pool" if set(op.sizes) == {1} else "adaptive pool"
    elif isinstance(op, Resize):
        name = "resize"
    elif layer.op == "conv_transpose":
        name = "tconv"
    elif not hasattr(op, "windows") and layer.detail:
        return str(layer.detail)
    return " ".join([name, *detail])


def _row(name: str, members: list[tuple[Layer, Node]], counts: dict[str, int]) -> Row:
    last, node = members[-1]
    if len(members) == 1:
        op, params = op_text(last, node), last.params
    else:
        op = f"{how_many(len(members), 'layer')}"
        # A module called twice has its parameters once.
        params = sum(counts.get(p, 0) for p in {p: None for _, n in members for p in n.params})
    return Row(
        name=name,
        op=op,
        layer=last,
        macs=sum(layer.macs for layer, _ in members),
        params=params,
        activation_bytes=sum(layer.activation_bytes for layer, _ in members),
        uncounted=any(layer.uncounted for layer, _ in members),
    )


def _collapsed_name(layer: Layer, depth: int) -> str:
    return ".".join((layer.module or layer.name).split(".")[: max(depth, 1)])


def _counts(node: Node) -> bool:
    if node.macs or node.mixes or node.opaque:
        return True
    return node.kind not in _QUIET and any(_moves(m.values()) for m in node.moves)


def _moves(maps: Iterable[object]) -> bool:
    return any(not isinstance(m, Local) or m.reads != Reads.identity() for m in maps)


def _sorted(rows: list[Row], sort: Sort) -> list[Row]:
    if sort == "order":
        return rows
    if sort == "name":
        return sorted(rows, key=lambda row: row.name)
    keys: dict[str, Callable[[Row], int | Fraction]] = {
        "field": lambda row: prod(axis.size for axis in row.layer.field),
        "macs": lambda row: row.macs,
        "params": lambda row: row.params,
        "memory": lambda row: row.activation_bytes,
    }
    return sorted(rows, key=keys[sort], reverse=True)
