"""Networks as data, run: each op by the sentence that defines it, in NumPy and float64.

Shares no code with the algebra. Weights are drawn by the name of the node, so that a network and
what a conversion makes of it have the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np

from atrous.conversion.plan import Plan
from atrous.geometry import Window
from atrous.network import Network, Node
from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Concat,
    Constant,
    Contract,
    Conv,
    ConvTranspose,
    Elementwise,
    Expand,
    Linear,
    Mix,
    Pad,
    Permute,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Slice,
)

Array = Any
_UNARY: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def drawn(name: str, shape: Sequence[int]) -> Array:
    """Numbers that are the same for a name and a shape."""
    return np.random.default_rng(crc32(name.encode())).standard_normal(tuple(shape))


def computed(network: Network) -> dict[str, Array]:
    """The value of every tensor of a network, for one drawn input."""
    values = {x.name: drawn(x.name, x.shape) for x in network.inputs}
    for node in network.nodes:
        made = _RUNS[type(node.op)](node, node.op, *(values[name] for name in node.inputs))
        assert made.shape == node.output.shape, f"{node.name}: {made.shape}, {node.output.shape}"
        values[node.output.name] = made
    return values


def _bordered(x: Array, pads: Sequence[tuple[int, int]], value: float) -> Array:
    """The last dimensions padded, or cut where a pad is negative."""
    lead = [(0, 0)] * (x.ndim - len(pads))
    more = [(max(lo, 0), max(hi, 0)) for lo, hi in pads]
    cut = [
        slice(max(-lo, 0), n - max(-hi, 0)) for (lo, hi), n in zip(pads, _map(x, pads), strict=True)
    ]
    return np.pad(x[(..., *cut)], lead + more, constant_values=value)


def _map(x: Array, per_axis: Sequence[object]) -> tuple[int, ...]:
    return tuple(x.shape[x.ndim - len(per_axis) :])


def _taps(x: Array, windows: Sequence[Window], sizes: Sequence[int]) -> list[Array]:
    """For each tap of a window, what all outputs read there; `x` has its padding."""
    found = []
    for places in product(*(range(w.kernel) for w in windows)):
        starts = [p * w.dilation for p, w in zip(places, windows, strict=True)]
        cut = [
            slice(at, at + (n - 1) * w.stride + 1, w.stride)
            for at, n, w in zip(starts, sizes, windows, strict=True)
        ]
        found.append(x[(..., *cut)])
    return found


def _pads(windows: Sequence[Window]) -> list[tuple[int, int]]:
    return [(w.pad_lo, w.pad_hi) for w in windows]


def _sizes(x: Array, windows: Sequence[Window], ceil: bool = False) -> list[int]:
    """How many outputs fit, PyTorch's rule for partial ones."""
    sizes = []
    for n, w in zip(_map(x, windows), windows, strict=True):
        room = n + w.pad_lo + w.pad_hi - (w.kernel - 1) * w.dilation - 1
        count = room // w.stride + 1
        if ceil and room % w.stride and count * w.stride < n + w.pad_lo:
            count += 1
        sizes.append(count)
    return sizes


def _conv(node: Node, op: Conv, x: Array) -> Array:
    filled = _bordered(x, _pads(op.windows), 0.0)
    taps = _taps(filled, op.windows, _sizes(x, op.windows))
    weight = drawn(node.name, (len(taps), op.channels, x.shape[1]))
    return sum(np.einsum("oi,bi...->bo...", w, tap) for w, tap in zip(weight, taps, strict=True))


def _pool(_node: Node, op: Pool, x: Array) -> Array:
    sizes = _sizes(x, op.windows, op.ceil)
    # Room for the last, partial window.
    pads = [(w.pad_lo, w.pad_hi + w.stride) for w in op.windows]
    if op.how == "max":
        return np.max(_taps(_bordered(x, pads, -np.inf), op.windows, sizes), axis=0)
    counted = op.counted or _pads(op.windows)
    if not op.count_include_pad:
        counted = [(0, 0)] * len(op.windows)
    ones = _bordered(np.ones_like(x), counted, 1.0)
    rest = [(p - c, q - d) for (p, q), (c, d) in zip(pads, counted, strict=True)]
    held = np.sum(_taps(_bordered(ones, rest, 0.0), op.windows, sizes), axis=0)
    return np.sum(_taps(_bordered(x, pads, 0.0), op.windows, sizes), axis=0) / np.maximum(held, 1)


def _pad(_node: Node, op: Pad, x: Array) -> Array:
    if op.mode == "constant":
        return _bordered(x, op.pads, op.value)
    for index, (lo, hi) in enumerate(op.pads):
        dim = x.ndim - len(op.pads) + index
        turns, n = op.phases[index] if op.phases else 1, x.shape[dim]
        places = []
        for at in range(-lo, n + hi):
            phase, digit = at % turns, at // turns
            held = -(-(n - phase) // turns)
            places.append(phase + turns * _inside(digit, held, op.mode))
        x = np.take(x, places, axis=dim)
    return x


def _inside(at: int, length: int, mode: str) -> int:
    if mode == "replicate":
        return min(max(at, 0), length - 1)
    if mode == "circular":
        return at % length
    return length - 1 - abs(length - 1 - abs(at))


def _slice(_node: Node, op: Slice, x: Array) -> Array:
    places = [op.start + op.step * i for i in range(op.length)]
    assert min(places) >= 0
    made = np.take(x, places, axis=op.dim)
    return made.squeeze(op.dim) if op.drop else made


def _elementwise(_node: Node, op: Elementwise, *inputs: Array) -> Array:
    if len(inputs) == 1:
        return _UNARY[op.label](inputs[0])
    made = inputs[0]
    for other in inputs[1:]:
        made = made * other if op.label == "mul" else made + other
    return made


def _resize(_node: Node, op: Resize, x: Array) -> Array:
    for index, size in enumerate(op.sizes):
        dim = x.ndim - len(op.sizes) + index
        n = x.shape[dim]
        at = np.arange(size)
        if op.coordinates == "half_pixel":
            source = np.clip((at + 0.5) * n / size - 0.5, 0, n - 1)
        elif op.coordinates == "align_corners":
            source = at * (n - 1) / max(size - 1, 1)
        else:
            source = at * n / size
        low = np.floor(source + 1e-9).astype(int)
        if op.how == "nearest":
            x = np.take(x, low, axis=dim)
            continue
        share = (source - low).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
        high = np.minimum(low + 1, n - 1)
        x = np.take(x, low, axis=dim) * (1 - share) + np.take(x, high, axis=dim) * share
    return x


def _conv_transpose(node: Node, op: ConvTranspose, x: Array) -> Array:
    (w,) = op.windows  # one axis is enough
    n = x.shape[2]
    whole = (n - 1) * w.stride + (w.kernel - 1) * w.dilation + 1
    made = np.zeros((x.shape[0], op.channels, whole))
    weight = drawn(node.name, (w.kernel, op.channels, x.shape[1]))
    for tap in range(w.kernel):
        start = tap * w.dilation
        places = slice(start, start + (n - 1) * w.stride + 1, w.stride)
        made[:, :, places] += np.einsum("oi,bin->bon", weight[tap], x)
    return made[:, :, w.pad_lo : whole - w.pad_hi]


def _adaptive(_node: Node, op: AdaptivePool, x: Array) -> Array:
    for index, size in enumerate(op.sizes):
        dim = x.ndim - len(op.sizes) + index
        n = x.shape[dim]
        parts = [
            np.take(x, range(i * n // size, -(-(i + 1) * n // size)), axis=dim).mean(dim)
            for i in range(size)
        ]
        x = np.stack(parts, axis=dim)
    return x


def _attention(_node: Node, _op: Attention, q: Array, k: Array, v: Array) -> Array:
    score = np.exp(q @ np.swapaxes(k, -1, -2) / 8)
    return score / score.sum(-1, keepdims=True) @ v


_RUNS: Mapping[type, Callable[..., Array]] = {
    Conv: _conv,
    Pool: _pool,
    Pad: _pad,
    Slice: _slice,
    Elementwise: _elementwise,
    Resize: _resize,
    ConvTranspose: _conv_transpose,
    AdaptivePool: _adaptive,
    Attention: _attention,
    Concat: lambda _n, op, *x: np.concatenate(x, op.dim),
    Constant: lambda n, op: drawn(n.name, op.shape),
    Contract: lambda _n, op, *x: np.einsum(op.equation, *x),
    Expand: lambda _n, op, x: np.broadcast_to(x, op.shape),
    Linear: lambda n, op, x: x @ drawn(n.name, (x.shape[-1], op.channels)),
    Mix: lambda _n, op, x: x - x.mean(op.dims, keepdims=True),
    Permute: lambda _n, op, x: x.transpose(op.order),
    Reduce: lambda _n, op, x: x.mean(op.dims, keepdims=op.keep),
    Reshape: lambda _n, op, x: x.reshape(op.shape),
}


def at_the_originals(value: Array, tensor: Any, factors: Mapping[str, int]) -> Array:
    """Of a denser map, the positions that the original has: every `factor`-th of each axis."""
    apart, where = [], []
    for dim in tensor.layout:
        whole = [a for a in dim if a.axis is not None]
        assert all(a.size == tensor.grid[a.axis] for a in whole), f"{tensor.name}: digits"
        apart += [a.size for a in dim]
        where += [slice(None, None, factors.get(a.axis or "", 1)) for a in dim]
    lead = [slice(None)] * (value.ndim - len(tensor.layout))
    cut = value.reshape(apart)[(*lead, *where)]
    sizes, at = [], 0
    for dim in tensor.layout:
        sizes.append(int(np.prod(cut.shape[at : at + len(dim)])))
        at += len(dim)
    return cut.reshape(sizes)


def assert_denser(plan: Plan, *, but: Sequence[str] = ()) -> None:
    """Every map of the original is every `factor`-th position of the candidate's, borders too.

    `but` names what a conversion cannot keep: what sums over a whole map, and all behind it. Of
    these the sizes are compared alone.
    """
    before, after = computed(plan.reference), computed(plan.candidate)
    for name in before:
        dense = plan.candidate.tensor(name)
        if name in but and not dense.grid:
            continue
        got = at_the_originals(after[name], dense, plan.factors[name])
        assert got.shape == before[name].shape, f"{name}: {got.shape} of {dense.shape}"
        if name in but:
            continue
        assert np.allclose(got, before[name], rtol=1e-9, atol=1e-12), f"{name}: other values"


def assert_sparser(plan: Plan) -> None:
    """Every map of the candidate is every `factor`-th position of the original's, borders too."""
    before, after = computed(plan.reference), computed(plan.candidate)
    for name, made in after.items():
        got = at_the_originals(before[name], plan.reference.tensor(name), plan.factors[name])
        assert got.shape == made.shape, f"{name}: {made.shape}, wanted {got.shape}"
        assert np.allclose(got, made, rtol=1e-9, atol=1e-12), f"{name}: other values"
