"""Who takes part, and how each is asked for one layer with everything prepared beforehand.

A peer is a function from a `Problem` to a `Way`: a call that does the layer once, and the same
result as a float array in PyTorch's order of axes. Sessions, compiled functions, weights and inputs
in the peer's own layout and type are made before; what is timed is the layer alone. A peer that
does not do a case returns `None`; one that is not installed raises `ImportError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from cases import Case

from bench.shared.alone import Built

Layout = Literal["contiguous", "channels_last"]
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "relu": torch.nn.functional.relu,
    "relu6": torch.nn.functional.relu6,
    "silu": torch.nn.functional.silu,
    "hardswish": torch.nn.functional.hardswish,
    "gelu": torch.nn.functional.gelu,
}
CONVS = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}
SQUARE = 1024
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_layout(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The same values, stored in that layout. Without two or three axes there is only one."""
    if layout == "contiguous" or x.dim() not in FORMATS:
        return x
    return x.to(memory_format=FORMATS[x.dim()])


class Problem:
    """A case with its numbers, and the same in float64 done by PyTorch, or read from a file."""

    def __init__(self, case: Case, threads: int, kept: Path | None = None) -> None:
        self.case, self.threads, self.kept = case, threads, kept
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        taps = case.macs // (case.batch * case.outputs * int(np.prod(case.output_sizes)))
        self.x = draw(case.batch, case.channels, *case.sizes)
        self.weight = draw(*case.weight_shape) / taps**0.5
        self.bias = draw(case.outputs)
        self.grad = draw(case.batch, case.outputs, *case.output_sizes)

    @property
    def uneven(self) -> bool:
        """Whether some axis is padded on one side more: most frameworks pad in a step before."""
        return any(lo != hi for lo, hi in self.case.padding)

    @property
    def conv_padding(self) -> list[int]:
        """What a layer can pad by itself."""
        return [0 if self.uneven else lo for lo, _ in self.case.padding]

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """The input with the padding that the layer cannot do by itself."""
        if not self.uneven:
            return x
        pads = [p for pair in reversed(self.case.padding) for p in pair]
        return torch.nn.functional.pad(x, pads)

    def cropped(self, x: torch.Tensor) -> torch.Tensor:
        """A gradient of a padded input without the padding: a view."""
        if not self.uneven:
            return x
        for axis, ((lo, _), n) in enumerate(
            zip(self.case.padding, self.case.sizes, strict=True), 2
        ):
            x = x.narrow(axis, lo, n)
        return x

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The layer, as a user of PyTorch writes it."""
        case = self.case
        y = CONVS[len(case.sizes)](
            self.padded(x),
            weight,
            bias,
            case.stride,
            self.conv_padding,
            case.rates,
            case.group_count,
        )
        return ACTIVATIONS[case.activation](y)

    def backward(
        self, grad: torch.Tensor, padded: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """One of the two gradients, by PyTorch's own operator, without the autograd engine."""
        case = self.case
        data = case.op == "data gradient"
        found = torch.ops.aten.convolution_backward(
            grad,
            padded,
            weight,
            None,
            [case.stride] * len(case.sizes),
            self.conv_padding,
            case.rates,
            False,
            [0] * len(case.sizes),
            case.group_count,
            [data, not data, False],
        )
        return self.cropped(found[0]) if data else found[1]

    @cached_property
    def truth(self) -> np.ndarray:
        """The result in float64."""
        if self.kept is not None:
            return np.load(self.kept, mmap_mode="r")
        x, weight, bias, grad = (t.double() for t in (self.x, self.weight, self.bias, self.grad))
        if self.case.op == "forward":
            return self.forward(x, weight, bias).numpy()
        return self.backward(grad, self.padded(x), weight).numpy()

    def error(self, value: np.ndarray) -> float:
        """The largest error, relative to the largest value of the truth."""
        if value.shape != self.truth.shape:
            raise AssertionError(f"got {value.shape}, not {self.truth.shape}")
        return float(np.abs(value - self.truth).max() / np.abs(self.truth).max())


@dataclass(frozen=True, slots=True)
class Way:
    """How one contestant does a problem."""

    call: Callable[[], object]
    value: Callable[[], np.ndarray]


Peer = Callable[[Problem, Layout], Way | None]
PEERS: dict[str, Peer] = {}
LAYOUTS: dict[str, tuple[Layout, ...]] = {}
OURS = "atrous"
ROWS = ("row kernel", "strassen 1", "strassen 2")
"""Products on rows, by how often they take seven products for eight."""


def peer(name: str, *layouts: Layout) -> Callable[[Peer], Peer]:
    """Registers a peer under its name, with the layouts that it takes."""

    def register(function: Peer) -> Peer:
        if name in PEERS:
            raise ValueError(f"two peers are named {name!r}")
        PEERS[name], LAYOUTS[name] = function, layouts
        return function

    return register


def of_torch(call: Callable[[], torch.Tensor]) -> Way:
    """A way whose result is a torch tensor."""
    return Way(call, lambda: call().detach().numpy())


@peer(OURS, "contiguous", "channels_last")
def ours(problem: Problem, layout: Layout) -> Way | None:
    case = problem.case
    x, weight, bias, grad = (
        in_layout(t, layout) for t in (problem.x, problem.weight, problem.bias, problem.grad)
    )
    n = len(case.sizes)
    if not case.depthwise:
        import atrous

        conv = getattr(atrous, "conv", None)
        if conv is None:
            raise ImportError("atrous.conv is not in this version")
        pads = case.padding if problem.uneven else tuple(lo for lo, _ in case.padding)
        return of_torch(
            lambda: conv(
                x,
                weight,
                bias,
                stride=case.stride,
                dilation=case.rates,
                padding=pads,
                groups=case.groups,
            )
        )
    if case.op == "forward":
        from atrous.operators.kernels.torch_depthwise import depthwise

        stride, pads = (case.stride,) * n, case.padding
        return of_torch(
            lambda: depthwise(x, weight, bias, stride, case.rates, pads, case.activation)
        )
    return our_gradient(problem, x, weight, grad)


@peer(f"{OURS}, prepared", "contiguous", "channels_last")
def prepared(problem: Problem, layout: Layout) -> Way | None:
    """With the weights packed beforehand, as sessions and frozen graphs have them."""
    from atrous.operators.kernels.torch_depthwise import prepare

    case = problem.case
    if case.op != "forward" or not case.depthwise:
        return None
    x = in_layout(problem.x, layout)
    stride = (case.stride,) * len(case.sizes)
    run = prepare(problem.weight, problem.bias, stride, case.rates, case.padding, case.activation)
    return of_torch(lambda: run(x))


def our_strategy(name: str) -> Peer:
    """One exact strategy for layers that mix channels, as `optimize` tries it."""

    def run(problem: Problem, layout: Layout) -> Way | None:
        from atrous.operators.arguments import convolution
        from atrous.operators.strategies import STRATEGIES

        case = problem.case
        if case.depthwise or name not in STRATEGIES:
            return None
        call = convolution(
            problem.x.shape,
            problem.weight.shape,
            problem.bias.shape,
            stride=case.stride,
            dilation=case.rates,
            padding=case.padding,
            groups=case.groups,
        )
        if not STRATEGIES[name].applies(call):
            return None
        x, weight = in_layout(problem.x, layout), in_layout(problem.weight, layout)
        return of_torch(lambda: STRATEGIES[name].run(x, weight, problem.bias, call))

    return run


for _strategy in ("framework", "phases", "taps", "slices"):
    peer(f"{OURS}: {_strategy}", "contiguous", "channels_last")(our_strategy(_strategy))


def our_winograd(level: int) -> Peer:
    """Minimal filtering with the weights packed beforehand, as `optimize` hands it out."""

    def run(problem: Problem, layout: Layout) -> Way | None:
        from atrous.operators.arguments import convolution
        from atrous.operators.kernels.torch_winograd import prepare_winograd
        from atrous.operators.tiles import LEVELS, living, tiled

        case = problem.case
        if case.op != "forward" or case.groups != 1 or len(case.sizes) > 2:
            return None
        call = convolution(
            problem.x.shape,
            problem.weight.shape,
            problem.bias.shape,
            stride=case.stride,
            dilation=case.rates,
            padding=case.padding,
            groups=case.groups,
        )
        taps, alive = living(call)
        tiling = tiled(alive, level)
        below = [tiled(alive, other) for other in LEVELS if other < level]
        if tiling is None or tiling.saves <= 1 or tiling in below:
            return None
        weight = problem.weight[(..., *(slice(one.start, one.stop) for one in taps))]
        filtered = prepare_winograd(weight, problem.bias, alive, tiling, case.activation)
        x = in_layout(problem.x, layout)
        if layout == "channels_last":
            return of_torch(lambda: filtered(x))
        return of_torch(lambda: filtered(x).contiguous())

    return run


for _level in (4, 5, 6):
    peer(f"{OURS}: winograd {_level}", "contiguous", "channels_last")(our_winograd(_level))


def our_rows(level: int) -> Peer:
    """The product on rows with the weights packed beforehand, as `optimize` hands it out."""

    def run(problem: Problem, _layout: Layout) -> Way | None:
        from atrous.operators.kernels.strassen import RowProduct
        from atrous.operators.kernels.torch_strassen import prepare_rows

        case = problem.case
        taps, stride, activation = set(case.kernel), case.stride, case.activation
        if case.op != "forward" or case.groups != 1 or taps != {1} or stride != 1:
            return None
        rows = problem.x.numel() // case.channels
        layer = RowProduct(rows, case.channels, case.outputs, level, activation)
        if not layer.fits:
            return None
        given, made = tuple(problem.x.shape), tuple(problem.grad.shape)
        multiplied = prepare_rows(layer, problem.weight, problem.bias, given, made, axis=1)
        x = problem.x.movedim(1, -1).contiguous().movedim(-1, 1)
        return of_torch(lambda: multiplied(x))

    return run


for _level, _name in enumerate(ROWS):
    peer(f"{OURS}: {_name}", "channels_last")(our_rows(_level))


def our_gradient(
    problem: Problem, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor
) -> Way:
    """A gradient by our operator, without the autograd engine, as PyTorch's is asked for."""

    case = problem.case
    geometry = (
        (case.stride,) * len(case.sizes),
        case.rates,
        [lo for lo, _ in case.padding],
        [hi for _, hi in case.padding],
    )
    ops = torch.ops.atrous
    if case.op == "data gradient":
        return of_torch(lambda: ops.depthwise_data_gradient(grad, weight, *geometry, case.sizes))
    return of_torch(lambda: ops.depthwise_weight_gradient(x, grad, *geometry, case.kernel))


@peer("PyTorch", "contiguous", "channels_last")
def eager(problem: Problem, layout: Layout) -> Way | None:
    x, weight, bias, grad = (
        in_layout(t, layout) for t in (problem.x, problem.weight, problem.bias, problem.grad)
    )
    if problem.case.op == "forward":
        return of_torch(lambda: problem.forward(x, weight, bias))
    padded = in_layout(problem.padded(x), layout)
    return of_torch(lambda: problem.backward(grad, padded, weight))


class Layer(torch.nn.Module):
    """The layer as a module, whose parameters a compiler may take for constants."""

    def __init__(self, problem: Problem, layout: Layout) -> None:
        super().__init__()
        self.problem = problem
        self.weight = torch.nn.Parameter(in_layout(problem.weight, layout), requires_grad=False)
        self.bias = torch.nn.Parameter(problem.bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.problem.forward(x, self.weight, self.bias)


def compiled_layer(problem: Problem, layout: Layout, *, freezing: bool) -> Way:
    """A compiled forward. `freezing` is a setting of the whole process, read at the first call."""
    import torch._inductor.config as inductor

    x = in_layout(problem.x, layout)
    call = torch.compile(Layer(problem, layout).eval(), dynamic=False)
    with inductor.patch(freezing=freezing):
        call(x)
    return of_torch(lambda: call(x))


@peer("torch.compile", "contiguous", "channels_last")
def compiled(problem: Problem, layout: Layout) -> Way | None:
    if problem.case.op == "forward":
        return compiled_layer(problem, layout, freezing=False)
    weight, grad = (in_layout(t, layout) for t in (problem.weight, problem.grad))
    padded = in_layout(problem.padded(problem.x), layout)
    call = torch.compile(problem.backward, dynamic=False)
    call(grad, padded, weight)
    return of_torch(lambda: call(grad, padded, weight))


@peer("torch.compile, frozen", "contiguous", "channels_last")
def frozen(problem: Problem, layout: Layout) -> Way | None:
    if problem.case.op != "forward":
        return None
    return compiled_layer(problem, layout, freezing=True)


def onnx_layer(problem: Problem) -> bytes:
    """The layer as a serialized ONNX model from `x` to `y`."""
    import onnx
    from onnx import helper

    case = problem.case
    after = {
        "none": [],
        "relu": [("Relu", ["c"], {})],
        "relu6": [("Clip", ["c", "low", "high"], {})],
        "silu": [("Sigmoid", ["c"], {}), ("Mul", ["c", "s"], {})],
        "hardswish": [("HardSwish", ["c"], {})],
        "gelu": [("Gelu", ["c"], {})],
    }[case.activation]
    conv = helper.make_node(
        "Conv",
        ["x", "weight", "bias"],
        ["c" if after else "y"],
        strides=[case.stride] * len(case.sizes),
        dilations=case.rates,
        pads=[lo for lo, _ in case.padding] + [hi for _, hi in case.padding],
        group=case.group_count,
        kernel_shape=case.kernel,
    )
    nodes = [conv]
    for index, (op, inputs, options) in enumerate(after, 1):
        name = "y" if index == len(after) else "s"
        nodes.append(helper.make_node(op, inputs, [name], **options))
    held = {"weight": problem.weight.numpy(), "bias": problem.bias.numpy()}
    if case.activation == "relu6":
        held |= {"low": np.float32(0), "high": np.float32(6)}
    values = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kind, problem.x.shape)],
        [helper.make_tensor_value_info("y", kind, problem.grad.shape)],
        values,
    )
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


@peer("ONNX Runtime", "contiguous")
def onnx_runtime(problem: Problem, _layout: Layout) -> Way | None:
    """Its inputs and outputs are bound, so that no array is copied to or from NumPy."""
    import onnxruntime

    if problem.case.op != "forward":
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_layer(problem), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", problem.x.numpy())
    binding.bind_output("y", "cpu")

    def value() -> np.ndarray:
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return Way(lambda: session.run_with_iobinding(binding), value)


@peer("OpenVINO", "contiguous")
def open_vino(problem: Problem, _layout: Layout) -> Way | None:
    import openvino

    if problem.case.op != "forward":
        return None
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": problem.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(onnx_layer(problem), b""), "CPU", settings)
    request = model.create_infer_request()
    # The tensor shares the array's memory and does not keep it: `infer` does.
    held = problem.x.numpy().copy()
    request.set_input_tensor(openvino.Tensor(held, shared_memory=True))

    def infer(_given: np.ndarray = held) -> None:
        request.infer()

    def value() -> np.ndarray:
        infer()
        return np.array(request.get_output_tensor().data)

    return Way(infer, value)


@lru_cache(maxsize=1)
def jax_layers() -> Any:
    """JAX, on the processor."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    return jax


@peer("JAX", "contiguous", "channels_last")
def jax_(problem: Problem, layout: Layout) -> Way | None:
    jax = jax_layers()
    case = problem.case
    letters = "DHW"[-len(case.sizes) :]
    last = layout == "channels_last"
    maps, kernels = (f"N{letters}C", f"{letters}IO") if last else (f"NC{letters}", f"OI{letters}")

    def to_jax(t: torch.Tensor) -> Any:
        return jax.numpy.asarray(np.moveaxis(t.numpy(), 1, -1).copy() if last else t.numpy())

    def weight_to_jax(t: torch.Tensor) -> Any:
        array = t.numpy()
        return jax.numpy.asarray(np.moveaxis(array, (0, 1), (-1, -2)).copy() if last else array)

    def conv(x: Any, weight: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x,
            weight,
            (case.stride,) * len(case.sizes),
            case.padding,
            rhs_dilation=case.rates,
            dimension_numbers=(maps, kernels, maps),
            feature_group_count=case.group_count,
        )

    after = {
        "none": lambda y: y,
        "relu": jax.nn.relu,
        "relu6": jax.nn.relu6,
        "silu": jax.nn.silu,
        "hardswish": jax.nn.hard_swish,
        "gelu": lambda y: jax.nn.gelu(y, approximate=False),
    }[case.activation]
    x, grad, weight = to_jax(problem.x), to_jax(problem.grad), weight_to_jax(problem.weight)
    if case.op == "forward":
        bias = jax.numpy.asarray(problem.bias.numpy())
        if not last:
            bias = bias.reshape(-1, *(1,) * len(case.sizes))
        function = jax.jit(lambda x, weight, bias: after(conv(x, weight) + bias))
        arguments: tuple[Any, ...] = (x, weight, bias)
    elif case.op == "data gradient":
        function = jax.jit(
            lambda x, weight, grad: jax.vjp(lambda x: conv(x, weight), x)[1](grad)[0]
        )
        arguments = (x, weight, grad)
    else:
        function = jax.jit(
            lambda x, weight, grad: jax.vjp(lambda w: conv(x, w), weight)[1](grad)[0]
        )
        arguments = (x, weight, grad)

    def value() -> np.ndarray:
        found = np.asarray(function(*arguments))
        if not last:
            return found
        if case.op == "weight gradient":
            return np.moveaxis(found, (-1, -2), (0, 1))
        return np.moveaxis(found, -1, 1)

    return Way(lambda: function(*arguments).block_until_ready(), value)


def copy(problem: Problem) -> Way:
    """A plain copy that reads and writes as many bytes as the layer's two maps have."""
    half = torch.randn(problem.case.bytes // 8)
    out = torch.empty_like(half)
    return Way(lambda: out.copy_(half), out.numpy)


@dataclass(frozen=True, slots=True)
class Task:
    """A case, and the file that holds its result in float64."""

    case: Case
    truth: Path


def in_turns(threads: int) -> None:
    """What the process of a contestant needs of PyTorch."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def contestant(name: str, layout: Layout, threads: int, task: Task) -> Built | None:
    """One peer with one layout, prepared, with its error; None where it does not do the case."""
    in_turns(threads)
    if name.startswith("torch.compile"):
        torch._dynamo.reset()
    problem = Problem(task.case, threads, task.truth)
    if layout == "channels_last" and problem.x.dim() not in FORMATS:
        return None
    way = PEERS[name](problem, layout)
    if way is None:
        return None
    error = problem.error(way.value())
    return Built(way.call, {"by": name, "layout": layout, "error": float(f"{error:.2e}")})


def copier(threads: int, task: Task) -> Built:
    """The copy; on the way it writes the case's result in float64 for the others."""
    in_turns(threads)
    problem = Problem(task.case, threads)
    task.truth.unlink(missing_ok=True)  # others may still have the one before open
    np.save(task.truth, problem.truth)
    return Built(copy(problem).call)


def square_product(threads: int, _request: object) -> Built:
    """PyTorch's product of two square float32 matrices: what arithmetic can reach."""
    in_turns(threads)
    a, b = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    return Built(lambda: a @ b)
