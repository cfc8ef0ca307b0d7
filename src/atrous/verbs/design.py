"""`design`: the schedules of stride and dilation that no other beats for what is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, inf
from numbers import Real
from statistics import median
from time import perf_counter_ns
from typing import Any, Literal, get_args

import numpy as np

from atrous.analysis.requirements import bytes_of
from atrous.analysis.scale import Scale, per_rate
from atrous.errors import ArgumentError, ReadError, UnreachableError
from atrous.geometry import Window
from atrous.operators.conv import conv
from atrous.search import LAYERS, PRICES, Designs, LayerKind, Price, Space, search_space
from atrous.search.costs import ChainLayer, Latency, recomputed_share

__all__ = ["Allowed", "design"]

Allowed = Literal["holes", "subgrids"]
Numbers = int | Sequence[int]

_MORE = 4
"""What lies above the field that is asked for is looked at up to a quarter of it."""


_DEEPEST = 1000
_LARGEST = 1 << 16
"""No kernel, rate or stride beyond this fits into the largest field that is searched."""


def design(
    receptive_field: int | str | tuple[int, int] | None = None,
    *,
    input: Sequence[int] = (1, 3, 512, 512),
    output_stride: int = 1,
    kernels: Numbers = 3,
    depth: Numbers = (1, 12),
    rates: Numbers = 64,
    strides: Numbers = 2,
    channels: Numbers = 64,
    minimise: Price = "macs",
    macs: float | None = None,
    params: float | None = None,
    memory: int | str | None = None,
    latency: float | None = None,
    state: int | str | None = None,
    recomputed: tuple[int, float] | None = None,
    causal: bool = False,
    look_ahead: int | str | None = None,
    rate: float | str | None = None,
    allow: Collection[Allowed] = (),
    layer: LayerKind = "conv",
) -> Designs:
    """The schedules of kernel, stride and dilation that reach a field and that none beats.

    Chains of `depth` convolutions (a number, or the least and the most) are searched, all of them:
    each layer has one of `kernels`, a rate of 1 to `rates` (or one of several given), and a stride
    of 1 or of `strides`, with `output_stride` as their product. One beats another that it is at
    least as good as in the price to `minimise`, in its field and in how evenly paths from an output
    fall on it, in whole percent, and better in one. `receptive_field` is what is to be seen along
    each axis, in input positions or with `rate` as a time (`"64ms"`), more being no merit; a pair
    is the least and the most, between which more is better; left out, it is the input's size.

    `input` is the shape with batch, channels and 1 to 3 sizes, `channels` one number, one for each
    stage between strides (a strided layer makes those of the next), or one for each of a fixed
    number of layers. Limits: `macs`, `params`, `memory` held at the worst moment in float32 (bytes,
    or `"64MiB"`), `latency` in ms, measured here with `atrous.conv` for one layer after the other,
    `state` (bytes that a stream along time keeps), and `recomputed=(tile, share)`, what tiles of
    that size run beside what they keep (of odd kernels, exactly). `minimise` is one
    of `macs`, `params`, `memory`, `latency`, `state`.

    Along time, `look_ahead` is the most that an output waits for behind its hop, the
    `output_stride` samples that it stands for: in samples, or with `rate` a time, `"5ms"`. It rules
    out no schedule; layers are padded in front instead, the first ones most, and `plan_stream` says
    the same of what comes out. `causal` is a `look_ahead` of 0.

    `layer` says what a layer is: `"conv"`, a convolution, or `"separable"`, one of each channel by
    itself and one of kernel 1 behind it. That changes prices and the code, and no field.

    No schedule has holes, or ends in layers whose neighbouring outputs read disjoint sub-grids of
    some layer's input, unless `allow` has `"holes"` or `"subgrids"`. With holes evenness does not
    count.

    Raises `UnreachableError` where no schedule does it, which names the limit and the nearest that
    is within it, and `ArgumentError` for what is no space, or too large a one, with its count.

    >>> import atrous
    >>> found = atrous.design(31, input=(1, 8, 64, 64), depth=(1, 5), channels=8)
    >>> [(one.rates, one.field, one.evenness) for one in found]
    [((11, 3, 1, 1), 33, 0.98)]
    >>> found[0].stack
    'k3d11x8 k3d3x8 k3x8 k3x8'
    """
    shape = _design_input(input)
    scale = None if rate is None else per_rate(rate)
    if len(shape) != 3 and (
        causal
        or look_ahead is not None
        or scale is not None
        or minimise == "state"
        or state is not None
    ):
        raise ArgumentError(
            "causal=True, look_ahead=..., rate=... and state=... are along time; give an input of "
            "one axis, such as 1,64,16000."
        )
    ahead = 0 if causal else None if look_ahead is None else _samples_ahead(look_ahead, scale)
    if causal and look_ahead is not None and _samples_ahead(look_ahead, scale):
        raise ArgumentError(f"causal is look_ahead=0, and look_ahead={look_ahead!r}; give one.")
    least, most, enough = _field_range(receptive_field, shape, scale)
    _check_output_stride(output_stride)
    if recomputed is not None:
        tile, share = _tile_and_share(recomputed)
        most = _within_tile(tile, share, len(shape) - 2, output_stride, least, most)
        enough = min(enough, most)
    if minimise not in PRICES:
        raise ArgumentError(f"minimise={minimise!r} is none of {', '.join(PRICES)}; give one.")
    if layer not in LAYERS:
        raise ArgumentError(f"layer={layer!r} is none of {', '.join(LAYERS)}; give one.")
    allowed = not isinstance(allow, str) and isinstance(allow, Collection)
    if not allowed or any(one not in get_args(Allowed) for one in allow):
        raise ArgumentError(f"allow={allow!r}; give a tuple with 'holes', 'subgrids' or both.")
    limits: dict[Price, int] = {}
    for name, bound in (("macs", macs), ("params", params), ("latency", latency)):
        if bound is not None and not (_is_real(bound) and 0 < bound < inf):
            raise ArgumentError(f"{name}={bound!r} is no limit; give a number above 0.")
    if macs is not None:
        limits["macs"] = floor(macs)
    if params is not None:
        limits["params"] = floor(params)
    sizes: tuple[tuple[Price, int | str | None], ...] = (("memory", memory), ("state", state))
    for kind, size in sizes:
        if size is not None:
            limits[kind] = _bytes_within(kind, size)
    if latency is not None:
        limits["latency"] = floor(latency * 1e6)
    ranged = _whole_numbers("rates", rates)
    deep = _whole_numbers("depth", depth)
    space = Space(
        *(least, most, enough, shape[2:], shape[1], _whole_numbers("channels", channels)),
        *(
            output_stride,
            _whole_numbers("strides", strides),
            tuple(sorted({*_whole_numbers("kernels", kernels)})),
        ),
        tuple(range(1, ranged[0] + 1)) if isinstance(rates, int) else tuple(sorted({*ranged})),
        (deep[0], deep[-1]),
        minimise,
        limits,
        holes="holes" in allow,
        subgrids="subgrids" in allow or "holes" in allow,
        layer=layer,
    )
    timed = "latency" in (minimise, *limits)
    return search_space(
        space, latency=_clock(shape[2:]) if timed else None, look_ahead=ahead, scale=scale
    )


def _design_input(given: Any) -> tuple[int, ...]:
    shape = tuple(given) if isinstance(given, Sequence) else ()
    if not 3 <= len(shape) <= 5 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ArgumentError(
            f"input={shape} is no shape with batch, channels and 1 to 3 sizes; give one such as "
            "1,3,512,512."
        )
    return shape


def _check_output_stride(given: Any) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ArgumentError(f"output_stride={given!r} is no whole number of at least 1; give one.")
    if given > _LARGEST:
        raise ArgumentError(
            f"output_stride={given} is more than is searched ({_LARGEST:,}); give a smaller one."
        )


def _is_real(given: Any) -> bool:
    return isinstance(given, Real) and not isinstance(given, bool)


def _whole_numbers(name: str, given: Any) -> tuple[int, ...]:
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    if not found or not all(
        isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in found
    ):
        raise ArgumentError(f"{name}={given!r}; give whole numbers of at least 1.")
    if name == "depth" and len(found) > 2:
        raise ArgumentError(f"depth={given!r}; give one number, or the least and the most.")
    most = _DEEPEST if name == "depth" else _LARGEST
    if max(found) > most:
        raise ArgumentError(
            f"{name}={given!r} goes beyond what is searched ({most:,}); give smaller numbers."
        )
    return found


def _field_range(given: Any, shape: Sequence[int], scale: Scale | None) -> tuple[int, int, int]:
    """The least and the most that is to be seen, and up to where more is a merit."""
    if given is None:
        given = max(shape[2:])
    if isinstance(given, str):
        given = ceil(_in_positions("receptive_field", given, scale))
    if isinstance(given, int) and not isinstance(given, bool):
        return given, given + given // _MORE, given
    pair = tuple(given) if isinstance(given, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(n, int) for n in pair):
        raise ArgumentError(
            f"receptive_field={given!r}; give one number, or the least and the most."
        )
    return pair[0], pair[1], pair[1]


def _samples_ahead(given: Any, scale: Scale | None) -> int:
    """The most samples that lie ahead, of a number of them or of a time."""
    if isinstance(given, str):
        return floor(_in_positions("look_ahead", given, scale))
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise ArgumentError(
            f"look_ahead={given!r}; give whole samples from 0, or with rate=... a time in ms."
        )
    return given


def _in_positions(name: str, given: str, scale: Scale | None) -> Fraction:
    """A time in positions, exactly."""
    number = given.strip().removesuffix("ms").strip()
    if scale is None or not given.strip().endswith("ms") or not _is_number(number):
        raise ArgumentError(
            f"{name}={given!r}; give input positions, or with rate=... a time in ms."
        )
    return Fraction(number) / scale.step


def _bytes_within(name: str, size: int | str) -> int:
    try:
        return bytes_of(size)
    except ReadError:
        raise ArgumentError(
            f"{name}={size!r} is no size of memory; give a number and a unit, such as 64MiB."
        ) from None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdecimal()


def _tile_and_share(given: Any) -> tuple[int, float]:
    pair = tuple(given) if isinstance(given, Sequence) else ()
    good = len(pair) == 2 and isinstance(pair[0], int) and _is_real(pair[1])
    if not good or pair[0] < 1 or not 0 < pair[1] < inf:
        raise ArgumentError(f"recomputed={given!r}; give a tile's size and a share above 0.")
    return pair


def _within_tile(tile: int, share: float, rank: int, stride: int, least: int, most: int) -> int:
    """The largest field with which tiles of a size run at most a share of positions twice."""

    def fits(size: int, field: int) -> bool:
        return recomputed_share(size, field, rank, stride) <= share

    if not fits(tile, least):
        largest = next((n for n in range(least, 0, -1) if fits(tile, n)), 0)
        nearest = next(tile << bits for bits in range(64) if fits(tile << bits, least))
        twice = recomputed_share(tile, least, rank, stride)
        raise UnreachableError(
            f"a field of {least:,} has tiles of {tile} run {twice:.0%} of positions twice, more "
            f"than {share:.0%}; the largest field within it is {largest:,}, or give tiles of "
            f"{nearest:,}."
        )
    return max(n for n in range(least, most + 1) if fits(tile, n))


_TURNS = 5


def _clock(sizes: tuple[int, ...]) -> Latency:
    """Nanoseconds of layers by `atrous.conv` on arrays: the slower one of rate 1 and rate 4."""

    @lru_cache(None)
    def timed(layer: ChainLayer) -> int:
        maps = [-(-size // layer.step) for size in sizes]
        x = np.ones((1, layer.channels_in, *maps), dtype=np.float32)
        each = layer.channels_in // layer.groups
        weight = np.ones((layer.channels, each, *[layer.kernel] * len(sizes)), dtype=np.float32)
        pads = (Window(layer.kernel, dilation=layer.rate).extent - 1) // 2
        turns = []
        for _ in range(_TURNS):
            began = perf_counter_ns()
            conv(
                x, weight, stride=layer.stride, dilation=layer.rate, padding=pads,
                groups=layer.groups,
            )  # fmt: skip
            turns.append(perf_counter_ns() - began)
        return int(median(turns))

    def latency(layer: ChainLayer) -> int:
        # So a front asks for few measurements, and no rate is chosen for noise.
        return max(timed(replace(layer, rate=rate, first=False)) for rate in (1, 4))

    return latency
