"""Layers that mix all positions and are gathered tile by tile: of what, and in which sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from math import prod

from atrous.network import Network, Node, Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import AdaptivePool, Mix, Pool, Reduce
from atrous.network.walk import ancestors
from atrous.plan.regions import in_bins, is_given
from atrous.refusal import Refusal
from atrous.shown import Plain

__all__ = ["Digit", "Statistic", "gathered_of", "sweeps_of", "work_of"]

_NORMS = frozenset(["batch_norm", "group_norm", "instance_norm", "layer_norm", "mvn", "rms_norm"])
_MEANS = frozenset({"mean", "sum", "var", "std", "var_mean", "std_mean"})
_LARGEST = frozenset({"amax", "amin", "max", "min", "any", "all"})
_LENGTHS = frozenset({"linalg_vector_norm", "norm", "l1", "l2", "sum_square", "log_sum"})
_REDUCTIONS = _MEANS | _LARGEST | _LENGTHS
_NUMBERS = 3
"""A count, a mean and a sum of squares are held for each element of a statistic."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A part of a dimension: `size` indices in the image, `made` in a tile, along `axis` if any.

    `over` says that the statistic is one number for all of them.
    """

    dim: int
    size: int
    made: int
    axis: str | None
    over: bool
    bins: int = 0
    """Into how many positions it is pooled, if into a few; the statistic has one for each."""

    @property
    def held(self) -> int:
        """How many elements of a statistic it stands for."""
        return 1 if self.over else self.bins or self.size


@dataclass(frozen=True, slots=True)
class Statistic(Plain):
    """What a layer needs of all positions of `tensor`, its operand, gathered in sweep `sweep`.

    `digits` are the dimensions of the operand, flattened ones taken apart; `origin` is what the
    source calls the operation.
    """

    layer: str
    origin: str
    tensor: str
    sweep: int
    digits: tuple[Digit, ...]

    @property
    def nbytes(self) -> int:
        """What is held of it between sweeps."""
        return prod(one.held for one in self.digits) * _NUMBERS * 8


def sweeps_of(network: Network, cut: Set[str]) -> dict[str, int]:
    """The layers that mix all positions along axes that are `cut`, each with its sweep, from 1.

    A layer is gathered in the sweep behind those that it depends on; independent ones share one.
    Layers that cannot be gathered are left out, as are those that no output depends on.
    """
    held = ancestors(network, network.outputs)
    calls = Counter(node.origin for node in network.nodes)
    # What is written as a network has no source whose calls are replaced: it is planned alone.
    written = calls.keys() == {""}
    level: dict[str, int] = {}
    found: dict[str, int] = {}
    for node in network.nodes:
        if node.output.name not in held:
            continue
        sweep = max((level.get(name, 0) for name in node.inputs), default=0)
        # A step of a call that has several is none that can be replaced by itself.
        alone = written or (node.origin and calls[node.origin] == 1)
        if alone and _is_gathered(network, node, cut):
            sweep += 1
            found[node.name] = sweep
        level[node.output.name] = sweep
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _is_gathered(network: Network, node: Node, cut: Set[str]) -> bool:
    if node.opaque or len(node.inputs) != 1:
        return False
    if not any(is_given(node, 0, axis, {node.name}) for axis in cut):
        return False
    x = network.tensor(node.inputs[0])
    dims = _dims_over(node, x)
    if dims is None:
        return False
    if getattr(node.op, "label", "") == "group_norm" and has_axes(x.layout[1]):
        return False
    # Of an axis that is cut, a tile has a stretch: its positions are one digit, in their order.
    return all(
        x.grid[atom.axis] == atom.size
        for dim in x.layout
        for atom in dim
        if atom.axis is not None and atom.axis in cut
    )


def _dims_over(node: Node, x: Tensor) -> frozenset[int] | None:
    """The dimensions that a layer sees as a whole; None for one that tiles cannot gather."""
    op, rank = node.op, len(x.shape)
    if isinstance(op, Mix):
        return frozenset(op.dims) if op.label in _NORMS else None
    if isinstance(op, Reduce):
        return frozenset(op.dims) if op.label in _REDUCTIONS else None
    if isinstance(op, AdaptivePool):
        sizes = op.sizes
    elif isinstance(op, Pool) and op.how != "lp":
        if any(window.pad_lo or window.pad_hi or window.dilation != 1 for window in op.windows):
            return None
        sizes = node.output.shape[rank - len(op.windows) :]
        windows = zip(op.windows, x.shape[rank - len(op.windows) :], strict=True)
        if any(window.kernel not in (1, held) for window, held in windows):
            return None
    else:
        return None
    first = rank - len(sizes)
    kept = zip(sizes, x.shape[first:], strict=True)
    fixed = isinstance(op, AdaptivePool) and any(in_bins(node, axis) for axis in x.grid)
    if any(size not in (1, held) for size, held in kept) and not fixed:
        return None
    return frozenset(
        first + i for i, size in enumerate(sizes) if size == 1 and x.shape[first + i] > 1
    )


def gathered_of(
    network: Network, tile: Network, sweeps: Mapping[str, int]
) -> tuple[Statistic, ...] | Refusal:
    """What is gathered, in the order of the sweeps; `tile` is the network at a tile's size."""
    found: list[Statistic] = []
    for name, sweep in sweeps.items():
        node, other = network.node(name), tile.node(name)
        x, part = network.tensor(node.inputs[0]), tile.tensor(other.inputs[0])
        dims = _dims_over(node, x)
        alike = dims is not None and dims == _dims_over(other, part)
        if not alike or node.origin != other.origin or _digits(x.layout) != _digits(part.layout):
            return Refusal("same", name, "does something else in a tile than in the image.")
        assert dims is not None
        bins = _bins(node, x)
        if bins != _bins(other, part):
            return Refusal("same", name, "pools a tile into other parts than the image.")
        digits = tuple(
            Digit(i, atom.size, held.size, atom.axis, i in dims, bins.get(i, 0))
            for i, (dim, beside) in enumerate(zip(x.layout, part.layout, strict=True))
            for atom, held in zip(dim, beside, strict=True)
        )
        found.append(Statistic(name, node.origin, x.name, sweep, digits))
    return tuple(found)


def _bins(node: Node, x: Tensor) -> dict[int, int]:
    """Into how many positions each dimension is pooled, of those that are pooled into a few."""
    if not isinstance(node.op, AdaptivePool):
        return {}
    first = len(x.shape) - len(node.op.sizes)
    sizes = enumerate(zip(node.op.sizes, x.shape[first:], strict=True), first)
    return {dim: size for dim, (size, held) in sizes if size not in (1, held)}


def _digits(layout: tuple[tuple[object, ...], ...]) -> list[list[object]]:
    return [[getattr(atom, "axis", None) for atom in dim] for dim in layout]


def work_of(network: Network, sweeps: Mapping[str, int]) -> float:
    """What all sweeps compute, as a multiple of one run: each ends at what it gathers."""

    def spent(outputs: tuple[str, ...]) -> int:
        held = ancestors(network, outputs)
        nodes = [node for node in network.nodes if node.output.name in held]
        return sum(node.macs for node in nodes) or len(nodes)

    last = max(sweeps.values(), default=0)
    ends = (
        tuple(network.node(name).inputs[0] for name, at in sweeps.items() if at == sweep)
        for sweep in range(1, last + 1)
    )
    if not network.macs:
        return 1.0 + last
    return 1.0 + sum(spent(one) for one in ends) / spent(network.outputs)
