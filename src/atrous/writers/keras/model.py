"""A Keras model with a plan's changes, as a copy made of Keras' own layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras

from atrous.conversion.plan import OpChange, Plan
from atrous.errors import UnsupportedError
from atrous.frameworks.keras import as_graph, copied
from atrous.network import Network
from atrous.network.ops import Reshape
from atrous.refusal import Refusal
from atrous.writers.keras.layers import Changed, changed_layer, depends_on_size

__all__ = ["graph_up_to", "rewrite_keras"]

_FOLLOWS = (keras.layers.Flatten,)
"""Layers whose shape follows from what comes in."""


def graph_up_to(model: Any, names: Sequence[str] | None) -> Any:
    """The graph of a model up to the layers named; all of it for None.

    Raises `UnsupportedError` for a model that is no graph of layers, and for names that no layer
    at its top has.
    """
    graph = as_graph(model)
    if graph is None:
        raise UnsupportedError(
            f"{model.name}: a {type(model).__name__} calls its layers in code of its own, which is "
            "not rewritten; make it with the functional interface, or export it to .onnx and "
            "convert that."
        )
    if names is None:
        return graph
    known = {layer.name: layer for layer in graph.layers}
    lost = [name for name in names if name not in known]
    if lost:
        raise UnsupportedError(
            f"{model.name}: {lost[0]} is no layer of the model itself; outputs= takes those, such "
            f"as {next(reversed(known))}."
        )
    made = [known[name].output for name in names]
    return keras.Model(graph._inputs_struct, made if len(made) > 1 else made[0], name=graph.name)


def rewrite_keras(
    model: Any, network: Network, plan: Plan, shapes: Sequence[Sequence[int]]
) -> tuple[Any, tuple[str, ...]] | Refusal:
    """A copy of the graph with the changes of the plan, and notes; or why there can be none.

    `network` is the graph as it was read at `shapes`.
    """
    changed = _by_layer(model, network, plan)
    if isinstance(changed, Refusal):
        return changed
    sized = [name for name, (layer, made) in changed.items() if depends_on_size(layer, made)]
    open_sizes = any(size is None for tensor in model.inputs for size in tensor.shape[1:])
    fixed = bool(sized) and open_sizes
    try:
        made = copied(
            model,
            lambda _, name: changed[name][1] if name in changed else None,
            shapes=shapes if fixed else None,
        )
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        text = " ".join(str(error).split())[:200]
        return Refusal("layer", "", f"the model cannot be made anew of its layers: {text}")
    if not fixed:
        return made, ()
    text = ", ".join("x".join(map(str, shape[1:])) for shape in shapes)
    note = (
        f"the paddings of {sized[0]} are those of this size, so the result takes {text} alone; "
        "convert at each size that you need"
    )
    return made, (note,)


def _by_layer(model: Any, network: Network, plan: Plan) -> dict[str, tuple[Any, Changed]] | Refusal:
    """What each layer becomes, by its name in the model."""
    known = dict(_layers_by_name(model, ""))
    calls = Counter(node.module for node in network.nodes if node.name.split("@")[0] == node.module)
    found: dict[str, tuple[Any, Changed]] = {}
    seen: dict[str, OpChange] = {}
    for change in plan.changes:
        name = change.module
        layer = known.get(name)
        if layer is None:
            return _inside(known, change)
        if isinstance(layer, _FOLLOWS) and isinstance(change.after, Reshape):
            continue
        other = seen.setdefault(name, change)
        if calls[name] > 1 and (
            (other.before, other.after) != (change.before, change.after)
            or sum(c.module == name for c in plan.changes) != calls[name]
        ):
            return Refusal(
                "layer",
                name,
                f"it is called at {calls[name]} places, where it would become different layers "
                "with the same weights; convert the part before the second (outputs=...).",
            )
        made = changed_layer(layer, name, change.before, change.after)
        if isinstance(made, Refusal):
            return made
        if name not in found:
            found[name] = layer, made
    return found


def _layers_by_name(model: Any, prefix: str) -> Any:
    """The layers of a graph by name, those of graphs inside it below its name."""
    for layer in as_graph(model).layers:
        name = f"{prefix}{layer.name}"
        if as_graph(layer) is not None:
            yield from _layers_by_name(layer, f"{name}.")
        else:
            yield name, layer


def _inside(known: dict[str, Any], change: OpChange) -> Refusal:
    parts = change.module.split(".")
    around = [".".join(parts[:i]) for i in range(len(parts), 0, -1)]
    layer = next((name for name in around if name in known), "")
    where = (
        f"it lies inside {layer}, whose own code is not rewritten"
        if layer
        else "it is an operation in the graph and no layer, and those are not rewritten"
    )
    return Refusal("layer", change.node, f"{where}; convert the part before it (outputs=...).")
