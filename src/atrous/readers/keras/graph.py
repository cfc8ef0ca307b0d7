"""The graph of operations that Keras records when a model or layer is called on no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

__all__ = ["CallGraph", "left_alone", "trace"]


class CallGraph:
    """One call: the tensors that it took, the nodes in Keras' order of execution, the outputs."""

    def __init__(self, inputs: Sequence[Any], outputs: Any) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = _in_order(
            [value for value in keras.tree.flatten(outputs) if _is_symbolic(value)],
            {id(tensor) for tensor in inputs},
        )


def trace(
    function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any] | None = None
) -> CallGraph:
    """What a call records, each tensor in the arguments being symbolic and of a known shape."""
    inputs = [v for v in keras.tree.flatten([args, dict(kwargs or {})]) if _is_symbolic(v)]
    return CallGraph(inputs, function(*args, **(kwargs or {})))


@contextmanager
def left_alone(model: Any) -> Iterator[None]:
    """A block after which the layers of a model have forgotten the calls made in it."""
    held = []
    for operation in _operations(model, set()):
        for name in ("_inbound_nodes", "_outbound_nodes"):
            nodes = getattr(operation, name, None)
            if isinstance(nodes, list):
                held.append((nodes, len(nodes)))
    try:
        yield
    finally:
        for nodes, count in held:
            del nodes[count:]


def _operations(model: Any, seen: set[int]) -> Iterator[Any]:
    """The model, its layers at any depth, and the operations of the graphs among them."""
    if id(model) in seen:
        return
    seen.add(id(model))
    yield model
    inside = [*getattr(model, "operations", ())] if isinstance(model, keras.Function) else []
    for part in (*inside, *getattr(model, "_layers", ())):
        yield from _operations(part, seen)


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _in_order(outputs: Sequence[Any], inputs: set[int]) -> list[Any]:
    """The nodes behind the outputs; those furthest from an output first, as Keras runs them."""
    found: list[Any] = []
    seen: set[int] = set()
    stack: list[tuple[Any, bool]] = [
        (node, False) for out in reversed(outputs) if (node := _maker(out, inputs)) is not None
    ]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            before = [_maker(tensor, inputs) for tensor in node.input_tensors]
            stack += [(n, False) for n in reversed(before) if n is not None]
    depth = dict.fromkeys(map(id, found), 0)
    for node in reversed(found):
        for tensor in node.input_tensors:
            before_it = _maker(tensor, inputs)
            if before_it is not None:
                depth[id(before_it)] = max(depth[id(before_it)], depth[id(node)] + 1)
    return sorted(found, key=lambda node: -depth[id(node)])


def _maker(tensor: Any, inputs: set[int]) -> Any:
    """The node that made a tensor; None for an input."""
    if id(tensor) in inputs:
        return None
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return None if node.is_input else node
