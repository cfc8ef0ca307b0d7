"""Random small graphs of layout tricks, in PyTorch and in ONNX: positions moved anywhere and back.

A graph is a list of steps with numbers drawn for the shape that they meet. Each step runs in
PyTorch; most can be written as ONNX nodes as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from onnx import helper
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

__all__ = ["DrawnGraph", "drawn_graph", "onnx_of"]

MOST_ELEMENTS = 3000
MOST_DIMS = 6

Shape = tuple[int, ...]
Numbers = tuple[Any, ...]


@dataclass
class Emitted:
    """An ONNX graph while it is written."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """One node; the name of its output, or of each."""
        number = len(self.nodes)
        names = [f"t{number}" if outputs == 1 else f"t{number}_{i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"{op}{number}", **attributes)
        )
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """A stored tensor."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.add("Reshape", x, self.constant(shape))


@dataclass(frozen=True)
class Trick:
    """One kind of step: numbers for a shape (None where it does not fit), and both dialects."""

    draw: Callable[[random.Random, Shape], Numbers | None]
    torch: Callable[[torch.Tensor, Numbers, list[torch.Tensor]], torch.Tensor]
    onnx: Callable[[Emitted, str, Numbers, Shape, list[str]], str] | None = None
    folds: bool = False


TRICKS: dict[str, Trick] = {}


def weight(seed: int, *shape: int) -> torch.Tensor:
    """Numbers that do not cancel."""
    values = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return torch.as_tensor(values)


def like(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return value.to(x.dtype)


def trick(name: str, draw: Any, run: Any, onnx: Any = None, *, folds: bool = False) -> None:
    """Register a kind of step. `folds` says that borders fold what is read outside back in."""
    TRICKS[name] = Trick(draw, run, onnx, folds)


def _dim(rng: random.Random, shape: Shape, least: int = 2) -> int | None:
    dims = [i for i, n in enumerate(shape) if n >= least and (i > 0 or rng.random() < 0.2)]
    return rng.choice(dims) if dims else None


def _divisor(rng: random.Random, size: int) -> int | None:
    found = [f for f in range(2, size) if size % f == 0]
    return rng.choice(found) if found else None


# Reshape, and its relatives


def _draw_split(rng: random.Random, shape: Shape) -> Numbers | None:
    dims = [i for i, n in enumerate(shape) if _divisor(random.Random(0), n)]
    if not dims or len(shape) >= MOST_DIMS:
        return None
    dim = rng.choice(dims)
    inner = _divisor(rng, shape[dim])
    assert inner is not None
    return ((*shape[:dim], shape[dim] // inner, inner, *shape[dim + 1 :]),)


def _draw_merge(rng: random.Random, shape: Shape) -> Numbers | None:
    if len(shape) < 4:
        return None
    dim = rng.randrange(len(shape) - 1)
    return ((*shape[:dim], shape[dim] * shape[dim + 1], *shape[dim + 2 :]),)


def _draw_any_shape(rng: random.Random, shape: Shape) -> Numbers | None:
    total, out = prod(shape), []
    for _ in range(rng.randint(1, 3)):
        factor = rng.choice([f for f in range(1, 17) if total % f == 0])
        out.append(factor)
        total //= factor
    return ((*out, total),) if len(out) > 1 else None


def _onnx_reshape(b: Emitted, x: str, n: Numbers, _s: Shape, _e: list[str]) -> str:
    return b.reshape(x, n[0])


def _run_reshape(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    return x.reshape(n[0])


trick("split", _draw_split, _run_reshape, _onnx_reshape)
trick("merge", _draw_merge, _run_reshape, _onnx_reshape)
trick("any shape", _draw_any_shape, _run_reshape, _onnx_reshape)
trick(
    "transpose",
    lambda rng, s: (tuple(rng.sample(range(len(s)), len(s))),),
    lambda x, n, _: x.permute(n[0]),
    lambda b, x, n, _s, _e: b.add("Transpose", x, perm=list(n[0])),
)


def _draw_two(rng: random.Random, shape: Shape) -> Numbers | None:
    return tuple(rng.sample(range(len(shape)), 2))


trick(
    "swap",
    _draw_two,
    lambda x, n, _: x.transpose(*n),
    lambda b, x, n, s, _: b.add("Transpose", x, perm=_swapped(len(s), *n)),
)
trick("move", _draw_two, lambda x, n, _: x.movedim(*n))


def _swapped(rank: int, a: int, b: int) -> list[int]:
    order = list(range(rank))
    order[a], order[b] = order[b], order[a]
    return order


trick(
    "batch of channels",
    lambda _, s: (s,) if len(s) == 4 and s[0] * s[1] > 1 else None,
    lambda x, n, _: x.reshape(n[0][0] * n[0][1], 1, *n[0][2:]),
    lambda b, x, n, _s, _e: b.reshape(x, (n[0][0] * n[0][1], 1, *n[0][2:])),
)
trick(
    "channels of batch",
    lambda _, s: (s,) if len(s) > 2 and s[0] > 1 else None,
    lambda x, n, _: x.reshape(1, n[0][0] * n[0][1], *n[0][2:]),
    lambda b, x, n, _s, _e: b.reshape(x, (1, n[0][0] * n[0][1], *n[0][2:])),
)
trick(
    "unsqueeze",
    lambda rng, s: (rng.randint(0, len(s)),) if len(s) < MOST_DIMS else None,
    lambda x, n, _: x.unsqueeze(n[0]),
    lambda b, x, n, _s, _e: b.add("Unsqueeze", x, b.constant([n[0]])),
)
trick(
    "squeeze",
    lambda _, s: (s,) if 1 in s and len(s) > 3 else None,
    lambda x, n, _: x.squeeze(n[0].index(1)),
    lambda b, x, n, _s, _e: b.add("Squeeze", x, b.constant([n[0].index(1)])),
)


# Blocks


def _draw_blocks(rng: random.Random, shape: Shape) -> Numbers | None:
    if len(shape) != 4:
        return None
    factors = [f for f in (2, 3) if not shape[2] % f and not shape[3] % f]
    return (rng.choice(factors), shape) if factors else None


def _run_partition(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    k, (b, c, h, w) = n
    return x.reshape(b, c, h // k, k, w // k, k).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, k, k)


def _onnx_partition(b: Emitted, x: str, n: Numbers, _s: Shape, _e: list[str]) -> str:
    k, (batch, c, h, w) = n
    x = b.reshape(x, (batch, c, h // k, k, w // k, k))
    return b.reshape(b.add("Transpose", x, perm=[0, 2, 4, 1, 3, 5]), (-1, c, k, k))


def _run_unpartition(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    a, d = n
    _, c, h, w = x.shape
    x = x.reshape(-1, a, d, c, h, w).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(x.shape[0], c, a * h, d * w)


def _draw_unpartition(rng: random.Random, shape: Shape) -> Numbers | None:
    if len(shape) != 4 or shape[0] < 4:
        return None
    pairs = [
        (a, d) for a in range(1, 7) for d in range(1, 7) if a * d > 1 and not shape[0] % (a * d)
    ]
    return rng.choice(pairs) if pairs else None


def _onnx_unpartition(b: Emitted, x: str, n: Numbers, s: Shape, _: list[str]) -> str:
    a, d = n
    batch, c, h, w = s
    x = b.reshape(x, (batch // (a * d), a, d, c, h, w))
    x = b.add("Transpose", x, perm=[0, 3, 1, 4, 2, 5])
    return b.reshape(x, (batch // (a * d), c, a * h, d * w))


trick("windows", _draw_blocks, _run_partition, _onnx_partition)
trick("windows back", _draw_unpartition, _run_unpartition, _onnx_unpartition)
trick(
    "unshuffle",
    _draw_blocks,
    lambda x, n, _: F.pixel_unshuffle(x, n[0]),
    lambda b, x, n, _s, _e: b.add("SpaceToDepth", x, blocksize=n[0]),
)


def _draw_shuffle(rng: random.Random, shape: Shape) -> Numbers | None:
    factors = [f for f in (2, 3) if len(shape) == 4 and not shape[1] % (f * f)]
    return (rng.choice(factors),) if factors else None


trick(
    "shuffle",
    _draw_shuffle,
    lambda x, n, _: F.pixel_shuffle(x, n[0]),
    lambda b, x, n, _s, _e: b.add("DepthToSpace", x, blocksize=n[0], mode="CRD"),
)
trick(
    "shuffle depth first",
    _draw_shuffle,
    lambda x, n, _: _depth_first(x, n[0]),
    lambda b, x, n, _s, _e: b.add("DepthToSpace", x, blocksize=n[0]),
)


def _depth_first(x: torch.Tensor, r: int) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, r, r, c // r**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(b, c // r**2, h * r, w * r)


def _draw_windowed(rng: random.Random, shape: Shape) -> Numbers | None:
    dim = _dim(rng, shape)
    if dim is None or len(shape) >= MOST_DIMS:
        return None
    size = rng.randint(1, min(3, shape[dim]))
    return dim, size, rng.choice([1, size])


trick("unfold", _draw_windowed, lambda x, n, _: x.unfold(*n))
trick(
    "im2col",
    lambda rng, s: (
        (rng.choice([1, 2]), rng.choice([1, 2])) if len(s) == 4 and min(s[2:]) > 2 else None
    ),
    lambda x, n, _: F.unfold(x, 2, stride=n[0], dilation=n[1]),
)


# Along one dimension

trick(
    "roll",
    lambda rng, s: None if (d := _dim(rng, s)) is None else (d, rng.randint(1, s[d])),
    lambda x, n, _: x.roll(n[1], n[0]),
    folds=True,
)


def _draw_slice(rng: random.Random, shape: Shape) -> Numbers | None:
    dim = _dim(rng, shape, 3)
    if dim is None:
        return None
    step = rng.choice([1, 1, 2])
    return dim, rng.randint(0, 1), rng.randint(2, shape[dim]), step


def _run_slice(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    dim, start, stop, step = n
    return x[(slice(None),) * dim + (slice(start, stop, step),)]


trick(
    "slice",
    _draw_slice,
    _run_slice,
    lambda b, x, n, _s, _e: b.add("Slice", x, *(b.constant([v]) for v in (n[1], n[2], n[0], n[3]))),
)


def _draw_pieces(rng: random.Random, shape: Shape) -> Numbers | None:
    dim = _dim(rng, shape)
    if dim is None:
        return None
    at = rng.randint(1, shape[dim] - 1)
    into = rng.randrange(len(shape)) if 2 * at == shape[dim] else dim
    return dim, at, shape[dim] - at, into


def _run_pieces(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    dim, first, second, into = n
    one, two = x.split([first, second], dim)
    return torch.cat([two, one * 2], into)


def _onnx_pieces(b: Emitted, x: str, n: Numbers, _s: Shape, _e: list[str]) -> str:
    dim, first, second, into = n
    one, two = b.add("Split", x, b.constant([first, second]), outputs=2, axis=dim)
    return b.add("Concat", two, b.add("Add", one, one), axis=into)


trick("pieces swapped", _draw_pieces, _run_pieces, _onnx_pieces, folds=True)
trick(
    "halves added",
    lambda rng, s: (d,) if (d := _dim(rng, s)) is not None and s[d] % 2 == 0 else None,
    lambda x, n, _: x.chunk(2, n[0])[0] + x.chunk(2, n[0])[1],
    lambda b, x, n, s, _e: b.add(
        "Add", *b.add("Split", x, b.constant([s[n[0]] // 2] * 2), outputs=2, axis=n[0])
    ),
)


def _draw_beside(rng: random.Random, shape: Shape) -> Numbers | None:
    return (rng.randrange(len(shape)),)


def _run_beside(x: torch.Tensor, n: Numbers, earlier: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([x, _fitting(x, earlier, n[0])], n[0])


def _fitting(x: torch.Tensor, earlier: list[torch.Tensor], dim: int) -> torch.Tensor:
    for other in reversed(earlier[:-1]):
        if other.ndim == x.ndim and _but(other.shape, dim) == _but(x.shape, dim):
            return other
    return x * 3


def _but(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i != dim)


trick("beside an earlier one", _draw_beside, _run_beside, folds=True)
trick(
    "stacked",
    lambda rng, s: (rng.randint(0, len(s)),) if len(s) < MOST_DIMS else None,
    lambda x, n, _: torch.stack([x, x * 2], n[0]),
)
trick(
    "beside a token",
    lambda rng, s: (rng.randrange(1, len(s)), rng.randint(0, 9)) if len(s) > 1 else None,
    lambda x, n, _: torch.cat(
        [like(x, weight(n[1], *(1 if i == n[0] else k for i, k in enumerate(x.shape)))), x], n[0]
    ),
    lambda b, x, n, s, _e: b.add(
        "Concat",
        b.constant(weight(n[1], *(1 if i == n[0] else k for i, k in enumerate(s))), np.float32),
        x,
        axis=n[0],
    ),
)
trick(
    "beside its mean",
    lambda rng, s: None if (d := _dim(rng, s)) is None else (d,),
    lambda x, n, _: torch.cat([x, x.mean(n[0], keepdim=True)], n[0]),
    lambda b, x, n, _s, _e: b.add(
        "Concat", x, b.add("ReduceMean", x, axes=[n[0]], keepdims=1), axis=n[0]
    ),
)


def _draw_widen(rng: random.Random, shape: Shape) -> Numbers | None:
    ones = [i for i, n in enumerate(shape) if n == 1]
    if not ones:
        return None
    dim = rng.choice(ones)
    return (tuple(3 if i == dim else n for i, n in enumerate(shape)),)


trick(
    "expand",
    _draw_widen,
    lambda x, n, _: x.expand(n[0]),
    lambda b, x, n, _s, _e: b.add("Expand", x, b.constant(n[0])),
)
trick(
    "tile",
    lambda rng, s: (
        (tuple(2 if i == d else 1 for i in range(len(s))),)
        if (d := rng.randrange(len(s))) is not None
        else None
    ),
    lambda x, n, _: x.repeat(n[0]),
    lambda b, x, n, _s, _e: b.add("Tile", x, b.constant(n[0])),
    folds=True,
)
trick(
    "repeat",
    lambda rng, s: (2, rng.randrange(len(s))),
    lambda x, n, _: x.repeat_interleave(*n),
)


def _draw_picked(rng: random.Random, shape: Shape) -> Numbers | None:
    dim = _dim(rng, shape)
    if dim is None:
        return None
    size = shape[dim]
    kinds = [range(size), range(size - 1, -1, -1), range(0, size, 2), rng.sample(range(size), size)]
    return dim, tuple(rng.choice(kinds))


trick(
    "picked",
    _draw_picked,
    lambda x, n, _: x.index_select(n[0], torch.tensor(n[1])),
    lambda b, x, n, _s, _e: b.add("Gather", x, b.constant(n[1]), axis=n[0]),
)
trick(
    "mean",
    lambda rng, s: (rng.randrange(1, len(s)), rng.random() < 0.5) if len(s) > 3 else None,
    lambda x, n, _: x.mean(n[0], keepdim=n[1]),
    lambda b, x, n, _s, _e: b.add("ReduceMean", x, axes=[n[0]], keepdims=int(n[1])),
)
trick(
    "softmax",
    lambda rng, s: (rng.randrange(1, len(s)),) if len(s) > 1 else None,
    lambda x, n, _: x.softmax(n[0]),
    lambda b, x, n, _s, _e: b.add("Softmax", x, axis=n[0]),
)
trick(
    "norm",
    lambda _, s: (s[-1],) if s[-1] > 2 else None,
    lambda x, n, _: F.layer_norm(x, (n[0],)),
)
trick(
    "cumsum",
    lambda rng, s: (rng.randrange(len(s)),),
    lambda x, n, _: x.cumsum(n[0]),
    lambda b, x, n, _s, _e: b.add("CumSum", x, b.constant(n[0])),
)


# What computes


def _draw_matrix(rng: random.Random, shape: Shape) -> Numbers | None:
    dim = rng.randrange(1, len(shape)) if len(shape) > 1 else 0
    return dim, shape[dim], rng.randint(2, 4), rng.randint(0, 99)


def _run_matrix(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    dim, size, made, seed = n
    return (x.movedim(dim, -1) @ like(x, weight(seed, size, made))).movedim(-1, dim)


def _onnx_matrix(b: Emitted, x: str, n: Numbers, s: Shape, _: list[str]) -> str:
    dim, size, made, seed = n
    order = [i for i in range(len(s)) if i != dim] + [dim]
    x = b.add("Transpose", x, perm=order)
    x = b.add("MatMul", x, b.constant(weight(seed, size, made), np.float32))
    return b.add("Transpose", x, perm=[order.index(i) for i in range(len(s))])


trick("matrix along", _draw_matrix, _run_matrix, _onnx_matrix)


def _draw_left(rng: random.Random, shape: Shape) -> Numbers | None:
    return (rng.randint(2, 4), shape[-2], rng.randint(0, 99)) if len(shape) > 2 else None


trick(
    "matrix from the left",
    _draw_left,
    lambda x, n, _: like(x, weight(n[2], *n[:2])) @ x,
    lambda b, x, n, _s, _e: b.add("MatMul", b.constant(weight(n[2], *n[:2]), np.float32), x),
)
trick(
    "einsum",
    _draw_matrix,
    lambda x, n, _: torch.einsum(
        _equation(x.ndim, n[0]), x, like(x, weight(n[3], n[1], n[2]))
    ),
    lambda b, x, n, s, _e: b.add(
        "Einsum", x, b.constant(weight(n[3], n[1], n[2]), np.float32),
        equation=_equation(len(s), n[0]),
    ),
)  # fmt: skip


def _equation(rank: int, dim: int) -> str:
    letters = "abcdefg"[:rank]
    return f"{letters},{letters[dim]}z->{letters.replace(letters[dim], 'z')}"


def _draw_conv(rng: random.Random, shape: Shape) -> Numbers | None:
    if len(shape) not in (3, 4) or not shape[1]:
        return None
    rank = len(shape) - 2
    kernel = tuple(rng.randint(1, min(3, n)) for n in shape[2:])
    stride, pads = rng.choice([1, 1, 2]), rng.choice([0, 1]) if min(kernel) > 1 else 0
    return rank, kernel, stride, pads, shape[1], rng.randint(2, 4), rng.randint(0, 99)


def _run_conv(x: torch.Tensor, n: Numbers, _: list[torch.Tensor]) -> torch.Tensor:
    rank, kernel, stride, pads, taken, made, seed = n
    run = F.conv1d if rank == 1 else F.conv2d
    return run(x, like(x, weight(seed, made, taken, *kernel)), None, stride, pads)


def _onnx_conv(b: Emitted, x: str, n: Numbers, _s: Shape, _e: list[str]) -> str:
    rank, kernel, stride, pads, taken, made, seed = n
    held = b.constant(weight(seed, made, taken, *kernel), np.float32)
    return b.add(
        "Conv", x, held, kernel_shape=kernel, strides=[stride] * rank, pads=[pads] * 2 * rank
    )


trick("conv", _draw_conv, _run_conv, _onnx_conv)


def _draw_pool(rng: random.Random, shape: Shape) -> Numbers | None:
    if len(shape) not in (3, 4) or min(shape[2:]) < 2:
        return None
    return len(shape) - 2, 2, rng.choice([1, 2])


trick(
    "pool",
    _draw_pool,
    lambda x, n, _: (F.avg_pool1d if n[0] == 1 else F.avg_pool2d)(x, n[1], n[2]),
    lambda b, x, n, _s, _e: b.add(
        "AveragePool", x, kernel_shape=[n[1]] * n[0], strides=[n[2]] * n[0]
    ),
)


def _run_skip(x: torch.Tensor, _: Numbers, earlier: list[torch.Tensor]) -> torch.Tensor:
    for other in reversed(earlier[:-1]):
        if other.shape == x.shape:
            return x + other
    return x * 2


trick("skip", lambda _r, _s: (), _run_skip)
trick(
    "plus its own transpose",
    lambda _, s: next(
        ((i, j) for i in range(1, len(s)) for j in range(i + 1, len(s)) if s[i] == s[j] > 1), None
    ),
    lambda x, n, _: x + x.transpose(*n),
    lambda b, x, n, s, _e: b.add("Add", x, b.add("Transpose", x, perm=_swapped(len(s), *n))),
)
trick(
    "plus its mean",
    lambda rng, s: (rng.randrange(1, len(s)),) if len(s) > 1 else None,
    lambda x, n, _: x + x.mean(n[0], keepdim=True),
    lambda b, x, n, _s, _e: b.add("Add", x, b.add("ReduceMean", x, axes=[n[0]], keepdims=1)),
)
trick(
    "outer sum",
    lambda rng, s: (rng.randrange(1, len(s)),) if 1 < len(s) < MOST_DIMS else None,
    lambda x, n, _: x.unsqueeze(n[0]) + x.unsqueeze(n[0] + 1),
    lambda b, x, n, _s, _e: b.add(
        "Add",
        b.add("Unsqueeze", x, b.constant([n[0]])),
        b.add("Unsqueeze", x, b.constant([n[0] + 1])),
    ),
)
trick(
    "attention",
    lambda _, s: (s,) if len(s) > 2 else None,
    lambda x, _n, _e: (x @ x.mT).softmax(-1) @ x,
    lambda b, x, _n, s, _e: b.add(
        "MatMul",
        b.add("Softmax", b.add("MatMul", x, b.add("Transpose", x, perm=_swapped(len(s), -1, -2)))),
        x,
    ),
)
trick(
    "gram",
    lambda _, s: (s,) if len(s) > 2 else None,
    lambda x, _n, _e: x.mT @ x,
    lambda b, x, _n, s, _e: b.add(
        "MatMul", b.add("Transpose", x, perm=_swapped(len(s), -1, -2)), x
    ),
)
LOSES_CHANNELS = {"unshuffle", "shuffle", "shuffle depth first", "unfold", "im2col"}


@dataclass
class DrawnGraph:
    """Steps, the shape before each, and the input's shape."""

    shape: Shape
    steps: list[tuple[str, Numbers]]
    shapes: list[Shape]

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """The graph on an input of its shape."""
        earlier = [x]
        for name, numbers in self.steps:
            x = TRICKS[name].torch(x, numbers, earlier)
            earlier.append(x)
        return x

    def module(self) -> nn.Module:
        """The graph as a module."""
        return _Module(self)

    @property
    def folds(self) -> bool:
        """True where some border folds what is read outside it back in."""
        return any(TRICKS[name].folds for name, _ in self.steps)


class _Module(nn.Module):
    def __init__(self, graph: DrawnGraph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.graph.run(x)


def drawn_graph(seed: int, *, depth: int = 7, names: Sequence[str] | None = None) -> DrawnGraph:
    """A graph of that seed: a convolution, then up to `depth` tricks with computing between."""
    rng = random.Random(seed)
    shape = rng.choice(
        [(1, 2, 6, 4), (1, 3, 4, 6), (2, 2, 4, 4), (1, 4, 6, 6), (1, 2, 12), (1, 4, 8)]
    )
    rank = len(shape) - 2
    kernel = (rng.choice([1, 3]),) * rank
    steps: list[tuple[str, Numbers]] = []
    first = (rank, kernel, 1, kernel[0] // 2, shape[1], rng.choice([2, 4]), seed % 97)
    steps.append(("conv", first))
    x = TRICKS["conv"].torch(torch.zeros(shape), first, [])
    tensors, shapes = [torch.zeros(shape), x], [shape]
    known = list(names or TRICKS)
    tries = 0
    while len(steps) <= depth and tries < 60:
        tries += 1
        name = rng.choice(known)
        if rng.random() < 0.25 and "conv" in known:
            name = rng.choice(["conv", "matrix along", "pool"])
        numbers = TRICKS[name].draw(rng, tuple(x.shape))
        if numbers is None:
            continue
        try:
            made = TRICKS[name].torch(x, numbers, tensors)
        except (RuntimeError, IndexError, ValueError):
            continue
        if not 0 < made.numel() <= MOST_ELEMENTS or not 2 <= made.ndim <= MOST_DIMS:
            continue
        shapes.append(tuple(x.shape))
        steps.append((name, numbers))
        x = made
        tensors.append(x)
        if name in LOSES_CHANNELS and x.ndim > 2:
            # Channels are not kept apart: a matrix mixes those that stand for positions.
            dim = x.ndim - 1 if name == "unfold" else 1
            numbers = (dim, x.shape[dim], x.shape[dim], seed % 89)
            shapes.append(tuple(x.shape))
            steps.append(("matrix along", numbers))
            x = TRICKS["matrix along"].torch(x, numbers, tensors)
            tensors.append(x)
    return DrawnGraph(shape, steps, shapes)


def onnx_names() -> list[str]:
    """The tricks that can be written as ONNX nodes."""
    return [name for name, trick in TRICKS.items() if trick.onnx is not None]


def onnx_of(graph: DrawnGraph) -> Emitted:
    """The graph as ONNX nodes, its output called `y`."""
    made = Emitted()
    name, names = "x", ["x"]
    for (kind, numbers), shape in zip(graph.steps, graph.shapes, strict=True):
        write = TRICKS[kind].onnx
        assert write is not None, f"{kind} has no ONNX form"
        name = write(made, name, numbers, shape, names)
        names.append(name)
    made.nodes.append(helper.make_node("Identity", [name], ["y"]))
    return made
