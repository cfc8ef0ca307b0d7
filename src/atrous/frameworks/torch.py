"""PyTorch's habits: what it does and does not promise, each with the reason why it is needed.

All were seen in PyTorch 2.13, and 2.6 has them alike. Whatever else of PyTorch is private is used
nowhere: a later release that changes a habit is met here.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from threading import RLock
from types import FrameType
from typing import Any

import torch
import torch.fx.config
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.export import _trace
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "OneOp",
    "Ops",
    "convolution_backend",
    "depends_on_data",
    "fakes",
    "flops_of",
    "frozen_graph",
    "in_mode",
    "is_batched",
    "is_composite",
    "is_fake",
    "is_plain",
    "is_transformed",
    "is_watched",
    "maker_of_gradient",
    "module_stack",
    "name_of",
    "next_node",
    "numberless",
    "quiet",
    "seed_all",
    "stand_in_parameters",
    "storage_of",
    "unchanged",
    "unfused",
    "unwatched",
    "with_numbers",
    "without_module_stack",
    "without_stacks",
]


class OneOp(nn.Module):
    """A module that takes several steps to compute one operation, and says which.

    A report shows the operation and not the steps.
    """

    def as_op(self, sizes: Sequence[int]) -> Any:
        """The operation of the op table that this is, on a map of these sizes."""
        raise NotImplementedError


_ALONE = RLock()
"""Modes of models and settings of PyTorch are everybody's: one thread changes them at a time."""


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode; afterwards every part has the mode it had.

    The module of an exported program has one mode for good, and no other.

    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with in_mode(model, training=False):
    ...     [part.training for part in model]
    [False, False]
    >>> [part.training for part in model]
    [True, False]
    """
    with _ALONE:
        modes = [(part, part.training) for part in model.modules()]
        try:
            with suppress(NotImplementedError):
                model.train(training)
            yield
        finally:
            for part, mode in modes:
                part.training = mode


@contextmanager
def quiet() -> Iterator[None]:
    """What PyTorch warns of and logs inside concerns nobody.

    `torch.export` announces its own doings (caches that it fills and drops again), logs what its
    error says again, and prints the graph so far on standard error where it gives up, which may be
    thousands of lines. Only its own `print` is silenced: a spinner of ours goes on.
    """
    loggers = [logging.getLogger(name) for name in ("torch", "torch._subclasses.fake_tensor")]
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        if levels == [logging.CRITICAL] * 2 and "print" in vars(_trace):
            # It is quiet already. Each level that is set makes Python look through all loggers.
            yield
            return
        try:
            _trace.print = _nothing
            _set_levels(loggers, [logging.CRITICAL] * 2)
            yield
        finally:
            vars(_trace).pop("print", None)
            _set_levels(loggers, levels)


def _set_levels(loggers: Sequence[logging.Logger], levels: Sequence[int]) -> None:
    """Each logger at its level. All forget what they had found to be on, which takes a while."""
    for logger, level in zip(loggers, levels, strict=True):
        logger.level = level
    loggers[-1].setLevel(levels[-1])


def seed_all(number: int) -> None:
    """What is drawn from here on follows from the number, on every device.

    PyTorch's own way also notes down, three times, from where it was called: for devices that come
    into use later.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


_STACKS = "do_not_emit_stack_traces"


@contextmanager
def without_stacks() -> Iterator[None]:
    """Exports do not note where in the code each op stands, which takes a sixth of their time.

    Error messages still say where they come from. A release without the setting notes it all.
    """
    with _ALONE:
        before = getattr(torch.fx.config, _STACKS, None)
        try:
            if before is not None:
                setattr(torch.fx.config, _STACKS, True)
            yield
        finally:
            if before is not None:
                setattr(torch.fx.config, _STACKS, before)


def _nothing(*_: object, **__: object) -> None:
    """Prints nothing."""


@contextmanager
def unfused() -> Iterator[None]:
    """Encoder layers run op by op: the fused one hides its attention from an export."""
    with _ALONE:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def fakes() -> FakeTensorMode:
    """A mode in which tensors have shapes, types and storages of the right size, and no numbers."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def numberless(mode: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
    """A fake of the tensor, in a storage of its own: views of one storage become several.

    The mode's own way also keeps views together, and takes ten times as long.
    """
    if type(tensor) not in _PLAIN or tensor.layout is not torch.strided or tensor.is_quantized:
        return mode.from_tensor(tensor)
    meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return FakeTensor(mode, meta, tensor.device)


def depends_on_data(error: Exception) -> bool:
    """Whether a run on fake tensors stopped since only numbers tell how it goes on."""
    return isinstance(error, DataDependentOutputException | DynamicOutputShapeException)


def flops_of(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """What PyTorch's own counter finds in a call on fake tensors; None where the call fails.

    It knows convolutions and matrix products. Fused kernels, which hide theirs, are taken apart.
    """
    with (
        quiet(),
        unfused(),
        torch.no_grad(),
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        try:
            op(*args, **kwargs)
        except Exception:
            return None
    return int(counter.get_total_flops())


def is_composite(op: Any) -> bool:
    """Whether PyTorch has nothing for the op but the other ops that it is made of."""
    return bool(op.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether the tensor has no numbers."""
    return isinstance(tensor, FakeTensor)


_WATCHING = {__name__, "torch._compile", "torch._dynamo.eval_frame"}
"""The modules whose code stands between an op and what its mode is told."""


class Ops(TorchDispatchMode):
    """A mode that is handed every op that reaches a kernel: `seen` runs it and says what it makes.

    What is left of composite ops are the ones that they are made of.
    """

    _product: object = None

    def seen(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the op makes of its arguments."""
        return op(*args, **kwargs)

    def _unwatched(self, op: Any, args: Sequence[Any]) -> Any:
        """The op that would run if no mode looked on.

        A linear layer on a map that does not lie in order adds its bias in place, and beside it
        where somebody looks on. Both steps then come from one place in the code, with nothing but
        views between them. A backward pass adds up gradients in the first one where nobody else
        holds it, and beside it where somebody looks on.
        """
        if torch._C._current_autograd_node() is not None:
            adds = op is torch.ops.aten.add.Tensor and _is_spent(*args[:2])
            return torch.ops.aten.add_.Tensor if adds else op
        if op in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            self._product = _calling()
        elif op is torch.ops.aten.add.Tensor and self._product == _calling():
            return torch.ops.aten.add_.Tensor
        elif op not in _RESHAPES:
            self._product = None
        return op

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return self.seen(self._unwatched(func, args), args, kwargs or {})


_RESHAPES = tuple(
    getattr(torch.ops.aten, name).default for name in ("view", "_unsafe_view", "expand", "detach")
)
_HOLDERS, _STORAGE_HOLDERS = 4, 2
"""How many hold a gradient, and its storage, that a mode is shown and only the engine has."""


def _is_spent(old: Any, new: Any) -> bool:
    """Whether a backward pass may add `new` to `old` in place: nobody else wants `old`."""
    if not (isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor) and _in_engine()):
        return False
    # Asked first: looking at the storage from Python is one holder more.
    holders = old._use_count()
    return (
        holders == _HOLDERS
        and torch._C._storage_Use_Count(storage_of(old)[0]) == _STORAGE_HOLDERS
        and old.shape == new.shape
        and old.dtype == new.dtype
        and _is_dense(old)
    )


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements of a tensor fill one stretch of memory, each in a place of its own."""
    count = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != count:
            return False
        count *= size
    return True


def _calling() -> tuple[int, int]:
    """The place in the code that calls the op which a mode looks at: its frame, and where in it."""
    frame = _caller()
    return (id(frame), frame.f_lasti) if frame is not None else (0, 0)


def _in_engine() -> bool:
    """Whether the engine of a backward pass calls the op that a mode looks at, and no Python."""
    frame = _caller()
    return frame is not None and frame.f_code.co_name == "_engine_run_backward"


def _caller() -> FrameType | None:
    """The innermost frame of Python that is not looking on."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") in _WATCHING:
        frame = frame.f_back
    return frame


def with_numbers(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an op really makes, whatever modes look on."""
    with unwatched():
        return op(*args, **kwargs)


@contextmanager
def unwatched() -> Iterator[None]:
    """Inside, no mode looks on and tensors have numbers."""
    with _disable_current_modes():
        yield


def storage_of(tensor: torch.Tensor) -> tuple[int, torch.UntypedStorage]:
    """The memory that a tensor lies in: what tells it from others, and itself.

    Weak references to it end when nothing holds it any more, also where PyTorch's own code held it.
    """
    storage = tensor.untyped_storage()
    return storage._cdata, storage


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """What a run writes into attributes of modules, lists and dicts among them, is taken back.

    Models keep tables and states from one run to the next; those of a run on tensors without
    numbers would spoil the next one. Code that sets `.data` of a parameter finds its numbers again.
    """
    with torch.inference_mode(False):
        held = chain(model.parameters(), model.buffers())
        numbers = [(t, t.data) for t in held if type(t) in _PLAIN and t.layout == torch.strided]
    before = [(part, dict(part.__dict__)) for part in model.modules()]
    inner = [
        (value, value.copy())
        for _, attributes in before
        for value in attributes.values()
        if isinstance(value, dict | list | set)
    ]
    try:
        yield
    finally:
        for part, attributes in before:
            part.__dict__.clear()
            part.__dict__.update(attributes)
        for value, content in inner:
            if isinstance(value, list):
                value[:] = content
            else:
                value.clear()
                value.update(content)
        with torch.inference_mode(False):
            for tensor, data in numbers:
                if _storage(tensor) != _storage(data):
                    tensor.data = data


def _storage(tensor: torch.Tensor) -> int:
    """What tells where a tensor's numbers lie."""
    return int(tensor.untyped_storage()._cdata)


def stand_in_parameters(module: nn.Module, mode: FakeTensorMode) -> dict[int, nn.Parameter]:
    """Puts a parameter without numbers wherever the module holds one, by the identity of the old.

    Lists and dicts of the module's attributes hold the new ones as well; `unchanged` takes all of
    it back.
    """
    made = {
        id(old): nn.Parameter(numberless(mode, old.detach()), requires_grad=old.requires_grad)
        for old in module.parameters()
    }

    def new(value: Any, deep: int = 4) -> Any:
        if isinstance(value, nn.Parameter):
            return made.get(id(value), value)
        if deep and type(value) in (list, tuple):
            return type(value)(new(item, deep - 1) for item in value)
        if deep and type(value) is dict:
            return {key: new(item, deep - 1) for key, item in value.items()}
        return value

    for part in module.modules():
        for name, value in list(part.__dict__.items()):
            if name in ("_buffers", "_modules"):
                continue
            # What others hold as well is changed, and what it holds in turn is made anew.
            if type(value) is list:
                value[:] = new(value)
            elif type(value) is dict:
                value.update(new(value))
            else:
                part.__dict__[name] = new(value)
    return made


def maker_of_gradient() -> Any:
    """The node of a backward pass that runs, with the parameter whose gradient it adds up, if so.

    None outside of a backward pass.
    """
    return torch._C._current_autograd_node()


def next_node() -> int:
    """The number that the next node for a backward pass will have; it tells which op made it."""
    return int(torch._C._autograd._get_sequence_nr())


_PLAIN = (torch.Tensor, nn.Parameter)


def is_plain(*tensors: torch.Tensor | None) -> bool:
    """Whether only values are wanted: no gradient, no trace, no transform, no subclass."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    present = [tensor for tensor in tensors if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in present):
        return False
    if any(type(tensor) not in _PLAIN for tensor in present):
        return False
    return bool(torch._C._len_torch_dispatch_stack() == 0)


def is_transformed() -> bool:
    """Whether a transform or a forward derivative runs: operators from Python have no rules."""
    return bool(
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def is_batched(tensor: torch.Tensor) -> bool:
    """Whether one tensor stands for many, under `vmap` or in gradients that are asked for at once.

    These (`is_grads_batched=True`, `jacobian(..., vectorize=True)`) count as no transform.
    """
    functorch = torch._C._functorch
    return bool(functorch.is_legacy_batchedtensor(tensor) or functorch.is_batchedtensor(tensor))


def frozen_graph(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[..., Any]:
    """The model as one compiled function, in which its parameters are constants.

    Freezing is a setting of the process, read when the function is compiled, which its first call
    does; a setting of the function alone comes too late. What PyTorch keeps of compiled code, and
    counts against a limit, belongs to the code of a function: this one has code of its own.
    """
    from torch._inductor import config

    names: dict[str, Any] = {"model": model}
    code = compile("def run(*inputs):\n    return model(*inputs)", "<atrous.optimize>", "exec")
    exec(code, names)  # noqa: S102
    call: Callable[..., Any] = torch.compile(names["run"], fullgraph=True, dynamic=False)
    with quiet(), config.patch(freezing=True), torch.inference_mode(False), torch.no_grad():
        call(*inputs)
    return call


def is_watched() -> bool:
    """Whether somebody looks at the operations: a tracer, a mode, autocast, a transform."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def convolution_backend(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> str:
    """Which of its backends PyTorch runs a convolution with, such as `Mkldnn` or `SlowDilated2d`.

    Nothing public says so; empty where PyTorch has no such question or refuses the convolution.
    """
    ask: Any = getattr(torch._C, "_select_conv_backend", None)
    if ask is None:
        return ""
    none = [0] * len(stride)
    try:
        found = ask(x, weight, bias, [*stride], [*padding], [*dilation], False, none, groups)
    except (RuntimeError, TypeError):
        return ""
    return str(found).rpartition(".")[2]


def module_stack(node: Any) -> dict[str, Any]:
    """The modules that a node of an exported graph runs in, from the outermost."""
    return node.meta.get("nn_module_stack") or {}


def name_of(node: Any) -> str:
    """The name of an op without its overload, such as `aten.conv2d`."""
    target = node.target
    packet = getattr(target, "overloadpacket", None)
    if packet is not None:
        return f"{target.namespace}.{packet.__name__}"
    return str(getattr(target, "__name__", target))


def without_module_stack(nodes: Any) -> None:
    """Where a node says which module it calls, an export takes that for all that runs within."""
    for node in nodes:
        with suppress(KeyError):
            del node.meta["nn_module_stack"]
