"""One layer on a small input, for watching its kernel slide."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from atrous.errors import AtrousError, UnsupportedError
from atrous.explore.draft import Draft
from atrous.network import Node
from atrous.network.ops import Conv, Pool
from atrous.network.stack import stack_network

__all__ = ["sliding"]

_LEAST, _MOST = 6, 15
_LONGEST = 400
_MOST_CELLS = 3000


def sliding(draft: Draft, place: int) -> Mapping[str, object]:
    """What each output of one layer reads along the last two axes, padding counted as positions.

    `taps` has for each of the axes, and each output along it, the positions read: below 0 and from
    the length on they lie in the padding. The input is as small as the layer allows.

    >>> shown = sliding(Draft.of("k3d2", (1, 8, 64)), 0)
    >>> shown["length"], shown["taps"][1][0]
    ([1, 7], [-2, 0, 2])
    """
    layer = draft.layers[place]
    sizes = []
    for axis, size in enumerate(draft.shape[2:]):
        kernel, rate, stride = (
            values[axis] if len(values) > 1 else values[0]
            for values in (layer.kernel, layer.dilation, layer.stride)
        )
        wanted = max(_LEAST, (kernel - 1) * rate // 2 + 2 * stride + 3)
        sizes.append(min(size, wanted, _MOST))
    while True:
        try:
            network = stack_network(str(layer), (1, draft.shape[1], *sizes))
            break
        except AtrousError:
            if all(size >= 4 * _MOST for size in sizes):
                raise UnsupportedError(
                    f"{layer.name}: its window is too wide to be shown sliding."
                ) from None
            sizes = [min(2 * size, 4 * _MOST) for size in sizes]
    [node] = network.nodes
    grid = network.inputs[0].grid
    if max(node.output.grid.values()) > _LONGEST:
        raise UnsupportedError(f"{layer.name}: it makes too many outputs to be shown one by one.")
    axes = list(grid)[-2:]
    taps = [_taps(node, list(grid).index(axis), axis, node.output.grid[axis]) for axis in axes]
    length = [grid[axis] for axis in axes]
    if _cells(taps, length) > _MOST_CELLS:
        raise UnsupportedError(f"{layer.name}: its window is too wide to be shown sliding.")
    if len(axes) == 1:
        axes, taps, length = ["", *axes], [[[0]], *taps], [1, *length]
    return {"name": layer.name, "axes": axes, "length": length, "taps": taps}


def _cells(taps: list[list[list[int]]], length: list[int]) -> int:
    """How many squares the input with its padding, and the output, are made of."""
    spans = []
    for axis, size in zip(taps, length, strict=True):
        all_of_them = [0, size - 1, *(edge for one in axis for edge in (min(one), max(one)))]
        spans.append(max(all_of_them) - min(all_of_them) + 1)
    return prod(spans) + prod(map(len, taps))


def _taps(node: Node, place: int, axis: str, outputs: int) -> list[list[int]]:
    if isinstance(node.op, Conv | Pool):
        window = node.op.windows[place]
        return [list(window.taps(output)) for output in range(outputs)]
    move = node.moves[0].get(axis)
    return [[at] if move is None else list(move.at(at)) for at in range(outputs)]
