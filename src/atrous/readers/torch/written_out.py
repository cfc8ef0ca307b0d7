"""Attention that code writes out, with a mask, as the one call that it is.

Scores of queries and keys, a mask, a softmax along the last dimension, a product with the values:
`softmax(scale * q @ k.T + mask) @ v`. What a mask hides may be filled with any number that leaves
nothing of it in a softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from atrous.frameworks.torch import name_of
from atrous.readers.torch.traced import Traced

__all__ = ["join_attention"]

_HIDING = -1e4
_HANDED_ON = frozenset({"clone", "contiguous", "detach", "alias", "dropout", "to", "_to_copy"})
_PRODUCTS = frozenset({"matmul", "bmm"})
_SOFTMAX = frozenset({"softmax", "_softmax"})
_FILLINGS = {"full": 1, "full_like": 1, "scalar_tensor": 0, "new_full": 2}
"""Where calls that fill a tensor have the number."""
_SAME_NUMBERS = _HANDED_ON | {"lift_fresh", "expand"}
_MOST_STEPS = 16
_aten = torch.ops.aten


@dataclass(slots=True)
class _Scores:
    """What stands between the product of queries and keys and the softmax."""

    query: Any = None
    keys: Any = None
    scale: float = 1.0
    seen: list[tuple[Any, bool]] = field(default_factory=list)
    """Masks, and whether True is seen."""
    added: list[Any] = field(default_factory=list)
    path: list[Any] = field(default_factory=list)
    """The calls between, the last first."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """What an input reaches, and the numbers that are stored."""

    reached: set[Any]
    stored: Mapping[str, tuple[str, torch.Tensor]]

    def hides(self, value: Any, scale: float) -> bool:
        """Whether a number, or a tensor of one, leaves nothing of a score that is scaled then."""
        found = self.number(value)
        return found is not None and found * scale <= _HIDING

    def number(self, value: Any) -> float | None:
        """The number that an argument is, or that a tensor is filled with; None for others."""
        if isinstance(value, int | float):
            return float(value)
        if not isinstance(value, torch.fx.Node):
            return None
        if value.op == "placeholder" and value.name in self.stored:
            held = self.stored[value.name][1]
            return float(held) if held.numel() == 1 else None
        place = _FILLINGS.get(_aten_name(value))
        if place is not None:
            return self.number(value.args[place]) if len(value.args) > place else None
        return self.number(value.args[0]) if _aten_name(value) in _SAME_NUMBERS else None


def join_attention(program: Traced) -> None:
    """Puts a call in the place of each attention that is written out with a mask of no input."""
    graph = program.graph
    reached: set[Any] = set()
    for node in graph.nodes:
        if node.name in program.inputs or reached.intersection(node.all_input_nodes):
            reached.add(node)
    known = _Graph(reached, program.stored)
    for node in list(graph.nodes):
        found = _scores_of(node, known) if _aten_name(node) in (*_PRODUCTS, "einsum") else None
        if found is not None:
            reached.update(_replace(graph, node, *found))


def _aten_name(node: Any) -> str:
    if not isinstance(node, torch.fx.Node) or node.op != "call_function":
        return ""
    return name_of(node).rpartition(".")[2].removesuffix("_")


def _factors(node: Any) -> tuple[Any, Any, bool] | None:
    """Both sides of a product, and whether the second has its rows last, as keys have them."""
    if _aten_name(node) in _PRODUCTS:
        return node.args[0], node.args[1], False
    if _aten_name(node) != "einsum":
        return None
    left, _, made = str(node.args[0]).replace(" ", "").partition("->")
    terms, sides = left.split(","), node.args[1]
    if len(terms) != 2 or "." in left or min(map(len, (*terms, made))) < 2:
        return None
    (*first, i, k), (*second, a, b), (*out, x, y) = (list(one) for one in (*terms, made))
    if not first == second == out or x != i or len({i, k, a, b}) != 3:
        return None
    if (a, y) == (k, b):
        return sides[0], sides[1], False
    return (sides[0], sides[1], True) if (b, y) == (k, a) else None


def _scores_of(product: Any, graph: _Graph) -> tuple[_Scores, Any] | None:
    """What a product's left side is made of, and its values, where it is attention with a mask."""
    sides = _factors(product)
    if sides is None or sides[2]:
        return None
    weights, values, _ = sides
    found = _Scores()
    for _ in range(_MOST_STEPS):
        found.path.append(weights)
        if _aten_name(weights) not in _HANDED_ON:
            break
        weights = weights.args[0]
    if _aten_name(weights) not in _SOFTMAX or not _is_last(weights) or values not in graph.reached:
        return None
    at = weights.args[0]
    for _ in range(_MOST_STEPS):
        found.path.append(at)
        sides = _factors(at)
        if sides is not None:
            query, keys, rows = sides
            if {query, keys} <= graph.reached and (found.seen or found.added):
                found.query, found.keys = query, (keys, rows)
                return (found, values) if _fits(found, values) else None
            return None
        behind = _STEPS.get(_aten_name(at), _unfollowed)(at, found, graph)
        if behind is None:
            return None
        at = behind
    return None


def _is_last(softmax: Any) -> bool:
    """Whether a softmax is along the last dimension, in the type of what comes out."""
    value, dim = softmax.meta["val"], softmax.args[1]
    scores = softmax.args[0].meta["val"]
    return bool(dim % value.dim() == value.dim() - 1 and value.dtype == scores.dtype)


def _unfollowed(node: Any, found: _Scores, graph: _Graph) -> Any:  # noqa: ARG001
    return None


def _handed(node: Any, found: _Scores, graph: _Graph) -> Any:  # noqa: ARG001
    same = node.meta["val"].dtype == node.args[0].meta["val"].dtype
    return node.args[0] if same else None


def _mask_added(node: Any, found: _Scores, graph: _Graph) -> Any:
    left, right = node.args[:2]
    if node.kwargs.get("alpha", 1) != 1 or not _is_node(left, right):
        return None
    if left not in graph.reached:
        left, right = right, left
    if left not in graph.reached or right in graph.reached or found.scale != 1:
        return None
    found.added.append(right)
    return left


def _scores_scaled(node: Any, found: _Scores, graph: _Graph) -> Any:  # noqa: ARG001
    left, right = node.args[:2]
    if not isinstance(left, torch.fx.Node) or not isinstance(right, int | float):
        return None
    found.scale *= 1 / right if _aten_name(node) == "div" else right
    return left


def _mask_filled(node: Any, found: _Scores, graph: _Graph) -> Any:
    scores, mask, value = node.args[:3]
    if not graph.hides(value, found.scale) or mask in graph.reached:
        return None
    found.seen.append((mask, False))
    return scores


def _mask_chosen(node: Any, found: _Scores, graph: _Graph) -> Any:
    mask, left, right = node.args[:3]
    if mask in graph.reached:
        return None
    for scores, other, seen in ((left, right, True), (right, left, False)):
        hidden = graph.hides(other, found.scale)
        if isinstance(scores, torch.fx.Node) and scores in graph.reached and hidden:
            found.seen.append((mask, seen))
            return scores
    return None


_STEPS: dict[str, Callable[[Any, _Scores, _Graph], Any]] = {
    **dict.fromkeys(_HANDED_ON, _handed),
    "add": _mask_added, "mul": _scores_scaled, "div": _scores_scaled, "masked_fill": _mask_filled,
    "where": _mask_chosen,
}  # fmt: skip


def _is_node(*several: Any) -> bool:
    return all(isinstance(one, torch.fx.Node) for one in several)


def _fits(found: _Scores, values: Any) -> bool:
    """Whether queries, keys and values have the same batch, and hidden scores stay hidden."""
    sides = (found.query, found.keys[0], values)
    several = {tuple(one.meta["val"].shape[:-2]) for one in sides}
    return len(several) == 1 and found.scale > 0


def _replace(graph: Any, product: Any, found: _Scores, values: Any) -> list[Any]:
    """Puts the one call there; what nothing reads then falls away. Gives what an input reaches."""

    def call(target: Any, *args: Any, made: Any, **kwargs: Any) -> Any:
        node = graph.create_node("call_function", target, args, kwargs)
        node.meta["val"] = made
        node.meta["nn_module_stack"] = product.meta.get("nn_module_stack")
        return node

    def value(node: Any) -> Any:
        return node.meta["val"]

    with graph.inserting_before(product):
        keys, rows = found.keys
        if not rows:
            turned = value(keys).transpose(-2, -1)
            keys = call(_aten.transpose.int, keys, -2, -1, made=turned)
        seen: Any = None
        for mask, shown in found.seen:
            if not shown:
                mask = call(_aten.logical_not.default, mask, made=value(mask).logical_not())
            if seen is not None:
                both = value(seen).logical_and(value(mask))
                mask = call(_aten.logical_and.default, seen, mask, made=both)
            seen = mask
        added: Any = None
        for one in found.added:
            if added is not None:
                one = call(_aten.add.Tensor, added, one, made=value(added) + value(one))
            added = one
        mask = seen if added is None else added
        if seen is not None and added is not None:
            made = torch.where(value(seen), value(added), -torch.inf)
            mask = call(_aten.where.ScalarOther, seen, added, -torch.inf, made=made)
        made = value(product)
        joined = call(
            _aten.scaled_dot_product_attention.default,
            found.query, keys, values, mask, 0.0, False,
            made=made, scale=found.scale,
        )  # fmt: skip
    name = product.name
    product.replace_all_uses_with(joined)
    graph.erase_node(product)
    # Outputs are known by their names.
    joined.name = name
    for node in found.path:
        if not node.users:
            graph.erase_node(node)
    return [keys, joined]
