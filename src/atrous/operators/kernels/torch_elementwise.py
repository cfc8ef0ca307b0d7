"""Element-wise operations in a row on PyTorch tensors as one pass, factors of norms, and sums.

Float32 on the CPU, without autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from atrous.operators.kernels.elementwise import (
    AxisSums,
    ElementStep,
    ElementwiseRun,
    GroupNorm,
    group_norm_factors,
    norm_parts,
    run_elementwise,
    sum_parts,
    summed_up,
)
from atrous.operators.kernels.threads import on_threads, share_threads

__all__ = [
    "LinesRead",
    "fits_axes",
    "fits_lines",
    "lines_read",
    "norm_factors_of",
    "prepare_elementwise",
    "refuse_others",
    "sums_of",
]

share_threads()

_AXES = 3
Given = Sequence[torch.Tensor]


Strides = Sequence[int]


def _merged_axes(
    axes: Sequence[int], made: Sequence[int], inputs: Sequence[Strides]
) -> tuple[list[int], list[list[int]]]:
    """The sizes of axes of memory, from the outermost on, and each input's strides along them.

    Axes along which every input goes on as along the next one are merged.
    """
    sizes: list[int] = []
    steps: list[list[int]] = []
    for axis in axes:
        now = [one[axis] for one in inputs]
        size = made[axis]
        if sizes and steps[-1] == [step * size for step in now]:
            sizes[-1] *= size
            steps[-1] = now
        else:
            sizes.append(size)
            steps.append(now)
    return sizes, steps


def _dense_strides(axes: Sequence[int], made: Sequence[int], present: Sequence[bool]) -> list[int]:
    """Strides of what is dense along the axes that are present, the last of `axes` innermost."""
    strides, step = [0] * len(made), 1
    for axis in reversed(axes):
        if present[axis]:
            strides[axis] = step
            step *= made[axis]
    return strides


def fits_axes(made: Sequence[int], inputs: Sequence[Sequence[int]]) -> bool:
    """Whether inputs of these shapes differ along three axes of the result at most, in any layout.

    Layouts are planes and channels last.

    >>> fits_axes((1, 8, 5, 5), [(1, 8, 5, 5), (8, 1, 1)])
    True
    >>> fits_axes((2, 8, 5, 5), [(2, 8, 5, 5), (8, 1, 1), (5,)])
    False
    """
    for axes in _layouts(made):
        dense = [_dense_strides(axes, made, _present(shape, made)) for shape in inputs]
        if len(_merged_axes(axes, made, dense)[0]) > _AXES:
            return False
    return True


def _present(shape: Sequence[int], made: Sequence[int]) -> list[bool]:
    """Along which axes of the result an input has more than one number."""
    return [size > 1 for size in (*[1] * (len(made) - len(shape)), *shape)]


def _layouts(shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """The axes in the order of planes, and of channels last; those of one position are left out."""
    planes = [axis for axis in range(len(shape)) if shape[axis] > 1]
    return planes, [axis for axis in planes if axis != 1] + [1] * (1 in planes)


def _orders(shape: tuple[int, ...], given: Given) -> list[list[int]]:
    """The axes as the first whole input has them in memory, as planes do, and as channels last."""
    planes, last = _layouts(shape)
    like = next((x.stride() for x in given if tuple(x.shape) == shape), None)
    first = planes if like is None else sorted(planes, key=lambda axis: -like[axis])
    return [first, planes, last]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The axes of memory, the sizes of what they merge into, and each input's strides along these.

    `copied` are the strides of the result to which inputs are copied before, by their numbers.
    """

    axes: list[int]
    sizes: list[int]
    steps: list[list[int]]
    copied: Mapping[int, list[int]]


def _readings(shape: tuple[int, ...], given: Given) -> Iterator[_Reading]:
    """Ways to read inputs, those first that copy least; the last ones copy what lies otherwise."""
    lying = [list(x.expand(shape).stride()) for x in given]
    for axes in _orders(shape, given):
        dense = [_dense_strides(axes, shape, _present(x.shape, shape)) for x in given]
        # Columns are 0 or 1 apart; lines that lie apart are read where they are.
        uneven = [i for i, one in enumerate(lying) if axes and one[axes[-1]] not in (0, 1)]
        other = [i for i, one in enumerate(lying) if any(one[a] != dense[i][a] for a in axes)]
        for moved in (uneven, other):
            now = [dense[i] if i in moved else one for i, one in enumerate(lying)]
            yield _Reading(axes, *_merged_axes(axes, shape, now), {i: dense[i] for i in moved})


class _Arranged:
    """How tensors that lie in memory in one way are read and written."""

    __slots__ = ("_copied", "_now", "_over", "_strides")

    def __init__(
        self,
        shape: tuple[int, ...],
        steps: tuple[ElementStep, ...],
        scratch: int,
        over: int,
        given: Given,
    ) -> None:
        found = next((one for one in _readings(shape, given) if len(one.sizes) <= _AXES), None)
        if found is None:
            raise ValueError(f"element-wise: inputs of {shape} differ along too many axes.")
        dense = _dense_strides(found.axes, shape, [True] * len(shape))
        # Axes of one position have a stride that goes on.
        self._strides = tuple(one or prod(shape) for one in dense)
        lead = _AXES - len(found.sizes)
        inputs = [(0,) * lead + tuple(step[i] for step in found.steps) for i in range(len(given))]
        images, lines, columns = [1] * lead + found.sizes
        self._now = on_threads(
            ElementwiseRun(
                images, lines, columns, tuple((a, b, c) for a, b, c in inputs), steps, scratch
            )
        )
        self._copied = list(found.copied.items())
        is_own = over >= 0 and over not in found.copied and tuple(given[over].shape) == shape
        lies_so = is_own and all(given[over].stride(axis) == dense[axis] for axis in found.axes)
        self._over = over if lies_so else -1

    def run(self, shape: tuple[int, ...], given: Given) -> torch.Tensor:
        held = given
        if self._copied:
            held = list(given)
            for i, strides in self._copied:
                held[i] = _copy_lying(held[i], strides)
        if self._over >= 0:
            out = given[self._over]
        else:
            out = torch.empty_strided(shape, self._strides, dtype=torch.float32)
        run_elementwise(self._now(), [x.data_ptr() for x in held], out.data_ptr())
        return out


def refuse_others(given: Given, wanted: tuple[tuple[int, ...], ...]) -> None:
    """Raises `ValueError` for inputs of other shapes, another type or another device."""
    if tuple(tuple(x.shape) for x in given) != wanted:
        raise ValueError(f"element-wise: prepared for {wanted}, not for these inputs.")
    if not all(x.dtype == torch.float32 and x.is_cpu for x in given):
        raise ValueError("element-wise: prepared for float32 on the CPU, not these inputs.")


def fits_lines(shape: Sequence[int], inputs: Sequence[Sequence[int]], axis: int) -> bool:
    """Whether inputs of these shapes, however they lie, differ along `axis` and two more at most.

    >>> fits_lines((2, 8, 5, 5), [(2, 8, 5, 5), (8, 1, 1)], 1)
    True
    >>> fits_lines((2, 8, 5, 5), [(2, 8, 5, 5), (5,), (2, 1, 1, 1)], 1)
    False
    """
    axes = [one for one in range(len(shape)) if shape[one] > 1 and one != axis % len(shape)]
    dense = [_dense_strides([*axes, axis], shape, _present(one, shape)) for one in inputs]
    return len(_merged_axes(axes, shape, dense)[0]) < _AXES


@dataclass(frozen=True, slots=True)
class LinesRead:
    """How inputs that lie so are read in lines of channels: those of `copied` are copied before."""

    run: ElementwiseRun
    copied: Mapping[int, list[int]]

    def at(self, given: Given) -> list[torch.Tensor]:
        """The inputs as they are read."""
        held = list(given)
        for i, strides in self.copied.items():
            held[i] = _copy_lying(held[i], strides)
        return held


def lines_read(
    shape: tuple[int, ...], steps: tuple[ElementStep, ...], scratch: int, axis: int, given: Given
) -> LinesRead:
    """The steps as lines along one axis of the result, one for each position of the others."""
    axis %= len(shape)
    axes = [one for one in range(len(shape)) if shape[one] > 1 and one != axis]
    lying = [list(x.expand(shape).stride()) for x in given]
    dense = [_dense_strides([*axes, axis], shape, _present(x.shape, shape)) for x in given]
    # Columns are 0 or 1 apart; lines that lie apart are read where they are.
    uneven = {i for i, one in enumerate(lying) if shape[axis] > 1 and one[axis] not in (0, 1)}
    for moved in (uneven, set(range(len(given)))):
        now = [dense[i] if i in moved else one for i, one in enumerate(lying)]
        sizes, along = _merged_axes(axes, shape, now)
        if len(sizes) < _AXES:
            lead = _AXES - 1 - len(sizes)
            images, lines = [1] * lead + sizes
            column = [one[axis] if shape[axis] > 1 else 0 for one in now]
            inputs = [
                (*(0,) * lead, *(step[i] for step in along), column[i]) for i in range(len(given))
            ]
            run = ElementwiseRun(
                images, lines, shape[axis], tuple((a, b, c) for a, b, c in inputs), steps, scratch
            )
            return LinesRead(run, {i: dense[i] for i in moved})
    raise ValueError(f"element-wise: inputs of {shape} differ along too many axes.")


def _copy_lying(x: torch.Tensor, strides: Strides) -> torch.Tensor:
    """A copy that lies along its axes as `strides` of the result's say."""
    own = [step or 1 for step in strides[len(strides) - x.dim() :]]
    return torch.empty_strided(x.shape, own, dtype=x.dtype).copy_(x)


def prepare_elementwise(
    shape: tuple[int, ...],
    inputs: Sequence[tuple[int, ...]],
    steps: tuple[ElementStep, ...],
    scratch: int,
    over: int = -1,
) -> Callable[..., torch.Tensor]:
    """`run(*inputs)`: the steps on float32 tensors whose shapes broadcast to `shape`.

    The result lies in memory as the first input of that shape that is dense does. It takes the
    memory of the input number `over`, where there is one. Raises `ValueError` for other inputs.

    >>> import torch
    >>> from atrous.operators.kernels.elementwise import ElementStep, elementwise_natively
    >>> steps = (ElementStep(0, 1, "times", out=3), ElementStep(3, 2, "plus", "relu"))
    >>> run = prepare_elementwise((1, 2, 2), [(1, 2, 2), (2, 1), (2, 1)], steps, 1)
    >>> x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> given = x, torch.ones(2, 1), torch.full((2, 1), -2.0)
    >>> run(*given).tolist() if elementwise_natively() else [[[0.0, 0.0], [1.0, 2.0]]]
    [[[0.0, 0.0], [1.0, 2.0]]]
    """
    known: dict[tuple[Any, ...], _Arranged] = {}
    wanted = tuple(map(tuple, inputs))

    def run(*given: torch.Tensor) -> torch.Tensor:
        given = tuple([x.resolve_neg() for x in given])
        key = tuple([(x.shape, x.stride(), x.dtype, x.is_cpu) for x in given])
        arranged = known.get(key)
        if arranged is None:
            refuse_others(given, wanted)
            arranged = known[key] = _Arranged(shape, steps, scratch, over, given)
        return arranged.run(shape, given)

    return run


def _planes_or_last(x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """A tensor in planes or channels last, and whether it is the latter."""
    x = x.resolve_neg()
    last = not x.is_contiguous() and x.movedim(1, -1).is_contiguous()
    return (x if last else x.contiguous()), last


def norm_factors_of(
    groups: int, epsilon: float
) -> Callable[[torch.Tensor, Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    """`factors(x, weight, bias)`: by what a group norm multiplies `x` (N, C, ...), and adds then.

    Both are (N, C, 1, ...), float32; the sums are float64 beyond 2048 numbers.

    >>> import torch
    >>> from atrous.operators.kernels.elementwise import elementwise_natively
    >>> x = torch.tensor([[[1.0, 3.0]]])
    >>> factors = norm_factors_of(1, 0.0)
    >>> [one.item() for one in factors(x, None, None)] if elementwise_natively() else [1.0, -2.0]
    [1.0, -2.0]
    """
    known: dict[tuple[Any, ...], Callable[[], GroupNorm]] = {}

    def factors(x: torch.Tensor, weight: Any, bias: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, last = _planes_or_last(x)
        shape = tuple(x.shape)
        now = known.get((shape, last))
        if now is None:
            norm = GroupNorm(shape[0], shape[1], groups, prod(shape[2:]), epsilon, last)
            now = known[shape, last] = on_threads(norm)
        norm = now()
        made = torch.empty((2, shape[0], shape[1], *(1 for _ in shape[2:])), dtype=torch.float32)
        parts = torch.empty(norm_parts(norm), dtype=torch.float64)
        held = [
            None if one is None else one.detach().resolve_neg().contiguous()
            for one in (weight, bias)
        ]
        at = [None if one is None else one.data_ptr() for one in held]
        group_norm_factors(norm, x.data_ptr(), at[0], at[1], made.data_ptr(), parts.data_ptr())
        return made[0], made[1]

    return factors


def sums_of(
    *, channels: bool, keepdim: bool, squared: bool = False, mean: bool = False
) -> Callable[[torch.Tensor], torch.Tensor]:
    """`sums(x)` of `x` (N, C, ...) over its channels, or over the positions of each channel.

    Of squares where `squared`, divided by how many they are where it is a `mean`. The axes that are
    summed up stay, as ones, with `keepdim`.

    >>> import torch
    >>> from atrous.operators.kernels.elementwise import elementwise_natively
    >>> x = torch.tensor([[[1.0, 3.0], [0.0, 5.0]]])
    >>> sums = sums_of(channels=False, keepdim=False, mean=True)
    >>> sums(x).tolist() if elementwise_natively() else [[2.0, 2.5]]
    [[2.0, 2.5]]
    """
    known: dict[tuple[Any, ...], Callable[[], AxisSums]] = {}

    def sums(x: torch.Tensor) -> torch.Tensor:
        x, last = _planes_or_last(x)
        if x.dtype != torch.float32 or not x.is_cpu:
            raise ValueError("sums: prepared for float32 on the CPU, not for this input.")
        batch, width, *sizes = x.shape
        now = known.get((x.shape, last))
        if now is None:
            lines, columns = (prod(sizes), width) if last else (width, prod(sizes))
            scale = 1 / (width if channels else prod(sizes)) if mean else 1.0
            along = channels != last
            now = known[x.shape, last] = on_threads(
                AxisSums(batch, lines, columns, along, squared, scale)
            )
        shape = (batch, 1, *sizes) if channels else (batch, width, *(1 for _ in sizes))
        made = torch.empty(shape, dtype=torch.float32)
        asked = now()
        parts = torch.empty(sum_parts(asked), dtype=torch.float64)
        summed_up(asked, x.data_ptr(), made.data_ptr(), parts.data_ptr())
        if keepdim:
            return made
        return made.squeeze(1) if channels else made.reshape(batch, width)

    return sums
