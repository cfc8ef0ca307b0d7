"""A model as one graph of ATen operations on its parameters, by `torch.export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from atrous.frameworks.modules import hooks
from atrous.frameworks.torch import module_stack, quiet, unfused, without_stacks
from atrous.optimization.graph.clean import drop_unused
from atrous.optimization.graph.pure import made_pure
from atrous.refusal import Refusal

__all__ = ["Exported", "exported", "layer_of"]

_UNKNOWABLE = {"aten.as_strided.default", "aten.set_.source_Tensor"}
"""What reads memory as it lies: its meaning changes with the layout."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A functional graph whose `get_attr` nodes are parameters and buffers by key.

    `constants` are tensors that the code itself made, by the target of their `get_attr` nodes;
    `mutating` are the operations that the model's own code does in place; `spec` is how the flat
    outputs are put together; `program` is what all this was made of.
    """

    graph: Graph
    constants: dict[str, torch.Tensor]
    mutating: frozenset[str]
    spec: Any
    program: Any


def exported(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Exported | Refusal:
    """The graph of the model in evaluation mode on these inputs; refused where it has none."""
    name = type(model).__name__
    hooked = next((path for path, part in model.named_modules() if hooks(part)[0]), None)
    if hooked is not None:
        return Refusal(
            "trace", name, f"{hooked or name} has forward hooks, which graphs leave out."
        )
    try:
        with quiet(), unfused(), without_stacks(), torch.no_grad():
            first = program = torch.export.export(model, tuple(inputs), strict=False)
            mutating = frozenset(_base(n) for n in first.graph.nodes if _is_mutating(n))
            graph, constants = _lifted(first)
            if not made_pure(graph):
                program = first.run_decompositions({})
                graph, constants = _lifted(program)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        return Refusal("trace", name, f"torch.export cannot follow it ({_kind(error)}{reason}).")
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        what = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        return Refusal("trace", name, f"it changes {what[0]!r} when it runs.")
    for node in graph.nodes:
        if str(node.target) in _UNKNOWABLE or not _is_op(node):
            return Refusal("trace", name, f"its graph has {node.target}, which is not understood.")
        if any(not isinstance(size, int) for size in getattr(node.meta.get("val"), "shape", ())):
            return Refusal("trace", name, "its sizes depend on the values of its input.")
    drop_unused(graph)
    for node in graph.nodes:
        node.meta["covers"] = (node.name,)
        node.meta["layer"] = layer_of(node)
    return Exported(graph, constants, mutating, program.call_spec.out_spec, first)


def layer_of(node: Node) -> str:
    """The path of the module whose code made a node; the node's name outside every module."""
    stack = module_stack(node)
    path = next(reversed(stack.values()))[0] if stack else ""
    return str(path) or node.name


def _lifted(program: Any) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The graph with its state as `get_attr` nodes; what is left as placeholders is the input."""
    signature = program.graph_signature
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = dict(signature.inputs_to_lifted_tensor_constants)
    graph = Graph()
    constants: dict[str, torch.Tensor] = {}
    made: dict[Node, Node] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in states:
            made[node] = graph.get_attr(states[node.name])
        elif node.op == "placeholder" and node.name in lifted:
            target = f"constant:{lifted[node.name]}"
            constants[target] = program.constants[lifted[node.name]]
            made[node] = graph.get_attr(target)
        else:
            made[node] = graph.node_copy(node, lambda one: made[one])
            if node.op == "placeholder":
                made[node].meta["input"] = True
        made[node].meta = {**node.meta, **made[node].meta}
    # `get_attr` warns about targets that no module has.
    return graph, constants


def _is_op(node: Node) -> bool:
    if node.op in ("placeholder", "get_attr", "output"):
        return True
    is_getitem = getattr(node.target, "__name__", "") == "getitem"
    return node.op == "call_function" and (
        is_getitem or isinstance(node.target, torch._ops.OpOverload)
    )


def _is_mutating(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _base(node: Node) -> str:
    """`aten.relu` for `aten.relu_.default`."""
    return str(node.target).partition(".default")[0].partition(".Tensor")[0].rstrip("_")


def _kind(error: Exception) -> str:
    return f"{type(error).__name__}: "
