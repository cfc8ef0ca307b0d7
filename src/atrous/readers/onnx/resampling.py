"""ONNX operators that resample maps: by scales or to sizes, in every coordinate of the standard."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor, isfinite
from typing import cast

from atrous.errors import GeometryError, ReadError
from atrous.geometry import Coordinates, Interpolation, Rounding, resample
from atrous.network.ops import Permute, Resize
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall, translates
from atrous.readers.onnx.windows import MAX_EXTENT
from atrous.shown import how_many

__all__: list[str] = []


@translates("Upsample")
def _upsample(call: OnnxCall) -> Tensor:
    """Output `o` reads around `o / scale`."""
    scales = call.reals("scales") if call.has("scales") else call.reals_at(1, "scales")
    return _resized(call, scales, None, "asymmetric", None)


@translates("Resize")
def _resize(call: OnnxCall) -> Tensor:
    """Output `o` reads around the point that the coordinates say, before version 11 `o / scale`."""
    if call.version < 11:
        return _resized(call, call.reals_at(1, "scales"), None, "asymmetric", None)
    scales, sizes = call.reals_at(2, "scales"), call.integers_at(3, "sizes")
    coordinates = call.text("coordinate_transformation_mode", "half_pixel")
    return _resized(
        call, scales, sizes or None, coordinates, call.text("nearest_mode", "round_prefer_floor")
    )


def _resized(
    call: OnnxCall,
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    coordinates: str,
    nearest: str | None,
) -> Tensor:
    """All of `x` at the sizes that scales or sizes ask for, along `axes` where they are named."""
    x = call.tensor(0)
    rank = len(x.shape)
    chosen = call.integers("axes") if call.version >= 18 else None
    dims = [call.axis(a, rank) for a in chosen[:rank]] if chosen is not None else list(range(rank))
    given = scales if scales is not None else sizes
    if given is None or len(given) != len(dims):
        raise ReadError(f"{call.op} needs one scale or size for each of {len(dims)} dimensions.")
    lengths = [x.shape[d] for d in dims]
    ratios: list[Fraction | None] = [None] * len(dims)
    if scales is not None:
        sizes, ratios = _scaled(lengths, scales)
    elif sizes is not None:
        sizes, ratios = _fitted(lengths, sizes, call.text("keep_aspect_ratio_policy", "stretch"))
    assert sizes is not None
    target = list(x.shape)
    scale: list[Fraction | None] = [None] * rank
    for d, size, ratio in zip(dims, sizes, ratios, strict=True):
        if size < 1:
            raise ReadError(f"resizes {how_many(x.shape[d], 'position')} to {size}.")
        target[d] = size
        scale[d] = None if ratio == Fraction(size, x.shape[d]) else ratio
    return _interpolated(call, x, target, scale, coordinates, nearest)


def _interpolated(
    call: OnnxCall,
    x: Tensor,
    target: list[int],
    scale: list[Fraction | None],
    coordinates: str,
    nearest: str | None,
    out: int | None = 0,
) -> Tensor:
    """Output `o` reads the nearest position, two or four of them, along each axis that changes.

    Where channels are last, they are turned to the front and back. What keeps its shape is copied,
    whatever its scales say.
    """
    rank = len(x.shape)
    if target == list(x.shape):
        spatial = tuple(target[min(2, rank - 1) :])
        return call.emit(Resize(spatial, "nearest", "asymmetric"), x, out=out)
    mode = call.text("mode", "nearest")
    how = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
    if mode not in how:
        raise NotUnderstood(f"interpolates by {mode[:40]!r}")
    if coordinates == "tf_half_pixel_for_nn" and mode == "nearest" and nearest == "floor":
        # floor((o + 1/2) / scale) is the half-pixel point rounded, ties upwards.
        coordinates, nearest = "half_pixel", "round_prefer_ceil"
    if coordinates == "half_pixel_symmetric" and all(s is None for s in scale):
        coordinates = "half_pixel"
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        raise NotUnderstood(f"resizes with coordinates {coordinates[:40]!r}")
    filtered = bool(call.integer("antialias")) and mode != "nearest"
    if filtered and (
        coordinates == "align_corners" or (mode == "cubic" and coordinates == "asymmetric")
    ):
        # The standard does not say how wide and where the filter is then; runtimes differ from it.
        raise NotUnderstood(f"resizes by {mode} with antialias and coordinates {coordinates}")
    if mode == "nearest" and nearest not in (
        None,
        "floor",
        "ceil",
        "round_prefer_floor",
        "round_prefer_ceil",
    ):
        raise ReadError(f"nearest_mode {nearest[:40]!r} is not known.")
    changed = [d for d in range(rank) if target[d] != x.shape[d] or scale[d] is not None]
    if changed and changed[0] == 1 and changed[-1] < rank - 1:
        # Channels last: turned, so that nothing but positions is among the dimensions resized.
        last = range(changed[-1] + 1, rank)
        order = (0, *last, *range(1, last.start))
        back = sorted(range(rank), key=order.__getitem__)
        turned = call.step(Permute(order), x)
        y = _interpolated(
            call,
            turned,
            [target[d] for d in order],
            [scale[d] for d in order],
            coordinates,
            nearest,
            None,
        )
        return call.emit(Permute(tuple(back)), y)
    first = min([*changed, 2 if rank > 2 else rank - 1])
    for d in changed:
        kind, place = cast(Interpolation, how[mode]), cast(Coordinates, coordinates)
        _check_axis(x.shape[d], target[d], kind, place, scale[d], nearest, filtered)

    def op(sizes: Sequence[int], rounding: str) -> Resize:
        return Resize(
            tuple(sizes[first:]),
            cast(Interpolation, how[mode]),
            cast(Coordinates, coordinates),
            tuple(scale[first:]) if any(s is not None for s in scale) else (),
            cast(Rounding, rounding),
            filtered,
        )

    if nearest is not None or mode != "nearest":
        return call.emit(op(target, nearest or "floor"), x, out=out)
    # Before version 11 nearest rounds up where it shrinks and down where it grows.
    shrinks = [min(a, b) for a, b in zip(target, x.shape, strict=True)]
    if shrinks == list(x.shape) or shrinks == target:
        return call.emit(op(target, "ceil" if shrinks != list(x.shape) else "floor"), x, out=out)
    return call.emit(op(target, "floor"), call.step(op(shrinks, "ceil"), x), out=out)


def _check_axis(
    length: int,
    size: int,
    how: Interpolation,
    coordinates: Coordinates,
    scale: Fraction | None,
    nearest: str | None,
    antialias: bool,
) -> None:
    """Raise `NotUnderstood` where it cannot be said what is read.

    Nearest interpolation at an exact tie reads what float32 arithmetic makes of it. Where runtimes
    follow the formula of the standard in float32 and land elsewhere, nothing is claimed.
    """
    import numpy as np

    rounding = nearest or ("ceil" if size < length else "floor")
    if size > MAX_EXTENT:
        raise ReadError(
            f"resizes {how_many(length, 'position')} to {size:,}; at most 2**24 are followed."
        )
    try:
        reads = resample(
            length,
            size,
            how,
            coordinates,
            scale=scale,
            rounding=cast(Rounding, rounding),
            antialias=antialias,
        )
    except GeometryError as error:
        raise NotUnderstood(str(error)) from None
    if how != "nearest":
        return
    o = np.arange(size, dtype=np.float32)
    ratio = np.float32(size) / np.float32(length) if scale is None else np.float32(float(scale))
    half = np.float32(0.5)
    if coordinates == "align_corners":
        source = o * np.float32(length - 1) / np.float32(max(size - 1, 1))
    elif coordinates == "asymmetric":
        source = o / ratio
    elif coordinates == "pytorch_half_pixel" and size == 1:
        source = o
    else:
        source = (o + half) / ratio - half
    if rounding == "floor":
        found = np.floor(source)
    elif rounding == "ceil":
        found = np.ceil(source)
    elif rounding == "round_prefer_floor":
        found = np.ceil(source - half)
    else:
        found = np.floor(source + half)
    found = np.clip(found, 0, length - 1).astype(np.int64)
    firsts = np.asarray([taps.first for taps in reads.phases], np.int64)
    turns, phase = np.divmod(np.arange(size, dtype=np.int64), reads.period)
    if (found != np.clip(firsts[phase] + turns * reads.shift, 0, length - 1)).any():
        raise NotUnderstood(f"resizes {length} to {size}: which neighbour is nearest is a tie")


def _scaled(
    lengths: Sequence[int], scales: Sequence[float]
) -> tuple[list[int], list[Fraction | None]]:
    """`floor(length * scale)` in float32, and each scale as the simple fraction that it is near."""
    import numpy as np

    sizes: list[int] = []
    ratios: list[Fraction | None] = []
    for length, scale in zip(lengths, scales, strict=True):
        if not isfinite(scale) or scale <= 0:
            raise ReadError(f"a scale of {scale} makes no tensor; scales are above 0.")
        with np.errstate(over="ignore"):
            size = float(np.float32(scale) * np.float32(length))
        if not size < 1 << 48:
            raise ReadError(f"a scale of {scale} makes {size:.3g} positions of {length}.")
        sizes.append(floor(size))
        simple = Fraction(scale).limit_denominator(1 << 12)
        close = np.float32(float(simple)) == np.float32(scale)
        ratios.append(simple if close else Fraction(scale))
    return sizes, ratios


def _fitted(
    lengths: Sequence[int], sizes: Sequence[int], policy: str
) -> tuple[list[int], list[Fraction | None]]:
    """The sizes asked for, or those at the one ratio that a policy makes of them."""
    if policy == "stretch":
        return list(sizes), [None] * len(lengths)
    if policy not in ("not_larger", "not_smaller"):
        raise ReadError(f"keep_aspect_ratio_policy {policy[:40]!r} is not known.")
    ratios = [Fraction(size, length) for size, length in zip(sizes, lengths, strict=True)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [floor(ratio * length + Fraction(1, 2)) for length in lengths], [ratio] * len(lengths)
