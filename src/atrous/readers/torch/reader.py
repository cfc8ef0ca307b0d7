"""PyTorch models into networks, through `torch.export`; no layer is run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from atrous.errors import ReadError
from atrous.frameworks.torch import (
    OneOp,
    in_mode,
    module_stack,
    quiet,
    unfused,
    without_stacks,
)
from atrous.network import Builder, EagerRun, Network, Param, Tensor
from atrous.network.ops import Constant
from atrous.readers.call import network_of, params_behind
from atrous.readers.given import as_shape, is_shape
from atrous.readers.torch import mixing, sampled, windows
from atrous.readers.torch.call import SKIPPED, aten, name_of, translate_call
from atrous.readers.torch.eager import eager_run
from atrous.readers.torch.values import Const, Made, Value, static

__all__ = ["read_torch"]

_REGISTERED = (mixing, sampled, windows)
MOST_NUMBERS = 1 << 16
SEVERAL_VIEWS = aten("chunk split split_with_sizes tensor_split unbind")
TRANSPARENT = {"wrap_with_autocast", "wrap_with_set_grad_enabled"}
"""Calls that run a block of the graph under a setting which does not touch positions."""

_CALL = re.compile(r"@(\d+)$")
_NONE: Mapping[str, Any] = {}


def read_torch(source: Any, input: Any = None, *, weights: bool = False) -> Network:
    """The network of a `torch.nn.Module` or an `ExportedProgram`.

    A module is exported in evaluation mode, on fake tensors, and left as it was. Layers are named
    by their module path; a module called again gets `@1`, `@2` behind it. Raises `ReadError` where
    no input shape is given for a module, or where `torch.export` cannot follow the code. The
    module is run once more without numbers, for the memory that it holds (`Network.eager`).

    With `weights`, the taps whose weight is 0 for all channels are left out of what is read.
    """
    eager: EagerRun | None = None
    if isinstance(source, torch.export.ExportedProgram):
        program, name = source, "exported program"
        if input is not None:
            program = _at_sizes(program, input)
    elif isinstance(source, torch.nn.Module):
        name = type(source).__name__
        examples = _examples(source, input, name)
        program = _exported(source, examples, name)
        eager = eager_run(source, examples)
    else:
        raise ReadError(f"a {type(source).__name__} is neither a module nor an exported program.")
    if _mutates_what_is_read_later(program):
        program = program.run_decompositions({})
    held = _Program(program, _one_op_modules(source), weights)
    found = network_of(name, held.shapes, held.itemsizes, held.translate)
    return replace(found, eager=eager)


class _Program:
    """One exported program, ready to be translated any number of times."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        modules: Mapping[str, Any] = _NONE,
        weights: bool = False,
    ) -> None:
        self.weights = weights
        self.graph = program.graph
        self.owner = program.graph_module
        signature = program.graph_signature
        self.constants, self.parameters = _constants(program, weights)
        self.outputs = [
            spec.arg.name
            for spec in signature.output_specs
            if spec.kind.name == "USER_OUTPUT" and hasattr(spec.arg, "name")
        ]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.itemsizes: dict[str, int] = {}
        user = set(signature.user_inputs)
        for node in self.graph.nodes:
            value = node.meta.get("val")
            if node.op == "placeholder" and node.name in user and isinstance(value, torch.Tensor):
                self.shapes[node.name] = static(value.shape)
                self.itemsizes[node.name] = value.element_size()
        if not self.shapes:
            raise ReadError("the model takes no tensor; give one that does.")
        self.dependent: dict[Any, None] = {}
        self._depend(self.graph, {n for n in self.graph.nodes if n.name in self.shapes})
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
        self._run(builder, self.graph, values)
        builder.own(self.parameters)
        by_name = {node.name: value for node, value in values.items()}
        found = [by_name.get(name) for name in self.outputs]
        return [
            builder.add(Constant(v.shape), name=name, params=v.params)
            if isinstance(v, Const)
            else v
            for name, v in zip(self.outputs, found, strict=True)
            if isinstance(v, Tensor | Const)
        ]

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
            load = _remade(node, values) if self.weights else None
            return _fixed_value(node, params, _computed(node, values), load)
        key, path, again = _module_call(node)
        label = name_of(node).rpartition(".")[2].rstrip("_") or "op"
        name = path + again
        if not path or self.calls[key] > 1 or path in self.parents:
            # Only a module that is this one op is called by its own name.
            name = f"{path}.{label}{again}" if path else label
        return translate_call(builder, node, values, name, path)

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
    if schema.is_mutable or torch.Tag.nondeterministic_seeded in node.target.tags:
        return None

    def made_of(made: Made) -> Any:
        def numbers_of(argument: Any) -> Any:
            held = values.get(argument)
            return held.numbers(made) if isinstance(held, Const) else held

        args = torch.fx.node.map_arg(tuple(node.args), numbers_of)
        kwargs: Any = torch.fx.node.map_arg(dict(node.kwargs), numbers_of)
        return node.target(*args, **kwargs)

    return made_of


def _constants(
    program: torch.export.ExportedProgram, weights: bool
) -> tuple[dict[str, Const], list[Param]]:
    """What is stored, by placeholder, and all parameters, read or not.

    A tensor under two names is one parameter.
    """
    canonical: dict[int, str] = {}
    found: dict[str, Const] = {}
    state: dict[str, Any] = {**program.constants, **program.state_dict}
    held: list[Param] = []
    for spec in program.graph_signature.input_specs:
        kind = spec.kind.name
        if kind == "USER_INPUT" or spec.target is None:
            continue
        tensor = state.get(spec.target)
        if not isinstance(tensor, torch.Tensor):
            continue
        name = canonical.setdefault(id(tensor), spec.target)
        param = _as_param(name, tensor)
        small = tensor if param.buffer and tensor.numel() <= MOST_NUMBERS else None
        load = _loading(tensor) if weights else None
        found[spec.arg.name] = Const(static(tensor.shape), (param,), small, load)
        held.append(param)
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and id(tensor) not in canonical:
            canonical[id(tensor)] = name
            held.append(_as_param(name, tensor))
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


def _mutates_what_is_read_later(program: torch.export.ExportedProgram) -> bool:
    """True where an in-place op changes a value that is read afterwards under its old name."""
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    roots: dict[Any, Any] = {}
    family: dict[Any, list[Any]] = {}
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        root = node
        if node.op == "call_function" and name_of(node) == "getitem":
            root = roots.get(node.args[0], node.args[0])
        elif node.op == "call_function" and schema is not None and node.args:
            aliases = any(ret.alias_info is not None for ret in schema.returns)
            aliases = aliases or name_of(node) in SEVERAL_VIEWS
            first = node.args[0]
            if aliases and isinstance(first, torch.fx.Node):
                root = roots.get(first, first)
            if getattr(schema, "is_mutable", False) and isinstance(first, torch.fx.Node):
                base = roots.get(first, first)
                for relative in (base, *family.get(base, ())):
                    if any(order[user] > order[node] for user in relative.users):
                        return True
        roots[node] = root
        if root is not node:
            family.setdefault(root, []).append(node)
    return False


def _examples(module: torch.nn.Module, input: Any, name: str) -> tuple[Any, ...]:
    """The tensors to export with: those given, or empty ones of the shapes given."""
    if input is None:
        raise ReadError(
            f"{name}: a module does not say what it takes; give the input shape with batch and "
            "channels, such as (1, 3, 224, 224), or example tensors."
        )
    if isinstance(input, torch.Tensor):
        return (input,)
    if is_shape(input) or not isinstance(input, list | tuple):
        return (_example(module, as_shape(input, name)),)
    return tuple(
        value if isinstance(value, torch.Tensor) else _example(module, as_shape(value, name))
        for value in input
    )


def _example(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """An empty tensor of the type and device of the module's parameters."""
    like = next(
        (p for p in module.parameters() if p.is_floating_point()),
        torch.empty(0),
    )
    # Never written or read: the export runs on fake tensors of the same sizes.
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _exported(
    module: torch.nn.Module, examples: tuple[Any, ...], name: str
) -> torch.export.ExportedProgram:
    """The program of a module in evaluation mode; the module is left as it was."""
    with in_mode(module, training=False), unfused(), quiet(), without_stacks(), torch.no_grad():
        try:
            return torch.export.export(module, examples, strict=False)
        except Exception as error:
            shapes = [tuple(example.shape) for example in examples]
            raise ReadError(
                f"{name}: torch.export cannot follow it with inputs {shapes}: "
                f"{type(error).__name__}: {_first_line(error)}"
            ) from error


def _at_sizes(program: torch.export.ExportedProgram, input: Any) -> torch.export.ExportedProgram:
    """The program itself where it is at these sizes already, else exported again at them."""
    module = program.module()
    examples = _examples(module, input, "exported program")
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    wanted = [tuple(example.shape) for example in examples]
    held = [placeholders[name].meta["val"].shape for name in program.graph_signature.user_inputs]
    # A size that is no number may be any: the program is exported at the one that is wanted.
    numbers = all(isinstance(size, int) for shape in held for size in shape)
    if numbers and wanted == [tuple(shape) for shape in held]:
        return program
    try:
        with quiet(), without_stacks():
            return torch.export.export(module, examples, strict=False)
    except Exception as error:
        raise ReadError(
            f"the exported program does not take inputs {wanted}; leave them out, give the "
            f"module, or export it with dynamic shapes: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    """What an error says in its first line, or its class where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:200]
