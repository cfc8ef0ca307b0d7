"""Code traced at given sizes: what it works out from the size of a map is a number in the trace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.fx import Graph, Node, Proxy, Tracer
from torch.fx.node import map_arg

from atrous.frameworks.torch import in_mode, quiet

__all__ = ["arguments_of", "enlarged", "traced_at"]


def traced_at(
    root: nn.Module,
    arguments: Sequence[torch.Tensor],
    *,
    training: bool,
    inside: Collection[nn.Module] = (),
) -> Graph:
    """The module's own code at the sizes of these arguments, on no device.

    Its children stay whole, but for those `inside`. Whole numbers in buffers are numbers. The node
    of each call holds as `meta["made"]` what it makes, without numbers.
    Raises whatever the code raises.
    """
    with in_mode(root, training=training), quiet(), torch.no_grad():
        return _SizedTracer(root, arguments, inside).trace(root)


def enlarged(t: torch.Tensor, rank: int, more: int) -> torch.Tensor:
    """A map with `more` positions along each of its last `rank` axes, without numbers."""
    if t.dim() <= rank:
        return t
    shape = (*t.shape[:-rank], *(n + more for n in t.shape[-rank:]))
    return torch.empty(shape, dtype=t.dtype, device="meta")


class _Sized(Proxy):
    """A value in a trace that knows its size."""

    @property
    def shape(self) -> Any:
        value = self._value()
        return value.shape if isinstance(value, torch.Tensor) else Proxy.__getattr__(self, "shape")

    @property
    def ndim(self) -> Any:
        return len(self.shape)

    def dim(self) -> Any:
        """How many dimensions it has."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """Its size, or that of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def _value(self) -> Any:
        tracer: Any = self.tracer
        return tracer.values.get(self.node)


class _SizedTracer(Tracer):
    """Runs what it traces on tensors without numbers."""

    def __init__(
        self,
        root: nn.Module,
        arguments: Sequence[torch.Tensor],
        inside: Collection[nn.Module] = (),
    ) -> None:
        super().__init__(param_shapes_constant=True)
        self._inside = {id(module) for module in inside}
        self.values: dict[Node, Any] = {}
        self._runs = False
        self._arguments = iter(arguments)
        self._meta = copy.deepcopy(root).to("meta")
        for name, buffer in root.named_buffers():
            if _is_number(buffer):
                path, _, last = name.rpartition(".")
                self._meta.get_submodule(path)._buffers[last] = buffer

    def is_leaf_module(self, m: nn.Module, _qualified_name: str) -> bool:
        return id(m) not in self._inside

    def create_arg(self, a: Any) -> Any:
        """What a call is given; a whole number that a buffer holds is one."""
        if isinstance(a, torch.Tensor) and _is_number(a):
            return int(a)
        return super().create_arg(a)

    def proxy(self, node: Node) -> Proxy:
        return _Sized(node, self)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A call in the trace; one that only finds out a size is none."""
        if self._runs:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Proxy:
        """A call, which is run as well."""
        made: Proxy = super().create_proxy(*args, **kwargs)
        self._runs = True
        try:
            self.values[made.node] = made.node.meta["made"] = self._made(made.node)
        finally:
            self._runs = False
        return made

    def _made(self, node: Node) -> Any:
        def value(of: Node) -> Any:
            return self.values.get(of)

        args: Any = map_arg(node.args, value)
        kwargs: Any = map_arg(node.kwargs, value)
        target: Any = node.target
        if node.op == "placeholder":
            return next(self._arguments, None)
        if node.op == "call_module":
            return self._meta.get_submodule(target)(*args, **kwargs)
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        held: Any = self._meta
        for name in str(target).split(".") if node.op == "get_attr" else ():
            held = getattr(held, name)
        return held


def arguments_of(
    model: nn.Module, path: str, shapes: Sequence[Sequence[int]]
) -> list[torch.Tensor] | None:
    """What a module is called with, without numbers, where the model gets inputs of these shapes.

    None where it takes anything but tensors in their places, or where the model does not run so.
    """
    found: list[Any] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append((args, kwargs))

    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    held = {n: value if _is_number(value) else value.to("meta") for n, value in state.items()}
    like = next((t for t in state.values() if t.is_floating_point()), torch.empty(0))
    inputs = tuple(torch.empty(tuple(s), dtype=like.dtype, device="meta") for s in shapes)
    handle = model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad(), quiet(), in_mode(model, training=False):
            _run(lambda: functional_call(model, held, inputs))
    finally:
        handle.remove()
    if not found or found[0][1] or not all(torch.is_tensor(t) for t in found[0][0]):
        return None
    return [t.to("meta") for t in found[0][0]]


def _is_number(t: torch.Tensor) -> bool:
    """Whether a tensor is one whole number, with which code may compute sizes."""
    return not t.dim() and not t.is_floating_point() and not t.is_complex() and not t.is_meta


def _run(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception:
        return  # what comes behind the module may need numbers
