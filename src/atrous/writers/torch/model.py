"""A plan as a PyTorch model: a copy with its modules edited, and its code where it must be."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from atrous.conversion.edits import Edit
from atrous.conversion.plan import OpChange, Plan
from atrous.frameworks.modules import replace_module
from atrous.geometry import Dense
from atrous.network import Node
from atrous.network.ops import Conv, ConvTranspose, Expand, Pad, Pool, Reshape, Resize, Slice
from atrous.refusal import Refusal
from atrous.writers.torch.around import pads_around, unpadded
from atrous.writers.torch.code import rewrite_code
from atrous.writers.torch.joins import Join, joins_of
from atrous.writers.torch.modules import Layer, edit_layer, is_layer
from atrous.writers.torch.sized import arguments_of

__all__ = ["rewrite_torch"]

_WINDOWED = (Conv, ConvTranspose, Pool, Pad)
_FOLLOWS = (Reshape, Expand, Resize)
"""Ops whose sizes a model's code works out when it runs."""


def rewrite_torch(model: nn.Module, plan: Plan) -> tuple[nn.Module, tuple[Edit, ...]] | Refusal:
    """A copy of the model in which every change of the plan is made, and the edits.

    Class, modules and state dict's keys are those of the model wherever attributes of its modules
    can say the change. Code that calls functions with strides of its own becomes a `GraphModule`
    in its module's place.
    """
    try:
        made = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Refusal(
            "copy", "", f"the model cannot be copied ({reason[:160]}); make it copyable."
        )
    edits: list[Edit] = []
    changes = {c.node: c for c in plan.changes if not isinstance(c.after, _FOLLOWS)}
    ordered = [node for node in plan.reference.nodes if isinstance(node.op, (*_WINDOWED, Slice))]
    by_path: dict[str, list[Node]] = {}
    for node in ordered:
        by_path.setdefault(node.module, []).append(node)
    joins = joins_of(plan)
    code: dict[str, list[str]] = {join.layer.module: [] for join in joins if join.resampled}
    for path in code:
        if _part(made, path) is None:
            return Refusal("module", path, f"the model has no module {path!r}.")
    untraced: list[Refusal] = []
    for path, nodes in by_path.items():
        if not any(node.name in changes for node in nodes):
            continue
        module = _part(made, path)
        if module is None:
            return Refusal("module", nodes[0].name, f"the model has no module {path!r}.")
        if not is_layer(module):
            code.setdefault(path, [])
            continue
        if _changed_alike(nodes, changes):
            dense: tuple[Dense, ...] = ()
            shape = plan.reference.tensor(nodes[0].inputs[0]).shape
            if pads_around(Layer(path, module, shape, changes[nodes[0].name])):
                shapes = [tensor.shape for tensor in plan.reference.inputs]
                bare = unpadded(made, path, shapes, changes[nodes[0].name].at_any_size)
                if isinstance(bare, Refusal):
                    if bare.rule == "padding":
                        return bare
                    # Told apart by calls, where its code can be traced without sizes.
                    untraced.append(bare)
                    code.setdefault(path.rpartition(".")[0], []).append(path)
                    continue
                outer, dense = bare
                where = path.rpartition(".")[0]
                before = type(made.get_submodule(where)).__name__
                edits.append(Edit(where or before, "class", before, type(outer).__name__))
                made = _replaced(made, where, outer)
            done = _edited(made, path, module, nodes[0], changes, plan, dense)
            if isinstance(done, Refusal):
                return done
            edits += done
        else:
            # Called again, to other ends: the calls are told apart in the code around them.
            around = _called_once(path, plan.reference.nodes)
            code.setdefault(around, []).append(path)
    while code:
        path = max(code, key=lambda p: p.count(".") if p else -1)
        inner = code.pop(path)
        recoded = _recoded(made, path, inner, ordered, changes, joins, plan)
        if isinstance(recoded, Refusal):
            if recoded.rule != "calls" or not path:
                return next(iter(untraced), recoded)
            # Its runs differ: they are told apart in the code around it.
            around = _called_once(path, plan.reference.nodes)
            code.setdefault(around, []).extend((*inner, path))
            continue
        replaced, more = recoded
        edits += more
        made = _replaced(made, path, replaced)
    return made, tuple(edits)


def _part(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _changed_alike(nodes: Sequence[Node], changes: dict[str, OpChange]) -> bool:
    found = [changes.get(node.name) for node in nodes]
    first = found[0]
    return first is not None and all(
        change is not None and change.dense == first.dense and _windows(change) == _windows(first)
        for change in found
    )


def _windows(change: OpChange) -> object:
    # Padding on the high side may follow the size; it says nothing about the layer.
    if change.dense:
        return tuple((one.window, one.factor, one.stride) for one in change.dense)
    return change.after


def _edited(
    model: nn.Module,
    path: str,
    module: nn.Module,
    node: Node,
    changes: dict[str, OpChange],
    plan: Plan,
    dense: tuple[Dense, ...],
) -> list[Edit] | Refusal:
    shape = plan.candidate.tensor(node.inputs[0]).shape
    done = edit_layer(Layer(path, module, shape, changes[node.name], dense))
    if isinstance(done, Refusal):
        return done
    layer, edits = done
    replace_module(model, module, layer)
    return edits


def _called_once(path: str, nodes: Sequence[Node]) -> str:
    """The nearest module around `path` that runs once."""
    while path:
        path = path.rpartition(".")[0]
        inside = f"{path}." if path else ""
        if not path or not any(
            "@" in node.name for node in nodes if f"{node.module}.".startswith(inside)
        ):
            return path
    return ""


def _recoded(
    model: nn.Module,
    path: str,
    inner: Sequence[str],
    ordered: Sequence[Node],
    changes: dict[str, OpChange],
    joins: Sequence[Join],
    plan: Plan,
) -> tuple[nn.Module, list[Edit]] | Refusal:
    root = model.get_submodule(path)
    paths = {path}
    for layer in inner:
        while layer and layer != path:
            paths.add(layer)
            layer = layer.rpartition(".")[0]
    layers = [node for node in ordered if node.module in paths]
    inside = [model.get_submodule(p) for p in paths if p != path]
    found: list[OpChange | None] = [changes.get(node.name) for node in layers]
    within = [join for join in joins if join.layer.module in paths]
    shapes = [tensor.shape for tensor in plan.reference.inputs]
    return rewrite_code(
        root, path, layers, found, inside, within, lambda: arguments_of(model, path, shapes)
    )


def _replaced(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    if not path:
        return module
    replace_module(model, model.get_submodule(path), module)
    return model
