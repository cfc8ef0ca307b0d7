"""Every op of the op table against PyTorch's real one: shapes, layouts, and who reads what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402, N812 - torch may be missing; its usual name

from atrous.errors import NetworkError  # noqa: E402
from atrous.geometry import Window  # noqa: E402
from atrous.network import Builder  # noqa: E402
from atrous.network.ops import (  # noqa: E402
    AdaptivePool,
    Attention,
    Concat,
    Contract,
    Conv,
    ConvTranspose,
    Elementwise,
    Expand,
    Linear,
    Mix,
    Op,
    Pad,
    Permute,
    Pool,
    Reduce,
    Repeat,
    Reshape,
    Resize,
    Roll,
    Scan,
    Shuffle,
    Slice,
    Unfold,
)
from atrous.network.records import Network, Node, Tensor  # noqa: E402
from tests.oracles import (  # noqa: E402
    assert_reads_as_run,
    drawing,
    observed,
    observed_by_change,
)

Run = Callable[[Any], Any]

CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
LONGEST = {1: 20, 2: 8, 3: 5}
RANKS = st.sampled_from([1, 2, 3])


def chain(shape: tuple[int, ...], *ops: Op) -> Network:
    """The network that runs `ops` one after the other."""
    builder = Builder()
    x = builder.input("x", shape)
    for op in ops:
        x = builder.add(op, x)
    return builder.build(x)


def weight_like(*shape: int) -> Any:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1


def drawn(data: st.DataObject, rank: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(low, high)) for _ in range(rank))


def drawn_windows(
    data: st.DataObject, rank: int, sizes: tuple[int, ...], *, pads: int = 3
) -> tuple[Window, ...]:
    """A window for each axis, fitting, with different pads on both sides."""
    windows = tuple(
        Window(
            data.draw(st.integers(1, 4)),
            data.draw(st.integers(1, 3)),
            data.draw(st.integers(1, 3)),
            data.draw(st.integers(0, pads)),
            data.draw(st.integers(0, pads)),
        )
        for _ in range(rank)
    )
    for window, size in zip(windows, sizes, strict=True):
        assume(size + window.pad_lo + window.pad_hi >= window.extent)
    return windows


def torch_pads(pads: list[tuple[int, int]]) -> list[int]:
    return [p for pair in reversed(pads) for p in pair]


@drawing(60)
@given(st.data())
def test_a_convolution_reads_what_torch_reads(data: st.DataObject) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank])
    windows = drawn_windows(data, rank, sizes)
    groups = data.draw(st.sampled_from([1, 2]))
    weight = weight_like(4, 4 // groups, *(w.kernel for w in windows))

    def run(x: Any) -> Any:
        return CONVS[rank](
            F.pad(x, torch_pads([(w.pad_lo, w.pad_hi) for w in windows])),
            weight,
            stride=[w.stride for w in windows],
            dilation=[w.dilation for w in windows],
            groups=groups,
        )

    assert_reads_as_run(chain((1, 4, *sizes), Conv(windows, 4, groups)), run)


@drawing(30)
@given(st.data(), st.sampled_from(["reflect", "replicate", "circular"]))
def test_a_convolution_that_pads_with_its_input_reads_what_torch_reads(
    data: st.DataObject, mode: str
) -> None:
    rank = data.draw(st.sampled_from([1, 2]))
    sizes = drawn(data, rank, 3, LONGEST[rank])
    pads = drawn(data, rank, 0, 2)
    windows = tuple(
        replace(w, pad_lo=p, pad_hi=p)
        for w, p in zip(drawn_windows(data, rank, sizes, pads=0), pads, strict=True)
    )
    module = (torch.nn.Conv1d if rank == 1 else torch.nn.Conv2d)(
        2,
        3,
        tuple(w.kernel for w in windows),
        stride=tuple(w.stride for w in windows),
        dilation=tuple(w.dilation for w in windows),
        padding=pads,
        padding_mode=mode,
    )
    network = chain((1, 2, *sizes), Conv(windows, 3, padding_mode=mode))  # type: ignore[arg-type]
    assert_reads_as_run(network, module)


@drawing(40)
@given(st.data())
def test_same_padding_of_a_convolution_is_that_of_torch(data: st.DataObject) -> None:
    length, kernel = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 6))
    dilation = data.draw(st.integers(1, 4))
    builder = Builder()
    x = builder.input("x", (1, 1, length))
    network = builder.build(builder.conv(x, 1, kernel, dilation=dilation, padding="same"))
    weight = weight_like(1, 1, kernel)
    assert_reads_as_run(network, lambda x: F.conv1d(x, weight, padding="same", dilation=dilation))


@drawing(60)
@given(st.data())
def test_a_transposed_convolution_reads_what_torch_reads(data: st.DataObject) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank] - 1)
    groups = data.draw(st.sampled_from([1, 2]))
    windows, extra = [], []
    for size in sizes:
        stride, dilation = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
        pad = data.draw(st.integers(0, 2))
        windows.append(Window(data.draw(st.integers(1, 4)), stride, dilation, pad, pad))
        extra.append(data.draw(st.integers(0, max(stride, dilation) - 1)))
        window = windows[-1]
        assume((size - 1) * stride - 2 * pad + window.extent + extra[-1] >= 1)
    weight = weight_like(4, 4 // groups, *(w.kernel for w in windows))

    def run(x: Any) -> Any:
        return TRANSPOSED[rank](
            x,
            weight,
            stride=[w.stride for w in windows],
            padding=[w.pad_lo for w in windows],
            output_padding=extra,
            dilation=[w.dilation for w in windows],
            groups=groups,
        )

    op = ConvTranspose(tuple(windows), 4, groups, tuple(extra))
    assert_reads_as_run(chain((1, 4, *sizes), op), run)


def pool_windows(data: st.DataObject, rank: int, sizes: tuple[int, ...], dilated: bool) -> Any:
    windows = []
    for size in sizes:
        kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
        pad = data.draw(st.integers(0, kernel // 2))
        dilation = data.draw(st.integers(1, 3)) if dilated else 1
        windows.append(Window(kernel, stride, dilation, pad, pad))
        assume(size + 2 * pad >= windows[-1].extent)
    return tuple(windows)


@drawing(60)
@given(st.data(), st.booleans())
def test_a_max_pool_reads_what_torch_reads(data: st.DataObject, ceil: bool) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank])
    windows = pool_windows(data, rank, sizes, dilated=True)

    def run(x: Any) -> Any:
        return MAX_POOLS[rank](
            x,
            [w.kernel for w in windows],
            [w.stride for w in windows],
            [w.pad_lo for w in windows],
            [w.dilation for w in windows],
            ceil_mode=ceil,
        )

    assert_reads_as_run(chain((1, 2, *sizes), Pool(windows, "max", ceil)), run)


@drawing(60)
@given(st.data(), st.booleans(), st.booleans())
def test_an_average_pool_reads_what_torch_reads(
    data: st.DataObject, ceil: bool, include: bool
) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank])
    windows = pool_windows(data, rank, sizes, dilated=False)
    if rank == 3:  # torch counts no padding there when it checks that a window fits
        assume(all(n >= w.kernel for n, w in zip(sizes, windows, strict=True)))

    def run(x: Any) -> Any:
        return AVG_POOLS[rank](
            x,
            [w.kernel for w in windows],
            [w.stride for w in windows],
            [w.pad_lo for w in windows],
            ceil_mode=ceil,
            count_include_pad=include,
        )

    assert_reads_as_run(chain((1, 2, *sizes), Pool(windows, "average", ceil, include)), run)


def test_pools_count_windows_as_torch_does_also_where_only_a_partial_one_fits() -> None:
    for length in range(1, 9):
        for kernel in range(1, 6):
            for stride in range(1, 7):
                for pad in range(kernel // 2 + 1):
                    for dilation in (1, 2, 3):
                        for ceil in (False, True):
                            window = Window(kernel, stride, dilation, pad, pad)
                            try:
                                ours = window.output_length(length, ceil)
                            except ValueError:
                                ours = None
                            assert ours == _torch_pool_length(window, length, ceil), (
                                window,
                                length,
                                ceil,
                            )


def _torch_pool_length(window: Window, length: int, ceil: bool) -> int | None:
    try:
        out = F.max_pool1d(
            torch.zeros(1, 1, length, device="meta"),
            window.kernel,
            window.stride,
            window.pad_lo,
            window.dilation,
            ceil_mode=ceil,
        )
    except RuntimeError:
        return None
    return int(out.shape[-1])


@drawing(40)
@given(st.data(), st.sampled_from(["average", "max"]))
def test_an_adaptive_pool_reads_what_torch_reads(data: st.DataObject, how: str) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank])
    targets = drawn(data, rank, 1, LONGEST[rank])
    pools = ADAPTIVE_AVG if how == "average" else ADAPTIVE_MAX
    network = chain((1, 2, *sizes), AdaptivePool(targets, how))  # type: ignore[arg-type]
    assert_reads_as_run(network, lambda x: pools[rank](x, targets))


NEAREST = Resize((), "nearest", "asymmetric")
NEAREST_EXACT = Resize((), "nearest", "half_pixel", rounding="round_prefer_ceil")
LINEAR = Resize((), "linear", "half_pixel")
CORNERS = Resize((), "linear", "align_corners")
CUBIC = Resize((), "cubic", "half_pixel")
CUBIC_CORNERS = Resize((), "cubic", "align_corners")
SMOOTH = Resize((), "linear", "half_pixel", antialias=True)
SMOOTH_CUBIC = Resize((), "cubic", "half_pixel", antialias=True)

INTERPOLATIONS: list[tuple[Resize, dict[str, Any]]] = [
    (NEAREST, {"mode": "nearest"}),
    (NEAREST_EXACT, {"mode": "nearest-exact"}),
    (LINEAR, {"mode": "linear", "align_corners": False}),
    (CORNERS, {"mode": "linear", "align_corners": True}),
    (CUBIC, {"mode": "bicubic", "align_corners": False}),
    (CUBIC_CORNERS, {"mode": "bicubic", "align_corners": True}),
    (SMOOTH, {"mode": "bilinear", "align_corners": False, "antialias": True}),
    (SMOOTH_CUBIC, {"mode": "bicubic", "align_corners": False, "antialias": True}),
]
LINEAR_OF_RANK = {1: "linear", 2: "bilinear", 3: "trilinear"}


def named(value: object) -> str | None:
    if isinstance(value, Resize):
        return "-".join([value.how, value.coordinates, *(["antialias"] * value.antialias)])
    return "" if isinstance(value, dict) else None


@pytest.mark.parametrize(("op", "how"), INTERPOLATIONS, ids=named)
def test_interpolation_reads_what_torch_weighs_at_every_pair_of_sizes(
    op: Resize, how: dict[str, Any]
) -> None:
    pairs = {(65, 513), (33, 257), (13, 71), (6, 50), (2, 97), (2, 82), (9, 9)}
    pairs |= {(n, m) for n in (1, 2, 3, 5, 8, 14, 28) for m in (1, 2, 3, 7, 12, 27, 50, 56, 71)}
    pairs |= {(7 * n % 61 + 1, 37 * n % 211 + 1) for n in range(60)}
    flat = how["mode"] == "bicubic" or how.get("antialias", False)

    def made(probes: torch.Tensor, m: int) -> torch.Tensor:
        if flat:
            return F.interpolate(probes[:, :, None], size=(1, m), **how)[:, 0, 0]
        return F.interpolate(probes, size=m, **how)[:, 0]

    for n, m in sorted(pairs):
        # Each of the n inputs is 1 in an image of its own, which makes its weights; and NaN, for
        # what is multiplied in float32, by 0 too.
        eye = torch.eye(n, dtype=torch.float64)[:, None]
        multiplied = made(torch.ones(n, 1, n).masked_fill(eye == 1, torch.nan), m).isnan()
        # On which side of a tie nearest falls is float32's to say.
        weighed = multiplied if op.how == "nearest" else made(eye, m).abs() > 1e-12
        assert (weighed <= multiplied).all(), f"{n} to {m}"
        builder = Builder()
        x = builder.input("x", (1, 1, n))
        node = builder.build(builder.add(replace(op, sizes=(m,)), x)).nodes[0]
        moved = node.moves[0].get("t")
        for output, column in enumerate(weighed.T.tolist()):
            says = [output] if moved is None else list(moved.at(output))
            does = [position for position, reached in enumerate(column) if reached]
            assert says == does, f"{n} to {m}, output {output}"


@drawing(40)
@given(st.data(), st.sampled_from([NEAREST, NEAREST_EXACT, LINEAR, CORNERS, CUBIC, SMOOTH]))
def test_interpolation_of_several_axes_reads_the_product(data: st.DataObject, op: Resize) -> None:
    rank = 2 if op.how == "cubic" or op.antialias else data.draw(RANKS)
    sizes = drawn(data, rank, 1, LONGEST[rank])
    targets = drawn(data, rank, 1, 2 * LONGEST[rank] - 2)
    how = dict(next(how for known, how in INTERPOLATIONS if known is op))
    if how["mode"] == "linear":
        how["mode"] = LINEAR_OF_RANK[rank]
    network = chain((1, 1, *sizes), replace(op, sizes=targets))
    run = partial(F.interpolate, size=targets, **how)
    assert_reads_as_run(network, run, observed if op.how == "nearest" else observed_by_change)


@drawing(60)
@given(
    st.integers(1, 24),
    st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.6, 1.7, 2.0, 2.3, 3.0, 3.3]),
    st.sampled_from([NEAREST, NEAREST_EXACT, LINEAR, CUBIC]),
)
def test_interpolation_by_a_scale_uses_the_scale_and_not_the_sizes(
    length: int, scale: float, op: Resize
) -> None:
    target = int(length * scale)
    assume(target >= 1)
    exact = Fraction(scale).limit_denominator(1000)
    how = next(how for known, how in INTERPOLATIONS if known is op)
    if op.how == "cubic":
        op = replace(op, sizes=(target, target), scales=(exact, exact))
        shape: tuple[int, ...] = (1, 1, length, length)
        assume(length <= 6)
    else:
        op = replace(op, sizes=(target,), scales=(exact,))
        shape = (1, 1, length)
    assert_reads_as_run(
        chain(shape, op),
        lambda x: F.interpolate(x, scale_factor=scale, recompute_scale_factor=False, **how),
        observed if op.how == "nearest" else observed_by_change,
    )


def test_torchs_antialias_with_aligned_corners_is_half_pixels_at_the_scale_of_the_corners() -> None:
    for n, m in [(9, 4), (4, 9), (5, 5), (12, 7), (7, 12), (8, 3)]:
        op = replace(SMOOTH, sizes=(m,), scales=(Fraction(m - 1, n - 1),))
        how = {"mode": "bilinear", "antialias": True, "align_corners": True}
        assert_reads_as_run(
            chain((1, 1, n), op),
            lambda x, m=m, how=how: F.interpolate(x[:, :, None], size=(1, m), **how)[:, :, 0],
            observed_by_change,
        )


@drawing(20)
@given(st.data())
def test_area_interpolation_is_adaptive_pooling(data: st.DataObject) -> None:
    rank = data.draw(RANKS)
    sizes, targets = drawn(data, rank, 1, LONGEST[rank]), drawn(data, rank, 1, LONGEST[rank])
    network = chain((1, 1, *sizes), AdaptivePool(targets))
    assert_reads_as_run(network, lambda x: F.interpolate(x, size=targets, mode="area"))


@drawing(60)
@given(st.data(), st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_padding_and_negative_padding_read_what_torch_reads(data: st.DataObject, mode: str) -> None:
    rank = data.draw(RANKS)
    sizes = drawn(data, rank, 2, LONGEST[rank])
    pads = []
    for size in sizes:
        most = size - 1 if mode == "reflect" else size if mode == "circular" else 4
        lo, hi = (data.draw(st.integers(-2, min(most, 4))) for _ in range(2))
        assume(size + lo + hi >= 1 and size + min(lo, 0) + min(hi, 0) >= 1)
        assume(mode != "circular" or min(lo, hi) >= 0 or max(lo, hi) <= 0)
        pads.append((lo, hi))
    network = chain((1, 2, *sizes), Pad(tuple(pads), mode))  # type: ignore[arg-type]
    assert_reads_as_run(network, lambda x: F.pad(x, torch_pads(pads), mode=mode))


def test_a_circular_pad_that_also_crops_is_not_followed() -> None:
    # torch crops first and wraps what is left; other frameworks do not say.
    with pytest.raises(NetworkError, match="crops and wraps"):
        chain((1, 1, 6), Pad(((2, -1),), "circular"))


@pytest.mark.parametrize("down", [False, True], ids=["shuffle", "unshuffle"])
@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffles_read_what_torch_reads(factor: int, down: bool) -> None:
    op = Shuffle((factor, factor), down)
    if down:
        network = chain((1, 2, 2 * factor, 3 * factor), op)
        assert_reads_as_run(network, lambda x: F.pixel_unshuffle(x, factor))
    else:
        network = chain((1, 2 * factor**2, 2, 3), op)
        assert_reads_as_run(network, lambda x: F.pixel_shuffle(x, factor))


@drawing(30)
@given(st.data())
def test_unfold_lays_windows_out_as_torch_does(data: st.DataObject) -> None:
    sizes = drawn(data, 2, 1, 8)
    windows = tuple(replace(w, pad_hi=w.pad_lo) for w in drawn_windows(data, 2, sizes, pads=2))
    assume(all(n + 2 * w.pad_lo >= w.extent for n, w in zip(sizes, windows, strict=True)))
    assert_reads_as_run(
        chain((1, 2, *sizes), Unfold(windows)),
        lambda x: F.unfold(
            x,
            [w.kernel for w in windows],
            [w.dilation for w in windows],
            [w.pad_lo for w in windows],
            [w.stride for w in windows],
        ),
    )


@drawing(30)
@given(st.integers(1, 12), st.integers(-15, 15))
def test_a_roll_reads_what_torch_reads(length: int, shift: int) -> None:
    assert_reads_as_run(chain((1, 1, length, 2), Roll(2, shift)), lambda x: torch.roll(x, shift, 2))


@drawing(40)
@given(st.integers(1, 14), st.integers(0, 9), st.integers(1, 14), st.integers(1, 5))
def test_a_slice_reads_what_torch_reads(length: int, start: int, stop: int, step: int) -> None:
    assume(start < min(stop, length))
    count = len(range(length)[start:stop:step])
    assert_reads_as_run(
        chain((1, 1, length, 2), Slice(2, start, count, step)),
        lambda x: x[:, :, start:stop:step],
    )


def test_an_index_takes_its_dimension_away() -> None:
    assert_reads_as_run(chain((1, 2, 5, 3), Slice(2, 3, 1, drop=True)), lambda x: x[:, :, 3])


def test_repeats_lay_an_axis_out_several_times() -> None:
    assert_reads_as_run(chain((1, 2, 5), Repeat(2, 3)), lambda x: x.repeat(1, 1, 3))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_concatenation_reads_each_part_in_its_place(dim: int) -> None:
    builder = Builder()
    x = builder.input("x", (1, 2, 6, 5))
    first = builder.add(Conv((Window(3, pad_lo=1, pad_hi=1), Window(1)), 2), x)
    cut = builder.add(Slice(dim, 0, 2), x)
    network = builder.build(builder.add(Concat(dim), cut, first, x))
    weight = weight_like(2, 2, 3, 1)
    assert_reads_as_run(
        network,
        lambda x: torch.cat([x.narrow(dim, 0, 2), F.conv2d(x, weight, padding=(1, 0)), x], dim),
    )


def test_a_circular_pad_spelled_as_a_concatenation_is_one() -> None:
    builder = Builder()
    x = builder.input("x", (1, 1, 7))
    parts = [builder.add(Slice(2, 4, 3), x), x, builder.add(Slice(2, 0, 2), x)]
    network = builder.build(builder.add(Concat(2), *parts))
    assert_reads_as_run(network, lambda x: torch.cat([x[..., 4:], x, x[..., :2]], 2))


POINTWISE = Conv((Window(1), Window(1)), 3)
AROUND = Conv((Window(3, 1, 2, 1, 3), Window(2, 1, 1, 2, 0)), 3)
KEEPING = Conv((Window(3, 1, 2, 1, 3), Window(2, 1, 1, 1, 0)), 3)


def convolved(x: Any, op: Conv) -> Any:
    weight = weight_like(op.channels, x.shape[1], *(w.kernel for w in op.windows))
    padded = F.pad(x, torch_pads([(w.pad_lo, w.pad_hi) for w in op.windows]))
    return F.conv2d(
        padded,
        weight,
        stride=[w.stride for w in op.windows],
        dilation=[w.dilation for w in op.windows],
    )


TO_DEPTH = (Reshape((1, 2, 4, 2, 3, 3)), Permute((0, 1, 3, 5, 2, 4)), Reshape((1, 12, 4, 3)))


def to_depth(x: Any) -> Any:
    return x.view(1, 2, 4, 2, 3, 3).permute(0, 1, 3, 5, 2, 4).reshape(1, 12, 4, 3)


TO_SPACE = (Reshape((1, 2, 2, 3, 3, 4)), Permute((0, 1, 4, 2, 5, 3)), Reshape((1, 2, 6, 12)))


def to_space(x: Any) -> Any:
    return x.view(1, 2, 2, 3, 3, 4).permute(0, 1, 4, 2, 5, 3).reshape(1, 2, 6, 12)


IN_WINDOWS = (Reshape((1, 2, 4, 2, 3, 3)), Permute((0, 2, 4, 1, 3, 5)), Reshape((12, 2, 2, 3)))
FROM_WINDOWS = (Reshape((1, 4, 3, 3, 2, 3)), Permute((0, 3, 1, 4, 2, 5)), Reshape((1, 3, 8, 9)))


def in_windows(x: Any) -> Any:
    return x.view(1, 2, 4, 2, 3, 3).permute(0, 2, 4, 1, 3, 5).reshape(12, 2, 2, 3)


def from_windows(x: Any) -> Any:
    return x.view(1, 4, 3, 3, 2, 3).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, 8, 9)


PHASES = (Reshape((1, 2, 4, 2, 3, 3)), Permute((0, 3, 5, 1, 2, 4)), Reshape((6, 2, 4, 3)))
FROM_PHASES = (Reshape((1, 2, 3, 3, 4, 3)), Permute((0, 3, 4, 1, 5, 2)), Reshape((1, 3, 8, 9)))


def in_phases(x: Any) -> Any:
    return x.view(1, 2, 4, 2, 3, 3).permute(0, 3, 5, 1, 2, 4).reshape(6, 2, 4, 3)


def from_phases(x: Any) -> Any:
    return x.view(1, 2, 3, 3, 4, 3).permute(0, 3, 4, 1, 5, 2).reshape(1, 3, 8, 9)


IN = (1, 2, 8, 9)
REARRANGED: dict[str, tuple[tuple[int, ...], tuple[Op, ...], Run]] = {
    "space to depth, then 1x1": (
        IN,
        (*TO_DEPTH, POINTWISE),
        lambda x: convolved(to_depth(x), POINTWISE),
    ),
    "space to depth, then a window": (
        IN,
        (*TO_DEPTH, AROUND),
        lambda x: convolved(to_depth(x), AROUND),
    ),
    "space to depth, then a pool": (
        IN,
        (*TO_DEPTH, Pool((Window(3, 1, 1, 1, 1), Window(2)))),
        lambda x: F.max_pool2d(to_depth(x), (3, 2), 1, (1, 0)),
    ),
    "space to depth, then a strided pool": (
        IN,
        (*TO_DEPTH, Pool((Window(2, 2), Window(2, 2)), ceil=True)),
        lambda x: F.max_pool2d(to_depth(x), 2, 2, ceil_mode=True),
    ),
    "depth to space, then 1x1": (
        (1, 12, 3, 4),
        (*TO_SPACE, POINTWISE),
        lambda x: convolved(to_space(x), POINTWISE),
    ),
    "depth to space, then a window": (
        (1, 12, 3, 4),
        (*TO_SPACE, AROUND),
        lambda x: convolved(to_space(x), AROUND),
    ),
    "windows, then 1x1": (
        IN,
        (*IN_WINDOWS, POINTWISE),
        lambda x: convolved(in_windows(x), POINTWISE),
    ),
    "windows, then a window inside": (
        IN,
        (*IN_WINDOWS, AROUND),
        lambda x: convolved(in_windows(x), AROUND),
    ),
    "windows, a window inside, and back": (
        IN,
        (*IN_WINDOWS, KEEPING, *FROM_WINDOWS),
        lambda x: from_windows(convolved(in_windows(x), KEEPING)),
    ),
    "windows, a pad inside": (
        IN,
        (*IN_WINDOWS, Pad(((1, 0), (1, 2)), "reflect")),
        lambda x: F.pad(in_windows(x), (1, 2, 1, 0), mode="reflect"),
    ),
    "windows, a crop inside": (IN, (*IN_WINDOWS, Slice(3, 1, 2)), lambda x: in_windows(x)[..., 1:]),
    "windows, a roll inside": (
        IN,
        (*IN_WINDOWS, Roll(3, 1)),
        lambda x: torch.roll(in_windows(x), 1, 3),
    ),
    "windows, pooled to one": (
        IN,
        (*IN_WINDOWS, AdaptivePool((1, 1))),
        lambda x: F.adaptive_avg_pool2d(in_windows(x), 1),
    ),
    "windows, pooled along one axis": (
        IN,
        (*IN_WINDOWS, AdaptivePool((1, 2))),
        lambda x: F.adaptive_avg_pool2d(in_windows(x), (1, 2)),
    ),
    "windows, enlarged inside": (
        IN,
        (*IN_WINDOWS, replace(LINEAR, sizes=(4, 5))),
        lambda x: F.interpolate(in_windows(x), size=(4, 5), mode="bilinear"),
    ),
    "windows, transposed convolution inside": (
        IN,
        (*IN_WINDOWS, ConvTranspose((Window(2, 3), Window(3, 2, 1, 1, 1)), 3)),
        lambda x: F.conv_transpose2d(in_windows(x), weight_like(2, 3, 2, 3), None, (3, 2), (0, 1)),
    ),
    "phases, a window over each, and back": (
        IN,
        (*PHASES, KEEPING, *FROM_PHASES),
        lambda x: from_phases(convolved(in_phases(x), KEEPING)),
    ),
    "phases, then a stride": (
        IN,
        (*PHASES, Conv((Window(3, 2, 1, 1, 1), Window(2, 2)), 3)),
        lambda x: convolved(in_phases(x), Conv((Window(3, 2, 1, 1, 1), Window(2, 2)), 3)),
    ),
    "phases, reflected at their own ends": (
        IN,
        (*PHASES, Pad(((2, 1), (1, 2)), "reflect")),
        lambda x: F.pad(in_phases(x), (1, 2, 2, 1), mode="reflect"),
    ),
    "phases, wrapped round": (
        IN,
        (*PHASES, Pad(((2, 1), (1, 2)), "circular")),
        lambda x: F.pad(in_phases(x), (1, 2, 2, 1), mode="circular"),
    ),
    "high digits in the channels, then a window": (
        (1, 2, 6),
        (
            Reshape((1, 2, 2, 3)),
            Reshape((1, 4, 3)),
            Conv((Window(2, 1, 1, 1, 1),), 3),
        ),
        lambda x: F.conv1d(x.reshape(1, 4, 3), weight_like(3, 4, 2), padding=1),
    ),
    "tokens and a linear layer": (
        IN,
        (Reshape((1, 2, 72)), Permute((0, 2, 1)), Linear(5)),
        lambda x: x.flatten(2).transpose(1, 2) @ weight_like(2, 5),
    ),
    "a linear layer over rows": (IN, (Linear(5),), lambda x: x @ weight_like(9, 5)),
    "a linear layer over rows and channels": (
        IN,
        (Permute((0, 2, 1, 3)), Reshape((1, 8, 18)), Linear(5)),
        lambda x: x.transpose(1, 2).reshape(1, 8, 18) @ weight_like(18, 5),
    ),
    "channels last, normed": (
        IN,
        (Permute((0, 2, 3, 1)), Mix((3,)), Permute((0, 3, 1, 2))),
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (2,)).permute(0, 3, 1, 2),
    ),
    "patches as tokens": (
        IN,
        (
            Reshape((1, 2, 4, 2, 3, 3)),
            Permute((0, 2, 4, 1, 3, 5)),
            Reshape((1, 12, 12)),
            Linear(3),
        ),
        lambda x: in_windows(x).reshape(1, 12, 12) @ weight_like(12, 3),
    ),
    "tokens cut and laid back as a map": (
        IN,
        (
            Reshape((1, 2, 72)),
            Permute((0, 2, 1)),
            Permute((0, 2, 1)),
            Reshape((1, 2, 8, 9)),
            AROUND,
        ),
        lambda x: convolved(x, AROUND),
    ),
    "a batch of one taken away": (
        IN,
        (Reshape((2, 8, 9)), Pad(((1, 0), (0, 1)))),
        lambda x: F.pad(x[0], (0, 1, 1, 0)),
    ),
    "a window and its transpose": (
        IN,
        (
            Conv((Window(3, 2, 1, 1, 1), Window(3, 2, 1, 1, 1)), 3),
            Permute((0, 1, 3, 2)),
            AROUND,
        ),
        lambda x: convolved(
            convolved(x, Conv((Window(3, 2, 1, 1, 1),) * 2, 3)).transpose(2, 3), AROUND
        ),
    ),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_positions_are_followed_through_reshapes(name: str) -> None:
    shape, ops, run = REARRANGED[name]
    weighed = any(isinstance(op, Resize) and op.how != "nearest" for op in ops)
    assert_reads_as_run(chain(shape, *ops), run, observed_by_change if weighed else observed)


MIXING: dict[str, tuple[tuple[int, ...], tuple[Op, ...], Run]] = {
    "softmax over a row": (IN, (Mix((3,)),), lambda x: x.softmax(3)),
    "softmax over channels": (IN, (Mix((1,)),), lambda x: x.softmax(1)),
    "softmax over all positions": (IN, (Mix((2, 3)),), lambda x: x.flatten(2).softmax(2).view(IN)),
    "layer norm over rows": (IN, (Mix((3,)),), lambda x: F.layer_norm(x, (9,))),
    "group norm": (IN, (Mix((1, 2, 3)),), lambda x: F.group_norm(x, 1)),
    "instance norm": (IN, (Mix((2, 3)),), lambda x: F.instance_norm(x)),
    "softmax inside windows": (IN, (*IN_WINDOWS, Mix((3,))), lambda x: in_windows(x).softmax(3)),
    "softmax over windows": (IN, (*IN_WINDOWS, Mix((0,))), lambda x: in_windows(x).softmax(0)),
    "mean over positions": (IN, (Reduce((2, 3)),), lambda x: x.mean((2, 3))),
    "mean over a row, kept": (IN, (Reduce((3,), True),), lambda x: x.mean(3, keepdim=True)),
    "maximum over channels": (IN, (Reduce((1,), True),), lambda x: x.amax(1, keepdim=True)),
    "mean inside windows": (
        IN,
        (*IN_WINDOWS, Reduce((2, 3))),
        lambda x: in_windows(x).mean((2, 3)),
    ),
    "mean over windows": (IN, (*IN_WINDOWS, Reduce((0,))), lambda x: in_windows(x).mean(0)),
    "mean over phases": (IN, (*PHASES, Reduce((0,), True)), lambda x: in_phases(x).mean(0, True)),
    "a sum along a row": (
        (1, 2, 4, 5),
        (Scan(3),),
        lambda x: x.cumsum(3),
    ),
    "a backward sum along a column": (
        (1, 2, 4, 5),
        (Scan(2, "reverse"),),
        lambda x: x.flip(2).cumsum(2).flip(2),
    ),
    "a recurrence over time": (
        (1, 2, 7),
        (Permute((0, 2, 1)), Scan(1, channels=3)),
        lambda x: _recurrence(False)(x.transpose(1, 2))[0],
    ),
    "a recurrence both ways": (
        (1, 2, 7),
        (Permute((0, 2, 1)), Scan(1, "both", channels=6)),
        lambda x: _recurrence(True)(x.transpose(1, 2))[0],
    ),
    "expanded after a mean": (
        IN,
        (Reduce((3,), True), Expand(IN)),
        lambda x: x.mean(3, keepdim=True).expand(IN),
    ),
}


def _recurrence(both: bool) -> Any:
    torch.manual_seed(0)
    return torch.nn.GRU(2, 3, batch_first=True, bidirectional=both)


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_positions_mixes_exactly_those(name: str) -> None:
    shape, ops, run = MIXING[name]
    assert_reads_as_run(chain(shape, *ops), run)


def attention(heads: bool, *, fused: bool, lead: tuple[Op, ...], tokens: int) -> Any:
    builder = Builder()
    x = builder.input("x", IN)
    for op in lead:
        x = builder.add(op, x)
    batch = x.shape[0]
    x = builder.add(Reshape((batch, 2, tokens)), x)
    x = builder.add(Permute((0, 2, 1)), x)
    if heads:
        x = builder.add(Reshape((batch, 1, tokens, 2)), x)
    if fused:
        return builder.build(builder.add(Attention(), x, x, x))
    letters = ("bhid", "bhjd", "bhij") if heads else ("bid", "bjd", "bij")
    scores = builder.add(Contract(f"{letters[0]},{letters[1]}->{letters[2]}"), x, x)
    scores = builder.add(Mix((len(scores.shape) - 1,), "softmax"), scores)
    return builder.build(
        builder.add(Contract(f"{letters[2]},{letters[1]}->{letters[0]}"), scores, x)
    )


@pytest.mark.parametrize("fused", [False, True], ids=["matmul", "fused"])
@pytest.mark.parametrize("heads", [False, True], ids=["plain", "heads"])
@pytest.mark.parametrize("where", ["all positions", "windows", "phases"])
def test_attention_reads_its_tokens_and_no_others(where: str, heads: bool, fused: bool) -> None:
    lead, split, tokens = {
        "all positions": ((), lambda x: x, 72),
        "windows": (IN_WINDOWS, in_windows, 6),
        "phases": (PHASES, in_phases, 12),
    }[where]

    def run(x: Any) -> Any:
        x = split(x).flatten(2).transpose(1, 2)
        x = x[:, None] if heads else x
        return (x @ x.transpose(-1, -2)).softmax(-1) @ x

    assert_reads_as_run(attention(heads, fused=fused, lead=lead, tokens=tokens), run)


def test_attention_that_sums_over_positions_first_reads_them_all() -> None:
    builder = Builder()
    x = builder.input("x", (1, 3, 10))
    both = builder.add(Contract("bdn,ben->bde"), x, x)
    network = builder.build(builder.add(Contract("bde,bdn->ben"), both, x))
    assert_reads_as_run(network, lambda x: (x @ x.transpose(1, 2)).transpose(1, 2) @ x)


def test_attention_to_a_pooled_map_reads_it_whole() -> None:
    builder = Builder()
    x = builder.input("x", (1, 3, 12))
    small = builder.add(Pool((Window(3, 3),), "average"), x)
    scores = builder.add(Contract("bdn,bdm->bnm"), x, small)
    network = builder.build(builder.add(Contract("bnm,bdm->bdn"), scores, small))

    def run(x: Any) -> Any:
        small = F.avg_pool1d(x, 3)
        return torch.einsum("bnm,bdm->bdn", torch.einsum("bdn,bdm->bnm", x, small), small)

    assert_reads_as_run(network, run)


def gated(pooled: Op) -> Network:
    builder = Builder()
    x = builder.input("x", IN)
    return builder.build(builder.add(Elementwise("mul"), x, builder.add(pooled, x)))


JOINS: dict[str, tuple[Network, Run]] = {
    "squeeze and excitation": (
        gated(AdaptivePool((1, 1))),
        lambda x: x * F.adaptive_avg_pool2d(x, 1),
    ),
    "strip pooling": (gated(Reduce((2,), True)), lambda x: x * x.mean(2, keepdim=True)),
    "a gate for each position": (gated(Reduce((1,), True)), lambda x: x * x.amax(1, True)),
}


@pytest.mark.parametrize("name", JOINS)
def test_joins_broadcast_what_they_read(name: str) -> None:
    network, run = JOINS[name]
    assert_reads_as_run(network, run)


def test_strips_of_both_axes_join_to_the_whole_map() -> None:
    builder = Builder()
    x = builder.input("x", IN)
    rows, columns = builder.mean(x, (3,), keep=True), builder.mean(x, (2,), keep=True)
    network = builder.build(builder.join(rows, columns))
    assert_reads_as_run(network, lambda x: x.mean(3, keepdim=True) + x.mean(2, keepdim=True))


def test_windows_minus_their_means_read_their_own_window() -> None:
    builder = Builder()
    x = builder.input("x", IN)
    x = builder.add(Reshape((1, 2, 4, 2, 9)), x)
    network = builder.build(builder.join(x, builder.mean(x, (3,), keep=True), label="sub"))

    def run(x: Any) -> Any:
        x = x.view(1, 2, 4, 2, 9)
        return x - x.mean(3, keepdim=True)

    assert_reads_as_run(network, run)


def test_channels_that_hold_positions_are_read_as_a_whole_after_a_concatenation() -> None:
    builder = Builder()
    x = builder.input("x", IN)
    deep = x
    for op in TO_DEPTH:
        deep = builder.add(op, deep)
    pooled = builder.add(Pool((Window(2, 2), Window(3, 3))), x)
    network = builder.build(builder.add(POINTWISE, builder.add(Concat(1), deep, pooled)))
    assert_reads_as_run(
        network,
        lambda x: convolved(torch.cat([to_depth(x), F.max_pool2d(x, (2, 3))], 1), POINTWISE),
    )


class TestTheOracle:
    """What checks everything above finds a wrong answer."""

    def conv(self, **changes: Any) -> Network:
        windows = (replace(Window(3, 2, 2, 1, 2), **changes), Window(1))
        return chain((1, 2, 9, 4), Conv(windows, 3))

    def run(self, x: Any) -> Any:
        return convolved(x, Conv((Window(3, 2, 2, 1, 2), Window(1)), 3))

    def test_it_accepts_the_right_answer(self) -> None:
        assert_reads_as_run(self.conv(), self.run)

    def test_it_rejects_a_window_moved_by_one(self) -> None:
        with pytest.raises(AssertionError, match="says the rule; the operation disagrees"):
            assert_reads_as_run(self.conv(pad_lo=2, pad_hi=1), self.run)

    def test_it_rejects_a_window_without_its_holes(self) -> None:
        with pytest.raises(AssertionError, match=r"reads input .*, says the rule"):
            assert_reads_as_run(self.conv(kernel=5, dilation=1), self.run)

    def test_it_rejects_a_tap_too_few(self) -> None:
        with pytest.raises(AssertionError, match=r"does not read input .*, says the rule"):
            assert_reads_as_run(self.conv(kernel=2, pad_hi=0), self.run)

    def test_it_rejects_a_wrong_length(self) -> None:
        with pytest.raises(AssertionError, match="the rule says"):
            assert_reads_as_run(self.conv(pad_hi=9), self.run)

    def test_it_rejects_a_layout_that_skips_positions(self) -> None:
        network = chain(IN, *IN_WINDOWS)
        node: Node = network.nodes[-1]
        dims = list(node.output.layout)
        dims[2] = (replace(dims[2][0], weight=3),)
        broken = replace(node, output=Tensor(node.output.name, tuple(dims)))
        network = replace(network, nodes=(*network.nodes[:-1], broken))
        with pytest.raises(AssertionError, match="h has a gap"):
            assert_reads_as_run(network, in_windows)
