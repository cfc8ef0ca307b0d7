"""The stack notation: what it reads, what it writes, and how it says what is wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.analysis import inspect_network
from atrous.errors import AtrousError, GeometryError, NetworkError, ReadError
from atrous.geometry import Reads, Window, pad
from atrous.network.ops import AdaptivePool, Concat, Elementwise, Resize
from atrous.network.stack import (
    StackJoin,
    StackLayer,
    StackPart,
    parse_stack,
    stack_network,
    stack_parts,
)
from atrous.network.stack.build import _layer_node


def shape_after(text: str, *shape: int) -> tuple[int, ...]:
    network = stack_network(text, shape)
    return network.tensor(network.outputs[0]).shape


def error_of(text: str, shape: tuple[int, ...] = (1, 4, 32, 32)) -> str:
    with pytest.raises(AtrousError) as caught:
        stack_network(text, shape)
    return str(caught.value)


def test_the_example_of_the_documentation_is_four_convolutions():
    layers = parse_stack("k3s2x64 k3s2x128 k3d2x128 k3d4x128")
    assert layers == (
        StackLayer("conv", (3,), (2,), (1,), "same", 64),
        StackLayer("conv", (3,), (2,), (1,), "same", 128),
        StackLayer("conv", (3,), (1,), (2,), "same", 128),
        StackLayer("conv", (3,), (1,), (4,), "same", 128),
    )
    assert [layer.name for layer in layers] == ["conv1", "conv2", "conv3", "conv4"]


def test_what_is_left_out_takes_its_usual_default():
    (layer,) = parse_stack("k5")
    assert layer == StackLayer("conv", (5,), (1,), (1,), "same", None)
    assert shape_after("k5", 1, 7, 20, 21) == (1, 7, 20, 21)
    # A pool has no hidden stride either.
    assert shape_after("maxk2p0", 1, 7, 20, 21) == (1, 7, 19, 20)


def test_layers_are_named_by_kind_and_place():
    network = stack_network("k3 dwk3 maxk2s2 avgk3 tconvk2s2 ups2 convk1", (1, 4, 16, 16))
    assert [node.name for node in network.nodes] == [
        "conv1",
        "dw2",
        "max3",
        "avg4",
        "tconv5",
        "up6",
        "conv7",
    ]
    assert network.name == "k3 dwk3 maxk2s2 avgk3 tconvk2s2 ups2 k1"
    assert network.outputs == ("conv7",)


def test_the_parts_of_a_layer_come_in_any_order_and_spaces_may_stand_in_parentheses():
    assert parse_stack("convx8samed( 2, 3 )k(3 ,5)s2") == parse_stack("k(3,5)s2d(2,3)x8")
    assert parse_stack("\tk3\n k3  ") == parse_stack("k3 k3")
    assert parse_stack("k(3)p1") == parse_stack("k3p(1,1)") == parse_stack("k+3p(1)")


def test_one_value_an_axis_is_applied_in_order():
    network = stack_network("k(1,7)s(1,2)d(1,3)", (1, 2, 30, 31))
    assert network.nodes[0].op.windows == (
        Window(1, 1, 1, 0, 0),
        Window(7, 2, 3, 9, 9),
    )


def test_the_rank_of_the_input_is_that_of_the_network():
    assert shape_after("k3s2x5", 2, 3, 9) == (2, 5, 5)
    assert shape_after("k3s2x5", 2, 3, 9, 8) == (2, 5, 5, 4)
    assert shape_after("k3s2x5", 2, 3, 9, 8, 7) == (2, 5, 5, 4, 4)


def test_a_depthwise_layer_has_one_group_for_each_input_channel():
    network = stack_network("dwk3 dwk3x12", (1, 6, 8, 8))
    assert [(n.op.groups, n.op.channels) for n in network.nodes] == [(6, 6), (6, 12)]
    assert network.param_count == 6 * 9 + 12 * 9


def test_pools_and_upsampling_cost_nothing_and_keep_the_channels():
    network = stack_network("maxk3s2 avgk3 ups(2,3)", (1, 6, 8, 8))
    assert network.macs == network.param_count == 0
    assert [node.op.how for node in network.nodes] == ["max", "average", "nearest"]
    assert network.tensor("up3").shape == (1, 6, 8, 12)


kernels = st.integers(1, 7)
rates = st.integers(1, 5)
strides = st.integers(1, 4)
lengths = st.integers(30, 60)


@given(kernels, strides, rates, lengths, st.sampled_from(["same", "valid", "causal"]))
def test_a_word_of_padding_means_what_geometry_says(kernel, stride, dilation, length, word):
    network = stack_network(f"k{kernel}s{stride}d{dilation}{word}", (1, 1, length))
    window = Window(kernel, stride, dilation, *pad(word, kernel, stride, dilation))
    assert network.nodes[0].op.windows == (window,)
    assert network.tensor("conv1").shape == (1, 1, window.output_length(length))


@given(kernels, strides, rates, lengths)
def test_a_causal_layer_reads_nothing_behind_its_own_block(kernel, stride, dilation, length):
    network = stack_network(f"k{kernel}s{stride}d{dilation}causal", (1, 1, length))
    reads = Reads.window(network.nodes[0].op.windows[0])
    assert reads.at(5).last == 5 * stride + stride - 1


@given(kernels, strides, rates, lengths, st.sampled_from(["same", "causal"]))
def test_a_transposed_layer_makes_stride_times_as_many_outputs(
    kernel, stride, dilation, length, word
):
    text = f"tconvk{kernel}s{stride}d{dilation}{word}"
    network = stack_network(text, (1, 1, length))
    assert network.tensor("tconv1").shape == (1, 1, stride * length)
    reads = Reads.transposed(network.nodes[0].op.windows[0])
    if word == "causal":
        # Nothing is read that has not come by the time the output is due.
        for output in range(40, 40 + stride):
            taps = reads.at(output)
            assert not taps.mask or taps.last <= output // stride


@given(st.integers(1, 9), st.integers(1, 300))
def test_upsampling_repeats_every_position_exactly(factor, length):
    network = stack_network(f"ups{factor}", (1, 1, length))
    axis = network.nodes[0].moves[0].get("t")
    if axis is None:
        assert factor == 1
        return
    assert axis.outputs == factor * length
    assert [list(axis.at(o)) for o in range(axis.outputs)] == [
        [o // factor] for o in range(axis.outputs)
    ]


values = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
paddings = st.one_of(
    st.sampled_from(["same", "valid", "causal"]),
    st.tuples(st.integers(-3, 9), st.integers(-3, 9)),
)
channels = st.one_of(st.none(), st.integers(1, 2048))
layers = st.one_of(
    st.builds(
        StackLayer,
        st.sampled_from(["conv", "dw", "tconv"]),
        values,
        values,
        values,
        paddings,
        channels,
    ),
    st.builds(StackLayer, st.sampled_from(["max", "avg"]), values, values, values, paddings),
    st.builds(StackLayer, st.just("up"), st.just((1,)), values),
)


@given(st.lists(layers, min_size=1, max_size=8))
def test_what_is_written_is_read_back(stack):
    text = " ".join(map(str, stack))
    assert parse_stack(text) == tuple(stack)


@given(st.text(alphabet="k3s2dpx(,)-1 upmaxvgtconsmelid0", max_size=40))
def test_any_text_is_read_or_refused_with_a_caret_inside_it(text):
    try:
        stack = parse_stack(text)
    except ReadError as error:
        lines = str(error).split("\n")
        assert len(lines) in (1, 3)
        if len(lines) == 3:
            assert lines[0].startswith("layer ")
            assert lines[0].endswith(".")
            assert lines[2].strip() == "^"
            assert len(lines[2]) <= len(lines[1])
            assert lines[1][len(lines[2]) - 1] != " "
        else:
            assert not text.strip()
    else:
        assert parse_stack(" ".join(map(str, stack))) == stack


@pytest.mark.parametrize(
    ("text", "layer", "column", "message"),
    [
        ("k3s2x64 k3q2", 2, 10, "'q' is not known; use k s d p x, same, valid or causal."),
        ("k3 k3s0 k3", 2, 6, "stride is 0: a window needs a whole stride of at least 1."),
        ("k(3,-1)", 1, 4, "kernel is -1: a window needs a whole kernel of at least 1."),
        ("k3d0", 1, 3, "dilation is 0: a window needs a whole dilation of at least 1."),
        ("k3x0", 1, 3, "channels is 0: a layer needs at least 1."),
        ("k3 k99999999999999", 2, 4, "kernel is 99999999999999: at most 65,536 is read."),
        ("k3 k3p-65537", 2, 6, "padding is -65537: at most 65,536 is read."),
        ("maxs2", 1, 0, "`max` needs a kernel; add one, such as `k3`."),
        ("maxk2x8", 1, 5, "`max` keeps the channels of its input; leave `x` out."),
        ("k3k5", 1, 2, "the kernel is given twice; leave one out."),
        ("k3samep1", 1, 6, "the padding is given twice; leave one out."),
        ("ups2 up2", 2, 7, "`up` needs its factor as a stride; write `ups2`."),
        ("up", 1, 1, "`up` needs its factor as a stride; write `ups2`."),
        ("upk3s2", 1, 2, "`up` has no kernel; write its factor as a stride, `ups2`."),
        ("warpk3", 1, 0, "no kind is named 'warp'; use conv, dw, max, avg, tconv, up, global."),
        ("deconvk3", 1, 0, "no kind is named 'deconv'; write `tconvk2s2`."),
        ("avgpoolk3", 1, 3, "a pool is `avg` alone, as in `avgk2s2`."),
        ("globalavg", 1, 6, "`global` stands alone; layers go behind it, as in `global k1x64`."),
        ("gap", 1, 0, "no kind is named 'gap'; write `global`."),
        ("globalk1", 1, 6, "`global` stands alone; layers go behind it, as in `global k1x64`."),
        (
            "k3 x64",
            2,
            3,
            (
                "`x64` is part of a layer; write it without a space, as in `k3x64`, or as a layer "
                "of its own, `k1x64`; `*4` repeats."
            ),
        ),
        ("ups2x64", 1, 4, "`up` keeps the channels of its input; write `ups2 k1x64`."),
        ("k3,k5", 1, 2, "layers stand apart by spaces, branches by `|` or `+`."),
        ("k3x8,16", 1, 4, "layers stand apart by spaces, branches by `|` or `+`."),
        ("k3s2,1valid", 1, 4, "the values of several axes stand in brackets; write `s(2,1)`."),
        ("k3,1s2,1", 1, 2, "the values of several axes stand in brackets; write `k(3,1)`."),
        ("k(3,1)p1;-2", 1, 8, "the values of both sides stand in brackets; write `p(1,-2)`."),
        ("k3,s2", 1, 2, "the parts of a layer stand together, as in `k3s2valid`, without a `,`."),
        (
            "k3s2;valid",
            1,
            4,
            "the parts of a layer stand together, as in `k3s2valid`, without a `;`.",
        ),
        ("k3->k5", 1, 2, "layers run from left to right, with spaces between them."),
        ("K3", 1, 0, "letters are small, as in `k3s2x64`."),
        (
            "{k3}",
            1,
            0,
            "square brackets group, as in `[k3 k3]*4`, and hold branches, as in `[k3 | k3d2]`.",
        ),
        ("3x3", 1, 0, "a number needs its letter before it, such as `k3` for the kernel."),
        ("k3p", 1, 2, "padding needs a number here, such as 3 or (1,7)."),
        ("k(1,a)", 1, 4, "kernel needs a number here, as in (1,7)."),
        ("k3p(1,2,3)", 1, 3, "padding is (LO,HI) for every axis, got 3 numbers."),
        ("k3x(1,2)", 1, 3, "channels is one number, got 2."),
        ("k(1,2,3,4)", 1, 1, "kernel has 4 values; there are at most 3 axes."),
    ],
)
def test_a_text_that_does_not_parse_is_shown_with_a_caret_under_the_place(
    text, layer, column, message
):
    word = text.split(" ")[layer - 1]
    expected = [f"layer {layer} `{word}`: {message}", f"  {text}", f"  {' ' * column}^"]
    assert error_of(text).split("\n") == expected


def test_a_long_text_is_shown_around_the_place_only():
    message = error_of("k3 " * 200 + "k3z9 " + "k3 " * 200)
    first, line, caret = message.split("\n")
    assert first.startswith("layer 201 `k3z9`: 'z' is not known")
    assert len(line) <= 80
    assert line[len(caret) - 1] == "z"
    assert len(error_of("k3" + "z" * 10**5)) < 300


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_stack_is_refused(text):
    assert error_of(text).startswith("the stack has no layers; write some, such as")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k65536d65536", "conv1: up to here the stack reaches over more than 262,144 input"),
        ("k3s65536 k3s65536 k3", "conv2: up to here the stack reaches over more than 262,144"),
        ("tconvk2s2 " * 40, "tconv13: up to here the stack upsamples by more than 4,096;"),
        ("ups60000", "up1: up to here the stack upsamples by more than 4,096;"),
        # 3/4160 is more than 1/4096, and its third is not.
        ("ups64 k3s3 ups65 ups3", "up4: up to here the stack upsamples by more than 4,096;"),
        ("k1 " * 10**5, "the stack has 100,000 layers, of which at most 4,096 are read;"),
    ],
)
def test_absurd_numbers_are_refused_before_anything_is_made_of_them(text, message):
    assert error_of(text).startswith(message)


def test_a_layer_that_does_not_fit_its_input_is_named():
    with pytest.raises(GeometryError) as small:
        stack_network("k3s2 k5d4valid", (1, 1, 16))
    assert str(small.value) == (
        "conv2: a window of kernel 5, dilation 4 spans 17 inputs, got 8 with padding 0; "
        "pad by 9 or lower the dilation."
    )
    with pytest.raises(
        NetworkError, match=r"^conv2: kernel has 2 values for 1 axis; give one or 1"
    ):
        stack_network("k3 k(1,7)", (1, 1, 64))
    with pytest.raises(NetworkError, match=r"^dw1: 4 input and 6 output channels do not divide"):
        stack_network("dwk3x6", (1, 4, 64))


@pytest.mark.parametrize("shape", [(), (64,), (1, 64), (1, 1, 2, 3, 4, 5)])
def test_an_input_without_1_to_3_spatial_sizes_is_refused(shape):
    with pytest.raises(ReadError, match=r"^a stack takes an input of batch, channels and 1 to 3"):
        stack_network("k3", shape)


@pytest.mark.parametrize("shape", [(1, 4, 32), (1, 4, 32, 32), (1, 4, 8, 8, 8)])
def test_branches_read_one_map_and_are_concatenated(shape):
    network = stack_network("k3x8 [k3d2x2 | k3d4x3 k1 | k1x5] k1", shape)
    made = {node.name: node for node in network.nodes}
    assert list(made) == ["conv1", "conv2", "conv3", "conv4", "conv5", "concat6", "conv7"]
    assert [made[name].inputs for name in ("conv2", "conv3", "conv5")] == [("conv1",)] * 3
    assert made["concat6"].inputs == ("conv2", "conv4", "conv5")
    assert made["concat6"].op == Concat(1)
    assert network.tensor("concat6").shape[1] == 10


def test_an_empty_branch_is_the_identity_and_branches_nest():
    network = stack_network("[ + k3 [ | k1x2] k1x4]", (1, 4, 9))
    made = {node.name: node for node in network.nodes}
    assert made["concat3"].inputs == ("conv1", "conv2")
    assert made["add5"].inputs == ("x", "conv4")
    assert isinstance(made["add5"].op, Elementwise)
    assert network.outputs == ("add5",)


def test_a_u_net_concatenates_its_skips():
    text = "k3x4 [ | maxk2s2 k3x8 [ | maxk2s2 k3x16 ups2] k3x8 ups2] k3x4"
    network = stack_network(text, (1, 1, 16, 24))
    assert [n.output.shape[1:] for n in network.nodes if n.name.startswith("concat")] == [
        (24, 8, 12),
        (12, 16, 24),
    ]
    assert shape_after(text, 1, 1, 16, 24) == (1, 4, 16, 24)


def test_what_was_averaged_over_all_positions_is_spread_where_it_joins():
    network = stack_network("[k3x2 | global k1x3]", (1, 4, 9, 11))
    assert [type(node.op) for node in network.nodes[1:-1]][::2] == [AdaptivePool, Resize]
    assert network.nodes[-2].name == "concat4.spread2"
    assert network.tensor("concat4").shape == (1, 5, 9, 11)
    # Through an inner join, and beside nothing to be spread to.
    assert shape_after("[ + [global + global k1]]", 1, 4, 9, 11) == (1, 4, 9, 11)
    assert shape_after("[global | global k1x2]", 1, 4, 9, 11) == (1, 6, 1, 1)
    assert shape_after("global k1x7", 1, 4, 9, 11) == (1, 7, 1, 1)


def test_repeats_are_written_out():
    assert stack_parts("k3*2 [ + k3 k1]*2 [k3 max k2]*1".replace("max k2", "maxk2")) == stack_parts(
        "k3 k3 [ + k3 k1] [ + k3 k1] k3 maxk2"
    )
    assert stack_parts("[[k3*2]*2 k1] * 2") == stack_parts("k3 k3 k3 k3 k1 k3 k3 k3 k3 k1")
    names = [node.name for node in stack_network("[ + k3]*3", (1, 1, 9)).nodes]
    assert names == ["conv1", "add2", "conv3", "add4", "conv5", "add6"]


def test_a_plus_is_a_sign_between_a_letter_and_its_number_alone():
    assert stack_parts("[k+3p(+1,-1)+k1]") == stack_parts("[k3p(1,-1) + k1]")
    (join,) = stack_parts("[k3same+k3causal+]")
    assert isinstance(join, StackJoin)
    assert [len(branch) for branch in join.branches] == [1, 1, 0]


def branches_of(parts: st.SearchStrategy[list[StackPart]]) -> st.SearchStrategy[StackPart]:
    some = st.lists(parts.filter(bool).map(tuple), min_size=2, max_size=4)
    with_identity = st.tuples(some, st.integers(0, 2), st.booleans()).map(
        lambda drawn: (*drawn[0][: drawn[1]], (), *drawn[0][drawn[1] :]) if drawn[2] else drawn[0]
    )
    return st.builds(StackJoin, st.sampled_from(["concat", "add"]), with_identity.map(tuple))


trees = st.recursive(
    st.lists(layers, min_size=1, max_size=3),
    lambda parts: st.lists(st.one_of(layers, branches_of(parts)), min_size=1, max_size=3),
    max_leaves=8,
)


@given(trees)
def test_branches_that_are_written_are_read_back(parts):
    text = " ".join(map(str, parts))
    assert stack_parts(text) == tuple(parts)
    assert stack_parts(text.replace(" | ", "|").replace(" + ", "+")) == tuple(parts)
    names = [part.name for part in every(stack_parts(text))]
    assert [int("".join(filter(str.isdigit, name))) for name in names] == [
        *range(1, len(names) + 1)
    ]


def every(parts: tuple[StackPart, ...]) -> list[StackPart]:
    found: list[StackPart] = []
    for part in parts:
        for branch in part.branches if isinstance(part, StackJoin) else ():
            found += every(branch)
        found.append(part)
    return found


def assert_points_to_the_help(error: ReadError) -> None:
    assert error.see == "atrous stack --help"


@given(st.text(alphabet="[[[]]]|||+++**2 k3 global ups2", max_size=40))
def test_any_brackets_are_read_or_refused_with_a_caret_inside_the_text(text):
    try:
        parts = stack_parts(text)
    except ReadError as error:
        lines = str(error).split("\n")
        if len(lines) == 3:
            assert lines[0].startswith(("layer ", "column "))
            assert lines[2].strip() == "^"
            assert len(lines[2]) <= len(lines[1]) + 1
        else:
            assert not text.strip() or "layers" in lines[0]
        assert_points_to_the_help(error)
    else:
        assert stack_parts(" ".join(map(str, parts))) == parts


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("k3 [k3", 4, "this `[` is not closed; add its `]`."),
        ("[k3 [ | k1]", 1, "this `[` is not closed; add its `]`."),
        ("k3 k3]", 6, "this `]` closes nothing; leave it out, or open it with `[`."),
        ("k3 | k3", 4, "`|` joins branches inside brackets, as in `[k3 | k3]`."),
        ("k3 + k3", 4, "`+` joins branches inside brackets, as in `[k3 + k3]`."),
        ("k3 []", 4, "this bracket holds no layers; write some, as in `[k3 | k3d2]`."),
        ("[ | ]", 1, "this bracket holds no layers; write some, as in `[k3 | k3d2]`."),
        (
            "[k3 | | k3 | ]",
            14,
            "a second branch is empty; one empty branch is the identity, leave this one out.",
        ),
        (
            "[k3 | k3 + k3]",
            10,
            "one bracket joins with `|` or with `+`, not both; nest one, as in `[a | [b + c]]`.",
        ),
        ("[k3]*0", 6, "`*` takes a whole number of at least 1."),
        ("[k3]*", 5, "`*` takes a whole number of at least 1."),
        ("[k3]*two", 6, "`*` takes a whole number of at least 1."),
        ("* k3", 1, "`*` repeats what stands before it, as in `k3*4` or `[ ... ]*4`."),
        ("k3*2*2", 5, "this is repeated already; leave one `*` out."),
        ("3*[k3]", 1, "a repeat stands behind what it repeats: `[ ... ]*3`."),
        (f"{'[' * 33}k3{']' * 33}", 33, "brackets stand 33 deep; at most 32 are read."),
    ],
)
def test_brackets_that_do_not_match_are_shown_with_their_column(text, column, message):
    shown = f"  {text}\n  {' ' * (column - 1)}^"
    assert error_of(text) == f"column {column}: {message}\n{shown}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[k3]*1000]*1000", "the stack has 1,000,000 layers, of which at most 4,096 are read;"),
        ("[ + k1]*4096", "the stack has 8,192 layers, of which at most 4,096 are read;"),
        ("[ | k1]*20", "concat30: up to here the stack has 131,072 channels, of which at most"),
        ("[k3 | k3d50000 k3d50000*2]", "conv4: up to here the stack reaches over more than"),
        ("[k1 | k3d60000*2] k3d60000", "conv5: up to here the stack reaches over more than"),
        ("[k3d60000*2 + k1] k3d60000", "conv5: up to here the stack reaches over more than"),
        ("k1*9999999999999999999999", "the stack has 999,999,999 layers, of which at most"),
        ("[ | ups64 ups65 maxk4096s4096]", "up2: up to here the stack upsamples by more than"),
    ],
)
def test_branches_cannot_grow_beyond_what_can_be_held(text, message):
    found = error_of(text, (1, 4, 64))
    assert found.startswith(message), found


def test_branches_do_not_add_up_in_how_far_a_stack_reaches():
    assert shape_after("[k3d60000*2 | k3d60000*2]", 1, 4, 64) == (1, 8, 64)


def test_a_map_of_one_position_that_is_no_average_is_not_spread():
    message = error_of("[k3valid | k1]", (1, 4, 3))
    assert message.startswith("concat3: branch 2 (`k1`, column 12) makes 3, branch 1 (`k3valid`")


def test_a_branch_of_another_size_is_named_with_its_place_and_the_way_out():
    assert error_of("k3 [ | maxk2s2 k3 ups2]", (1, 4, 31, 32)) == (
        "concat5: branch 2 (`maxk2s2 k3 ups2`, column 8) makes 32x32, branch 1 (empty, column 6) "
        "makes 31x32; the branches of a bracket end at one size: pad with `same` or `causal`, "
        "stride alike, and undo a stride with `up` or `tconv`; or take an input whose sizes the "
        "strides divide."
    )
    assert error_of("[ + k3x5 + k3]") == (
        "add3: branch 2 (`k3x5`, column 5) makes 5 channels, branch 1 (empty, column 3) makes 4 "
        "channels; a sum needs one number: end each branch in the same `x`, an empty one in "
        "`k1x...`."
    )


@pytest.mark.parametrize("text", ["k3 [k3 | k3d2]", "k3 global", "[ + k3]*2"])
def test_a_chain_of_layers_has_no_branches(text):
    with pytest.raises(ReadError, match="is no layer of a plain chain"):
        parse_stack(text)
    assert parse_stack("[k3 k3]*2") == parse_stack("k3 k3 k3 k3")


def test_a_layer_is_the_same_whatever_stack_was_made_before():
    """Layers are kept from one stack to the next: one at another place has that place's name."""
    first, second = ("k3x4 k3x4 maxk2s2 k3d2x4", "k3x4 maxk2s2 k3x4 k3d2x4")
    alone = {}
    for text in (first, second):
        _layer_node.cache_clear()
        alone[text] = stack_network(text, (1, 4, 32, 32))
    for text in (first, second, first):
        assert stack_network(text, (1, 4, 32, 32)) == alone[text]
    assert [node.name for node in stack_network(second, (1, 4, 32, 32)).nodes] == [
        *("conv1", "max2", "conv3", "conv4")
    ]
    assert set(stack_network(second, (1, 4, 32, 32)).params) == {
        *("conv1.weight", "conv3.weight", "conv4.weight")
    }


def test_an_input_that_fits_into_no_machine_is_refused_in_a_line():
    for shape in ((1, 1, 10**300), (10**9, 10**9, 9), (1, 1 << 20, 1 << 20, 1 << 20)):
        with pytest.raises(NetworkError, match=r"more than 2\*\*48 elements") as caught:
            stack_network("k3", shape)
        assert len(str(caught.value)) < 200


def test_long_stacks_of_large_kernels_with_holes_are_reported_in_time():
    began = time.process_time()
    report = inspect_network(stack_network("k64d7 k5d400 k2d9001 k64*300 k3d5001", (1, 1, 99)))
    assert report.layers[-1].field[0].taps > 1000
    assert time.process_time() - began < 5
