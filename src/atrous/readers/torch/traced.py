"""A PyTorch model as a graph of ATen calls: by tracing it, by exporting it, or by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from atrous.errors import ReadError
from atrous.frameworks.exported import unfit
from atrous.frameworks.functional import functional
from atrous.frameworks.recording import (
    IndicesWantedError,
    Recording,
    ValuesNeededError,
    recorded,
)
from atrous.frameworks.runs import as_it_ran
from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    in_mode,
    name_of,
    quiet,
    seed_all,
    unfused,
    without_stacks,
)
from atrous.network.shapes import rounded
from atrous.readers.near import near_words
from atrous.readers.torch.call import aten
from atrous.readers.torch.inputs import Examples, examples_for, first_line
from atrous.readers.torch.misfit import misfit
from atrous.shown import some

__all__ = ["Traced", "calls_of"]

DRAWS = 3

SEVERAL_VIEWS = aten("chunk split split_with_sizes tensor_split unbind")


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph of ATen calls: which of its placeholders are inputs, and what the others hold.

    `stored` has, by placeholder, the name that a tensor has in the model, and the tensor; `state`
    all tensors of the model by name, used or not; `owner` the blocks that the graph calls. Of a
    run, `ran` says on what, `decided` where it looked at values to know its way, and `data` which
    nodes take numbers of the input, and why.
    """

    graph: Any
    owner: Any
    inputs: frozenset[str]
    outputs: tuple[str, ...]
    stored: Mapping[str, tuple[str, torch.Tensor]]
    state: Mapping[str, torch.Tensor]
    data: Mapping[Any, str] = field(default_factory=dict)
    ran: str = ""
    decided: str = ""
    examples: Examples | None = None


def calls_of(source: Any, input: Any, name: str) -> Traced:
    """The calls of a module on `Examples`, or of a program at the sizes of `input`.

    A module is traced in evaluation mode on fake tensors. Where it needs numbers that only a run
    has, it is exported, which knows more of Python and takes longer; where that does not go either
    it is run, and what it raises then is the error.
    """
    if isinstance(source, torch.export.ExportedProgram):
        return _of_program(source if input is None else _at_sizes(source, input))
    with in_mode(source, training=False), unfused(), quiet():
        try:
            found, used = _recorded(source, input)
            if functional(found.graph):
                return replace(_of_recording(found), examples=used)
            reason = "it writes to tensors in a way that is not followed"
        except ValuesNeededError as error:
            reason = f"it asks for values ({error})"
        except NotImplementedError as error:
            reason = _told(error)
        except Exception as error:
            # The module's own refusal, or what it does cannot be done without numbers.
            return _ran(source, input, name, _told(error), own=True)
    try:
        program = _of_program(_exported(source, input))
        if _has_sizes(program.graph):
            return replace(program, examples=input)
    except Exception as error:
        reason += f"; torch.export: {_told(error)}" if "torch.export" not in reason else ""
    return _ran(source, input, name, reason)


def _recorded(module: torch.nn.Module, examples: Examples) -> tuple[Recording, Examples]:
    """The calls on fake tensors; what stands for a shape becomes an index where one is wanted."""
    try:
        return recorded(module, examples.args, examples.kwargs), examples
    except IndicesWantedError as error:
        stand_ins = frozenset(
            i for i, tensor in enumerate(examples.tensors()) if id(tensor) in examples.made
        )
        whole = examples.whole_numbers(stand_ins & error.inputs)
        return recorded(module, whole.args, whole.kwargs), whole


def _has_sizes(graph: Any) -> bool:
    """Whether every size in a graph is a number, or stands for one."""
    return all(
        isinstance(size, int) or size.node.hint is not None
        for node in graph.nodes
        for value in leaves(node.meta.get("val"))
        if isinstance(value, torch.Tensor)
        for size in value.shape
    )


def _ran(
    module: torch.nn.Module, examples: Examples, name: str, reason: str, *, own: bool = False
) -> Traced:
    """The calls of a run on numbers; `own` says that the module itself may have refused before."""

    def draw(index: int) -> tuple[Any, Any]:
        drawn = examples.numbers(index)
        return drawn.args, drawn.kwargs

    with in_mode(module, training=False), unfused(), quiet(), torch.random.fork_rng(devices=[]):
        seed_all(0)
        try:
            ran = as_it_ran(module, draw, DRAWS)
        except Exception as error:
            why = "" if own else f" It cannot be traced either: {reason}."
            shapes = [tuple(tensor.shape) for tensor in examples.tensors()]
            refused = unfit(module, shapes) or misfit(module, examples, error)
            near = near_words(examples, partial(_at, examples), partial(_takes, module))
            raise ReadError(f"{name}: {refused}{near}.{why}") from error
    if not functional(ran.recording.graph):
        raise ReadError(
            f"{name}: it is read by running it, since {reason}; there it writes to tensors in a "
            "way that is not followed."
        )
    made = "random numbers" if examples.made else "the example"
    places = some([place or name for place in ran.decided])
    decided = places if ran.decided else ""
    asked = f"; values decided in {places}" if decided else ""
    return replace(
        _of_recording(ran.recording),
        data=ran.data,
        examples=examples,
        ran=f"{made} of {examples}{asked}",
        decided=decided,
    )


def _at(examples: Examples, step: int, up: bool) -> Examples | None:
    """The arguments at rounded sizes; None where there are none to round."""
    changed = False

    def other(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal changed
        shape = rounded(tuple(tensor.shape), step, up=up) if id(tensor) in examples.made else None
        changed |= shape is not None
        return tensor if shape is None else tensor.new_empty(shape)

    found = examples.mapped(other)
    return found if changed else None


def _takes(module: torch.nn.Module, examples: Examples) -> bool:
    """Whether the module takes these arguments, as far as fake tensors tell."""
    try:
        _recorded(module, examples)
    except Exception:
        return False
    return True


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


def _exported(module: torch.nn.Module, examples: Examples) -> torch.export.ExportedProgram:
    """The program of a module in evaluation mode; the module is left as it was."""
    with in_mode(module, training=False), unfused(), quiet(), without_stacks(), torch.no_grad():
        kwargs = dict(examples.kwargs) or None
        return torch.export.export(module, examples.args, kwargs, strict=False)


def _at_sizes(program: torch.export.ExportedProgram, input: Any) -> torch.export.ExportedProgram:
    """The program itself where it is at these sizes already, else exported again at them."""
    module = program.module()
    examples = examples_for(module, input, "exported program")
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    wanted = [tuple(example.shape) for example in examples.tensors()]
    held = [placeholders[name].meta["val"].shape for name in program.graph_signature.user_inputs]
    # A size that is no number may be any: the program is exported at the one that is wanted.
    numbers = all(isinstance(size, int) for shape in held for size in shape)
    if numbers and wanted == [tuple(shape) for shape in held]:
        return program
    if refused := unfit(program, wanted):
        raise ReadError(f"exported program: {refused}.")
    try:
        kwargs = dict(examples.kwargs) or None
        with quiet(), without_stacks():
            return torch.export.export(module, examples.args, kwargs, strict=False)
    except Exception as error:
        raise ReadError(
            f"exported program: it does not take inputs of {examples}; leave them out, give the "
            f"module, or export it with dynamic shapes: {first_line(error)}"
        ) from error


def _told(error: Exception) -> str:
    """The class of an error and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error)}"
