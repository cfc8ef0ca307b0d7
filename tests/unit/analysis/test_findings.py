"""Findings: each where it is true, not where it is not, and on the border between the two."""

from __future__ import annotations

from itertools import product

import pytest

import atrous
from atrous.analysis import inspect_network
from atrous.analysis.findings import codes, future
from atrous.analysis.findings.registry import FINDERS, finder
from atrous.errors import ArgumentError
from atrous.network import Builder
from atrous.network.ops import Opaque, Slice


def found(report, code):
    return {f.layer: f for f in report.findings if f.code == code}


def stack(text, size=64, axes=2):
    return atrous.inspect(f"stack:{text}", (1, 4, *(size,) * axes))


def built(make, shape=(1, 4, 32, 32)):
    b = Builder("made")
    return inspect_network(b.build(make(b, b.input("x", shape))))


# Holes


@pytest.mark.parametrize(
    ("layers", "opener", "taps", "size"),
    [
        ("k3d2 k3d2 k3d2", "conv3", 7, 13),
        ("k3d1 k3d2 k3d9", "conv3", 21, 25),
        ("k3d9 k3d2 k3d1", "conv1", 21, 25),
        ("k3d2 k3d4 k3d8", "conv3", 15, 29),
        ("k3d2 k3d2 k3d3", "conv3", 13, 15),
        ("k1s2 k3", "conv1", 3, 5),
    ],
)
def test_holes_are_found_at_the_layer_that_opens_them(layers, opener, taps, size):
    report = stack(layers)
    findings = found(report, "gridding")
    assert list(findings) == [opener]
    said = f"conv{len(layers.split())} reads {taps} of the {size} input positions in its field"
    assert f"{said} along h, w, with gaps" in findings[opener].message
    assert findings[opener].severity == "warning"
    assert report.outputs[0].field[0].taps == taps


@pytest.mark.parametrize(
    "layers", ["k3d1 k3d2 k3d5", "k3d1 k3d2 k3d3", "k3d5 k3d1 k3d2", "k5s2 k3d2", "k7s2 k3d4 k3d2"]
)
def test_no_holes_are_found_where_the_layers_fill_one_another(layers):
    assert not found(stack(layers), "gridding")


@pytest.mark.parametrize(("rate", "holes"), [(7, False), (8, True)])
def test_a_rate_may_be_one_more_than_twice_the_sum_of_the_others(rate, holes):
    assert bool(found(stack(f"k3d1 k3d2 k3d{rate}"), "gridding")) is holes


def dense_aspp(b, x, rates):
    for rate in rates:
        y = b.conv(x, 4, 3, padding=rate, dilation=rate, name=f"rate{rate}")
        x = b.concat(x, y, name=f"join{rate}")
    return x


def test_dense_aspp_alone_opens_holes_at_its_largest_rate_and_a_layer_of_rate_1_fills_them():
    rates = (3, 6, 12, 18, 24)
    report = built(lambda b, x: dense_aspp(b, x, rates), (1, 4, 160, 160))
    assert set(found(report, "gridding")) <= {f"rate{rate}" for rate in rates}
    (finding,) = found(report, "gridding").values()
    assert "reads 43 of the 127" in finding.message
    filled = built(
        lambda b, x: dense_aspp(b, b.conv(x, 4, 3, padding=1, name="first"), rates),
        (1, 4, 160, 160),
    )
    assert filled.outputs[0].field[0].size == 129
    assert not found(filled, "gridding")


def test_axes_with_different_holes_are_told_apart():
    report = stack("k3d(1,2) k3d(2,2)")
    (finding,) = found(report, "gridding").values()
    assert "reads 5 of the 9 input positions in its field along w" in finding.message
    both = stack("k3d(2,4) k3d(2,4)")
    (finding,) = found(both, "gridding").values()
    assert "reads 5 of the 9 input positions in its field along h, 5 of 17 along w" in (
        finding.message
    )
    assert "with gaps of up to 3" in finding.message


def test_holes_before_a_global_pool_lose_nothing_that_the_output_could_have_seen():
    def make(b, x):
        for index in range(3):
            x = b.conv(x, 4, 3, dilation=2, padding=2, name=f"conv{index}")
        return b.flatten(b.global_pool(x))

    report = built(make)
    assert not found(report, "gridding")
    assert not found(report, "subgrids")


# Sub-grids


def test_neighbours_on_disjoint_sub_grids_are_found_at_the_first_layer_that_is_read_so():
    report = stack("k3 k3d2 k3d2 k3d4")
    assert list(found(report, "subgrids")) == ["conv2"]
    assert found(report, "subgrids")["conv2"].severity == "warning"
    assert "one position in 2 of this layer's input (one in 4 further on), through 3 layers" in (
        found(report, "subgrids")["conv2"].message
    )


@pytest.mark.parametrize("layers", ["k3 k3d2 k3d2 k3", "k3 k3d2 k3d3", "k3d1 k3d2 k3d5", "k3 k3"])
def test_an_undilated_end_or_rates_without_a_common_factor_join_the_sub_grids(layers):
    assert not found(stack(layers), "subgrids")


@pytest.mark.parametrize(("layers", "trapped"), [("k3 k3d2", False), ("k3 k3d2 k3d2", True)])
def test_it_takes_two_dilated_layers_to_part_neighbours_for_good(layers, trapped):
    assert bool(found(stack(layers), "subgrids")) is trapped


def test_neighbours_as_far_apart_as_the_grid_share_it():
    assert not found(stack("k3 k3d2 k3d2 k1s2"), "subgrids")
    assert found(stack("k3 k3d2 k3d2 k1s3"), "subgrids")


def test_along_a_single_axis_sub_grids_are_only_worth_knowing():
    report = atrous.inspect("stack:k3 k3d2 k3d2", (1, 1, 64))
    (finding,) = found(report, "subgrids").values()
    assert finding.severity == "info"


@pytest.mark.parametrize("name", ["wavenet", "wavenet_3stacks", "tcn", "bytenet_decoder"])
def test_sequence_models_whose_rates_double_part_neighbours_by_design(name):
    assert not found(atrous.inspect(f"zoo:{name}"), "subgrids")


# Branches that see their centre only


@pytest.mark.parametrize(
    ("rate", "size", "share", "severity"),
    [
        (36, 33, "every position", "warning"),
        (33, 33, "every position", "warning"),
        (32, 33, "88%", "warning"),
        (24, 33, "21%", "info"),
        (17, 33, "below 0.1%", "info"),
        (36, 65, "1%", "info"),
    ],
)
def test_a_branch_that_sees_its_centre_only_is_found_with_the_share(rate, size, share, severity):
    report = stack(f"k3d{rate}", size)
    (finding,) = found(report, "aspp-center").values()
    assert f"at {share}" in finding.message
    assert finding.severity == severity
    outputs = range(size)
    alone = sum(o - rate < 0 and o + rate >= size for o in outputs) ** 2
    assert ("1x1 convolution" in finding.message) is (alone == size**2)


@pytest.mark.parametrize(("rate", "size"), [(16, 33), (24, 65), (1, 1), (2, 4)])
def test_a_rate_of_at_most_half_the_map_leaves_every_position_a_second_tap(rate, size):
    assert not found(stack(f"k3d{rate}", size), "aspp-center")


def test_taps_of_a_kernel_that_is_wrapped_round_the_ends_are_no_padding():
    from atrous.geometry import Window
    from atrous.network.ops import Conv

    window = Window(3, dilation=30, pad_lo=30, pad_hi=30)
    report = built(
        lambda b, x: b.add(Conv((window, window), 4, 1, "circular"), x, name="round"),
    )
    assert not found(report, "aspp-center")


# Narrow windows


def residual(b, x, *, kernel, average=False):
    y = b.conv(x, 4, kernel, stride=2, padding=kernel // 2, name="main")
    if average:
        x = b.pool(x, 2, average=True, name="mean")
    skip = b.conv(x, 4, 1, stride=1 if average else 2, name="skip")
    return b.join(y, skip)


def test_a_shortcut_that_reads_a_quarter_is_worth_knowing_where_the_main_path_reads_the_rest():
    findings = found(built(lambda b, x: residual(b, x, kernel=3)), "narrow-window")
    assert list(findings) == ["skip"]
    assert findings["skip"].severity == "info"
    assert "reads 25% of its input" in findings["skip"].message


def test_what_nothing_else_reads_is_lost():
    findings = found(built(lambda b, x: residual(b, x, kernel=1)), "narrow-window")
    assert {name: f.severity for name, f in findings.items()} == {
        "main": "warning",
        "skip": "warning",
    }


def test_a_shortcut_that_averages_first_reads_everything():
    report = built(lambda b, x: residual(b, x, kernel=3, average=True))
    assert not found(report, "narrow-window")


@pytest.mark.parametrize(
    ("layer", "share"),
    [("k1s2", "25%"), ("k2s2", None), ("k2s3", "44%"), ("k3s2d2", "25%"), ("k3s3d2", None)],
)
def test_what_counts_is_which_phases_of_the_stride_the_taps_fall_on(layer, share):
    findings = list(found(stack(f"{layer} k3"), "narrow-window").values())
    assert [f"reads {share} of its input" in f.message for f in findings] == [True] * bool(share)


# Checkerboards


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (4, 3), (1, 2), (5, 4)])
def test_unequal_contributions_of_a_transposed_convolution_are_found(kernel, stride):
    def make(b, x):
        return b.conv_transpose(x, 4, kernel, stride=stride, name="up")

    (finding,) = found(built(make), "checkerboard").values()
    assert finding.layer == "up"
    rounded = next(k for k in range(kernel, 99) if k % stride == 0)
    assert f"Use kernel {rounded}" in finding.fix


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (2, 2), (3, 1), (6, 3), (8, 4)])
def test_a_kernel_that_is_a_multiple_of_its_stride_makes_no_checkerboard(kernel, stride):
    def make(b, x):
        return b.conv_transpose(x, 4, kernel, stride=stride, name="up")

    assert not found(built(make), "checkerboard")


# Joins


def joined(b, x, *, main, skip):
    y = b.conv(x, 4, 3, stride=2, padding=main, name="main")
    skip = b.conv(x, 4, 1, stride=2, name="skip") if skip else b.pool(x, 2, name="pool")
    return b.join(y, skip, name="sum")


def test_branches_padded_differently_are_found_with_their_distance():
    report = built(lambda b, x: joined(b, x, main=[(0, 1)], skip=True))
    (finding,) = found(report, "misaligned-join").values()
    assert finding.layer == "sum"
    assert "main and skip lie up to 1 input position apart along h, half a cell" in finding.message


def test_branches_padded_alike_line_up():
    assert not found(built(lambda b, x: joined(b, x, main=1, skip=True)), "misaligned-join")


def test_a_quarter_of_a_cell_is_nothing_that_an_average_in_the_shortcut_could_avoid():
    assert not found(built(lambda b, x: joined(b, x, main=1, skip=False)), "misaligned-join")


def test_a_cell_or_more_is_a_warning_and_is_named_where_it_arises_only():
    def make(b, x):
        y = b.conv(x, 4, 3, padding=[(4, 0)], dilation=2, name="causal")
        z = b.conv(x, 4, 3, padding=[(0, 4)], dilation=2, name="ahead")
        x = b.join(y, z, name="sum1")
        y = b.conv(x, 4, 3, padding=1, name="after")
        return b.join(x, y, name="sum2")

    findings = found(built(make), "misaligned-join")
    assert list(findings) == ["sum1"]
    assert findings["sum1"].severity == "warning"
    assert "4 input positions apart" in findings["sum1"].message


def test_the_crops_and_the_upsampling_of_a_unet_line_up():
    assert not found(atrous.inspect("zoo:unet"), "misaligned-join")

    def valid(b, x):
        y = b.conv(b.pool(b.conv(x, 4, 3, name="a"), 2), 4, 3, name="b")
        y = b.conv_transpose(y, 4, 2, stride=2, name="up")
        x = b.pad(x, [(-3, -3), (-3, -3)], name="crop")
        return b.concat(x, y)

    assert not found(built(valid, (1, 4, 34, 34)), "misaligned-join")


def test_a_crop_beside_the_middle_does_not():
    def make(b, x):
        y = b.conv(x, 4, 5, name="a")
        return b.concat(b.pad(x, [(0, -4), (0, -4)], name="crop"), y, name="join")

    (finding,) = found(built(make), "misaligned-join").values()
    assert "2 input positions apart" in finding.message


@pytest.mark.parametrize("name", ["wavenet", "tcn", "conv_tasnet"])
def test_causal_branches_line_up_at_their_end(name):
    assert not found(atrous.inspect(f"zoo:{name}"), "misaligned-join")


# Shifts


@pytest.mark.parametrize(
    ("layer", "severity", "text"),
    [
        ("k2", "info", "half a cell, 0.5 input positions"),
        ("k4", "info", "half a cell"),
        ("k3p(0,2)", "warning", "1 cell, 1 input position"),
        ("k2d2p(1,1)", "warning", "1 cell, 1 input position"),
        ("k4d4p(6,6)", "warning", "2 cells"),
    ],
)
def test_windows_that_shift_the_map_are_found_with_the_distance(layer, severity, text):
    (finding,) = found(stack(layer), "half-cell-shift").values()
    assert finding.severity == severity
    assert text in finding.message


@pytest.mark.parametrize(
    ("layer", "fix"), [("k7s2p(5,1)", "Pad both sides alike"), ("k4p(2,1)", "Use an odd kernel")]
)
def test_a_shifted_map_is_mended_where_it_comes_from(layer, fix):
    (finding,) = found(stack(layer), "half-cell-shift").values()
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    "layer",
    [
        "k3",
        "k3valid",
        "k2valid",
        "k2s2valid",
        "k4s2p(1,1)",
        "k7s2",
        "k3s2p(0,1)",
        "k1s2",
        "k3causal",
        "k2causal",
        "k5d3",
        "maxk2s2",
    ],
)
def test_crops_strides_and_causal_windows_are_no_shift(layer):
    assert not found(stack(layer), "half-cell-shift")


def shift_of(reads, length, stride):
    """In cells, between the middle of a map and the middle of what its outputs read."""
    middles = [(min(taps) + max(taps)) / 2 for taps in reads]
    return abs((middles[0] + middles[-1]) / 2 - (length - 1) / 2) / stride


def is_named(reads, length, kernel, stride, behind):
    """The rule of docs/checks.md, on the positions that each output reads, listed one by one."""
    if kernel == 1 or len(reads) == 1:
        return False
    if behind == 0 and all(max(taps) <= place * stride for place, taps in enumerate(reads)):
        return False
    if shift_of(reads, length, stride) >= 0.5:
        return True
    # As many in front of its own place as behind it, and never that place itself.
    return stride == 1 and all(
        place not in taps and min(taps) + max(taps) == 2 * place for place, taps in enumerate(reads)
    )


def test_which_windows_shift_is_as_the_documents_say():
    length, expected = 17, {}
    b = Builder("windows")
    x = b.input("x", (1, 1, length))
    outputs = []
    for kernel, stride, rate in product((1, 2, 3, 4), (1, 2, 3), (1, 2, 3)):
        spread = (kernel - 1) * rate
        for lo, hi in product(range(spread + 2), repeat=2):
            if (lo + 2 * hi + rate) % 2:  # every second one is enough
                continue
            name = f"k{kernel}s{stride}d{rate}p{lo}_{hi}"
            y = b.conv(x, 1, kernel, stride=stride, dilation=rate, padding=[(lo, hi)], name=name)
            reads = [
                [o * stride - lo + rate * j for j in range(kernel)] for o in range(y.shape[-1])
            ]
            expected[name] = is_named(reads, length, kernel, stride, hi)
            outputs.append(y)
    named = found(inspect_network(b.build(*outputs)), "half-cell-shift").keys()
    assert {name for name, shifts in expected.items() if shifts} == named
    assert 100 < len(named) < len(expected) - 100


def test_a_padding_op_counts_as_the_padding_of_the_window_behind_it():
    def make(b, x, pads):
        return b.conv(b.pad(x, [pads, pads], name="pad"), 4, 2, name="conv")

    assert list(found(built(lambda b, x: make(b, x, (0, 1))), "half-cell-shift")) == ["conv"]
    even = built(lambda b, x: b.conv(b.pad(x, [(1, 1)] * 2, name="pad"), 4, 3, name="conv"))
    assert not found(even, "half-cell-shift")


# How far a network sees


@pytest.mark.parametrize(
    ("size", "named"), [(12, "conv3"), (13, None), (10, "conv3"), (8, "conv2")]
)
def test_the_first_layer_with_a_field_beyond_the_input_is_named(size, named):
    findings = found(stack("k3d2 k3d2 k3d2", size), "field-exceeds-input")
    assert list(findings) == ([named] if named else [])


def test_a_field_beyond_the_input_along_one_axis_still_gains_from_the_other():
    report = atrous.inspect("stack:k3 k3 k3", (1, 1, 4, 64))
    assert not found(report, "field-exceeds-input")


def test_ops_that_make_an_output_global_are_found_where_it_keeps_positions():
    def make(b, x):
        gate = b.conv(b.global_pool(x, "pool"), 4, 1, name="fc")
        return b.join(x, gate, label="mul")

    assert list(found(built(make), "global")) == ["pool"]
    assert not found(built(lambda b, x: b.global_pool(x, "pool")), "global")
    assert not found(stack("k3"), "global")


def test_an_op_that_is_not_understood_is_an_error_and_comes_first():
    def make(b, x):
        x = b.conv(x, 4, 3, padding=2, dilation=2, name="conv")
        return b.add(Opaque("odd", "no rule for odd", (1, 4, 32, 32)), x, name="odd")

    report = built(make)
    assert [(f.code, f.severity, f.layer) for f in report.findings] == [("opaque", "error", "odd")]
    assert not found(stack("k3"), "opaque")


# All together


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", set()),
        ("alexnet", set()),
        ("unet", set()),
        ("mobilenet_v1", {"field-exceeds-input"}),
        ("resnet50", {"field-exceeds-input", "narrow-window"}),
    ],
)
def test_sound_networks_give_no_alarm(name, expected):
    report = atrous.inspect(f"zoo:{name}")
    assert {f.code for f in report.findings} == expected
    assert {f.severity for f in report.findings} <= {"info"}
    for finding in report.findings:
        if finding.code == "narrow-window":
            assert "downsample" in finding.layer


def test_findings_come_most_serious_first_and_each_says_its_layer_message_and_fix():
    report = stack("k3s2 k1s2 k3d2 k3d9 k2d2p(1,1) k3d40", 48)
    severities = [f.severity for f in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert len(report.findings) > 3
    names = {layer.name for layer in report.layers}
    for finding in report.findings:
        assert finding.layer in names
        assert finding.message.endswith(".")
        assert finding.fix.endswith(".")
        assert finding.code in codes()
    assert report.to_dict()["findings"] == [f.to_dict() for f in report.findings]


def test_one_code_has_one_finder():
    with pytest.raises(ArgumentError, match="finder 'gridding' is registered already"):
        finder("gridding")(FINDERS["gridding"])


def test_a_shift_names_the_worst_axis_and_all_that_share_it():
    b = Builder("shifts")
    x = b.input("x", (1, 3, 16, 16))
    both = b.conv(x, 3, 2, padding=[(0, 1), (0, 1)], name="both")
    b.conv(both, 3, (2, 6), padding=[(0, 1), (0, 4)], name="one")
    report = inspect_network(b.build(b.conv(both, 3, (2, 6), padding=[(0, 1), (0, 4)], name="end")))
    found = {f.layer: f for f in report.findings if f.code == "half-cell-shift"}
    assert found["both"].message.endswith("along h and w.")
    assert found["end"].message.endswith("along w.")
    assert found["end"].severity == "warning"
    assert "shifts the map by 2 cells" in found["end"].message


def test_a_dilated_checkerboard_is_put_down_to_its_rate():
    report = atrous.inspect("stack:tconvk4s2d2", (1, 1, 64))
    (finding,) = [f for f in report.findings if f.code == "checkerboard"]
    assert "rate 2 shares a factor with stride 2" in finding.message
    assert finding.fix.startswith("Use rate 1 and kernel 4")


def test_a_strided_slice_reads_no_more_than_the_window_beside_it():
    b = Builder("both skip")
    x = b.input("x", (1, 3, 16, 16))
    x = b.conv(x, 3, 1, name="all")
    narrow = b.conv(x, 3, 1, stride=2, name="narrow")
    rows = b.add(Slice(2, 0, 8, 2), x, name="rows")
    report = inspect_network(b.build(b.join(narrow, b.add(Slice(3, 0, 8, 2), rows, name="cut"))))
    (finding,) = [f for f in report.findings if f.code == "narrow-window"]
    assert finding.severity == "warning"
    assert "nothing reads the rest" in finding.message


def test_a_crop_on_the_wrong_side_of_an_image_is_a_join_that_does_not_line_up():
    for start in (0, 2):
        b = Builder("crops")
        x = b.input("x", (1, 3, 16, 16))
        wide = b.conv(x, 3, 3, name="wide")
        rows = b.add(Slice(2, start, 14), b.conv(x, 3, 1, name="thin"), name="rows")
        cut = b.add(Slice(3, start, 14), rows, name="cut")
        report = inspect_network(b.build(b.join(wide, cut)))
        assert "misaligned-join" in [finding.code for finding in report.findings]


def test_steps_along_time_are_not_compared_with_one_another(monkeypatch):
    monkeypatch.setattr(future._Step, "__eq__", None)
    report = atrous.inspect("stack:k3causal*9 k3", (1, 1, 64))
    assert [one.layer for one in report.findings if one.code == "leak"] == ["conv10"]
