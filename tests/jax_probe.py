"""The oracles for JAX functions: NaN, or finite changes in float64, through the function itself.

It runs on the CPU and knows nothing of our algebra: the outputs that turn NaN, or differ, are those
that read the position. `drawn_network` makes random functions to try them on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import lax

import atrous
from atrous import Inspection
from atrous.network import Tensor
from atrous.network.layout import grid_of, has_axes
from tests.nan_probe import STEPS

Function = Callable[[Any], Any]
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Each function is compiled for one run."""


class UnprobedError(ValueError):
    """A function whose outputs are NaN with no NaN in its input, so that a probe shows nothing."""


def assert_reads(
    function: Function,
    shape: tuple[int, ...],
    *,
    source: Any = None,
    finite: bool = False,
    report: Inspection | None = None,
    places: int | None = None,
) -> int:
    """Each output position reads just the input positions whose NaN or change it shows.

    `source` is what is read, where that is not the function that is run. All input positions are
    probed, or so many drawn `places`; returns how many pairs agreed.

    Raises `UnprobedError` where outputs are NaN as it is.
    """
    report = report or atrous.inspect(function if source is None else source, shape)
    assert report.complete, report.opaque
    held = report.network.inputs[0]
    assert held.shape == shape
    dims = [i for i, dim in enumerate(held.layout) if has_axes(dim)]
    spots = list(np.ndindex(*(shape[i] for i in dims)))
    if places is not None:
        spots = random.Random(0).sample(spots, places)
    seen = _shown(function, shape, dims, spots, finite)
    assert len(seen) == len(report.outputs)
    agreed = 0
    for layer, shown in zip(report.outputs, seen, strict=True):
        found = _by_position(shown, report.network.tensor(layer.tensor))
        for at in np.ndindex(*found.shape[1:]):
            mask = report.footprint(layer.name, at).mask
            for row, spot in enumerate(spots):
                expected, actual = bool(mask[spot]), bool(found[(row, *at)])
                assert actual == expected, (
                    f"{layer.name} at {at}: the function {'reads' if actual else 'does not read'} "
                    f"{spot}, the footprint says {'it does' if expected else 'it does not'}"
                )
                agreed += 1
    return agreed


def _shown(
    function: Function, shape: tuple[int, ...], dims: list[int], spots: list[Any], finite: bool
) -> list[np.ndarray]:
    """For each output, by probed position, the elements that turn NaN or differ."""
    with jax.enable_x64(finite):
        run = jax.jit(
            lambda batch: jax.tree_util.tree_leaves(lax.map(function, batch)),
            compiler_options=_QUICK,
        )
        base = np.random.default_rng(0).standard_normal(shape) if finite else np.zeros(shape)
        x = np.repeat(base[None], len(spots), axis=0).astype("float64" if finite else "float32")
        changes = []
        for step in (0.0, *(STEPS if finite else (np.nan,))):
            changed = x.copy()
            for row, spot in enumerate(spots):
                index: list[Any] = [row, *[slice(None)] * len(shape)]
                for dim, place in zip(dims, spot, strict=True):
                    index[dim + 1] = place
                changed[tuple(index)] += step
            changes.append([np.asarray(part) for part in run(changed)])
    clean, *others = changes
    if any(np.isnan(array).any() for array in clean):
        raise UnprobedError("its outputs are NaN with no NaN in its input.")
    found = [np.zeros(array.shape, bool) for array in clean]
    for other in others:
        for seen, before, after in zip(found, clean, other, strict=True):
            scale = 1e-13 * np.abs(before).max() if finite else 0
            seen |= np.abs(after - before) > scale if finite else np.isnan(after)
    return found


def _by_position(shown: np.ndarray, tensor: Tensor) -> np.ndarray:
    """What was seen by row and position: dimensions where the network has them, channels joined."""
    rank = shown.ndim - 1
    usual = (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))
    for order in (usual, *permutations(range(rank))):
        if tuple(shown.shape[i + 1] for i in order) == tensor.shape:
            moved = shown.transpose(0, *(i + 1 for i in order))
            break
    else:
        raise AssertionError(f"{shown.shape[1:]} is no order of {tensor.shape}")
    kept = tuple(i + 1 for i, dim in enumerate(tensor.layout) if not has_axes(dim))
    return moved.any(axis=kept).reshape(len(shown), *grid_of(tensor.layout).values())


def drawn_network(seed: int, *, finite: bool) -> tuple[Function, tuple[int, ...]]:
    """A random function over one to three axes, and the shape of its input.

    Made of `jax.lax`, `jax.numpy` and layers of both interfaces of Flax; channels stand last,
    or second in convolutions that take them so.
    """
    rng = random.Random(seed)
    rank = rng.choice([1, 1, 2, 2, 2, 3])
    return _Drawn(rng, rank, finite).function()


def _ties(inputs: int, outputs: int) -> bool:
    """Whether the middle of an output lies just between two inputs."""
    return any((2 * o + 1) * inputs % (2 * outputs) == 0 for o in range(outputs))


class _Drawn:
    def __init__(self, rng: random.Random, rank: int, finite: bool) -> None:
        self.rng, self.rank, self.finite = rng, rank, finite
        self.dtype = jnp.float64 if finite else jnp.float32
        self.numbers = np.random.default_rng(rng.randrange(1 << 30))

    def function(self) -> tuple[Function, tuple[int, ...]]:
        rng = self.rng
        most = (24, 11, 5)[self.rank - 1]
        shape = (1, *(rng.randint(most // 2 + 1, most) for _ in range(self.rank)), 4)
        steps: list[Function] = []
        now, seen = shape, [shape]
        joins: list[int | None] = []
        for _ in range(rng.randint(2, 6)):
            for _ in range(20):
                step = self.step(rng.choice(self.kinds()), now)
                after = self.shape_after(step, now)
                sizes = after[1:-1] if after else ()
                if sizes and min(sizes) >= 1 and np.prod(sizes) <= 40 ** min(self.rank, 2):
                    steps.append(step)
                    now = after
                    break
            else:
                continue
            earlier = [i for i, other in enumerate(seen) if other == now]
            joins.append(rng.choice(earlier) if earlier and rng.random() < 0.4 else None)
            seen.append(now)
        last = self.conv(1, 1, 1, [(0, 0)] * self.rank, 4)

        def run(x: Any) -> Any:
            held = [x]
            for step, join in zip(steps, joins, strict=True):
                x = step(x)
                if join is not None:
                    x = x + held[join]
                held.append(x)
            return last(x)

        return run, shape

    def shape_after(self, step: Function, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        with jax.enable_x64(self.finite):
            try:
                made = jax.eval_shape(step, jax.ShapeDtypeStruct(shape, self.dtype))
            except (TypeError, ValueError):
                return None
        after = tuple(made.shape)
        return after if len(after) == len(shape) and after[-1] == 4 else None

    def kinds(self) -> list[str]:
        kinds = ["conv", "conv", "conv", "second", "back", "back", "mixed", "average", "sum", "pad"]
        kinds += ["slice", "roll", "flip", "norm", "dense", "take", "update", "linen", "linen"]
        kinds += ["nnx", "nnx", "repeat", "swap", "wrap", "stack", "tile", "called", "cumulative"]
        return kinds + (["resize", "resize", "scale"] if self.finite else ["max", "max", "relu"])

    def weight(self, *shape: int) -> Any:
        return np.asarray(self.numbers.uniform(0.2, 1.0, shape), self.dtype)

    def pairs(self, least: int = -1) -> list[tuple[int, int]]:
        return [(self.rng.randint(least, 3), self.rng.randint(least, 3)) for _ in range(self.rank)]

    def per_axis(self, *values: int) -> tuple[int, ...]:
        return tuple(self.rng.choice(values) for _ in range(self.rank))

    def conv(
        self,
        strides: Any,
        rates: Any,
        spread: Any,
        pads: Any,
        groups: int = 1,
        kernel: Any = 1,
        second: bool = False,
    ) -> Function:
        rank = self.rank

        def each(value: Any) -> tuple[int, ...]:
            return (value,) * rank if isinstance(value, int) else value

        axes = "DHW"[3 - rank :]
        outer = f"NC{axes}" if second else f"N{axes}C"
        inside = self.rng.choice([f"{axes}IO", f"OI{axes}"])
        taps = each(kernel)
        sizes = {**dict(zip(axes, taps, strict=True)), "I": 4 // groups, "O": 4}
        weight = self.weight(*(sizes[letter] for letter in inside))

        def run(x: Any) -> Any:
            x = jnp.moveaxis(x, -1, 1) if second else x
            y = lax.conv_general_dilated(
                x,
                jnp.asarray(weight, x.dtype),
                each(strides),
                pads,
                each(spread),
                each(rates),
                (outer, inside, outer),
                feature_group_count=groups,
            )
            return jnp.moveaxis(y, 1, -1) if second else y

        return run

    def step(self, kind: str, shape: tuple[int, ...]) -> Function:
        rng, rank = self.rng, self.rank
        strides, rates = rng.choice([(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (2, 2)])
        if kind in ("conv", "second"):
            pads = rng.choice(["SAME", "VALID", self.pairs()])
            return self.conv(
                self.per_axis(strides, 1),
                self.per_axis(rates, 1),
                1,
                pads,
                rng.choice([1, 2, 4]),
                self.per_axis(1, 2, 3, 4),
                second=kind == "second",
            )
        if kind in ("back", "mixed"):
            ahead = self.per_axis(1, 2, 3) if kind == "mixed" else 1
            return self.conv(
                ahead, rates, self.per_axis(1, 2, 3), self.pairs(), 1, self.per_axis(1, 2, 3, 4)
            )
        if kind in ("max", "sum"):
            sizes, steps = self.per_axis(1, 2, 3, 4), self.per_axis(1, 1, 2, 3)
            pads = rng.choice(["SAME", "VALID", [(0, 0), *self.pairs(0), (0, 0)]])
            spread = self.per_axis(1, 1, 2) if rng.random() < 0.3 else (1,) * rank
            wide = self.per_axis(1, 1, 2)
            start, over = (-jnp.inf, lax.max) if kind == "max" else (0.0, lax.add)
            return lambda x: lax.reduce_window(
                x,
                jnp.asarray(start, x.dtype),
                over,
                (1, *sizes, 1),
                (1, *steps, 1),
                pads,
                (1, *spread, 1),
                (1, *wide, 1),
            )
        if kind == "average":
            sizes, steps = self.per_axis(1, 2, 3), self.per_axis(1, 2)
            padding, whole = rng.choice(["SAME", "VALID"]), rng.random() < 0.5
            return lambda x: linen.avg_pool(x, sizes, steps, padding, count_include_pad=whole)
        if kind == "pad":
            config = [(0, 0, 0), *((lo, hi, rng.choice([0, 0, 1])) for lo, hi in self.pairs())]
            return lambda x: lax.pad(x, jnp.asarray(0, x.dtype), [*config, (0, 0, 0)])
        axis = rng.randint(1, rank)
        size = shape[axis]
        if kind == "wrap":
            pads = [(0, 0), *self.pairs(0), (0, 0)]
            mode = rng.choice(["wrap", "reflect", "edge", "symmetric"])
            return lambda x: jnp.pad(x, pads, mode=mode)
        if kind == "slice":
            cut = [slice(None)] * axis
            cut.append(slice(rng.randint(0, 1), rng.choice([None, -1]), rng.choice([1, 1, 2])))
            return lambda x: x[tuple(cut)]
        if kind == "roll":
            by = rng.randint(-2, 2)
            return lambda x: jnp.roll(x, by, axis)
        if kind == "flip":
            return lambda x: jnp.flip(x, axis)
        if kind == "norm":
            mean, scale = self.weight(4), self.weight(4)
            return lambda x: (x - jnp.asarray(mean, x.dtype)) * jnp.asarray(scale, x.dtype)
        if kind == "dense":
            matrix = self.weight(4, 4)
            return lambda x: x @ jnp.asarray(matrix, x.dtype)
        if kind == "take":
            picked = np.array([rng.randrange(size) for _ in range(rng.randint(1, size))])
            return lambda x: jnp.take(x, picked, axis)
        if kind == "update":
            first = rng.randint(0, size - 1)
            part = [slice(None)] * axis
            part.append(slice(first, rng.randint(first + 1, size)))
            return lambda x: x.at[tuple(part)].set(0.5)
        if kind == "repeat":
            return lambda x: jnp.repeat(x, 2, axis)
        if kind == "tile":
            return lambda x: jnp.concatenate([x, x[(slice(None),) * axis + (slice(0, 2),)]], axis)
        if kind == "swap":
            other = rng.randint(1, rank)
            return lambda x: jnp.swapaxes(x, axis, other)
        if kind == "stack":
            return lambda x: jnp.stack([x, 2 * x], -1).sum(-1)
        if kind == "called":
            inside = self.step(rng.choice(["conv", "slice", "average"]), shape)
            return jax.checkpoint(jax.jit(inside)) if rng.random() < 0.5 else jax.jit(inside)
        if kind == "cumulative":
            backwards = rng.random() < 0.5
            return lambda x: lax.cumsum(x, axis, backwards)
        if kind == "relu":
            return rng.choice([linen.relu, linen.gelu, linen.silu, jnp.tanh])
        if kind == "linen":
            return self.linen_layer(shape)
        if kind == "nnx":
            return self.nnx_layer()
        if kind == "scale":
            return lambda x: 1.5 * x - 1
        assert kind == "resize"
        how, smooth = rng.choice(["nearest", "linear", "linear", "cubic"]), rng.random() < 0.5
        # On a tie of nearest it is XLA's rounding that decides, by how it is compiled.
        choices = [
            [m for m in range(2, 2 * n + 1) if how != "nearest" or not _ties(n, m)]
            for n in shape[1:-1]
        ]
        sizes = (1, *map(rng.choice, choices), 4)
        return lambda x: jax.image.resize(x, sizes, how, antialias=smooth)

    def filled(self, tree: Any) -> Any:
        return jax.tree_util.tree_map(lambda leaf: self.weight(*leaf.shape), tree)

    def linen_layer(self, shape: tuple[int, ...]) -> Function:
        rng = self.rng
        kernel = self.per_axis(1, 2, 3)
        padding: Any = rng.choice(["SAME", "VALID", "CIRCULAR", "REFLECT"])
        if self.rank == 1 and rng.random() < 0.4:
            padding = "CAUSAL"
        given: dict[str, Any] = {"param_dtype": self.dtype, "dtype": self.dtype}
        if rng.random() < 0.4:
            strides = self.per_axis(1, 2, 3)
            padding = rng.choice(["SAME", "VALID"])
            layer: Any = linen.ConvTranspose(4, kernel, strides, padding, **given)
        else:
            layer = linen.Conv(
                4,
                kernel,
                self.per_axis(1, 2),
                padding,
                kernel_dilation=self.per_axis(1, 2),
                feature_group_count=rng.choice([1, 2]),
                **given,
            )
        with jax.enable_x64(self.finite):
            struct = jax.ShapeDtypeStruct(shape, self.dtype)
            try:
                variables = self.filled(jax.eval_shape(layer.init, jax.random.key(0), struct))
            except (TypeError, ValueError):
                return lambda x: x[None]  # does not fit, and is drawn again
        return lambda x: layer.apply(variables, x)

    def nnx_layer(self) -> Function:
        rng = self.rng
        padding = rng.choice(["SAME", "VALID", "CIRCULAR"])
        kernel = self.per_axis(1, 2, 3)
        given: dict[str, Any] = {"param_dtype": self.dtype, "dtype": self.dtype}
        rates = self.per_axis(1, 2)
        if rng.random() < 0.3:
            make = lambda: nnx.BatchNorm(4, **given, rngs=nnx.Rngs(0))  # noqa: E731
        else:
            make = lambda: nnx.Conv(  # noqa: E731
                4, 4, kernel, padding=padding, kernel_dilation=rates, **given, rngs=nnx.Rngs(0)
            )
        with jax.enable_x64(self.finite):
            graph, state = nnx.split(nnx.eval_shape(make))
            state = self.filled(state)

        def run(x: Any) -> Any:
            layer: Any = nnx.merge(graph, state)
            layer.eval()
            return layer(x)

        return run
