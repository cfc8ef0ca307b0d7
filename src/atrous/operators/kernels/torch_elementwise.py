"""Element-wise operations in a row on PyTorch tensors as one pass, factors of norms, and means.

Float32 on the CPU, without autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from atrous.operators.kernels.elementwise import (
    Channels,
    Elementwise,
    GroupNorm,
    Step,
    channel_means,
    channel_parts,
    norm_factors,
    norm_parts,
    run_elementwise,
)
from atrous.operators.kernels.threads import on_threads, share_threads

__all__ = ["channel_means_of", "fits_axes", "norm_factors_of", "prepare_elementwise"]

share_threads()

_AXES = 3
Given = Sequence[torch.Tensor]


def _order(shape: Sequence[int], strides: Sequence[int]) -> list[int] | None:
    """The axes from the outermost in memory to the innermost; None where that is not dense."""
    axes = sorted(
        (a for a in range(len(shape)) if shape[a] > 1), key=lambda a: (-strides[a], shape[a])
    )
    step = 1
    for axis in reversed(axes):
        if strides[axis] != step:
            return None
        step *= shape[axis]
    return axes


def _present(shape: Sequence[int], made: Sequence[int]) -> list[bool]:
    """Along which axes of the result an input differs."""
    shape = [1] * (len(made) - len(shape)) + [*shape]
    return [size > 1 for size in shape]


def _merged(
    axes: Sequence[int], made: Sequence[int], inputs: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[bool]]]:
    """The sizes of the axes of memory, those merged along which the inputs differ alike."""
    present = [_present(shape, made) for shape in inputs]
    sizes: list[int] = []
    differ: list[list[bool]] = []
    for axis in axes:
        now = [one[axis] for one in present]
        if differ and differ[-1] == now:
            sizes[-1] *= made[axis]
        else:
            sizes.append(made[axis])
            differ.append(now)
    return sizes, differ


def fits_axes(made: Sequence[int], inputs: Sequence[Sequence[int]]) -> bool:
    """Whether inputs of these shapes differ along three axes of the result at most, in any layout.

    Layouts are planes and channels last.

    >>> fits_axes((1, 8, 5, 5), [(1, 8, 5, 5), (8, 1, 1)])
    True
    >>> fits_axes((1, 8, 5, 5), [(1, 8, 5, 5), (8, 1, 1), (5,), (5, 1)])
    False
    """
    planes = [axis for axis in range(len(made)) if made[axis] > 1]
    last = [axis for axis in planes if axis != 1] + [axis for axis in planes if axis == 1]
    return all(len(_merged(axes, made, inputs)[0]) <= _AXES for axes in (planes, last))


class _Arranged:
    """How tensors that lie in memory in one way are read and written."""

    __slots__ = ("_copied", "_now", "_over", "_strides")

    def __init__(
        self, shape: tuple[int, ...], steps: tuple[Step, ...], scratch: int, over: int, given: Given
    ) -> None:
        whole = [i for i, x in enumerate(given) if tuple(x.shape) == shape]
        self._strides: tuple[int, ...] = torch.empty(shape, device="meta").stride()
        axes = _order(shape, self._strides)
        for i in whole:
            if (found := _order(shape, given[i].stride())) is not None:
                axes, self._strides = found, given[i].stride()
                break
        if axes is None:
            raise ValueError(f"element-wise: {shape} is no shape of a dense map.")
        sizes, differ = _merged(axes, shape, [x.shape for x in given])
        lead = _AXES - len(sizes)
        if lead < 0:
            raise ValueError(f"element-wise: inputs of {shape} differ along too many axes.")
        kinds = []
        for i in range(len(given)):
            bits = sum(1 << (lead + at) for at, one in enumerate(differ) if one[i])
            # Axes of one position are those of everybody.
            kinds.append(bits | ((1 << lead) - 1 if i in whole else 0))
        images, lines, columns = [1] * lead + sizes
        run = Elementwise(images, lines, columns, tuple(kinds), steps, scratch)
        self._now = on_threads(run)
        self._copied = [
            (i, self._copy(axes, shape, x, i in whole))
            for i, x in enumerate(given)
            if not self._is_ready(axes, shape, x, i in whole)
        ]
        is_own = over in whole and over not in [i for i, _ in self._copied]
        self._over = over if is_own else -1

    def _is_ready(
        self, axes: list[int], shape: tuple[int, ...], x: torch.Tensor, whole: bool
    ) -> bool:
        if whole:
            return x.numel() < 2 or _order(shape, x.stride()) == axes
        step, lead = 1, len(shape) - x.dim()
        for axis in reversed([a for a in axes if a >= lead and x.shape[a - lead] > 1]):
            if x.stride(axis - lead) != step:
                return False
            step *= x.shape[axis - lead]
        return True

    def _copy(
        self, axes: list[int], shape: tuple[int, ...], x: torch.Tensor, whole: bool
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        if whole:
            return lambda x: torch.empty_strided(shape, self._strides).copy_(x)
        lead = len(shape) - x.dim()
        rest = [a for a in range(x.dim()) if a + lead not in axes]
        order = rest + [a - lead for a in axes if a >= lead]
        return lambda x: x.permute(order).contiguous()

    def run(self, shape: tuple[int, ...], given: Given) -> torch.Tensor:
        held = given
        if self._copied:
            held = list(given)
            for i, copied in self._copied:
                held[i] = copied(held[i])
        if self._over >= 0:
            out = given[self._over]
        else:
            out = torch.empty_strided(shape, self._strides, dtype=torch.float32)
        run_elementwise(self._now(), [x.data_ptr() for x in held], out.data_ptr())
        return out


def prepare_elementwise(
    shape: tuple[int, ...],
    inputs: Sequence[tuple[int, ...]],
    steps: tuple[Step, ...],
    scratch: int,
    over: int = -1,
) -> Callable[..., torch.Tensor]:
    """`run(*inputs)`: the steps on float32 tensors whose shapes broadcast to `shape`.

    The result lies in memory as the first input of that shape that is dense does. It takes the
    memory of the input number `over`, where there is one. Raises `ValueError` for other inputs.

    >>> import torch
    >>> from atrous.operators.kernels.elementwise import Step, elementwise_natively
    >>> steps = (Step(0, 1, "times", out=3), Step(3, 2, "plus", "relu"))
    >>> run = prepare_elementwise((1, 2, 2), [(1, 2, 2), (2, 1), (2, 1)], steps, 1)
    >>> x, by, more = torch.tensor([[[1., 2.], [3., 4.]]]), torch.ones(2, 1), torch.full((2, 1), -2.)
    >>> run(x, by, more).tolist() if elementwise_natively() else [[[0.0, 0.0], [1.0, 2.0]]]
    [[[0.0, 0.0], [1.0, 2.0]]]
    """
    known: dict[tuple[Any, ...], _Arranged] = {}
    wanted = tuple(map(tuple, inputs))

    def run(*given: torch.Tensor) -> torch.Tensor:
        given = tuple([x.resolve_neg() for x in given])
        key = tuple([(x.shape, x.stride(), x.dtype, x.is_cpu) for x in given])
        arranged = known.get(key)
        if arranged is None:
            if tuple(tuple(x.shape) for x in given) != wanted:
                raise ValueError(f"element-wise: prepared for {wanted}, not for these inputs.")
            if not all(x.dtype == torch.float32 and x.is_cpu for x in given):
                raise ValueError("element-wise: prepared for float32 on the CPU, not these inputs.")
            arranged = known[key] = _Arranged(shape, steps, scratch, over, given)
        return arranged.run(shape, given)

    return run


def _dense(x: torch.Tensor) -> tuple[torch.Tensor, bool]:
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
    >>> [one.item() for one in norm_factors_of(1, 0.0)(x, None, None)] if elementwise_natively() else [1, -2]
    [1.0, -2.0]
    """
    known: dict[tuple[Any, ...], Callable[[], GroupNorm]] = {}

    def factors(x: torch.Tensor, weight: Any, bias: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, last = _dense(x)
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
        norm_factors(norm, x.data_ptr(), at[0], at[1], made.data_ptr(), parts.data_ptr())
        return made[0], made[1]

    return factors


def channel_means_of(*, keepdim: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """`means(x)`: of each channel of `x` (N, C, ...) over its positions, as (N, C) or (N, C, 1, ...).

    >>> import torch
    >>> from atrous.operators.kernels.elementwise import elementwise_natively
    >>> x = torch.tensor([[[1.0, 3.0], [0.0, 5.0]]])
    >>> means = channel_means_of(keepdim=False)
    >>> means(x).tolist() if elementwise_natively() else [[2.0, 2.5]]
    [[2.0, 2.5]]
    """
    known: dict[tuple[Any, ...], Callable[[], Channels]] = {}

    def means(x: torch.Tensor) -> torch.Tensor:
        x, last = _dense(x)
        if x.dtype != torch.float32 or not x.is_cpu:
            raise ValueError("means: prepared for float32 on the CPU, not for this input.")
        shape = tuple(x.shape)
        now = known.get((shape, last))
        if now is None:
            maps = Channels(shape[0], shape[1], prod(shape[2:]), last)
            now = known[shape, last] = on_threads(maps)
        maps = now()
        made = torch.empty(shape[:2], dtype=torch.float32)
        parts = torch.empty(channel_parts(maps), dtype=torch.float64)
        channel_means(maps, x.data_ptr(), made.data_ptr(), parts.data_ptr())
        return made.reshape(*shape[:2], *[1] * (len(shape) - 2)) if keepdim else made

    return means
