"""Layers put into a network at a map that all paths pass: in front of its rates, or behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import prod

from atrous.errors import AtrousError
from atrous.geometry import Window, same_torch
from atrous.network import Network, Node, Param, Tensor
from atrous.network.ops import Conv, Pool
from atrous.network.walk import ancestors, remade
from atrous.refusal import Refusal
from atrous.shown import Plain

__all__ = ["Fits", "Inserted", "with_inserted"]

Fits = Callable[[Network, str], bool]
"""Whether layers can be put behind a tensor of a network, by its name."""


@dataclass(frozen=True, slots=True)
class Inserted(Plain):
    """Convolutions in a row behind one map, which they leave at its size and channels.

    They start as the identity, so that a model computes at first what it did. `tensor` is the map,
    `behind` the layer that makes it (empty for the input), `layers` their names and `rates` theirs.
    """

    tensor: str
    behind: str
    layers: tuple[str, ...]
    rates: tuple[int, ...]
    kernel: int
    channels: int
    rank: int
    params: int
    renamed: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


def with_inserted(
    network: Network,
    source: str,
    ends: Sequence[str],
    rates: Sequence[int],
    kernel: int,
    *,
    front: bool,
    at: str | None = None,
    fits: Fits = lambda network, name: True,  # noqa: ARG005 - anywhere
) -> tuple[Network, Inserted] | Refusal:
    """The network with convolutions of these rates behind a map through which all paths go.

    In front: the last such map before all dilated layers. Behind: the first one after them. Of
    those that `fits`, where some do. `at` names another layer, behind whose output they go.
    """
    where = _map_behind(network, source, ends, front, at, fits)
    if isinstance(where, Refusal):
        return where
    tensor = network.tensor(where)
    maker = network.maker(where)
    behind = "" if maker is None else maker.name
    rank = len(tensor.grid)
    channels = tensor.shape[1]
    taken = {t.name for t in network.inputs} | {n.output.name for n in network.nodes}
    made: list[Node] = []
    params: dict[str, Param] = {}
    x = tensor
    for rate in rates:
        names = (f"{'front' if front else 'tail'}{n or ''}" for n in count())
        name = next(n for n in names if n not in taken)
        taken.add(name)
        window = Window(kernel, 1, rate, *same_torch(kernel, rate))
        op = Conv((window,) * rank, channels)
        weight = Param(f"{name}.weight", channels * channels * kernel**rank, tensor.itemsize)
        params[weight.name] = weight
        bare = Node(name, op, (x.name,), replace(x, name=name), (), params=(weight.name,),
                    module=name)  # fmt: skip
        try:
            node = remade(bare, op, (x,))
        except AtrousError as error:
            return Refusal("insert", behind, f"a convolution does not fit behind it: {error}")
        made.append(node)
        x = node.output
    nodes: list[Node] = [] if maker is not None else list(made)
    for node in network.nodes:
        if where in node.inputs:
            inputs = tuple(x.name if name == where else name for name in node.inputs)
            node = replace(node, inputs=inputs)
        nodes.append(node)
        if node is maker or node.output.name == where:
            nodes += made
    outputs = tuple(x.name if name == where else name for name in network.outputs)
    candidate = replace(
        network, nodes=tuple(nodes), outputs=outputs, params={**network.params, **params}
    )
    renamed = {where: x.name}
    layers = tuple(node.name for node in made)
    total = sum(param.count for param in params.values())
    return candidate, Inserted(
        where, behind, layers, tuple(rates), kernel, channels, rank, total, renamed
    )


def _map_behind(
    network: Network,
    source: str,
    ends: Sequence[str],
    front: bool,
    at: str | None,
    fits: Fits,
) -> str | Refusal:
    """The map behind which layers go."""
    held = ancestors(network, ends)
    reached = network.reached(source)
    if at is not None:
        named = source if at == source else network.node(at).output.name
        if named not in held or named not in reached:
            return Refusal("insert", at, "no output reads it; name a layer before an output.")
        if not _takes_layers(network.tensor(named)):
            return Refusal("insert", at, "it makes no map with channels; name another layer.")
        return named
    dilated = [node for node in network.nodes if node.output.name in held and _is_dilated(node)]
    if not dilated:
        return Refusal(
            "insert", "", "no layer is dilated; name the layer to put it behind (at=...)."
        )
    inside = {name for node in dilated for name in node.inputs if name in reached}
    order = [source, *(node.output.name for node in network.nodes)]
    passed = [name for name in order if name in held and name in reached]
    found: list[str] = []
    for name in passed:
        if not _takes_layers(network.tensor(name)) or not _all_pass(network, source, ends, name):
            continue
        before = ancestors(network, [name])
        behind = [node.output.name in before for node in dilated]
        if all(behind) if not front else not any(behind):
            found.append(name)
    if front:
        found.reverse()
    if not found:
        side = "before all dilated layers" if front else "behind all dilated layers"
        return Refusal(
            "insert",
            "",
            f"no map {side} is passed by all paths ({len(inside)} maps are read by dilated "
            "layers); name the layer to put it behind (at=...).",
        )
    return next((name for name in found if fits(network, name)), found[0])


def _all_pass(network: Network, source: str, ends: Sequence[str], name: str) -> bool:
    """Whether each path from the source to an end goes through a tensor."""
    if name == source:
        return True
    found = {source}
    for node in network.nodes:
        if node.output.name != name and not found.isdisjoint(node.inputs):
            found.add(node.output.name)
    return found.isdisjoint(ends)


def _is_dilated(node: Node) -> bool:
    return isinstance(node.op, Conv | Pool) and any(
        w.kernel > 1 and w.dilation > 1 for w in node.op.windows
    )


def _takes_layers(x: Tensor) -> bool:
    """Whether a tensor is batch, channels, and one dimension for each axis."""
    dims = x.layout[2:]
    whole = [dim[0].axis for dim in dims if len(dim) == 1 and dim[0].axis is not None]
    return (
        1 <= len(dims) <= 3
        and len(whole) == len(dims)
        and set(whole) == set(x.grid)
        and not x.constant
        and prod(x.grid.values()) > 1
    )
