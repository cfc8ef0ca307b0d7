"""Models that count on more than a tile's positions: their place, their batch, their values."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

import atrous
from atrous.runners.onnx import OnnxRunner


class Does(nn.Module):
    """A convolution, and what a function makes of it and the inputs."""

    def __init__(self, function, channels=2):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(channels, 2, 3, padding=1, bias=False)

    def forward(self, x, *more):
        return self.function(self.conv(x), x, *more)


def made(function, **asked):
    torch.manual_seed(0)
    return Does(function, **asked).double().eval()


def image(*shape):
    return torch.randn(shape or (1, 2, 61, 47), dtype=torch.double)


@pytest.mark.parametrize(
    "function",
    [
        lambda y, _: y + torch.arange(y.shape[2])[:, None] * 0.01,
        lambda y, _: y * (torch.arange(y.shape[3]) % 2),
        lambda y, _: y / y.shape[-1],
        lambda _, x: functional.max_pool2d(x, 2, return_indices=True)[1],
    ],
    ids=["a ramp", "every other column", "its size", "places of maxima"],
)
def test_numbers_that_depend_on_the_place_or_the_size_are_refused(function):
    with pytest.raises(atrous.UnsupportedError, match="or from positions in it"):
        atrous.tile(made(function), tile=16)(image())


def test_an_image_that_is_blank_at_its_corners_hides_no_number_of_its_size():
    whole = functional.pad(image(1, 2, 21, 7), (20, 20, 20, 20))
    with pytest.raises(atrous.UnsupportedError, match="takes a number from the size"):
        atrous.tile(made(lambda y, _: y / y.shape[-1]), tile=16)(whole)
    model = made(lambda y, _: y)
    assert torch.equal(atrous.tile(model, tile=16)(whole), model(whole).detach())


def test_a_sweep_that_is_given_numbers_of_the_place_is_refused():
    model = made(lambda y, _: y - (y + torch.arange(y.shape[2])[:, None]).amax((2, 3), True))
    with pytest.raises(atrous.UnsupportedError, match="is given differs for a tile"):
        atrous.tile(model, tile=16, statistics="exact")(image())


@pytest.mark.parametrize(
    "function",
    [lambda y, x: y - x.mean(0, keepdim=True), lambda y, _: y.flip(0)],
    ids=["a mean of the batch", "a batch in another order"],
)
def test_tiles_run_together_only_where_images_of_a_batch_are_apart(function):
    model, x = made(function), image(2, 2, 61, 47)
    assert float((atrous.tile(model, tile=16)(x) - model(x).detach()).abs().max()) < 1e-12
    with pytest.raises(atrous.ArgumentError, match=r"give batch=1\."):
        atrous.tile(model, tile=16, batch=4)(x)


def test_a_norm_by_the_batch_is_not_that_of_several_tiles():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    x = image(2, 2, 61, 47)
    with pytest.raises(atrous.ArgumentError, match=r"give batch=1\."):
        atrous.tile(model.double().eval(), tile=16, batch=4, statistics="tile")(x)


def test_tensors_of_any_type_run_together():
    x = image().to(torch.bfloat16)
    model = made(lambda y, _: y).to(torch.bfloat16)
    found = atrous.tile(model, tile=16, batch=3)(x)
    assert float((found - model(x).detach().float()).abs().max()) < 0.02


def test_a_way_that_values_decide_is_refused_unless_the_image_is_one_tile():
    model = made(lambda y, x: y if x.mean() > 0 else 2 * y)
    x = image()
    for asked in ({"tile": 16}, {"memory": "100KiB"}):
        with pytest.raises(atrous.UnsupportedError, match="decide before the model"):
            atrous.tile(model, **asked)(x)
    assert torch.equal(atrous.tile(model, memory="1GiB")(x), model(x).detach())


@pytest.mark.parametrize("shape", [(1, 2, 1, 61), (1, 2, 61, 1), (1, 2, 1, 1)])
def test_images_of_one_row_or_column_run_by_tiles(shape):
    model, x = made(lambda y, _: y), image(*shape)
    assert torch.equal(atrous.tile(model, tile=16)(x), model(x).detach())


def odd_arrays(x):
    """The same numbers backwards in memory, in another byte order, and not to be written to."""
    locked = x.copy()
    locked.flags.writeable = False
    return x[..., ::-1].copy()[..., ::-1], x.astype(x.dtype.newbyteorder(">")), locked


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=8, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()


def test_arrays_of_any_order_in_memory_give_the_same():
    x = np.random.default_rng(0).random((1, 1, 200, 160), np.float32)
    for model, asked in ((classifier(), {"memory": "700KiB"}), (classifier()[:3], {"tile": 40})):
        tiled = atrous.tile(model, **asked)
        whole = model(torch.from_numpy(x)).detach().numpy()
        for one in odd_arrays(x):
            assert float(np.abs(tiled(one) - whole).max()) < 1e-6
    assert isinstance(tiled.plan(x.shape), atrous.TilePlan)


def test_a_network_that_is_cut_says_what_it_takes():
    tiled = atrous.tile(classifier(), memory="700KiB")
    with pytest.raises(atrous.ArgumentError, match=r"does not run on uint8: .*Make of the image"):
        tiled(np.zeros((1, 1, 200, 160), np.uint8))
    assert tiled(torch.zeros(1, 1, 200, 160, dtype=torch.double)).dtype == torch.float32

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.back = classifier()

        def forward(self, x, y):
            return self.back(x + y)

    with pytest.raises(atrous.UnsupportedError, match="it has 2 inputs"):
        atrous.tile(Two(), memory="1MiB").plan((1, 1, 200, 160), (1, 1, 200, 160))


def test_a_front_that_holds_numbers_for_the_size_of_the_image_is_refused():
    class Ramp(nn.Module):
        def forward(self, x):
            return x + torch.arange(x.shape[2])[:, None]

    model = nn.Sequential(Ramp(), *classifier())
    with pytest.raises(atrous.UnsupportedError, match="numbers for the size of the image"):
        atrous.tile(model, memory="700KiB")(torch.zeros(1, 1, 200, 160))


def of_size(width, ramp=None):
    """An ONNX file that divides by the width it is given, or adds a ramp of its own."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.random(shape, np.float32), name)
        for name, shape in (("a", (8, 1, 3, 3)), ("b", (8, 8, 3, 3)))
    ]
    more = [numpy_helper.from_array(np.array(3, np.int64), "three")]
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "three"], ["width"]),
        helper.make_node("Cast", ["width"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "number"], ["small"]),
    ]
    if ramp is not None:
        more.append(numpy_helper.from_array(ramp, "ramp"))
        nodes = [helper.make_node("Add", ["x", "ramp"], ["small"])]
    nodes += [
        helper.make_node("Conv", ["small", "a"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["first", "b"], ["second"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["second"], ["y"]),
    ]
    shape = [1, 1, 200, width]
    graph = helper.make_graph(
        nodes,
        "of size",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1])],
        [*weights, *more],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_front_in_a_file_is_told_the_size_of_the_image_and_not_of_a_tile(tmp_path):
    model = of_size(160)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).random((1, 1, 200, 160), np.float32)
    (whole,) = OnnxRunner(model).run([x], ["y"]).values()
    tiled = atrous.tile(model, memory="700KiB")
    assert len(tiled.plan(x.shape)) > 1
    assert float(np.abs(tiled(x) - whole).max()) < 1e-6 * float(np.abs(whole).max())
    path = tmp_path / "cut.onnx"
    tiled.to_onnx(path, *x.shape)
    (found,) = OnnxRunner(path).run([x], ["y"]).values()
    assert float(np.abs(found - whole).max()) < 1e-6 * float(np.abs(whole).max())


def test_a_file_whose_front_holds_a_map_of_numbers_is_refused_before_it_is_written(tmp_path):
    model = of_size(160, np.arange(200, dtype=np.float32).reshape(1, 1, 200, 1))
    tiled = atrous.tile(model, memory="700KiB")
    path = tmp_path / "cut.onnx"
    with pytest.raises(atrous.UnsupportedError, match="numbers for the size of the image"):
        tiled.to_onnx(path, 1, 1, 200, 160)
    assert not path.exists()


def test_what_reduces_keeps_every_position_or_is_refused():
    model, x = made(lambda y, _: y), image()
    tiled = atrous.tile(model, tile=16)
    for reduce in (lambda part: part[..., :3], lambda part: part.mean((2, 3), keepdims=True)):
        with pytest.raises(atrous.ArgumentError, match="keep every position"):
            tiled(x, reduce=reduce)
    found = tiled(x, reduce=lambda part: torch.from_numpy(part).abs())
    assert torch.allclose(found, model(x).detach().abs(), rtol=0, atol=1e-12)


def test_a_tensor_of_whole_numbers_takes_no_others():
    model, x = made(lambda y, _: y), image()
    with pytest.raises(atrous.ArgumentError, match="cannot hold it"):
        atrous.tile(model, tile=16).run(x, torch.zeros(x.shape, dtype=torch.int16))


@pytest.mark.parametrize("asked", [{"batch": 0}, {"batch": 2.5}, {"batch": True}])
def test_a_batch_is_a_number_of_tiles(asked):
    with pytest.raises(atrous.ArgumentError, match="is no number of tiles"):
        atrous.tile(made(lambda y, _: y), tile=16, **asked)


def test_sizes_of_tiles_are_whole_numbers_of_any_kind():
    model = made(lambda y, _: y)
    assert atrous.plan_tiles(model, (1, 2, 61, 47), tile=np.int64(16)).grid == (4, 3)
    with pytest.raises(atrous.ArgumentError, match="is no size of tiles"):
        atrous.plan_tiles(model, (1, 2, 61, 47), tile="16")
    with pytest.raises(atrous.ArgumentError, match="is no size of memory"):
        atrous.plan_tiles(model, (1, 2, 61, 47), memory=True)


def test_gradients_by_several_inputs_are_those_of_the_whole_images():
    model = made(lambda y, x, more, scale: (y + more[:, :2]) * scale[:, :, None, None] + x)
    shapes = ((1, 2, 61, 47), (1, 3, 61, 47), (1, 2))
    given = [image(*shape).requires_grad_() for shape in shapes]
    output = model(*given)
    output.square().sum().backward()
    wanted = [model.conv.weight.grad.clone(), *(one.grad for one in given)]
    model.zero_grad()
    tiled = atrous.tile(model, tile=16)
    images = tuple(one.detach() for one in given)
    found = tiled.backward(images, 2 * output.detach(), of_image=True)
    for one, other in zip(wanted, [model.conv.weight.grad, *found], strict=True):
        assert float((one - other).abs().max()) < 1e-13 * float(one.abs().max())
    with torch.no_grad(), pytest.raises(atrous.ArgumentError, match="gradients are switched off"):
        tiled.backward(images, 2 * output)
