"""Operators that slide a window, pad, or resample."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch.nn import functional

from atrous.errors import ReadError
from atrous.geometry import Window
from atrous.readers.onnx.windows import declared_spreads, declared_windows
from atrous.runners.rebuilt.call import Made, RebuiltCall, rebuilds

__all__: list[str] = []

_CONVOLUTIONS: tuple[Any, ...] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: tuple[Any, ...] = (
    functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d,
)  # fmt: skip
_MAXIMA: tuple[Any, ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGES: tuple[Any, ...] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
_MOST_PADDED = 1 << 24


def _axes_of(call: RebuiltCall, x: torch.Tensor, rank: int) -> int:
    """How many axes a window slides along. Raises where there are none, or more than three."""
    if not 1 <= rank <= 3:
        raise call.refusal(f"slides along {rank} axes")
    if x.dim() != rank + 2:
        raise ReadError(f"slides along {rank} axes of an input of {x.dim()} dimensions.")
    return rank


def _sides(windows: Sequence[Window]) -> tuple[list[int], list[int]]:
    """What is padded on both sides alike, and what is padded besides, as PyTorch lists it."""
    if all(w.pad_lo == w.pad_hi >= 0 for w in windows):
        return [w.pad_lo for w in windows], []
    flat = [n for w in reversed(windows) for n in (w.pad_lo, w.pad_hi)]
    return [0] * len(windows), flat


@rebuilds("Conv")
def _convolution(call: RebuiltCall) -> Made:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    rank = _axes_of(call, x, weight.dim() - 2)
    windows = declared_windows(call, tuple(weight.shape[2:]), tuple(x.shape[2:]))
    alike, besides = _sides(windows)
    if besides:
        x = functional.pad(x, besides)
    strides, rates = [w.stride for w in windows], [w.dilation for w in windows]
    made: torch.Tensor = _CONVOLUTIONS[rank - 1](
        x, weight, bias, strides, alike, rates, call.integer("group", 1)
    )
    return made


@rebuilds("ConvTranspose")
def _spread(call: RebuiltCall) -> Made:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    rank = _axes_of(call, x, weight.dim() - 2)
    windows, extra = declared_spreads(call, tuple(weight.shape[2:]), tuple(x.shape[2:]))
    strides, rates = [w.stride for w in windows], [w.dilation for w in windows]
    alike = [w.pad_lo for w in windows]
    behind = [w.pad_hi - more for w, more in zip(windows, extra, strict=True)]
    if all(w.pad_lo == w.pad_hi for w in windows) or min(behind) < 0:
        if any(w.pad_lo != w.pad_hi for w in windows):
            raise call.refusal("adds more behind than its pads take away")
        beyond, crop = list(extra), []
    else:
        beyond, crop = [0] * rank, [-n for w, hi in zip(windows[::-1], behind[::-1], strict=True)
                                    for n in (w.pad_lo, hi)]  # fmt: skip
        alike = [0] * rank
    groups = call.integer("group", 1)
    made: torch.Tensor = _TRANSPOSED[rank - 1](
        x, weight, bias, strides, alike, beyond, groups, rates
    )
    return functional.pad(made, crop) if crop and any(crop) else made


def _pool_windows(call: RebuiltCall, x: torch.Tensor) -> tuple[int, tuple[Window, ...]]:
    """How many axes a pool has, and its window along each."""
    kernel = call.integers("kernel_shape") or ()
    rank = _axes_of(call, x, len(kernel))
    if len(call.node.output) > 1 and call.node.output[1]:
        raise call.refusal("gives the places of its maxima")
    if call.integer("storage_order"):
        raise call.refusal("stores columns first")
    return rank, declared_windows(call, kernel, tuple(x.shape[2:]), pools=True)


@rebuilds("MaxPool")
def _maxima(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    rank, windows = _pool_windows(call, x)
    alike, besides = _sides(windows)
    if besides or any(2 * w.pad_lo > w.kernel for w in windows):
        alike, besides = [0] * rank, [n for w in windows[::-1] for n in (w.pad_lo, w.pad_hi)]
        x = functional.pad(x, besides, value=-torch.inf)
    made: torch.Tensor = _MAXIMA[rank - 1](
        x,
        [w.kernel for w in windows],
        [w.stride for w in windows],
        alike,
        [w.dilation for w in windows],
        ceil_mode=bool(call.integer("ceil_mode")),
    )
    return made


@rebuilds("AveragePool")
def _averages(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    rank, windows = _pool_windows(call, x)
    if any(w.dilation > 1 for w in windows):
        raise call.refusal("averages at a rate above 1")
    whole = bool(call.integer("count_include_pad"))
    # Windows of `same` pads end where what is padded does: there is nothing to round.
    is_same = call.text("auto_pad", "NOTSET").startswith("SAME")
    ceiling = bool(call.integer("ceil_mode")) and not is_same
    kernel, strides = [w.kernel for w in windows], [w.stride for w in windows]
    alike, besides = _sides(windows)

    def averaged(x: torch.Tensor, pads: list[int], *, counted: bool) -> torch.Tensor:
        made: torch.Tensor = _AVERAGES[rank - 1](x, kernel, strides, pads, ceiling, counted)
        return made

    if not besides and all(2 * w.pad_lo <= w.kernel for w in windows):
        return averaged(x, alike, counted=whole)
    if ceiling:
        raise call.refusal("pads its sides differently and rounds up")
    besides = [n for w in windows[::-1] for n in (w.pad_lo, w.pad_hi)]
    none, summed = [0] * rank, functional.pad(x, besides)
    if whole:
        return averaged(summed, none, counted=True)
    there = functional.pad(torch.ones_like(x), besides)
    return averaged(summed, none, counted=True) / averaged(there, none, counted=True)


@rebuilds("GlobalAveragePool", "GlobalMaxPool")
def _whole_pool(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    dims = list(range(2, x.dim()))
    return x.amax(dims, True) if call.op == "GlobalMaxPool" else x.mean(dims, True)


@rebuilds("Pad")
def _pads(call: RebuiltCall) -> Made:
    x, mode = call.tensor(0), call.text("mode", "constant")
    if mode not in _MODES:
        raise ReadError(f"padding mode {mode[:40]!r} is not known.")
    pads = call.whole_since("pads", 1, 11)
    if pads is None:
        raise ReadError("Pad needs pads.")
    chosen = call.whole(3, "axes") if call.version >= 18 else None
    dims = list(range(x.dim())) if chosen is None else [call.axis(a, x.dim()) for a in chosen[:64]]
    if len(pads) != 2 * len(dims):
        raise ReadError(f"{len(pads)} pads do not fit {len(dims)} dimensions; give two for each.")
    if any(abs(n) > _MOST_PADDED for n in pads):
        raise ReadError("pads by more positions than are followed.")
    table = {d: (pads[i], pads[i + len(dims)]) for i, d in enumerate(dims)}
    wide = sorted(d for d, pair in table.items() if pair != (0, 0))
    if not wide:
        return x
    if mode == "constant":
        value = call.real("value") if call.version < 11 else 0.0
        if call.version >= 11 and call[2] is not None:
            filling = call.numbers(2, "filling")
            value = 0.0 if filling is None else float(filling[0])
        flat = [n for d in range(x.dim() - 1, wide[0] - 1, -1) for n in table.get(d, (0, 0))]
        return functional.pad(x, flat, value=value)
    return _padded_last(call, x, table, wide, _MODES[mode])


def _padded_last(
    call: RebuiltCall,
    x: torch.Tensor,
    table: dict[int, tuple[int, int]],
    wide: list[int],
    mode: str,
) -> torch.Tensor:
    """Pads dimensions by what is in the input, which PyTorch does to the last ones alone."""
    count = max(len(wide), x.dim() - 2)
    last = list(range(x.dim() - count, x.dim()))
    if x.dim() < 2 or x.dim() > 5 or len(wide) > x.dim() - 1:
        raise call.refusal(f"pads {len(wide)} of {x.dim()} dimensions by {mode}")
    if set(wide) <= set(last):
        flat = [n for d in reversed(last) for n in table.get(d, (0, 0))]
        return functional.pad(x, flat, mode=mode)
    order = [d for d in range(x.dim()) if d not in wide] + wide
    turned = {order.index(d): table[d] for d in wide}
    made = _padded_last(call, x.permute(order), turned, sorted(turned), mode)
    return made.permute([order.index(d) for d in range(x.dim())])


@rebuilds("Resize", "Upsample")
def _resized(call: RebuiltCall) -> Made:
    x, mode = call.tensor(0), call.text("mode", "nearest")
    factors, sizes = _asked(call, x)
    changed = [d for d in range(x.dim()) if sizes[d] != x.shape[d] or factors[d] not in (None, 1)]
    if not changed:
        return x
    if mode not in ("nearest", "linear", "cubic") or call.integer("antialias"):
        raise call.refusal(f"resizes by {mode[:40]!r}, or with a filter")
    if changed[0] < 2 or len(changed) > 3:
        order = [d for d in range(x.dim()) if d not in changed] + changed
        if len(order) - len(changed) != 2:
            raise call.refusal("resizes dimensions that are not the last of a batch's channels")
        back = [order.index(d) for d in range(x.dim())]
        made = _interpolated(
            call, x.permute(order), mode, [factors[d] for d in order], [sizes[d] for d in order]
        )
        return made.permute(back)
    return _interpolated(call, x, mode, factors, sizes)


def _asked(call: RebuiltCall, x: torch.Tensor) -> tuple[list[Fraction | None], list[int]]:
    """By what each dimension is multiplied, where a factor says so, and its new size."""
    rank = x.dim()
    chosen = call.integers("axes") if call.version >= 18 else None
    dims = list(range(rank)) if chosen is None else [call.axis(a, rank) for a in chosen[:64]]
    if call.op == "Upsample" or call.version < 11:
        held = call.reals("scales")
        given = call.numbers(1, "scales") if held is None else held
        wanted = None
    else:
        given, wanted = call.numbers(2, "scales"), call.whole(3, "sizes")
    if wanted is not None and call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refusal("keeps the aspect ratio")
    listed = given if given is not None else wanted
    if listed is None or len(listed) != len(dims):
        raise ReadError(f"{call.op} needs one scale or size for each of {len(dims)} dimensions.")
    factors: list[Fraction | None] = [None] * rank
    sizes = list(x.shape)
    for place, d in enumerate(dims):
        if given is not None:
            if not 0 < given[place] < _MOST_PADDED:
                raise ReadError(f"a scale of {given[place]} makes no tensor.")
            factors[d] = Fraction(float(given[place])).limit_denominator(1 << 12)
            sizes[d] = int(x.shape[d] * factors[d])
        elif wanted is not None:
            sizes[d] = wanted[place]
            if call.before and call.before[0] is not None and call.before[0][d] != x.shape[d]:
                # A size that the file holds goes along with what it resizes.
                sizes[d] = wanted[place] * x.shape[d] // call.before[0][d]
    if min(sizes) < 1:
        raise ReadError(f"resizes {tuple(x.shape)} to {tuple(sizes)}.")
    return factors, sizes


def _interpolated(
    call: RebuiltCall,
    x: torch.Tensor,
    mode: str,
    factors: Sequence[Fraction | None],
    sizes: Sequence[int],
) -> torch.Tensor:
    """All dimensions from the third on, by PyTorch's interpolation where it looks at the same."""
    rank = x.dim() - 2
    where = call.text("coordinate_transformation_mode", "half_pixel")
    if call.op == "Upsample" or call.version < 11:
        where = "asymmetric"
    spatial = range(2, x.dim())
    options: dict[str, Any] = {}
    if mode == "nearest":
        rounded = call.text("nearest_mode", "round_prefer_floor")
        if call.op == "Upsample" or call.version < 11:
            rounded = "floor"
        ratios = [factors[d] or Fraction(sizes[d], x.shape[d]) for d in spatial]
        ties = any(ratio.denominator % 2 == 0 for ratio in ratios)
        if where == "asymmetric" and rounded == "floor":
            how = "nearest"
        elif (
            where in ("half_pixel", "pytorch_half_pixel")
            and (rounded == "round_prefer_ceil" or (rounded == "round_prefer_floor" and not ties))
        ) or (where == "tf_half_pixel_for_nn" and rounded == "floor"):
            how = "nearest-exact"
        else:
            raise call.refusal(f"takes the nearest by {where[:40]}, {rounded[:40]}")
    else:
        names = {"linear": ("linear", "bilinear", "trilinear"), "cubic": ("", "bicubic", "")}
        how = names[mode][rank - 1]
        if where not in ("half_pixel", "pytorch_half_pixel", "align_corners") or not how:
            raise call.refusal(f"resizes {rank} axes by {mode}, {where[:40]}")
        if call.real("cubic_coeff_a", -0.75) != -0.75 or call.integer("exclude_outside"):
            raise call.refusal("has a cubic of its own")
        options["align_corners"] = where == "align_corners"
    if all(factors[d] is not None for d in spatial):
        scales = [float(factors[d] or 1) for d in spatial]
        return functional.interpolate(
            x, scale_factor=scales, mode=how, recompute_scale_factor=False, **options
        )
    return functional.interpolate(x, size=[sizes[d] for d in spatial], mode=how, **options)


@rebuilds("DepthToSpace", "SpaceToDepth")
def _shuffled(call: RebuiltCall) -> Made:
    x, size = call.tensor(0), call.integer("blocksize", 1)
    if x.dim() != 4 or size < 1:
        raise ReadError(f"{call.op} takes images in a batch, and blocks of 1 or more.")
    b, c, h, w = x.shape
    if call.op == "SpaceToDepth":
        y = x.reshape(b, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(b, c * size * size, h // size, w // size)
    if call.text("mode", "DCR") == "CRD":
        y = x.reshape(b, c // (size * size), size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        y = x.reshape(b, size, size, c // (size * size), h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(b, c // (size * size), h * size, w * size)
