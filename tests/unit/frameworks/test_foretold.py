"""What is foretold of calls on fake tensors is what PyTorch itself says of them."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from atrous.frameworks.foretold import foretold

ATEN = torch.ops.aten


def assert_as_torch_says(op, *args, wanted: bool | None = None):
    """What is foretold has the shape, strides and kind of what the mode makes; or nothing is."""
    found = foretold(op, args, {})
    if wanted is not None:
        assert (found is not None) == wanted
    if found is None:
        return
    first = args[0][0] if isinstance(args[0], list) else args[0]
    with first.fake_mode:
        made = op(*args)
    assert type(found) is type(made)
    assert (found.shape, found.stride(), found.dtype) == (made.shape, made.stride(), made.dtype)
    assert (found.device, found.is_inference()) == (made.device, made.is_inference())
    assert (found is args[0]) == (made is args[0])
    assert found.untyped_storage().nbytes() == made.untyped_storage().nbytes()


@pytest.fixture(autouse=True)
def at_rest():
    with torch.inference_mode():
        yield


@pytest.fixture
def fakes():
    mode = FakeTensorMode()

    def make(*shape, dtype=torch.float32):
        with mode:
            return torch.empty(shape, dtype=dtype)

    return make


CONVOLUTIONS = (ATEN.conv1d.default, ATEN.conv2d.default, ATEN.conv3d.default)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_make_what_torch_says(fakes, rank):
    for index, (kernel, stride, pad, rate) in enumerate(
        product((1, 2, 3), (1, 2), (0, 1, 3), (1, 3))
    ):
        groups, sizes = (1, 2, 4)[index % 3], (9, 1, 12)[:rank] if index % 2 else (7, 8, 10)[:rank]
        x = fakes(2, 4, *sizes, dtype=(torch.float32, torch.float64)[index % 2])
        weight = fakes(8, 4 // groups, *(kernel,) * rank, dtype=x.dtype)
        bias = fakes(8, dtype=x.dtype) if index % 4 else None
        fits = all(size + 2 * pad > rate * (kernel - 1) for size in sizes)
        steps = [[n] * rank for n in (stride, pad, rate)]
        steps[0][-1] = 3
        assert_as_torch_says(CONVOLUTIONS[rank - 1], x, weight, bias, *steps, groups, wanted=fits)
    assert_as_torch_says(CONVOLUTIONS[rank - 1], x, weight)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_layout_that_is_both_is_the_one_that_torch_takes(fakes, channels):
    for sizes in ((1, 1), (1, 5), (5, 1), (5, 5)):
        for kernel in ((1, 1), (1, 3), (3, 1)):
            x, weight = fakes(2, channels, *sizes), fakes(1, channels, *kernel)
            assert_as_torch_says(ATEN.conv2d.default, x, weight, None, [1, 1], [1, 1], wanted=True)


def test_what_does_not_fit_is_left_to_torch(fakes):
    x, weight = fakes(1, 4, 9, 9), fakes(8, 4, 3, 3)
    for args in (
        (fakes(1, 3, 9, 9), weight),
        (x, weight, fakes(7)),
        (x, weight, None, [1, 1], [-1, -1]),
        (x, weight, None, [0, 1]),
        (x, weight, None, [1, 1], [0, 0], [0, 1]),
        (x, weight, None, [1, 1], [0, 0], [1, 1], 3),
        (x, weight.double()),
        (fakes(4, 9, 9), weight),
        (fakes(0, 4, 9, 9), weight),
        (x.to(memory_format=torch.channels_last), weight),
        (x, weight.to(memory_format=torch.channels_last)),
        (x, weight, None, [1, 1], [0, 0], [9, 9]),
    ):
        assert foretold(ATEN.conv2d.default, args, {}) is None
    assert foretold(ATEN.conv2d.default, (torch.zeros(1, 4, 9, 9), weight), {}) is None
    assert foretold(ATEN.add.Tensor, (x, fakes(9)), {}) is None
    assert foretold(ATEN.add.Tensor, (x, 1), {}) is None
    assert foretold(ATEN.add.Tensor, (x, x.double()), {}) is None
    assert foretold(ATEN.relu.default, (x.mT,), {}) is None
    assert foretold(ATEN.relu.default, (fakes(3, dtype=torch.int64),), {}) is None


def test_what_keeps_a_shape_makes_what_torch_says(fakes):
    x = fakes(2, 4, 5, 6)
    names = [
        "relu",
        "sigmoid",
        "tanh",
        "silu",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "relu6",
        "leaky_relu",
    ]
    for name in names:
        assert_as_torch_says(getattr(ATEN, name).default, x, wanted=True)
        assert_as_torch_says(getattr(ATEN, f"{name}_").default, x, wanted=True)
    assert_as_torch_says(ATEN.gelu.default, x, wanted=True)
    for name in ("add", "add_", "mul", "mul_"):
        assert_as_torch_says(getattr(ATEN, name).Tensor, x, fakes(2, 4, 5, 6), wanted=True)
    rows = [fakes(4) for _ in range(4)]
    for held in (x, x.to(memory_format=torch.channels_last), fakes(2, 4)):
        assert_as_torch_says(ATEN.batch_norm.default, held, *rows, False, 0.1, 1e-5, False)
    assert foretold(ATEN.batch_norm.default, (x, *rows, True, 0.1, 1e-5, False), {}) is None
    short = [fakes(3), *rows[1:]]
    assert foretold(ATEN.batch_norm.default, (x, *short, False, 0.1, 1e-5, False), {}) is None


SHAPES = [
    (2, 3, 5, 6),
    (1, 1, 5, 6),
    (2, 3, 1, 1),
    (2, 1, 1, 6),
    (4, 7),
    (1, 7),
    (2, 3, 4, 5, 6),
    (9,),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_joined_mixed_or_normed_is_what_torch_says(fakes, shape, dtype):
    for axis in range(-len(shape), len(shape)):
        for sizes in ((3,), (1, 1), (1, 4), (2, 1, 3)):
            parts = []
            for size in sizes:
                own = list(shape)
                own[axis] = size
                parts.append(fakes(*own, dtype=dtype))
            assert_as_torch_says(ATEN.cat.default, parts, axis, wanted=True)
    x = fakes(*shape, dtype=dtype)
    assert_as_torch_says(ATEN.cat.default, [x, x], wanted=True)
    for made in (1, 5):
        weight, bias = fakes(made, shape[-1], dtype=dtype), fakes(made, dtype=dtype)
        assert_as_torch_says(ATEN.linear.default, x, weight, wanted=len(shape) > 1)
        assert_as_torch_says(ATEN.linear.default, x, weight, bias, wanted=len(shape) > 1)
    for axes in range(1, len(shape) + 1):
        last = list(shape[-axes:])
        weight, bias = fakes(*last, dtype=dtype), fakes(*last, dtype=dtype)
        for held in ((), (weight,), (weight, bias), (None, bias, 1e-6, True)):
            assert_as_torch_says(ATEN.layer_norm.default, x, last, *held, wanted=True)


def test_what_is_not_joined_mixed_or_normed_is_left_to_torch(fakes):
    x = fakes(2, 3, 4)
    for parts in (
        ([], 0),
        ([x, fakes(2, 3)], 0),
        ([x, fakes(2, 3, 5)], 1),
        ([x, x.double()], 0),
        ([x, fakes(2, 0, 4)], 1),
        ([x, x], 3),
        ([x, x.mT.contiguous().mT], 0),
        ([x, torch.zeros(2, 3, 4)], 0),
    ):
        assert foretold(ATEN.cat.default, parts, {}) is None
    assert foretold(ATEN.cat.default, ([x, x],), {"dim": 1}) is None
    for args in (
        (x, fakes(5, 3)),
        (x, fakes(4)),
        (x, fakes(5, 4), fakes(4)),
        (x, fakes(5, 4).double()),
        (x, fakes(4, 5).T),
        (x.mT, fakes(5, 3)),
        (fakes(0, 4), fakes(5, 4)),
    ):
        assert foretold(ATEN.linear.default, args, {}) is None
    for args in (
        (x, [3]),
        (x, []),
        (x, [4], fakes(3)),
        (x, [4], fakes(4), fakes(1)),
        (x, [4], fakes(4).double()),
        (x, [2, 2, 3, 4]),
        (x.mT, [3]),
        (fakes(0, 4), [4]),
    ):
        assert foretold(ATEN.layer_norm.default, args, {}) is None


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM, torch.nn.RNN])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_layers_make_what_torch_says(kind, batch_first):
    named = {"GRU": "gru", "LSTM": "lstm", "RNN": "rnn_tanh"}
    op = getattr(ATEN, named[kind.__name__]).input
    for index, (layers, both, bias) in enumerate(product((1, 2), (False, True), (False, True))):
        narrow = {"proj_size": 3} if kind is torch.nn.LSTM and index % 2 else {}
        dtype = (torch.float32, torch.float64)[index // 2 % 2]
        mode = FakeTensorMode()
        with torch.inference_mode(False):
            settings = {"bias": bias, "bidirectional": both, "dtype": dtype, **narrow}
            layer = kind(4, 5, layers, **settings)
        with mode:
            weights = [torch.empty(one.shape, dtype=dtype) for one in layer._flat_weights]
        with mode:
            x = torch.empty(2, 6, 4, dtype=dtype)
            count = layers * (2 if both else 1), 6 if not batch_first else 2
            start = [torch.empty(*count, n, dtype=dtype) for n in (narrow.get("proj_size", 5), 5)]
        held = start if kind is torch.nn.LSTM else start[1]
        settings = (bias, layers, 0.0, False, both, batch_first)
        found = foretold(op, (x, held, weights, *settings), {})
        with mode:
            wanted = op(x, held, weights, *settings)
        assert type(found) is type(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert (one.shape, one.stride(), one.dtype) == (
                other.shape,
                other.stride(),
                other.dtype,
            )
        assert foretold(op, (x, held, weights[:-1], *settings), {}) is None
        assert (
            foretold(op, (x, held, weights, bias, layers, 0.0, True, both, batch_first), {}) is None
        )
        with mode:
            wide = torch.empty(2, 6, 7, dtype=dtype)
        assert foretold(op, (wide, held, weights, *settings), {}) is None
