"""Bad and hostile ONNX files: one clear line each, and nothing allocated in proportion."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from atrous.errors import AtrousError, ReadError
from atrous.readers.onnx.reader import read_onnx
from tests.onnx_probe import ints, model, one, weights

IMAGE = (1, 2, 9, 11)
NAME = "net.onnx"


@contextmanager
def _bounded(megabytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes << 20, f"{peak:,} bytes were allocated"


def _error(source: Any, input: Any = None, kind: type[AtrousError] = AtrousError) -> str:
    with _bounded(64), pytest.raises(kind) as caught:
        read_onnx(source, input)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


def _error_or_nothing(source: Any) -> str:
    try:
        read_onnx(source)
    except AtrousError as error:
        return str(error)
    return ""


def _saved(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / NAME
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = _error(tmp_path / "gone.onnx", kind=ReadError)
    assert text.startswith("gone.onnx: there is no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder" in _error(tmp_path, kind=ReadError)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"")
    assert (
        _error(tmp_path / NAME, kind=ReadError) == f"{NAME}: is empty; export or download it anew."
    )


def test_text_is_no_model(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("this is not protobuf at all " * 20)
    assert "is text, and no model" in _error(tmp_path / NAME, kind=ReadError)


def test_a_file_of_several_terabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(3 << 40)
    assert "ends at 2 GiB" in _error(tmp_path / NAME, kind=ReadError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    assert "no regular file" in _error(tmp_path / NAME, kind=ReadError)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = one("Conv", IMAGE, weights(4, 2, 3, 3)).SerializeToString()
    for end in range(1, len(whole), 7):
        (tmp_path / NAME).write_bytes(whole[:end])
        text = _error(tmp_path / NAME)
        assert text.startswith(f"{NAME}: ")


def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    whole = one("Conv", IMAGE, weights(4, 2, 3, 3), pads=[1, 1, 1, 1]).SerializeToString()
    rng = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / NAME).write_bytes(bytes(damaged))
        text = _error_or_nothing(tmp_path / NAME)
        assert not text or text.startswith(f"{NAME}: ")


def test_a_message_without_a_graph_is_refused() -> None:
    assert "holds no graph" in _error(onnx.ModelProto(), kind=ReadError)


def test_a_message_without_operator_sets_is_refused() -> None:
    proto = one("Relu", IMAGE)
    del proto.opset_import[:]
    assert "operator set" in _error(proto, kind=ReadError)


def test_an_operator_set_from_before_broadcasting_is_refused() -> None:
    assert "operator set 6" in _error(one("Relu", IMAGE, opset=6), kind=ReadError)


def test_a_graph_without_outputs_is_refused() -> None:
    proto = one("Relu", IMAGE)
    del proto.graph.output[:]
    assert "has no output" in _error(proto, kind=ReadError)


def test_nodes_out_of_order_are_sorted() -> None:
    nodes = [
        helper.make_node("Relu", ["b"], ["y"], name="last"),
        helper.make_node("Neg", ["a"], ["b"], name="middle"),
        helper.make_node("Abs", ["x"], ["a"], name="first"),
    ]
    network = read_onnx(model(nodes, {"x": IMAGE}, {}))
    assert [node.name for node in network.nodes] == ["first", "middle", "last"]


def test_a_cycle_names_the_nodes_in_it() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="one"),
        helper.make_node("Neg", ["a"], ["b"], name="two"),
        helper.make_node("Relu", ["b"], ["y"], name="after"),
    ]
    text = _error(model(nodes, {"x": IMAGE}, {}), kind=ReadError)
    assert "cycle" in text
    assert "one" in text
    assert "two" in text
    assert "after" not in text


def test_a_value_made_twice_is_refused() -> None:
    nodes = [
        helper.make_node("Abs", ["x"], ["y"], name="one"),
        helper.make_node("Neg", ["x"], ["y"], name="two"),
    ]
    text = _error(model(nodes, {"x": IMAGE}, {}), kind=ReadError)
    assert text.startswith("made: two: makes 'y'")


def test_a_missing_initialiser_names_the_layer_and_the_value() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stem")
    text = _error(model([node], {"x": IMAGE}, {}), kind=ReadError)
    assert text == "made: stem: reads 'w', which nothing makes; an initialiser is missing."


def test_an_initialiser_with_less_data_than_its_shape_needs_is_refused() -> None:
    proto = one("Conv", IMAGE, weights(4, 2, 3, 3))
    proto.graph.initializer[0].dims[2] = 5
    assert "holds 288 bytes where its shape needs 480" in _error(proto, kind=ReadError)
    proto.graph.initializer[0].dims[2] = 10**9
    assert "holds 288 bytes" in _error(proto, kind=ReadError)
    proto.graph.initializer[0].dims[2] = -3
    assert "dimension of -3" in _error(proto, kind=ReadError)
    proto.graph.initializer[0].dims[2] = 2**62
    assert "more than 2**48" in _error(proto, kind=ReadError)


def test_typed_data_that_is_too_short_is_refused() -> None:
    proto = one("Relu", IMAGE)
    proto.graph.initializer.append(
        TensorProto(name="w", dims=[1000], data_type=TensorProto.FLOAT, float_data=[1.0, 2.0])
    )
    assert "holds 2 numbers where its shape needs 1,000" in _error(proto, kind=ReadError)


def test_inputs_of_negative_absurd_or_no_size_are_refused() -> None:
    for shape, said in [
        ((1, 2, -9, 11), "dimension of -9"),
        ((1, 2, 0, 11), "dimension of 0"),
        ((1, 2, 2**40, 2**40), "more than 2**48"),
        ((1,) * 100, "100 dimensions"),
    ]:
        assert said in _error(one("Relu", shape))


def test_an_open_shape_says_which_input_and_how_to_give_it() -> None:
    text = _error(one("Relu", ("batch", 3, "height", "width")), kind=ReadError)
    assert text == (
        "made: the input 'x' has the open shape (batch, 3, height, width); give its sizes, for "
        "example --input 1,3,512,512, or only what is open: --input height=512 --input width=512."
    )
    assert read_onnx(one("Relu", ("batch", 3, "h", "w")), (1, 3, 8, 9)).inputs[0].shape == (
        1,
        3,
        8,
        9,
    )


def test_shapes_that_do_not_fit_the_inputs_are_refused() -> None:
    proto = one("Relu", ("n", 3, "h", "w"))
    assert "4 dimensions" in _error(proto, (1, 3, 8))
    assert "no shape" in _error(proto, {"x": (1, 3, 8, "w")})
    assert "no input 'z'" in _error(proto, {"z": (1, 3, 8, 8)})
    two = model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": ("n", 4), "z": ("m", 4)}, {})
    assert "give one for each" in _error(two, (1, 4))
    assert "3 shapes were given" in _error(two, ((1, 4), (1, 4), (1, 4)))
    assert len(read_onnx(two, ((2, 4), (2, 4))).inputs) == 2
    assert len(read_onnx(two, {"x": (2, 4), "z": (2, 4)}).inputs) == 2


def test_examples_stand_for_their_shapes() -> None:
    proto = one("Relu", ("n", 3, "h", "w"))
    example = np.zeros((1, 3, 8, 9), np.float32)
    for given in (example, (example,), {"x": example}):
        assert read_onnx(proto, given).inputs[0].shape == (1, 3, 8, 9)


def test_joining_very_many_positions_is_opaque_and_costs_nothing() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], name="conv"),
        helper.make_node("Concat", ["a", "a"], ["y"], axis=2, name="join"),
    ]
    with _bounded(64):
        network = read_onnx(model(nodes, {"x": (1, 1, 1 << 23)}, {"k": weights(1, 1, 3)}))
    assert "end to end" in network.node("join").opaque


def test_other_sizes_than_the_file_says_are_read_and_noted() -> None:
    network = read_onnx(one("Conv", IMAGE, weights(4, 2, 3, 3)), (1, 2, 33, 40))
    assert network.nodes[-1].output.shape == (1, 4, 31, 38)
    assert network.notes == ("x: the file says 1x2x9x11, read at 1x2x33x40",)


HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a kernel of a thousand million": (
        lambda: one("MaxPool", IMAGE, kernel_shape=[10**9, 1], pads=[10**9, 0, 10**9, 0]),
        "spans 1,000,000,000 positions",
    ),
    "a dilation of a thousand million": (
        lambda: one(
            "Conv", IMAGE, weights(4, 2, 3, 3), dilations=[10**9, 1], pads=[10**9, 1, 10**9, 1]
        ),
        "dilation 1000000000 spans 2,000,000,001 positions",
    ),
    "a kernel larger than its padded input": (
        lambda: one("Conv", IMAGE, weights(4, 2, 3, 3), dilations=[6, 1]),
        "spans 13 inputs, got 9 with padding 0; pad by 4 or lower the dilation",
    ),
    "a stride of 0": (
        lambda: one("Conv", IMAGE, weights(4, 2, 3, 3), strides=[0, 1]),
        "stride is 0",
    ),
    "a negative stride": (
        lambda: one("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[1, -2]),
        "stride is -2",
    ),
    "a transposed stride that makes millions of phases": (
        lambda: one("ConvTranspose", IMAGE, weights(2, 1, 3, 3), strides=[10**8, 1]),
        "stride 100000000",
    ),
    "padding by a million millions": (
        lambda: one("Pad", IMAGE, ints(0, 0, 10**12, 0, 0, 0, 0, 0)),
        "positions",
    ),
    "padding beyond 64 bits": (
        lambda: one("Pad", IMAGE, ints(0, 0, 2**62, 0, 0, 0, 2**62, 0)),
        "more positions than a tensor can have",
    ),
    "a huge list of pads": (
        lambda: one("Conv", IMAGE, weights(4, 2, 3, 3), pads=[1] * 100_000),
        "pads has 100,000 values for 4",
    ),
    "a kernel of another shape than the weight": (
        lambda: one("Conv", IMAGE, weights(4, 2, 3, 3), kernel_shape=[5, 5]),
        "kernel_shape says (5, 5)",
    ),
    "a weight for other channels": (
        lambda: one("Conv", IMAGE, weights(4, 3, 3, 3)),
        "reads 3 channels, got 2",
    ),
    "groups that do not divide": (
        lambda: one("Conv", IMAGE, weights(3, 1, 3, 3), group=2),
        "do not divide into 2 groups",
    ),
    "no groups": (lambda: one("Conv", IMAGE, weights(3, 1, 3, 3), group=0), "0 groups"),
    "an attribute of another type": (
        lambda: one("Conv", IMAGE, weights(4, 2, 3, 3), strides="two"),
        "attribute 'strides' has another type",
    ),
    "resizing to a million millions": (
        lambda: one("Resize", IMAGE, None, None, ints(1, 2, 10**12, 11)),
        "at most 2**24",
    ),
    "resizing by an infinite scale": (
        lambda: one("Resize", IMAGE, None, np.asarray([1, 1, np.inf, 1], np.float32)),
        "",
    ),
    "reshaping to an absurd shape": (
        lambda: one("Reshape", IMAGE, ints(2**40, 2**40)),
        "",
    ),
    "reshaping to other sizes": (lambda: one("Reshape", IMAGE, ints(7, -1)), "cannot be reshaped"),
    "expanding to a million millions": (
        lambda: one("Expand", (1, 2, 1, 1), ints(1, 2, 10**9, 10**9)),
        "more than 2**48",
    ),
    "tiling a million million times": (
        lambda: one("Tile", IMAGE, ints(1, 1, 10**12, 10**12)),
        "more than 2**48",
    ),
    "a dimension that does not exist": (
        lambda: one("Concat", IMAGE, axis=9),
        "dimension 9 does not exist",
    ),
    "a thousand axes": (
        lambda: one("ReduceMean", IMAGE, ints(*[2] * 1000), opset=18),
        "1,000 axes are more than",
    ),
    "a permutation of other dimensions": (
        lambda: one("Transpose", IMAGE, perm=[0, 1, 2, 7]),
        "",
    ),
    "matrices that do not fit": (
        lambda: one("MatMul", IMAGE, weights(7, 3)),
        "cannot be multiplied",
    ),
    "tensors that do not join": (
        lambda: one("Add", IMAGE, weights(1, 2, 5, 11)),
        "cannot be joined",
    ),
    "a block of a thousand million": (
        lambda: one("DepthToSpace", IMAGE, blocksize=10**9),
        "block size of 1000000000",
    ),
    "a table looked up outside": (
        lambda: one("Gather", IMAGE, ints(10**12), axis=2),
        "picks place 1000000000000",
    ),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_hostile_numbers_are_one_line_that_names_file_and_layer(
    case: tuple[Callable[[], onnx.ModelProto], str], tmp_path: Path
) -> None:
    make, said = case
    text = _error(_saved(tmp_path, make()))
    assert text.startswith(f"{NAME}: node: ")
    assert said in text


def _arithmetic(*nodes: NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """A model whose shape arithmetic blows up, and that uses none of its numbers."""
    last = helper.make_node("Add", ["x", "big"], ["y"], name="use")
    return model([*nodes, last], {"x": (1, 4)}, constants)


BLOWUPS = {
    "a constant of a million millions": lambda: _arithmetic(
        helper.make_node("ConstantOfShape", ["n"], ["big"], name="fill"), n=ints(10**12)
    ),
    "a range to a thousand million millions": lambda: _arithmetic(
        helper.make_node("Range", ["a", "b", "c"], ["big"], name="range"),
        a=np.int64(0),
        b=np.int64(10**15),
        c=np.int64(1),
    ),
    "an expansion of a constant": lambda: _arithmetic(
        helper.make_node("Expand", ["a", "n"], ["big"], name="expand"),
        a=ints(1),
        n=ints(10**6, 10**6),
    ),
    "a tiled constant": lambda: _arithmetic(
        helper.make_node("Tile", ["a", "n"], ["big"], name="tile"), a=ints(1, 2), n=ints(10**11)
    ),
}


@pytest.mark.parametrize("make", BLOWUPS.values(), ids=BLOWUPS)
def test_constants_that_blow_up_are_never_made(make: Callable[[], onnx.ModelProto]) -> None:
    with _bounded(64):
        assert "\n" not in _error_or_nothing(make())


def test_folding_stops_at_its_budget() -> None:
    nodes = [
        helper.make_node("Add", [f"c{i}", f"c{i}"], [f"c{i + 1}"], name=f"n{i}")
        for i in range(1500)
    ]
    nodes.append(helper.make_node("Slice", ["x", "c1500", "ends"], ["y"], name="cut"))
    big = np.zeros(60_000, np.int64)
    with _bounded(400):
        network = read_onnx(model(nodes, {"x": (1, 4)}, {"c0": big, "ends": ints(2)}))
    assert network.nodes[-1].opaque


def test_external_data_must_stay_in_the_folder_of_the_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(288))
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    (home / "good.bin").write_bytes(bytes(288))
    (home / "short.bin").write_bytes(bytes(100))

    def saved(**entries: str) -> Path:
        proto = one("Conv", IMAGE, weights(4, 2, 3, 3))
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        return _saved(home, proto)

    for location, said in [
        ("../secret.bin", "outside the folder"),
        (str(tmp_path / "secret.bin"), "outside the folder"),
        ("a/../../secret.bin", "outside the folder"),
        ("..\\secret.bin", "outside the folder"),
        ("C:\\secret.bin", "outside the folder"),
        ("link.bin", "link out of the folder"),
        ("gone.bin", "not beside the model"),
        ("short.bin", "truncated"),
        ("", "does not say where"),
        (".", "not beside the model"),
    ]:
        text = _error(saved(location=location), kind=ReadError)
        assert said in text, (location, text)
    for offset, said in [("4", "truncated"), ("-8", "no number"), ("9" * 30, "no number")]:
        assert said in _error(saved(location="good.bin", offset=offset), kind=ReadError)
    assert "its shape needs" in _error(saved(location="good.bin", length="8"), kind=ReadError)
    network = read_onnx(saved(location="good.bin", offset="0", length="288"))
    assert network.param_count == 72


def test_weights_in_external_data_are_not_read(tmp_path: Path) -> None:
    proto = one("Gemm", (1, 4096), weights(1, 1), transB=1)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [1 << 20, 4096]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 << 32)
    with _bounded(16):
        network = read_onnx(_saved(tmp_path, proto))
    assert network.param_count == 4096 << 20


def test_small_external_constants_are_read_where_they_are_needed(tmp_path: Path) -> None:
    proto = one("Reshape", IMAGE, ints(1, 2, 99))
    tensor = proto.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="offset", value="8")
    assert read_onnx(_saved(tmp_path, proto)).nodes[-1].output.shape == (1, 2, 99)


def _nested(depth: int) -> onnx.ModelProto:
    node = helper.make_node("Abs", ["x"], ["y0"])
    for i in range(depth):
        branch = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name=f"y{i}")])
        node = helper.make_node(
            "If", ["flag"], [f"y{i + 1}"], then_branch=branch, else_branch=branch, name="if"
        )
    last = helper.make_node("Relu", [f"y{depth}"], ["y"])
    return model([node, last], {"x": IMAGE}, {"flag": np.asarray(True)})


def test_a_branch_that_is_always_taken_is_read_as_if_it_stood_there() -> None:
    network = read_onnx(_nested(3))
    assert [node.kind for node in network.nodes] == ["elementwise", "elementwise"]
    assert not any(node.opaque for node in network.nodes)


def test_branches_nested_too_deep_are_refused() -> None:
    chain = helper.make_node("Abs", ["x"], ["y0"])
    for i in range(20):
        branch = helper.make_graph([chain], "g", [], [onnx.ValueInfoProto(name=f"y{i}")])
        chain = helper.make_node("If", ["flag"], [f"y{i + 1}"], then_branch=branch, name="if")
    last = helper.make_node("Relu", ["y20"], ["y"])
    proto = model([chain, last], {"x": IMAGE}, {"flag": np.asarray(True)})
    assert "deeper than" in _error(proto, kind=ReadError)


def test_a_branch_that_the_data_choose_is_opaque_and_reads_what_is_inside() -> None:
    then = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["a"])], "then", [], [onnx.ValueInfoProto(name="a")]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "else", [], [onnx.ValueInfoProto(name="b")]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0, name="max"),
        helper.make_node("Greater", ["m", "one"], ["c"], name="test"),
        helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other, name="choice"),
        helper.make_node("Relu", ["z"], ["y"], name="after"),
    ]
    network = read_onnx(model(nodes, {"x": IMAGE}, {"one": np.float32(1)}))
    assert network.node("choice").opaque
    assert "x" in network.node("choice").inputs
    assert network.node("after").opaque == "the shape of what it reads depends on data"
    assert network.node("after").output.shape == ()


def test_what_is_not_known_is_opaque_with_its_reason_and_the_rest_goes_on() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], name="stem"),
        helper.make_node(
            "RoiAlign", ["a", "r", "i"], ["b"], name="sample", output_height=4, output_width=5
        ),
        helper.make_node("Warp", ["b"], ["c"], name="custom", domain="mine"),
        helper.make_node("Relu", ["c"], ["y"], name="after"),
    ]
    constants = {"k": weights(2, 2, 3, 3), "r": weights(1, 4), "i": ints(0)}
    proto = model(nodes, {"x": IMAGE}, constants, domains=["mine"])
    network = read_onnx(proto)
    assert network.node("sample").opaque == "the operator RoiAlign is not known"
    assert network.node("sample").output.shape == (1, 2, 4, 5)
    assert "mine.Warp is not known" in network.node("custom").opaque
    assert "depends on data" in network.node("custom").opaque
    assert network.node("after").output.shape == ()
    # The file may say what comes out.
    proto.graph.value_info.append(
        helper.make_tensor_value_info("c", TensorProto.FLOAT, (1, 2, 4, 5))
    )
    network = read_onnx(proto)
    assert network.node("after").output.shape == (1, 2, 4, 5)
    assert not network.node("after").opaque


def test_positions_chosen_by_data_stop_the_report_there() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"], name="where"),
        helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0], name="turn"),
    ]
    network = read_onnx(model(nodes, {"x": IMAGE}, {}))
    assert all(node.opaque for node in network.nodes)
    assert [node.output.shape for node in network.nodes] == [(), ()]


def _function(name: str, *body: NodeProto) -> onnx.FunctionProto:
    return helper.make_function(
        "mine",
        name,
        ["a"],
        ["b"],
        list(body),
        [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
    )


def test_functions_of_the_model_are_inlined() -> None:
    inner = _function(
        "Block",
        helper.make_node("Relu", ["a"], ["t"]),
        helper.make_node("Neg", ["t"], ["b"]),
    )
    node = helper.make_node("Block", ["x"], ["z"], domain="mine")
    conv = helper.make_node("Conv", ["z", "k"], ["y"], name="conv")
    proto = model(
        [node, conv], {"x": IMAGE}, {"k": weights(4, 2, 3, 3)}, functions=[inner], domains=["mine"]
    )
    network = read_onnx(proto)
    assert [n.kind for n in network.nodes] == ["elementwise", "elementwise", "conv"]
    assert network.param_count == 72


def test_functions_that_call_themselves_or_multiply_are_refused() -> None:
    loop = _function("Loop_", helper.make_node("Loop_", ["a"], ["b"], domain="mine"))
    node = helper.make_node("Loop_", ["x"], ["y"], domain="mine")
    proto = model([node], {"x": IMAGE}, {}, functions=[loop], domains=["mine"])
    assert "calls itself" in _error(proto, kind=ReadError)
    many = [_function("F0", helper.make_node("Relu", ["a"], ["b"]))]
    for i in range(1, 30):
        twice = [
            helper.make_node(f"F{i - 1}", ["a"], ["t"], domain="mine"),
            helper.make_node(f"F{i - 1}", ["t"], ["b"], domain="mine"),
        ]
        many.append(_function(f"F{i}", *twice))
    node = helper.make_node("F29", ["x"], ["y"], domain="mine")
    proto = model([node], {"x": IMAGE}, {}, functions=many, domains=["mine"])
    assert "more than 250,000 nodes" in _error(proto, kind=ReadError)


def test_too_many_nodes_are_refused() -> None:
    proto = one("Relu", IMAGE)
    node = helper.make_node("Relu", ["x"], [""])
    proto.graph.node.extend([node] * 250_001)
    with pytest.raises(ReadError, match="250,002 nodes"):
        read_onnx(proto)


def test_strings_sparse_tensors_and_inputs_that_are_no_tensors_are_no_trouble() -> None:
    proto = one("Relu", IMAGE)
    proto.graph.initializer.append(
        helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"])
    )
    values = numpy_helper.from_array(np.ones(3, np.float32), "s")
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(ints(1, 2, 3)), [1000])
    )
    assert read_onnx(proto).nodes[-1].kind == "elementwise"
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, (1, 2)))
    proto.graph.input[0].type.CopyFrom(kind)
    assert "is no tensor" in _error(proto, kind=ReadError)


def test_a_million_attributes_are_no_trouble() -> None:
    proto = one("Relu", IMAGE)
    attribute = AttributeProto(name="a", type=AttributeProto.INT, i=1)
    proto.graph.node[0].attribute.extend([attribute] * 50_000)
    assert "\n" not in _error_or_nothing(proto)


def test_long_names_do_not_make_long_messages() -> None:
    proto = one("Reshape", IMAGE, ints(7, -1))
    proto.graph.node[0].name = "n" * 1_000_000
    assert len(_error(proto)) < 600


def test_a_long_chain_is_read_without_recursion() -> None:
    nodes = [helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(3000)]
    network = read_onnx(model(nodes, {"x": (1, 4)}, {}, outputs=["v3000"]))
    assert len(network.nodes) == 3000


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    proto = one("Conv", IMAGE, weights(4, 2, 3, 3))
    before = proto.SerializeToString(deterministic=True)
    read_onnx(proto)
    assert proto.SerializeToString(deterministic=True) == before
