"""In which order tensors lie in memory: which ops make a view of their input, and which copy it."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.network import Network, Node
from atrous.network.ops import Elementwise, Expand, Permute, Reshape, Slice, Windows

__all__ = ["views_of"]

Strides = tuple[int, ...]


def views_of(network: Network) -> set[str]:
    """The outputs that share their first input's memory, run eagerly.

    Slices, permutations and expansions do; a reshape does where the elements lie in an order that
    allows it, and copies otherwise, as after a permutation.
    """
    strides = {t.name: contiguous(t.shape) for t in network.inputs}
    found: set[str] = set()
    for node in network.nodes:
        made = _view(node, strides, network) if node.alias and node.inputs else None
        if made is not None:
            found.add(node.output.name)
        strides[node.output.name] = made or _order_kept(node, strides, network)
    return found


def contiguous(shape: Sequence[int]) -> Strides:
    """The strides of a tensor whose last dimension lies densest.

    >>> contiguous((2, 3, 4))
    (12, 4, 1)
    """
    out, step = [], 1
    for size in reversed(shape):
        out.append(step)
        step *= size
    return tuple(reversed(out))


def reshaped(shape: Sequence[int], strides: Strides, to: Sequence[int]) -> Strides | None:
    """The strides of a reshape to `to` that moves no element, or None where there are none.

    >>> reshaped((2, 3, 4), (12, 4, 1), (6, 4)), reshaped((3, 2, 4), (4, 12, 1), (6, 4))
    ((4, 1), None)
    """
    runs: list[
        tuple[int, int]
    ] = []  # sizes and strides of what lies evenly spaced, outermost first
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    out: list[int] = []
    left, stride = 1, 1
    for size in reversed(to):
        if size == 1:
            out.append(stride)
            continue
        if left == 1:
            if not runs:
                return None
            left, stride = runs.pop()
        if left % size:
            return None
        out.append(stride)
        stride *= size
        left //= size
    return tuple(reversed(out))


def _view(node: Node, strides: dict[str, Strides], network: Network) -> Strides | None:
    x = network.tensor(node.inputs[0])
    held, op = strides[x.name], node.op
    match op:
        case Permute(order=order):
            return tuple(held[i] for i in order)
        case Reshape(shape=shape):
            return reshaped(x.shape, held, shape)
        case Expand(shape=shape):
            extra = len(shape) - len(held)
            sizes = zip(held, x.shape, shape[extra:], strict=True)
            return (0,) * extra + tuple(s if a == b else 0 for s, a, b in sizes)
        case Slice(dim=dim, step=step, drop=drop):
            stepped = (*held[:dim], held[dim] * step, *held[dim + 1 :])
            return (*stepped[:dim], *stepped[dim + 1 :]) if drop else stepped
        case Windows(dim=dim, window=window):
            return (*held[:dim], held[dim] * window.stride, *held[dim + 1 :], held[dim])
        case _:
            return held if node.output.shape == x.shape else contiguous(node.output.shape)


def _order_kept(node: Node, strides: dict[str, Strides], network: Network) -> Strides:
    """An elementwise op writes in the order of what it reads; all others write afresh."""
    shape = node.output.shape
    if isinstance(node.op, Elementwise):
        for name in node.inputs:
            if network.tensor(name).shape == shape:
                return _without_gaps(shape, strides[name])
    return contiguous(shape)


def _without_gaps(shape: tuple[int, ...], strides: Strides) -> Strides:
    """The strides of a tensor without gaps whose dimensions lie in the same order."""
    out, step = [1] * len(shape), 1
    for index in sorted(range(len(shape)), key=lambda i: (strides[i], -i)):
        out[index] = step
        step *= shape[index]
    return tuple(out)
