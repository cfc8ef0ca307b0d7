"""Every framework's way of naming padding, as the pair `(lo, hi)` of one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from atrous.errors import GeometryError
from atrous.geometry.window import Window

__all__ = [
    "Dialect",
    "ahead_within",
    "causal",
    "pad",
    "same_lower",
    "same_torch",
    "same_upper",
    "symmetric",
    "torch_pads",
    "transposed_pads",
]

Dialect = Literal["valid", "same", "same_upper", "same_lower", "causal"]


def same_torch(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """PyTorch's `padding="same"`: `extent - 1` in all, the odd one behind (stride 1 only).

    >>> same_torch(4, dilation=3)
    (4, 5)
    """
    total = Window(kernel, 1, dilation).extent - 1
    return total // 2, total - total // 2


def torch_pads(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """What PyTorch's argument `padding` adds to each axis: `same`, `valid` or numbers.

    A single number is that of all axes.

    >>> torch_pads("same", (4, 1), (3, 1)), torch_pads([1], (3, 3), (1, 1))
    (((4, 5), (0, 0)), ((1, 1), (1, 1)))
    """
    if padding == "same":
        return tuple(same_torch(k, d) for k, d in zip(kernel, dilation, strict=True))
    given = 0 if isinstance(padding, str) else padding
    numbers = (given,) if isinstance(given, int) else tuple(given)
    numbers = numbers * len(kernel) if len(numbers) == 1 else numbers
    return tuple((number, number) for number in numbers)


def symmetric(
    padding: Sequence[tuple[int, int]],
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The positions that both sides of each axis are padded by, and the pairs that are left.

    What frameworks pad by themselves is the same on both sides and never negative.

    >>> symmetric([(2, 2), (1, 4), (-1, 3)])
    ((2, 1, 0), ((0, 0), (0, 3), (-1, 3)))
    """
    both = tuple(max(min(lo, hi), 0) for lo, hi in padding)
    each = zip(both, padding, strict=True)
    return both, tuple((lo - shared, hi - shared) for shared, (lo, hi) in each)


def same_upper(length: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """SAME of TensorFlow and Keras, `SAME_UPPER` of ONNX: `ceil(length / stride)` outputs.

    The pads depend on the length; the odd one goes on the high side.

    >>> same_upper(224, 3, stride=2), same_upper(225, 3, stride=2)
    ((0, 1), (1, 1))
    """
    window = Window(kernel, stride, dilation)
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + window.extent - length, 0)
    return total // 2, total - total // 2


def same_lower(length: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """`SAME_LOWER` of ONNX: as `same_upper`, the odd one on the low side.

    >>> same_lower(224, 3, stride=2)
    (1, 0)
    """
    lo, hi = same_upper(length, kernel, stride, dilation)
    return hi, lo


def causal(kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Padding with which output `o` reads nothing behind input `o * stride + stride - 1`.

    `(extent - stride, stride - 1)`: block `o` of `stride` inputs is complete when output `o` is
    due. A window narrower than its stride gets negative padding on the low side.

    >>> causal(3, dilation=4), causal(4, stride=2)
    ((8, 0), (2, 1))
    """
    return Window(kernel, stride, dilation).extent - stride, stride - 1


def ahead_within(windows: Sequence[Window], most: int) -> tuple[tuple[int, int], ...]:
    """Pads of a chain with which no output reads more than `most` inputs beyond its own block.

    With strides of product `S`, the block of output `o` are inputs `o * S` to `o * S + S - 1`. All
    windows are `same` where that reads no further, and `causal` at 0. Between, from the last one
    on, whose positions lie furthest apart, each is moved to the middle as far as is left of `most`.
    The pads of a window are `extent - 1` in all, so that the chain makes equally many outputs.

    >>> ahead_within([Window(3, dilation=4), Window(5)], most=3)
    ((7, 1), (2, 2))
    >>> ahead_within([Window(3), Window(3, 2), Window(3)], most=2)
    ((2, 0), (1, 1), (1, 1))
    """
    same = [same_torch(window.kernel, window.dilation) for window in windows]
    steps = [1]
    for window in windows:
        steps.append(steps[-1] * window.stride)
    beyond = [
        window.extent - window.stride - low for window, (low, _) in zip(windows, same, strict=True)
    ]
    if most and sum(ahead * step for ahead, step in zip(beyond, steps, strict=False)) <= most:
        return tuple(same)
    found: list[tuple[int, int]] = []
    for window, middle, step in [*zip(windows, beyond, steps, strict=False)][::-1]:
        ahead = min(max(middle, 0), most // step)
        most -= ahead * step
        low, high = causal(window.kernel, window.stride, window.dilation)
        found.append((low - ahead, high + ahead))
    return tuple(found[::-1])


def pad(
    dialect: Dialect, kernel: int, stride: int = 1, dilation: int = 1, length: int | None = None
) -> tuple[int, int]:
    """The pads that `dialect` names; `same` is `extent - 1` in all, whatever the stride.

    `same_upper` and `same_lower` need the `length` of the axis where the stride is above 1.
    Raises `GeometryError` for an unknown dialect or a length that is needed and not given.

    >>> pad("valid", 3), pad("same", 3, dilation=2), pad("causal", 2, dilation=512)
    ((0, 0), (2, 2), (512, 0))
    """
    if dialect == "valid":
        return 0, 0
    if dialect == "same":
        return same_torch(kernel, dilation)
    if dialect == "causal":
        return causal(kernel, stride, dilation)
    if dialect in ("same_upper", "same_lower"):
        if length is None:
            if stride > 1:
                raise GeometryError(
                    f"{dialect} at stride {stride} depends on the length of the axis; give it."
                )
            length = 1
        rule = same_upper if dialect == "same_upper" else same_lower
        return rule(length, kernel, stride, dilation)
    raise GeometryError(
        f"padding {dialect!r} is not known; use valid, same, same_upper, same_lower, causal or "
        "explicit numbers."
    )


def transposed_pads(dialect: Dialect, window: Window) -> tuple[int, int, int]:
    """What a transposed convolution cuts off below and above, and adds behind, under `dialect`.

    All but `valid` leave `stride` outputs for each input: what the window makes beyond that is cut
    off on both sides, the odd one above (`same_lower`: below), under `causal` all above; what it
    leaves missing is added behind. The window's own padding does not count.

    >>> transposed_pads("same", Window(4, stride=1)), transposed_pads("causal", Window(4, stride=2))
    ((1, 2, 0), (0, 2, 0))
    >>> transposed_pads("same", Window(2, stride=3)), transposed_pads("valid", Window(4))
    ((0, 0, 1), (0, 0, 0))
    """
    if dialect == "valid":
        return 0, 0, 0
    beyond = max(window.extent - window.stride, 0)
    missing = max(window.stride - window.extent, 0)
    lo = 0 if dialect == "causal" else (beyond + (dialect == "same_lower")) // 2
    return lo, beyond - lo, missing
