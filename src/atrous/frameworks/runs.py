"""What a module does on numbers, and which of its calls take numbers that it read from its inputs.

A call's numbers (a place, a size, a factor) are plain Python and do not say where they come from.
They are the input's where they differ in runs on other inputs, and may be the input's where no
other run came by to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn

from atrous.frameworks.recording import Recording, recorded

__all__ = ["Ran", "as_it_ran"]

MOST_TO_ALIGN = 2000
DIFFERS = "takes numbers that the model reads from its input"
UNCOMPARED = "may take numbers that the model reads from its input: no other run came by it"


@dataclass(frozen=True, slots=True)
class Ran:
    """The calls of a run, the nodes that take numbers of the input, with the reason, and where the
    code looked at values."""

    recording: Recording
    data: Mapping[Any, str]
    decided: tuple[str, ...]


def as_it_ran(
    module: nn.Module, draw: Callable[[int], tuple[Sequence[Any], Mapping[str, Any]]], draws: int
) -> Ran:
    """The calls of a run on the first draw, compared with runs on the others.

    What the module raises on the first passes through; of the others that is no news.
    """
    runs: list[Recording] = []
    for index in range(draws):
        args, kwargs = draw(index)
        if not index:
            runs.append(recorded(module, args, kwargs, run=True))
            continue
        with suppress(Exception):
            runs.append(recorded(module, args, kwargs, run=True))
    first, *others = runs
    nodes = _calls(first)
    data: dict[Any, str] = {}
    met: set[Any] = set()
    for other in others:
        for mine, its in _aligned(nodes, _calls(other)):
            met.add(mine)
            data |= dict.fromkeys(_differing(mine, its, first, other), DIFFERS)
    numbers = [node for node in first.asked if not isinstance(node.meta["val"], bool)]
    order = {node: i for i, node in enumerate(first.graph.nodes)}
    since = min((order[node] for node in (*numbers, *data)), default=len(order))
    for node in nodes:
        if node not in met and order[node] > since and not _is_of_torch(node):
            data.setdefault(node, UNCOMPARED)
    decided = dict.fromkeys(_place(node) for node in first.asked)
    return Ran(first, data, tuple(decided))


def _calls(recording: Recording) -> list[Any]:
    """The calls of ops, in order."""
    return [
        node
        for node in recording.graph.nodes
        if node.op == "call_function" and hasattr(node.target, "overloadpacket")
    ]


def _aligned(mine: Sequence[Any], its: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The calls of two runs that are the same op in the same module, in order."""
    left, right = [_key(node) for node in mine], [_key(node) for node in its]
    ahead = _same(left, right)
    yield from zip(mine[:ahead], its[:ahead], strict=True)
    behind = _same(left[ahead:][::-1], right[ahead:][::-1])
    if behind:
        yield from zip(mine[-behind:], its[-behind:], strict=True)
    left, right = left[ahead : len(left) - behind], right[ahead : len(right) - behind]
    if not left or not right or max(len(left), len(right)) > MOST_TO_ALIGN:
        return
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            yield mine[ahead + block.a + i], its[ahead + block.b + i]


def _same(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many of the first parts of both are the same."""
    return next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )


def _key(node: Any) -> tuple[str, str]:
    """What a call is: its op, and the call of a module that makes it."""
    return str(node.target), next(iter(node.meta["nn_module_stack"]), "")


def _differing(mine: Any, its: Any, first: Recording, other: Recording) -> Iterator[Any]:
    """The call itself where its numbers differ, and tensors from outside that hold others."""
    left = [*mine.args, *(mine.kwargs[key] for key in sorted(mine.kwargs))]
    right = [*its.args, *(its.kwargs[key] for key in sorted(its.kwargs))]
    pairs = list(_pairs(left, right))
    if any(not isinstance(a, torch.fx.Node) and not _is_equal(a, b) for a, b in pairs):
        yield mine
    for a, b in pairs:
        if isinstance(a, torch.fx.Node) and isinstance(b, torch.fx.Node):
            held, its_held = first.stored.get(a.name), other.stored.get(b.name)
            if held is None or held.name in first.state:
                continue
            if its_held is None or not _is_equal(held.tensor, its_held.tensor):
                yield a


def _pairs(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    """The parts of two arguments that stand in the same places."""
    several = isinstance(left, list | tuple) and isinstance(right, list | tuple)
    if several and len(left) == len(right):
        for a, b in zip(left, right, strict=True):
            yield from _pairs(a, b)
    else:
        yield left, right


def _is_equal(a: Any, b: Any) -> bool:
    """Whether two numbers, or the numbers of two tensors, are the same; not a number is itself."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, torch.fx.Node) or isinstance(b, torch.fx.Node):
        return False
    return bool(a == b or (a != a and b != b))


def _is_of_torch(node: Any) -> bool:
    """Whether a module of PyTorch's own makes the call, whose numbers are its attributes."""
    cls = next((cls for _, cls in node.meta["nn_module_stack"].values()), None)
    return cls is not None and cls.__module__.startswith("torch.nn.modules.")


def _place(node: Any) -> str:
    """The module whose code looked at a value."""
    return next((path for path, _ in node.meta["nn_module_stack"].values()), "")
