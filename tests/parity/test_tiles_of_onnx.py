"""ONNX files by tiles against themselves in ONNX Runtime on the whole image, at every position."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import atrous
from tests.exporting import export
from tests.onnx_probe import ints
from tests.skips import Skips

NEAR = 1e-5


def graph_of(nodes, shape, *constants, opset=19, kind=TensorProto.FLOAT, out="y", inputs=("x",)):
    """A file of these nodes; names stand for open sizes, arrays for what they read."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    outs = [helper.make_tensor_value_info(name, kind, None) for name in out.split()]
    held = [numpy_helper.from_array(array, name) for name, array in constants]
    graph = helper.make_graph(nodes, "net", given, outs, held)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def weight(name, *shape, kind=np.float32):
    rng = np.random.default_rng(len(name) + sum(shape))
    return name, rng.standard_normal(shape).astype(kind)


def whole_run(model, *images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, images, strict=True)))


def assert_equal_by_tiles(source, *images, tile, near=NEAR, model=None, batch=1):
    """Runs both, and returns the plan: more than one tile, or nothing was shown."""
    tiled = atrous.tile(source, tile=tile, batch=batch)
    found = tiled(*images)
    wholes = whole_run(model or source, *images)
    for one, other in zip(found if len(wholes) > 1 else [found], wholes, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        scale = max(float(np.abs(other.astype(np.float64)).max()), 1e-30)
        assert float(np.abs(one.astype(np.float64) - other).max()) <= near * scale
    plan = tiled.plan(*(image.shape for image in images))
    assert len(plan) > 1
    return plan


def image_of(*shape, kind=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(kind)


def test_an_exported_unet_at_odd_sizes_that_its_file_leaves_open(tmp_path):
    torch.manual_seed(0)
    size = {2: torch.export.Dim("h", min=20), 3: torch.export.Dim("w", min=20)}
    path = export(
        Skips(last="bicubic").eval(),
        torch.randn(1, 1, 48, 64),
        tmp_path / "net.onnx",
        dynamo=True,
        dynamic_shapes=(size,),
    )
    plan = assert_equal_by_tiles(str(path), image_of(1, 1, 75, 98), tile=16, model=onnx.load(path))
    assert len(plan.resizes) == 2


def test_an_exported_unet_at_the_one_odd_size_that_its_file_holds(tmp_path):
    torch.manual_seed(0)
    example = torch.randn(1, 1, 57, 98)
    path = export(Skips(last="bicubic").eval(), example, tmp_path / "net.onnx", dynamo=True)
    assert_equal_by_tiles(str(path), image_of(1, 1, 57, 98), tile=16, model=onnx.load(path))
    with pytest.raises(atrous.UnsupportedError, match="a size that the file holds; export it"):
        atrous.tile(str(path), tile=16).plan((1, 1, 59, 98))


DOWN = node("Conv", "x down", "a", strides=[2, 2], pads=[1, 1, 1, 1])
SIZE = [node("Shape", "x", "s", start=2), node("Shape", "a", "n", end=2)]


@pytest.mark.parametrize(
    "how",
    [
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        {"mode": "cubic", "cubic_coeff_a": -0.5},
        {"mode": "cubic", "exclude_outside": 1},
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_resizes_to_a_size_look_where_they_look_in_the_whole_map(how):
    nodes = [
        DOWN,
        *SIZE,
        node("Concat", "n s", "size", axis=0),
        helper.make_node("Resize", ["a", "", "", "size"], ["b"], **how),
        node("Conv", "b last", "y", pads=[1, 1, 1, 1]),
    ]
    weights = weight("down", 3, 1, 3, 3), weight("last", 1, 3, 3, 3)
    model = graph_of(nodes, [1, 1, "h", "w"], *weights)
    plan = assert_equal_by_tiles(model, image_of(1, 1, 57, 83), tile=16)
    assert len(plan.resizes) == 1


def test_a_resize_with_channels_last():
    nodes = [
        node("Conv", "x down", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Transpose", "a", "t", perm=[0, 2, 3, 1]),
        node("Shape", "x", "s", start=2),
        node("Concat", "one s three", "size", axis=0),
        helper.make_node("Resize", ["t", "", "", "size"], ["r"], mode="linear"),
        node("Transpose", "r", "y", perm=[0, 3, 1, 2]),
    ]
    constants = weight("down", 3, 1, 3, 3), ("one", ints(1)), ("three", ints(3))
    model = graph_of(nodes, [1, 1, "h", "w"], *constants)
    assert len(assert_equal_by_tiles(model, image_of(1, 1, 57, 83), tile=16).resizes) == 1


def test_resizes_keep_the_float32_places_of_large_maps():
    nodes = [
        node("MaxPool", "x", "a", kernel_shape=[3], strides=[2], pads=[1, 1]),
        node("Shape", "x", "size"),
        helper.make_node("Resize", ["a", "", "", "size"], ["y"], mode="linear"),
    ]
    model = graph_of(nodes, [1, 1, "t"])
    assert_equal_by_tiles(model, image_of(1, 1, 60_003), tile=20_000, near=1e-6)


def test_two_inputs_two_outputs_and_several_tiles_at_once():
    nodes = [
        node("Conv", "x first", "a", pads=[2, 2], dilations=[2]),
        node("Add", "a z", "y"),
        node("Conv", "y second", "small", strides=[4]),
    ]
    weights = weight("first", 2, 2, 3), weight("second", 1, 2, 4)
    images = image_of(2, 2, 130), 2 * image_of(2, 2, 130)
    for batch in ("n", 2):
        model = graph_of(nodes, [batch, 2, "t"], *weights, out="y small", inputs=("x", "z"))
        assert_equal_by_tiles(model, *images, tile=20, batch=3)


def test_half_precision_and_bytes():
    conv = [node("Conv", "x w", "y", pads=[2, 2, 2, 2])]
    half = weight("w", 2, 1, 5, 5, kind=np.float16)
    model = graph_of(conv, [1, 1, "h", "w"], half, kind=TensorProto.FLOAT16)
    assert_equal_by_tiles(model, image_of(1, 1, 40, 52, kind=np.float16), tile=16, near=2e-3)
    pool = [node("MaxPool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]
    model = graph_of(pool, [1, 1, "h", "w"], kind=TensorProto.UINT8)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 40, 52), np.uint8)
    assert_equal_by_tiles(model, image, tile=16, near=0)
    floats = graph_of([node("Relu", "x", "y")], [1, 1, "h", "w"])
    with pytest.raises(atrous.ArgumentError, match="'x' takes float32, got uint8; convert"):
        atrous.tile(floats, tile=16)(image)


def test_weights_beside_the_file_and_images_that_are_tensors(tmp_path):
    model = graph_of([node("Conv", "x w", "y")], [1, 1, "h", "w"], weight("w", 40, 1, 5, 5))
    path = tmp_path / "net.onnx"
    image = torch.from_numpy(image_of(1, 1, 40, 52))
    (whole,) = whole_run(model, image.numpy())
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="net.data")
    found = atrous.tile(path, tile=16)(image)
    assert torch.is_tensor(found)
    np.testing.assert_allclose(found.numpy(), whole, rtol=1e-5, atol=1e-5)


FIXED = ["batch", 1, 48, 64]


def test_a_file_of_one_size_runs_on_any_image_where_no_operator_holds_a_size():
    conv = [node("Conv", "x w", "y", pads=[1, 1, 1, 1], strides=[2, 2])]
    model, opened = (
        graph_of(conv, shape, weight("w", 2, 1, 3, 3)) for shape in (FIXED, [1, 1, "h", "w"])
    )
    for size in ((48, 64), (91, 130)):
        assert_equal_by_tiles(model, image_of(1, 1, *size), tile=16, model=opened)


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        (
            [node("Reshape", "x to", "a"), node("Reshape", "a back", "y")],
            [("to", ints(1, 48 * 64)), ("back", ints(1, 1, 48, 64))],
            "made for 1x1x48x64 alone: at|makes a size that the file holds",
        ),
        ([node("Add", "x grid", "y")], [("grid", image_of(1, 1, 48, 64))], "made for 1x1x48x64 a"),
        (
            [node("Slice", "x from to axes", "y")],
            [("from", ints(0)), ("to", ints(48)), ("axes", ints(2))],
            "would be something else: its layers are others; export it",
        ),
        (
            [node("Slice", "x from to axes", "y")],
            [("from", ints(0)), ("to", ints(40)), ("axes", ints(2))],
            "makes a size that the file holds",
        ),
    ],
)
def test_a_file_that_holds_a_size_is_refused_at_another(nodes, constants, words):
    model = graph_of(nodes, FIXED, *constants)
    with pytest.raises(atrous.UnsupportedError, match=words):
        atrous.tile(model, tile=16).plan((1, 1, 96, 128))
    if "Slice" not in [one.op_type for one in nodes]:
        with pytest.raises(atrous.UnsupportedError, match=words):
            atrous.tile(model, tile=16).plan((1, 1, 48, 64))


def test_a_number_made_of_the_size_shows_in_a_run():
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("Shape", "x", "s", start=3),
        node("Cast", "s", "n", to=TensorProto.FLOAT),
        node("Div", "a n", "y"),
    ]
    model = graph_of(nodes, [1, 1, "h", "w"], weight("w", 1, 1, 3, 3))
    with pytest.raises(atrous.UnsupportedError, match="the size of its input"):
        atrous.tile(model, tile=16)(image_of(1, 1, 64, 64))


def test_resizes_that_cannot_be_exact_are_refused_by_name():
    nodes = [
        DOWN,
        *SIZE,
        node("Concat", "n s", "size", axis=0),
        helper.make_node(
            "Resize", ["a", "", "", "size"], ["y"], name="up", mode="linear", antialias=1
        ),
    ]
    model = graph_of(nodes, [1, 1, "h", "w"], weight("down", 3, 1, 3, 3))
    with pytest.raises(atrous.UnsupportedError, match=r"up: filters while it resizes"):
        atrous.tile(model, tile=16)(image_of(1, 1, 57, 83))
