"""PyTorch models into networks, through `torch.export`; no layer is run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from atrous.errors import ReadError
from atrous.frameworks.torch import OneOp, module_stack, name_of
from atrous.network import Builder, EagerRun, Network, Param, Tensor
from atrous.network.ops import Constant, Opaque
from atrous.readers.call import network_of, params_behind
from atrous.readers.torch import mixing, places, sampled, windows
from atrous.readers.torch.call import (
    LOST,
    SKIPPED,
    TorchCall,
    opaque_call,
    translate_call,
)
from atrous.readers.torch.eager import eager_run
from atrous.readers.torch.inputs import examples_for, with_sizes
from atrous.readers.torch.traced import Traced, calls_of
from atrous.readers.torch.values import Const, Made, Value, static
from atrous.readers.torch.written_out import join_attention

__all__ = ["read_torch"]

_REGISTERED = (mixing, places, sampled, windows)
MOST_NUMBERS = 1 << 16
TRANSPARENT = {"wrap_with_autocast", "wrap_with_set_grad_enabled"}
"""Calls that run a block of the graph under a setting which does not touch positions."""

_CALL = re.compile(r"@(\d+)$")
_NONE: Mapping[str, Any] = {}


def read_torch(
    source: Any,
    input: Any = None,
    *,
    weights: bool = False,
    eager: bool = True,
    joined: bool = False,
) -> Network:
    """The network of a `torch.nn.Module` or an `ExportedProgram`.

    A module runs in evaluation mode on tensors without numbers, and is left as it was; where its
    code asks for numbers, it is exported, and where that does not go, run on numbers
    (`Network.ran`). Layers are named by their module path; a module called again gets `@1`, `@2`
    behind it. Raises `ReadError` where no input shape is given for a module, or where it does not
    run. With `eager` it runs once more without numbers for the memory that it holds
    (`Network.eager`).

    With `weights`, the taps whose weight is 0 for all channels are left out of what is read. With
    `joined`, attention that code writes out is the one operation that it is.
    """
    held_by_run: EagerRun | None = None
    if isinstance(source, torch.export.ExportedProgram):
        name = "exported program"
    elif isinstance(source, torch.nn.Module):
        name = type(source).__name__
        source = with_sizes(source, input, name)
        input = examples_for(source, input, name)  # noqa: A001 - from here on, tensors
    else:
        raise ReadError(f"a {type(source).__name__} is neither a module nor an exported program.")
    program = calls_of(source, input, name)
    if joined and isinstance(source, torch.nn.Module):
        join_attention(program)
    if eager and program.examples is not None:
        held_by_run = eager_run(source, program.examples.args, program.examples.kwargs)
    held = _Program(program, _one_op_modules(source), weights)
    found = network_of(name, held.shapes, held.itemsizes, held.translate)
    return replace(found, eager=held_by_run, ran=program.ran, decided=program.decided)


class _Program:
    """One graph of calls, ready to be translated any number of times."""

    def __init__(
        self,
        program: Traced,
        modules: Mapping[str, Any] = _NONE,
        weights: bool = False,
    ) -> None:
        self.weights = weights
        self.graph = program.graph
        self.owner = program.owner
        self.constants, self.parameters = _constants(program, weights)
        self.outputs = program.outputs
        self.data = program.data
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.itemsizes: dict[str, int] = {}
        for node in self.graph.nodes:
            value = node.meta.get("val")
            if (
                node.op == "placeholder"
                and node.name in program.inputs
                and isinstance(value, torch.Tensor)
            ):
                self.shapes[node.name] = static(value.shape)
                self.itemsizes[node.name] = value.element_size()
        if not self.shapes:
            raise ReadError("the model takes no tensor; give one that does.")
        self.dependent: dict[Any, None] = {}
        reached = {n for n in self.graph.nodes if n.name in self.shapes} | set(self.data)
        self.dependent |= {n: None for n in self.data if n.op == "call_function"}
        self._depend(self.graph, reached)
        kept = [node for node in self.dependent if name_of(node) not in {*SKIPPED, *TRANSPARENT}]
        self.one_ops = _one_op_calls(self.dependent, modules)
        self.calls = Counter(_module_call(node)[0] for node in kept)
        self.parents = {
            path[:dot] for path in {_module_call(node)[1] for node in kept} for dot in _dots(path)
        }

    def _depend(self, graph: Any, reached: set[Any]) -> None:
        """Note the calls that depend on what is `reached`, blocks within the graph included."""
        for node in graph.nodes:
            if not any(source in reached for source in node.all_input_nodes):
                continue
            reached.add(node)
            if node.op != "call_function":
                continue
            self.dependent[node] = None
            if name_of(node) in TRANSPARENT:
                block, handed = self._block(node)
                self._depend(block, {inner for inner, outer in handed if outer in reached})

    def _block(self, node: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        """The graph that a `with` block became, and what is handed to each of its placeholders."""
        at = next(
            i
            for i, argument in enumerate(node.args)
            if isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
        )
        graph = getattr(self.owner, node.args[at].target).graph
        inside = [inner for inner in graph.nodes if inner.op == "placeholder"]
        return graph, list(zip(inside, node.args[at + 1 :], strict=True))

    def translate(self, builder: Builder, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Every node as an op of the builder; the tensors that are the outputs."""
        values: dict[Any, Value] = {
            node: inputs.get(node.name, self.constants.get(node.name))
            for node in self.graph.nodes
            if node.op == "placeholder"
        }
        for node, reason in self.data.items():
            if node.op == "placeholder":
                # What was computed outside PyTorch may come from anywhere.
                op = Opaque("outside PyTorch", reason, values[node].shape, None)
                values[node] = builder.add(op, *builder.inputs, name="outside")
        self._run(builder, self.graph, values)
        builder.own(self.parameters)
        by_name = {node.name: value for node, value in values.items()}
        made = [self._output(builder, name, by_name.get(name)) for name in self.outputs]
        return [tensor for tensor in made if tensor is not None]

    def _output(self, builder: Builder, name: str, value: Any) -> Tensor | None:
        """An output of the network; one that no op of it makes is not understood."""
        if isinstance(value, Const):
            return builder.add(Constant(value.shape), name=name, params=value.params)
        if value is LOST:
            node = next(node for node in self.graph.nodes if node.name == name)
            if not isinstance(node.meta["val"], torch.Tensor):
                return None
            shape = static(node.meta["val"].shape)
            inputs = builder.inputs
            return builder.add(
                Opaque(name, "is an output that is not followed", shape), *inputs, name=name
            )
        return value if isinstance(value, Tensor) else None

    def _run(self, builder: Builder, graph: Any, values: dict[Any, Value]) -> Value:
        """The values that a graph hands back; `values` holds those of all its nodes."""
        for node in graph.nodes:
            if node.op == "get_attr":
                held = getattr(self.owner, node.target, None) if self.weights else None
                loaded = _loading(held) if isinstance(held, torch.Tensor) else None
                values[node] = _fixed_value(node, (), load=loaded)
            elif node.op == "output":
                (results,) = node.args
                return [values.get(result) for result in results]
            elif node.op != "call_function":
                continue
            elif node in self.one_ops:
                one = self.one_ops[node]
                if node is one.last:
                    values[node] = _as_one(builder, one, values)
            elif node in self.dependent and name_of(node) in TRANSPARENT:
                block, handed = self._block(node)
                for inner, outer in handed:
                    values[inner] = values.get(outer) if isinstance(outer, torch.fx.Node) else outer
                values[node] = self._run(builder, block, values)
            else:
                values[node] = self._node(builder, node, values)
        return None

    def _node(self, builder: Builder, node: Any, values: Mapping[Any, Value]) -> Value:
        """One node: ops where it depends on the input, and a constant where it does not."""
        if node not in self.dependent:
            params = self._params_behind(node, values)
            if self._is_paid_for(builder, node, values, params):
                params = ()
            load = _remade(node, values) if self.weights else None
            return _fixed_value(node, params, _computed(node, values), load)
        name, path, _ = self._named(node)
        given = self.data.get(node)
        if given is not None:
            return opaque_call(builder, node, values, name, path, given, builder.inputs)
        return translate_call(builder, node, values, name, path)

    def _named(self, node: Any) -> tuple[str, str, str]:
        """What a node is called in the network, its module, and what it does."""
        key, path, again = _module_call(node)
        label = name_of(node).rpartition(".")[2].rstrip("_") or "op"
        name = path + again
        if not path or self.calls[key] > 1 or path in self.parents:
            # Only a module that is this one op is called by its own name.
            name = f"{path}.{label}{again}" if path else label
        return name, path, label

    def _is_paid_for(
        self, builder: Builder, node: Any, values: Mapping[Any, Value], params: Sequence[Param]
    ) -> bool:
        """Whether a constant is a product, which every run makes anew: a node of its own then."""
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, torch.Tensor):
            return False
        name, path, label = self._named(node)
        macs = TorchCall(builder, node, values, name, path).macs()
        if not macs:
            return False
        op = Constant(static(value.shape), macs, f"constant {label}")
        size = value.element_size()
        builder.add(op, name=name, module=path, params=params, itemsize=size, origin=node.name)
        return True

    def _params_behind(self, node: Any, values: Mapping[Any, Value]) -> tuple[Param, ...]:
        """The parameters that a node's operands are made of."""
        found = [values.get(source) for source in node.all_input_nodes]
        parts = [part if isinstance(part, list | tuple) else (part,) for part in found]
        return params_behind(chain.from_iterable(parts))


@dataclass(frozen=True, slots=True, eq=False)
class _OneOpCall:
    """The nodes of one call of a module that says which operation it is."""

    module: Any
    path: str
    first: Any
    last: Any


def _one_op_modules(source: Any) -> dict[str, Any]:
    """The modules that are one operation in several steps, by path."""
    if not isinstance(source, torch.nn.Module):
        return {}
    return {path: part for path, part in source.named_modules() if isinstance(part, OneOp)}


def _one_op_calls(
    dependent: Mapping[Any, None], modules: Mapping[str, Any]
) -> dict[Any, _OneOpCall]:
    """The nodes of calls of these modules, each with the call that it is part of."""
    if not modules:
        return {}
    calls: dict[str, list[Any]] = {}
    for node in dependent:
        key, path, _ = _module_call(node)
        if path in modules:
            calls.setdefault(key, []).append(node)
    found: dict[Any, _OneOpCall] = {}
    for nodes in calls.values():
        inside = set(nodes)
        first = next(n for n in nodes[0].all_input_nodes if n not in inside)
        path = _module_call(nodes[0])[1]
        found.update(dict.fromkeys(nodes, _OneOpCall(modules[path], path, first, nodes[-1])))
    return found


def _as_one(builder: Builder, call: _OneOpCall, values: Mapping[Any, Value]) -> Value:
    """The op that the module says it is, in place of its steps."""
    x = values[call.first]
    shape = static(call.last.meta["val"].shape)
    rank = len(x.shape) - 2
    return builder.add(
        call.module.as_op(x.shape[-rank:]),
        x,
        name=call.path + _module_call(call.last)[2],
        module=call.path,
        shape=shape,
        itemsize=x.itemsize,
        origin=call.last.name,
    )


def _fixed_value(
    node: Any,
    params: tuple[Param, ...],
    data: Any = None,
    load: Callable[[Made], Any] | None = None,
) -> Value:
    """What a node makes that no input reaches."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return Const(static(value.shape), params, data, load)
    if isinstance(value, list | tuple):
        return tuple(
            Const(static(v.shape), params) if isinstance(v, torch.Tensor) else v for v in value
        )
    return Const((), params) if value is None else value


def _computed(node: Any, values: Mapping[Any, Value]) -> Any:
    """The numbers of a small integer constant, such as the index of a shift; None for the rest."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.is_floating_point():
        return None
    if node.meta.get("real") is not None:
        return node.meta["real"]
    if getattr(node.target, "namespace", "") != "aten" or value.numel() > MOST_NUMBERS:
        return None

    def numbers_of(argument: Any) -> Any:
        if not isinstance(argument, torch.fx.Node):
            return argument
        held = values.get(argument)
        data = held.data if isinstance(held, Const) else held
        if data is None:
            raise ValueError
        return data

    try:
        args = torch.fx.node.map_arg(tuple(node.args), numbers_of)
        kwargs = dict(torch.fx.node.map_arg(dict(node.kwargs), numbers_of))
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        found = node.target(*args, **kwargs)
    except Exception:
        return None
    return found if isinstance(found, torch.Tensor) else None


def _loading(tensor: torch.Tensor) -> Callable[[Made], Any]:
    """The numbers of a tensor that is there."""
    return lambda _: tensor


def _remade(node: Any, values: Mapping[Any, Value]) -> Callable[[Made], Any] | None:
    """How to make the numbers of a constant of others; None where running the op is not safe."""
    schema = getattr(node.target, "_schema", None)
    if getattr(node.target, "namespace", "") != "aten" or schema is None:
        return None
    written = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
    if any(written[1:]) or torch.Tag.nondeterministic_seeded in node.target.tags:
        return None

    def made_of(made: Made) -> Any:
        def numbers_of(argument: Any) -> Any:
            held = values.get(argument)
            return held.numbers(made) if isinstance(held, Const) else held

        args = torch.fx.node.map_arg(tuple(node.args), numbers_of)
        kwargs: Any = torch.fx.node.map_arg(dict(node.kwargs), numbers_of)
        if any(written):
            # The model's own numbers stay what they are: what is written has a name of its own.
            args = (args[0].clone(), *args[1:])
        return node.target(*args, **kwargs)

    return made_of


def _constants(program: Traced, weights: bool) -> tuple[dict[str, Const], list[Param]]:
    """What is stored, by placeholder, and all parameters, read or not.

    A tensor under two names is one parameter.
    """
    canonical: dict[int, str] = {}
    for name, tensor in program.state.items():
        canonical.setdefault(id(tensor), name)
    held = [_as_param(canonical[id(tensor)], tensor) for tensor in program.state.values()]
    found: dict[str, Const] = {}
    for placeholder, (target, tensor) in program.stored.items():
        param = _as_param(canonical.get(id(tensor), target), tensor)
        small = tensor if param.buffer and tensor.numel() <= MOST_NUMBERS else None
        load = _loading(tensor) if weights else None
        params = (param,) if param.name else ()
        found[placeholder] = Const(static(tensor.shape), params, small, load)
    return found, [param for param in held if not param.buffer]


def _as_param(name: str, tensor: torch.Tensor) -> Param:
    """A tensor that is stored with a model, as what a report says of it."""
    buffer = not isinstance(tensor, torch.nn.Parameter)
    return Param(name, tensor.numel(), tensor.element_size(), tensor.requires_grad, buffer)


def _module_call(node: Any) -> tuple[str, str, str]:
    """The call that a node belongs to, its module path, and `@N` for the N-th repetition."""
    stack = module_stack(node)
    if not stack:
        return "", "", ""
    key, (path, _) = list(stack.items())[-1]
    path = _CALL.sub("", path)
    call = _CALL.search(key)
    return key, path, f"@{call[1]}" if call else ""


def _dots(path: str) -> list[int]:
    """Where the path of each module around ends."""
    return [i for i, letter in enumerate(path) if letter == "."]
