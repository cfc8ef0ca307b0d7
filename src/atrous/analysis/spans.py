"""The windows of one convolution or pool, each with its axis and the lengths there."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.geometry import Window
from atrous.network import Network, Node
from atrous.network.ops import Conv, Pool

__all__ = ["Span", "spans_of"]


@dataclass(frozen=True, slots=True)
class Span:
    """One window of a convolution or pool, the axis it runs along, and the lengths there."""

    window: Window
    axis: str
    inputs: int
    outputs: int


def spans_of(node: Node, network: Network) -> tuple[Span, ...]:
    """The windows of a convolution or pool; none where one runs along no whole axis."""
    if not isinstance(node.op, Conv | Pool):
        return ()
    windows = node.op.windows
    layout = network.tensor(node.inputs[0]).layout
    found = []
    for index, window in enumerate(windows):
        dim = layout[index - len(windows)]
        if len(dim) != 1 or dim[0].axis is None or dim[0].weight != 1:
            return ()
        axis = dim[0].axis
        if axis not in node.output.grid:
            return ()
        # Both lengths are those of the dimension, which may be a part of the axis.
        outputs = node.output.shape[index - len(windows)]
        found.append(Span(window, axis, dim[0].size, outputs))
    return tuple(found)
