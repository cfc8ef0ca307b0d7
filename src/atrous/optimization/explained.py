"""The rows of an explanation: what each layer took before and after, within whole runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from atrous.optimization.graph.chains import chain_of, is_chain
from atrous.optimization.graph.clean import is_call
from atrous.optimization.graph.export import Exported
from atrous.optimization.graph.in_place import overwrite
from atrous.optimization.graph.program import Program, profiled
from atrous.optimization.graph.tune import Tuned
from atrous.optimization.records import LayerChoice
from atrous.optimization.slow_path import slow_path

__all__ = ["as_written", "layer_rows"]

_CONVS = ("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")


def as_written(found: Exported) -> Exported:
    """The same with a graph of its own, working in place only where the model's code does."""
    graph = copy.deepcopy(found.graph)
    overwrite(graph, found.mutating)
    return replace(found, graph=graph)


def layer_rows(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    before: Exported,
    after: Tuned,
    ms_before: float,
    ms_after: float,
) -> tuple[LayerChoice, ...]:
    """A row for each layer, in the order in which they run: its shares of the whole's times.

    A layer's time before is that of every operation of the original graph that it now covers.
    Steps that are timed one by one, at another moment, sum up to something else than the whole
    took: they say how it is divided.
    """
    original = Program(before.graph, before.constants, "contiguous", {})
    slow: dict[str, str] = {}

    def seen(node: Node, *args: Any) -> None:
        if is_call(node, *_CONVS):
            slow[node.name] = slow_path(*args)

    taken = _as_shares(profiled(original, model, inputs, seen=seen), ms_before)
    old = {node.name: ms for node, ms in taken.items()}
    new = _as_shares(profiled(after.program, model, inputs), ms_after)
    rows = []
    for node, ms in new.items():
        if node.name not in after.choices:
            continue
        choice = after.choices[node.name]
        rows.append(
            LayerChoice(
                layer=node.meta["layer"],
                op=(chain_of(node) if is_chain(node) else node.meta["call"]).title,
                strategy=choice.strategy,
                ms_before=sum(old.get(name, 0.0) for name in node.meta["covers"]),
                ms_after=ms,
                max_difference=choice.difference,
                candidates=choice.milliseconds,
                why=choice.why,
                slow_path=next(filter(None, map(slow.get, node.meta["covers"])), ""),
                error=choice.error,
                direct_error=choice.direct_error,
            )
        )
    return tuple(rows)


def _as_shares(taken: dict[Node, float], whole: float) -> dict[Node, float]:
    """The same shares of the whole."""
    total = sum(taken.values())
    return {node: ms * whole / total for node, ms in taken.items()} if total else taken
