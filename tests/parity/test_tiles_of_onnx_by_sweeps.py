"""ONNX files with layers that mix all positions, by tiles, against the whole image."""

import pickle

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import atrous
from atrous.runners.tiled import onnx_statistics
from atrous.runners.tiled.tiled import Tiled
from atrous.verbs.tile import Planner
from tests.exporting import export
from tests.onnx_probe import ints
from tests.parity.test_tiles_by_sweeps import decoder
from tests.parity.test_tiles_of_onnx import graph_of, node, weight, whole_run

NEAR = 1e-5


def ramped(*shape, kind=np.float32):
    """Noise on a slope: parts of the image have other statistics than the whole."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + np.linspace(0, 3, shape[-1])).astype(kind)


def largest_difference(source, *images, tile, whole=None, **asked):
    """What tiles differ by as a share of the largest value, over all outputs, and the plan."""
    tiled = atrous.tile(source, tile=tile, **{"statistics": "exact", **asked})
    made = tiled(*images)
    rights = whole_run(source if whole is None else whole, *images)
    plan = tiled.plan(*(image.shape for image in images))
    assert len(plan) > 1
    apart = 0.0
    for one, right in zip(made if len(rights) > 1 else [made], rights, strict=True):
        assert (one.shape, one.dtype) == (right.shape, right.dtype)
        apart = max(apart, float(np.abs(one - right).max() / np.abs(right).max()))
    return apart, plan


def conv(x, name, y, kernel=3, stride=1, dilation=1):
    side = dilation * (kernel // 2)
    said = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [side] * 4}
    return node("Conv", f"{x} {name}", y, **said)


def scaled(stem, channels):
    """A scale around 1 and an offset for each channel."""
    (_, scale), (_, bias) = weight("s", channels), weight("off", channels)
    return (f"{stem}_scale", 1 + scale / 9), (f"{stem}_bias", bias)


ENTER, MORE = weight("enter", 4, 2, 3, 3), weight("more", 4, 4, 3, 3)
OPEN = ["n", 2, "h", "w"]
IMAGE = (2, 2, 45, 58)


def instance_norms():
    nodes = [
        conv("x", "enter", "a", stride=2),
        node("InstanceNormalization", "a one_scale one_bias", "b", epsilon=1e-3),
        node("Relu", "b", "c"),
        conv("c", "more", "d", dilation=2),
        node("InstanceNormalization", "d two_scale two_bias", "e"),
        conv("e", "more", "y"),
    ]
    return graph_of(nodes, OPEN, ENTER, MORE, *scaled("one", 4), *scaled("two", 4))


def group_norm_as_exported():
    """Flattened to groups, normalized as instances, and given its shape back."""
    nodes = [
        conv("x", "enter", "a"),
        node("Reshape", "a groups", "g"),
        node("InstanceNormalization", "g ones zeros", "i"),
        node("Shape", "a", "shape"),
        node("Reshape", "i shape", "b"),
        node("Mul", "b scale", "c"),
        conv("c", "more", "y"),
    ]
    constants = (
        ("groups", ints(0, 2, -1)),
        ("ones", np.ones(2, np.float32)),
        ("zeros", np.zeros(2, np.float32)),
        weight("scale", 4, 1, 1),
    )
    return graph_of(nodes, OPEN, ENTER, MORE, *constants)


def group_norm():
    nodes = [
        conv("x", "enter", "a"),
        node("GroupNormalization", "a n_scale n_bias", "b", num_groups=2),
        conv("b", "more", "y"),
    ]
    return graph_of(nodes, OPEN, ENTER, MORE, *scaled("n", 4), opset=21)


def batch_statistics():
    nodes = [
        conv("x", "enter", "a"),
        node("MeanVarianceNormalization", "a", "b", axes=[0, 2, 3]),
        conv("b", "more", "y"),
    ]
    return graph_of(nodes, OPEN, ENTER, MORE)


def squeeze():
    nodes = [
        conv("x", "enter", "a"),
        node("GlobalAveragePool", "a", "m"),
        node("Conv", "m less", "l"),
        node("Relu", "l", "r"),
        node("Conv", "r up", "u"),
        node("Sigmoid", "u", "s"),
        node("Mul", "a s", "y"),
    ]
    return graph_of(nodes, OPEN, ENTER, weight("less", 2, 4, 1, 1), weight("up", 4, 2, 1, 1))


def image_pooling():
    nodes = [
        conv("x", "enter", "a", stride=2),
        node("GlobalAveragePool", "a", "m"),
        node("Conv", "m point", "p"),
        node("Shape", "a", "size"),
        onnx.helper.make_node("Resize", ["p", "", "", "size"], ["wide"], mode="linear"),
        conv("a", "more", "b", dilation=2),
        node("Concat", "wide b", "y", axis=1),
    ]
    return graph_of(nodes, OPEN, ENTER, MORE, weight("point", 4, 4, 1, 1))


def strip_pooling():
    nodes = [
        conv("x", "enter", "a", stride=2),
        node("ReduceMean", "a along_x", "rows", keepdims=1),
        node("ReduceMax", "a along_y", "columns", keepdims=1),
        node("Add", "rows columns", "both"),
        node("Sigmoid", "both", "s"),
        node("Mul", "a s", "b"),
        conv("b", "more", "y"),
    ]
    axes = ("along_x", ints(3)), ("along_y", ints(2))
    return graph_of(nodes, OPEN, ENTER, MORE, *axes, opset=18)


def written_out():
    """A layer norm over everything, in words of its own."""
    nodes = [
        conv("x", "enter", "a"),
        node("ReduceMean", "a axes", "m", keepdims=1),
        node("Sub", "a m", "d"),
        node("Mul", "d d", "q"),
        node("ReduceMean", "q axes", "v", keepdims=1),
        node("Add", "v eps", "w"),
        node("Sqrt", "w", "r"),
        node("Div", "d r", "y"),
    ]
    eps = ("eps", np.float32(1e-5))
    return graph_of(nodes, OPEN, ENTER, ("axes", ints(1, 2, 3)), eps, opset=18)


def sums_of_all_kinds():
    kinds = "ReduceSum ReduceL1 ReduceL2 ReduceSumSquare ReduceMin ReduceLogSum".split()  # noqa: SIM905
    nodes = [conv("x", "enter", "a"), node("Abs", "a", "b"), node("GlobalMaxPool", "a", "t0")]
    for i, kind in enumerate(kinds):
        nodes += [
            node(kind, f"{'b' if kind == 'ReduceLogSum' else 'a'} axes", f"r{i}", keepdims=1),
            node("Add", f"t{i} r{i}", f"t{i + 1}"),
        ]
    nodes.append(node("Mul", f"a t{len(kinds)}", "y"))
    return graph_of(nodes, OPEN, ENTER, ("axes", ints(2, 3)), opset=18)


def classifier():
    nodes = [
        conv("x", "enter", "a", stride=2),
        node("ReduceMean", "a axes", "m", keepdims=0),
        node("MatMul", "m head", "y"),
    ]
    return graph_of(nodes, OPEN, ENTER, weight("head", 4, 5), ("axes", ints(2, 3)), opset=18)


def along_time():
    nodes = [
        node("Conv", "x enter", "a", strides=[2]),
        node("InstanceNormalization", "a n_scale n_bias", "b"),
        node("ReduceMean", "b axes", "m", keepdims=1),
        node("Add", "a m", "y"),
    ]
    shape = ["n", 2, "t"]
    constants = weight("enter", 4, 2, 5), *scaled("n", 4), ("axes", ints(2))
    return graph_of(nodes, shape, *constants, opset=18)


CASES = {
    "instance norms": (instance_norms, IMAGE, 16, 3),
    "group norm as exported": (group_norm_as_exported, IMAGE, 16, 2),
    "group norm": (group_norm, IMAGE, 16, 2),
    "mean and variance": (batch_statistics, IMAGE, 16, 2),
    "squeeze": (squeeze, IMAGE, 13, 2),
    "image pooling": (image_pooling, (1, 2, 53, 71), 16, 2),
    "strip pooling": (strip_pooling, IMAGE, (10, 16), 2),
    "strip pooling, one axis cut": (strip_pooling, IMAGE, (60, 16), 2),
    "written out": (written_out, IMAGE, 11, 3),
    "sums": (sums_of_all_kinds, IMAGE, 16, 2),
    "classifier": (classifier, IMAGE, 16, 2),
    "along time": (along_time, (1, 2, 301), 50, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_sweeps_give_what_the_whole_image_gives(name):
    make, shape, tile, sweeps = CASES[name]
    model, image = make(), ramped(*shape)
    for scratch in (None, "none"):
        apart, plan = largest_difference(model, image, tile=tile, scratch=scratch)
        assert apart <= NEAR, scratch
        assert plan.sweeps == sweeps
        assert len(plan.stages) == (sweeps if scratch is None else 0)


def test_in_double_precision_the_difference_is_that_of_rounding():
    """Of what ONNX Runtime has for float64: sums of neighbours, products, means."""
    nodes = [
        node("Pad", "x pads", "wide"),
        node("Slice", "wide from to axes", "left"),
        node("Slice", "wide two end axes", "right"),
        node("Add", "left right", "a"),
        node("ReduceMean", "a both", "m", keepdims=1),
        node("Sub", "a m", "d"),
        node("Mul", "d d", "q"),
        node("ReduceMean", "q both", "v", keepdims=1),
        node("Sqrt", "v", "r"),
        node("Div", "d r", "y"),
    ]
    constants = (
        ("pads", ints(0, 0, 0, 1, 0, 0, 0, 1)),
        *(("from", ints(0)), ("to", ints(-2)), ("two", ints(2)), ("end", ints(1 << 40))),
        *(("axes", ints(3)), ("both", ints(2, 3))),
    )
    model = graph_of(nodes, OPEN, *constants, opset=18, kind=TensorProto.DOUBLE)
    apart, plan = largest_difference(model, ramped(*IMAGE, kind=np.float64), tile=16)
    assert apart <= 1e-12
    assert plan.sweeps == 3


def test_positions_of_halos_that_are_counted_twice_are_seen(monkeypatch):
    def whole_tiles(plan, tensor, digits, tile):
        places = zip(plan.axes, tile.index, strict=True)
        starts = {axis.axis: axis.offset(tensor, axis.origin(place)) for axis, place in places}
        local = tuple(slice(0, one.made) for one in digits)
        at = ((starts.get(one.axis, 0), one.made) for one in digits)
        return local, tuple(slice(start, start + made) for start, made in at)

    monkeypatch.setattr(onnx_statistics, "own_at", whole_tiles)
    model, image = squeeze(), ramped(*IMAGE)
    with pytest.raises(atrous.UnsupportedError, match="for a tile of another size"):
        largest_difference(model, image, tile=13)
    # Without that check the results tell.
    monkeypatch.setattr(Tiled, "_beside", lambda *_: None)
    assert largest_difference(model, image, tile=13)[0] > 1e-4


def test_two_images_after_another_and_statistics_of_each_tile():
    model = instance_norms()
    tiled = atrous.tile(model, tile=16, statistics="exact")
    for scale in (1, 7):
        image = ramped(*IMAGE) * scale + scale
        (right,) = whole_run(model, image)
        assert np.abs(tiled(image) - right).max() <= NEAR * np.abs(right).max()
    apart, plan = largest_difference(model, image, tile=16, statistics="tile")
    assert (plan.exact, plan.sweeps, len(plan.statistics)) == (False, 1, 2)
    assert apart > 1e-3
    by_tile = atrous.tile(model, tile=16, statistics="tile")
    by_tile(image)
    assert by_tile.error.largest > 1e-3


def test_an_exported_decoder_of_one_size_with_seven_norms(tmp_path):
    torch.manual_seed(0)
    model = decoder().eval()
    image = ramped(1, 2, 27, 34)
    path = export(model, torch.from_numpy(image), tmp_path / "net.onnx", dynamo=True)
    apart, plan = largest_difference(str(path), image, tile=12, whole=onnx.load(path))
    assert apart <= NEAR
    assert (plan.sweeps, len(plan.stages)) == (8, 8)


def test_an_engine_that_is_sent_elsewhere_has_the_statistics_it_found():
    model, image = squeeze(), ramped(*IMAGE)
    planner = Planner(model, tile=13, statistics="exact", scratch="none")
    plan = planner.plan((IMAGE,))
    engine = planner.engine(plan)
    tile = plan.tile(0)
    for one in plan.tiles():
        engine.gather([image[one.read[0]]], one, 1)
    (right,) = engine.run([image[tile.read[0]]], [tile])
    (found,) = pickle.loads(pickle.dumps(engine)).run([image[tile.read[0]]], [tile])
    assert np.array_equal(found, right)


def product():
    nodes = [node("ReduceProd", "x axes", "p", keepdims=1), node("Mul", "x p", "y")]
    return graph_of(nodes, OPEN, ("axes", ints(2, 3)), opset=18)


def norm_of_positions():
    norm = node("LayerNormalization", "x scale", "y", axis=1)
    return graph_of([norm], [2, 2, 45, 58], weight("scale", 2, 45, 58))


def largest_places():
    nodes = [
        node("ArgMax", "x", "p", axis=3),
        node("Cast", "p", "q", to=1),
        node("Mul", "x q", "y"),
    ]
    return graph_of(nodes, OPEN)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (product, "lets all positions see one another|ReduceProd, which tiles do not gather"),
        (norm_of_positions, "has a number for each position|is made for 2x2x45x58 alone"),
        (largest_places, "lets all positions see one another"),
    ],
)
def test_what_cannot_be_gathered_is_refused_and_named(make, words):
    with pytest.raises(atrous.UnsupportedError, match=words):
        atrous.tile(make(), tile=16, statistics="exact")(ramped(*IMAGE))


def test_without_statistics_the_error_says_how():
    with pytest.raises(atrous.UnsupportedError, match="give statistics='exact'"):
        atrous.tile(squeeze(), tile=16)(ramped(*IMAGE))


def test_gradients_are_those_of_modules():
    tiled = atrous.tile(squeeze(), tile=16, statistics="exact")
    with pytest.raises(atrous.UnsupportedError, match="gradients are those of PyTorch modules"):
        tiled.backward(ramped(*IMAGE), np.ones((2, 4, 45, 58), np.float32))
