"""A PyTorch model as a graph of ATen calls: by tracing it, by exporting it, or by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from atrous.errors import ReadError
from atrous.frameworks.functional import functional
from atrous.frameworks.recording import Recording, recorded
from atrous.frameworks.torch import in_mode, name_of, quiet, unfused, without_stacks
from atrous.readers.given import as_shape, is_shape
from atrous.readers.torch.call import aten

__all__ = ["Traced", "calls_of", "examples_for"]

SEVERAL_VIEWS = aten("chunk split split_with_sizes tensor_split unbind")


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph of ATen calls: which of its placeholders are inputs, and what the others hold.

    `stored` has, by placeholder, the name that a tensor has in the model, and the tensor; `state`
    all tensors of the model by name, used or not; `owner` the blocks that the graph calls.
    """

    graph: Any
    owner: Any
    inputs: frozenset[str]
    outputs: tuple[str, ...]
    stored: Mapping[str, tuple[str, torch.Tensor]]
    state: Mapping[str, torch.Tensor]


def calls_of(source: Any, input: Any, name: str) -> Traced:
    """The calls of a module on the examples `input`, or of a program at the sizes of `input`.

    A module is traced in evaluation mode on fake tensors. Where that does not go, it is exported,
    which knows more of Python and takes longer.
    """
    if isinstance(source, torch.export.ExportedProgram):
        return _of_program(source if input is None else _at_sizes(source, input))
    found = _recorded(source, input)
    return _of_program(_exported(source, input, name)) if found is None else found


def _recorded(module: torch.nn.Module, examples: tuple[Any, ...]) -> Traced | None:
    """What a trace on fake tensors makes; None where it does not get through."""
    with in_mode(module, training=False), unfused(), quiet():
        try:
            found = recorded(module, examples, {})
        except Exception:
            return None
    return _of_recording(found) if functional(found.graph) else None


def _of_recording(found: Recording) -> Traced:
    """What a recording holds, in the terms of the reader."""
    return Traced(
        found.graph,
        None,
        frozenset(found.inputs),
        tuple(node.name for node in found.outputs if node is not None),
        {key: (held.name, held.tensor) for key, held in found.stored.items()},
        found.state,
    )


def _of_program(program: torch.export.ExportedProgram) -> Traced:
    """What an exported program holds; where it changes what is read later, its pure form."""
    if _mutates_what_is_read_later(program.graph):
        program = program.run_decompositions({})
    signature = program.graph_signature
    state: dict[str, Any] = {**program.constants, **program.state_dict}
    return Traced(
        program.graph,
        program.graph_module,
        frozenset(signature.user_inputs),
        tuple(
            spec.arg.name
            for spec in signature.output_specs
            if spec.kind.name == "USER_OUTPUT" and hasattr(spec.arg, "name")
        ),
        {
            spec.arg.name: (spec.target, state[spec.target])
            for spec in signature.input_specs
            if spec.kind.name != "USER_INPUT"
            and spec.target is not None
            and isinstance(state.get(spec.target), torch.Tensor)
        },
        {key: held for key, held in state.items() if isinstance(held, torch.Tensor)},
    )


def _mutates_what_is_read_later(graph: Any) -> bool:
    """True where an in-place op changes a value that is read afterwards under its old name."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    roots: dict[Any, Any] = {}
    family: dict[Any, list[Any]] = {}
    for node in graph.nodes:
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


def examples_for(module: torch.nn.Module, input: Any, name: str) -> tuple[Any, ...]:
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
    examples = examples_for(module, input, "exported program")
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
