"""Parts of ONNX files: other inputs fall away, branches share constants, hints that work."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import atrous
from atrous import ConversionError


def normal(name: str, *shape: int) -> onnx.TensorProto:
    rng = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)


def made(nodes, inputs, outputs, constants) -> onnx.ModelProto:
    def infos(shapes):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def conv(name: str, x: str, weight: str, *, stride: int = 1, kernel: int = 3) -> onnx.NodeProto:
    return helper.make_node(
        "Conv",
        [x, weight],
        [f"{name}_out"],
        name=name,
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[kernel // 2] * 4,
    )


def run(model: onnx.ModelProto, name: str, feed: dict[str, np.ndarray]) -> np.ndarray:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)[0]


def two_inputs() -> onnx.ModelProto:
    """A backbone with a head that joins a second input."""
    return made(
        [
            conv("first", "x", "w1", stride=2),
            conv("second", "first_out", "w2", stride=2),
            helper.make_node("GlobalAveragePool", ["second_out"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            helper.make_node("Concat", ["f", "s"], ["y"], axis=1, name="cat"),
        ],
        {"s": ["n", 2], "x": ["n", 3, 32, 32]},
        {"y": ["n", 6]},
        [normal("w1", 4, 3, 3, 3), normal("w2", 4, 4, 3, 3)],
    )


@pytest.mark.parametrize(
    "given", [((1, 2), (1, 3, 32, 32)), {"x": (1, 3, 32, 32), "s": (1, 2)}, {"n": 1}]
)
def test_a_part_that_needs_one_of_several_inputs_is_converted(given) -> None:
    before = two_inputs()
    done = atrous.convert(before, 2, input=given, outputs="second")
    assert done.certificate.verdict == "exact"
    assert done.certificate.state == "measured"
    assert [item.name for item in done.model.graph.input] == ["x"]
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    one = run(before, "second_out", {"x": x, "s": np.zeros((1, 2), np.float32)})
    two = run(done.model, "second_out", {"x": x})
    np.testing.assert_allclose(two[..., ::2, ::2], one, atol=1e-5)
    found = atrous.audit(before, done.model, input=given, outputs="second")
    assert found.verdict == "exact"
    assert found.state == "measured"


def test_a_candidate_with_an_input_of_its_own_is_refused_by_its_name() -> None:
    before = two_inputs()
    part = atrous.convert(before, 2, input={"n": 1}, outputs="second").model
    with pytest.raises(atrous.AtrousError, match="has an input 's', which the reference has not"):
        atrous.audit(part, before, outputs="second")


@pytest.mark.parametrize("shared", ["constant", "weight", "nothing"])
@pytest.mark.parametrize("branch", ["a", "b"])
def test_one_of_two_branches_converts_whatever_they_share(branch: str, shared: str) -> None:
    nodes = [conv("stem", "x", "w0")]
    constants = [normal("w0", 4, 3, 3, 3)]
    for name in "ab":
        own = {kind: kind if shared == kind else kind + name for kind in ("constant", "weight")}
        nodes += [
            conv(f"{name}1", "stem_out", f"w{name}", stride=2),
            helper.make_node(
                "Div", [f"{name}1_out", own["constant"]], [f"{name}d"], name=f"{name}d"
            ),
            conv(f"{name}2", f"{name}d", own["weight"], stride=2),
        ]
        constants.append(normal(f"w{name}", 4, 4, 3, 3))
        if name == "a" or shared != "constant":
            constants.append(numpy_helper.from_array(np.float32(2), own["constant"]))
        if name == "a" or shared != "weight":
            constants.append(normal(own["weight"], 4, 4, 3, 3))
    outputs = {f"{name}2_out": [1, 4, 8, 8] for name in "ab"}
    before = made(nodes, {"x": [1, 3, 32, 32]}, outputs, constants)
    done = atrous.convert(before, 1, outputs=f"{branch}2")
    assert done.certificate.verdict == "exact"
    assert done.certificate.state == "measured"
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    one, two = (run(m, f"{branch}2_out", {"x": x}) for m in (before, done.model))
    np.testing.assert_allclose(two[..., ::4, ::4], one, atol=1e-5)


def levels() -> onnx.ModelProto:
    """Two levels of a pyramid, each with a head of one weight, and both flattened side by side."""
    return made(
        [
            conv("/model.0/Conv", "x", "w0", stride=2),
            conv("/model.1/Conv", "/model.0/Conv_out", "w1", stride=2),
            helper.make_node(
                "Reshape", ["/model.0/Conv_out", "s"], ["r0"], name="/model.2/Reshape"
            ),
            helper.make_node(
                "Reshape", ["/model.1/Conv_out", "s"], ["r1"], name="/model.2/Reshape_1"
            ),
            helper.make_node("Concat", ["r0", "r1"], ["y"], axis=2, name="/model.2/Concat"),
        ],
        {"x": [1, 3, 32, 32]},
        {"y": [1, 4, 320]},
        [
            normal("w0", 4, 3, 3, 3),
            normal("w1", 4, 4, 3, 3),
            numpy_helper.from_array(np.array([1, 4, -1], np.int64), "s"),
        ],
    )


def test_a_hint_names_an_output_that_works() -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(levels(), 2)
    name = str(raised.value).rpartition("outputs='")[2].partition("'")[0]
    assert name
    assert atrous.convert(levels(), 2, outputs=name).certificate.verdict == "exact"


def test_frames_that_a_reshape_cuts_are_said_to_be_no_stride() -> None:
    before = made(
        [
            helper.make_node("Reshape", ["x", "s"], ["f"], name="frames"),
            helper.make_node("MatMul", ["f", "m"], ["g"], name="mix"),
            helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1], name="turn"),
            helper.make_node("Conv", ["t", "w"], ["y"], name="conv", kernel_shape=[3], pads=[1, 1]),
        ],
        {"x": [1, 4096]},
        {"y": [1, 4, 16]},
        [
            normal("m", 256, 8),
            normal("w", 4, 8, 3),
            numpy_helper.from_array(np.array([1, 16, 256], np.int64), "s"),
        ],
    )
    with pytest.raises(ConversionError) as raised:
        atrous.convert(before, 128)
    assert "frames (a reshape that cuts it into frames)" in str(raised.value)
    assert "between" not in str(raised.value)


def test_a_file_of_one_size_is_judged_at_that_size() -> None:
    """Another size, at which its last pool would drop positions, is none that it takes."""
    pools = [
        helper.make_node("MaxPool", [at], [to], name=to, kernel_shape=[2, 2], strides=[2, 2])
        for at, to in (("first_out", "p1"), ("p1", "p2"))
    ]
    before = made(
        [conv("first", "x", "w0"), *pools, conv("last", "p2", "w1")],
        {"x": ["n", 3, 26, 39]},
        {"last_out": ["n", 4, 6, 9]},
        [normal("w0", 4, 3, 3, 3), normal("w1", 4, 4, 3, 3)],
    )
    done = atrous.convert(before, 2, input=(1, 3, 26, 39))
    assert done.certificate.verdict == "exact"
    assert done.certificate.measured_at == ((26, 39),)
