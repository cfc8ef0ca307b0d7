"""The depthwise operator in PyTorch: values, gradients of every order, and what traces it."""

from __future__ import annotations

import sys

import onnx
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

import atrous
from atrous.operators.kernels import layer as kernels
from atrous.operators.kernels import native
from atrous.operators.kernels.fallback import by_framework
from atrous.operators.kernels.layer import ACTIVATIONS
from atrous.operators.kernels.threads import share_threads
from atrous.operators.kernels.torch_depthwise import activate, depthwise, prepare
from atrous.operators.kernels.torch_ops import conv_depthwise
from tests.exporting import export
from tests.made_times import optimized_by
from tests.processes import run_python

GEOMETRY = ((2, 1), (1, 2), ((1, 0), (2, 1)))
CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
FORMS = {2: torch.channels_last, 3: torch.channels_last_3d}


def torchs(x, weight, bias, stride, dilation, padding):
    edges = [edge for pair in reversed(padding) for edge in pair]
    conv = CONV[x.dim() - 2]
    return conv(functional.pad(x, edges), weight, bias, stride, 0, dilation, x.shape[1])


def tensors(axes=2, multiplier=1, dtype=torch.float64, last=False):
    torch.manual_seed(axes + multiplier)
    # Of few elements: gradients of second order are compared one pair of them after another.
    sizes, kernel = ((7,), (7, 6), (5, 4, 3))[axes - 1], (3, 2, 3)[:axes]
    x = torch.randn(2, 3, *sizes, dtype=dtype)
    if last:
        x = x.contiguous(memory_format=FORMS[axes])
    weight = torch.randn(3 * multiplier, 1, *kernel, dtype=dtype)
    bias = torch.randn(3 * multiplier, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def geometry(axes):
    return (2, 1, 1)[:axes], (1, 2, 2)[:axes], ((1, 0), (2, 1), (0, 3))[:axes]


def second_order(run, given):
    """Gradients by everything of what the gradients of first order come to, in one direction."""
    torch.manual_seed(5)
    y = run(*given)
    back = torch.randn(y.shape, dtype=y.dtype).requires_grad_()
    first = torch.autograd.grad(y, given, back, create_graph=True)
    total = sum((one * torch.randn(one.shape, dtype=one.dtype)).sum() for one in first)
    return torch.autograd.grad(total, (*given, back), materialize_grads=True)


def assert_derivatives(run, oracle, given):
    """Those of first order by differences, those of second order as PyTorch's own layer has them.

    Each number of them: differences of gradients take seconds and see to a thousandth.
    """
    assert gradcheck(run, given)
    torch.testing.assert_close(run(*given), oracle(*given))
    torch.testing.assert_close(second_order(run, given), second_order(oracle, given))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_gradients_of_first_and_second_order_are_right(axes, multiplier, last):
    if last and axes == 1:
        pytest.skip("one axis has one layout")
    form = FORMS.get(axes) if last else torch.contiguous_format

    def run(x, weight, bias):
        return conv_depthwise(x.contiguous(memory_format=form), weight, bias, *geometry(axes))

    given = tensors(axes, multiplier)
    assert_derivatives(run, lambda *given: torchs(*given, *geometry(axes)), given)
    if axes == 1:
        assert gradgradcheck(run, given)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_through_fused_activations_are_right(activation):
    def run(x, weight, bias):
        return conv_depthwise(x, weight, bias, *GEOMETRY, activation)

    assert_derivatives(
        run, lambda *given: activate(torchs(*given, *GEOMETRY), activation), tensors()
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_the_operator_passes_pytorchs_own_checks(last, activation):
    x, weight, bias = tensors(dtype=torch.float32, last=last)
    sample = (x, weight, bias, [1, 1], [2, 2], [1, 2], [2, 2], activation)
    torch.library.opcheck(torch.ops.atrous.depthwise.default, sample)


@pytest.mark.parametrize("last", [False, True])
def test_special_values_pass_through_activations_as_in_pytorch(last):
    values = torch.tensor(
        [0.0, -0.0, 1e-30, -3.0, 3.0, 6.5, -100.0, 100.0, 1e4, torch.inf, torch.nan]
    )
    x = values.repeat(8, 1).reshape(1, 8, 1, -1)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    weight = torch.ones(8, 1, 1, 1)
    for activation in ACTIVATIONS:
        got = depthwise(x, weight, None, (1, 1), (1, 1), ((0, 0), (0, 0)), activation)
        # In float64: PyTorch 2.13 in float32 with AVX-512 has gelu(inf) = nan.
        wanted = activate(x.double(), activation).float()
        torch.testing.assert_close(got, wanted, equal_nan=True)


def test_activations_are_as_exact_as_float32_allows():
    x = torch.linspace(-12, 12, 200_001).reshape(1, 1, -1)
    for activation in ACTIVATIONS:
        got = depthwise(x, torch.ones(1, 1, 1), None, (1,), (1,), ((0, 0),), activation)
        want = activate(x.double(), activation)
        assert (got.double() - want).abs().max() <= 2e-6, activation


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding=2)

    def forward(self, x):
        conv = self.conv
        return conv_depthwise(x, conv.weight, conv.bias, (1, 1), (2, 2), ((2, 2), (2, 2)), "relu")


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Layer().eval()


def test_an_export_keeps_the_operator_and_open_sizes(layer):
    x = torch.randn(1, 4, 10, 11)
    size = torch.export.Dim("height", min=5, max=99)
    program = torch.export.export(layer, (x,), dynamic_shapes=({2: size},))
    assert "atrous.depthwise.default" in {str(node.target) for node in program.graph.nodes}
    taller = torch.randn(1, 4, 31, 11)
    torch.testing.assert_close(program.module()(taller), layer(taller))


def test_a_compiled_model_computes_the_same_and_trains(layer):
    x = torch.randn(1, 4, 10, 11)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).sum().backward()
    found = layer.conv.weight.grad.clone()
    layer.conv.weight.grad = None
    layer.conv(x).relu().sum().backward()
    torch.testing.assert_close(found, layer.conv.weight.grad)


@pytest.mark.parametrize("dynamo", [True, False])
def test_an_onnx_file_holds_a_plain_conv(layer, tmp_path, dynamo):
    path = tmp_path / "layer.onnx"
    export(layer, torch.randn(1, 4, 10, 11), path, dynamo=dynamo)
    nodes = onnx.load(path).graph.node
    assert [node.op_type for node in nodes] == ["Conv", "Relu"]
    assert next(a.ints for a in nodes[0].attribute if a.name == "dilations") == [2, 2]


def test_autocast_decides_the_dtype(layer):
    x = torch.randn(1, 4, 10, 11)
    want = layer(x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            got = layer(x)
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), want, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_are_summed_in_float32(dtype):
    x, weight, bias = (one.detach().to(dtype) for one in tensors())
    got = depthwise(x, weight, bias, *GEOMETRY)
    want = torchs(x.float(), weight.float(), bias.float(), *GEOMETRY).to(dtype)
    assert torch.equal(got, want)


def test_transforms_and_forward_gradients_see_the_operator(layer):
    x = torch.randn(3, 1, 4, 10, 11)
    stacked = torch.stack([layer(one) for one in x])
    torch.testing.assert_close(torch.func.vmap(layer)(x), stacked)
    grads = torch.func.grad(lambda one: layer(one).sum())(x[0])
    assert grads.shape == x[0].shape


def test_strange_tensors_are_read_as_what_they_are():
    x, weight, bias = (one.detach() for one in tensors())
    want = torchs(x, weight, bias, *GEOMETRY)
    views = {
        "every second": torch.stack([x, x], -1).flatten(-2)[..., ::2],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": x[:1].expand(2, -1, -1, -1),
        "offset": torch.cat([x[:1], x])[1:],
    }
    for name, view in views.items():
        expected = torchs(view, weight, bias, *GEOMETRY)
        torch.testing.assert_close(depthwise(view, weight, bias, *GEOMETRY), expected, msg=name)
    shifted = weight.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(depthwise(x, shifted, bias, *GEOMETRY), want)
    conjugate = torch.complex(x, x).conj().imag
    torch.testing.assert_close(
        depthwise(conjugate, weight, bias, *GEOMETRY), torchs(conjugate, weight, bias, *GEOMETRY)
    )


@pytest.mark.parametrize("last", [False, True])
def test_a_prepared_layer_computes_the_same_at_any_size(last):
    x, weight, bias = (one.detach().float() for one in tensors(last=last))
    run = prepare(weight, bias, *GEOMETRY, "relu")
    for sizes in ((7, 6), (9, 14), (7, 6)):
        x = torch.randn(2, 3, *sizes)
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(run(x), torchs(x, weight, bias, *GEOMETRY).relu())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_phases_by_pytorch_alone_compute_the_same(axes):
    x, weight, bias = tensors(axes, 2)
    stride, dilation, padding = (1,) * axes, (3, 2, 1)[:axes], ((3, 1), (0, 4), (1, 1))[:axes]
    got = by_framework(x, weight, bias, stride, dilation, padding)
    torch.testing.assert_close(got, torchs(x, weight, bias, stride, dilation, padding))


def test_everything_works_without_the_kernels():
    script = """
import torch
from torch import nn
from torch.autograd import gradcheck
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_ops import conv_depthwise
assert not native().available
x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
w = torch.randn(4, 1, 3, 2, dtype=torch.float64, requires_grad=True)
run = lambda x, w: conv_depthwise(x, w, None, (1, 1), (2, 1), ((2, 1), (1, 0)), "gelu")
assert gradcheck(run, (x, w))
"""
    result = run_python(script, variables={"ATROUS_ISA": "off"})
    assert result.returncode == 0, result.stderr


def test_workers_of_a_forked_process_compute_too():
    if not native().available:
        pytest.skip(native().reason)
    script = """
import os, torch
from atrous.operators.kernels.torch_depthwise import depthwise
torch.set_num_threads(2)
x, w = torch.ones(1, 64, 40, 40), torch.ones(64, 1, 3, 3)
run = lambda: depthwise(x, w, None, (1, 1), (1, 1), ((1, 1), (1, 1))).numpy().sum()
before = run()
child = os.fork()
if child == 0:
    os._exit(0 if run() == before else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr


def test_many_python_threads_at_once_get_their_own_results():
    from concurrent.futures import ThreadPoolExecutor

    given = [(torch.randn(1, 32, 33, 47), torch.randn(32, 1, 3, 3)) for _ in range(8)]
    geometry = ((1, 1), (3, 3), ((3, 3), (3, 3)))
    want = [torchs(x, w, None, *geometry) for x, w in given]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            got = list(pool.map(lambda one: depthwise(*one, None, *geometry), given))
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b)


def test_shapes_dtypes_and_biases_that_do_not_fit_are_refused():
    x, weight, bias = (one.detach().float() for one in tensors())
    geometry = ([2, 1], [1, 2], [1, 2], [0, 1])
    run = torch.ops.atrous.depthwise
    wrong = [
        (x, weight.half(), bias),
        (x.double(), weight, bias),
        (x, weight[:2], bias[:2]),
        (x, weight.repeat(1, 2, 1, 1), bias),
        (x, weight, bias[:1]),
        (x, weight[0], bias),
    ]
    for given in wrong:
        with pytest.raises(ValueError, match=r"depthwise: .* do not (fit|mix)"):
            run(*given, *geometry, "none")


# PyTorch builds the decompositions of forward derivatives with its own deprecated scripting.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_derivatives_and_negated_weights_are_right():
    x, weight, bias = (one.detach() for one in tensors())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        found = torch.autograd.forward_ad.unpack_dual(
            conv_depthwise(dual, weight, bias, *GEOMETRY)
        ).tangent
    torch.testing.assert_close(found, torchs(torch.ones_like(x), weight, None, *GEOMETRY))
    negated = torch._neg_view(weight)
    want = torchs(x, -weight, bias, *GEOMETRY)
    torch.testing.assert_close(depthwise(x, negated, bias, *GEOMETRY), want)


def test_a_stride_beyond_the_map_takes_no_memory():
    x, weight = torch.randn(1, 2, 10), torch.randn(2, 1, 3)
    got = depthwise(x, weight, None, (2**38,), (1,), ((0, 0),))
    torch.testing.assert_close(got, torchs(x, weight, None, (11,), (1,), ((0, 0),)))


def test_the_kernels_run_on_as_many_threads_as_pytorch(monkeypatch):
    asked = []
    monkeypatch.setattr(kernels, "forward", lambda layer, *_: asked.append(layer.threads))
    if not native().available:
        pytest.skip(native().reason)
    x, weight, bias = (one.detach() for one in tensors())
    run = prepare(weight, bias, *GEOMETRY)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3, 2):
            torch.set_num_threads(threads)
            depthwise(x, weight, bias, *GEOMETRY)
            run(x)
            atrous.conv(x.numpy(), weight.numpy(), groups=3)
    finally:
        torch.set_num_threads(before)
    assert asked == [1, 1, 1, 3, 3, 3, 2, 2, 2]


def test_pytorchs_threads_and_our_own_give_the_same_bits():
    if not native().available:
        pytest.skip(native().reason)
    if sys.platform == "linux" and "OpenMP" in torch.__config__.parallel_info():
        assert share_threads()
    script = """
import torch
from atrous.operators.kernels import threads
{}
from atrous.operators.kernels.torch_depthwise import depthwise
torch.manual_seed(0)
torch.set_num_threads(3)
x, w = torch.randn(2, 40, 33, 57), torch.randn(40, 1, 5, 3)
print(depthwise(x, w, None, (1, 2), (3, 1), ((6, 6), (1, 0))).double().sum().item().hex())
"""
    shared = run_python(script.format(""))
    own = run_python(script.format("threads.share_threads = lambda: False"))
    assert shared.returncode == own.returncode == 0, shared.stderr + own.stderr
    assert shared.stdout == own.stdout


@pytest.mark.skipif(not native().available, reason=native().reason)
def test_optimize_runs_layers_of_16_bits_by_the_kernel():
    layer = nn.Conv2d(32, 32, 3, padding=4, dilation=4, groups=32).half()
    x = torch.randn(1, 32, 40, 40).half()
    fast = optimized_by(nn.Sequential(layer, nn.ReLU()).eval(), x, "depthwise kernel")
    (row,) = fast.explain().layers
    assert row.strategy == "depthwise kernel"
    torch.testing.assert_close(fast(x), layer(x).relu(), rtol=2e-3, atol=2e-3)
