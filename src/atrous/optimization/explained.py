"""The rows of an explanation: what each layer took before and after, within whole runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from atrous.optimization.graph.chains import chain_of, is_chain
from atrous.optimization.graph.clean import is_call
from atrous.optimization.graph.export import Exported
from atrous.optimization.graph.in_place import overwrite
from atrous.optimization.graph.program import Program, Ready, compiled, profiled
from atrous.optimization.graph.prologues import is_fed, prologue_of
from atrous.optimization.graph.tune import Tuned
from atrous.optimization.known import Share
from atrous.optimization.records import LayerChoice
from atrous.optimization.slow_path import slow_path

__all__ = ["as_written", "layer_rows", "shares_of"]

_CONVS = ("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")


def as_written(found: Exported) -> Exported:
    """The same with a graph of its own, working in place only where the model's code does."""
    graph = copy.deepcopy(found.graph)
    overwrite(graph, found.mutating)
    return replace(found, graph=graph)


def shares_of(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    before: Exported,
    after: Tuned,
    ready: Ready,
) -> dict[str, Share]:
    """What each layer takes of the whole, measured step by step, by the name of its node.

    A layer's time before is that of every operation of the original graph that it now covers.
    Steps that are timed one by one, at another moment, sum up to something else than the whole
    takes: they say how it is divided. `ready` is the new program with its weights.
    """
    original = Program(before.graph, before.constants, "contiguous", {})
    slow: dict[str, str] = {}

    def seen(node: Node, *args: Any) -> None:
        if is_call(node, *_CONVS):
            slow[node.name] = slow_path(*args)

    taken = _as_shares(profiled(original, compiled(original, model), inputs, seen=seen))
    old = {node.name: share for node, share in taken.items()}
    new = _as_shares(profiled(after.program, ready, inputs))
    return {
        node.name: Share(
            sum(old.get(name, 0.0) for name in node.meta["covers"]),
            share,
            next(filter(None, map(slow.get, node.meta["covers"])), ""),
        )
        for node, share in new.items()
        if node.name in after.choices
    }


def layer_rows(
    after: Tuned, shares: Mapping[str, Share], ms_before: float, ms_after: float
) -> tuple[LayerChoice, ...]:
    """A row for each layer, in the order in which they run: its shares of the whole's times."""
    rows = []
    for node in after.program.graph.nodes:
        if node.name not in after.choices:
            continue
        choice, share = after.choices[node.name], shares[node.name]
        rows.append(
            LayerChoice(
                layer=node.meta["layer"],
                op=_title_of(node),
                strategy=choice.strategy,
                ms_before=share.before * ms_before,
                ms_after=share.after * ms_after,
                max_difference=choice.difference,
                candidates=choice.milliseconds,
                why=choice.why,
                slow_path=share.slow_path,
                error=choice.error,
                direct_error=choice.direct_error,
            )
        )
    return tuple(rows)


def _title_of(node: Node) -> str:
    if is_chain(node):
        return chain_of(node).title
    title: str = (prologue_of(node) if is_fed(node) else node.meta["call"]).title
    return title


def _as_shares(taken: dict[Node, float]) -> dict[Node, float]:
    """Shares of the whole, which is 1."""
    total = sum(taken.values())
    return {node: ms / total for node, ms in taken.items()} if total else taken
