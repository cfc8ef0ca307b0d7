"""A whole model as one program: traced, folded, fused, tuned in both layouts, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from atrous.optimization.graph.chains import chains_in, join
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.passes import lowered
from atrous.optimization.graph.program import Program, Strides
from atrous.optimization.graph.tune import Progress, Tuned, in_layout, tuned
from atrous.optimization.layer import (
    with_kernels,
    with_onednn,
    with_subpixel,
    with_torch,
    with_winograd,
)
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.chain import CHAINED
from atrous.optimization.layer.rounding import ALLOWED
from atrous.optimization.layer.timing import Timer
from atrous.optimization.layer.ways import WAYS
from atrous.optimization.plan import Prepared, Recipe
from atrous.optimization.records import Layout
from atrous.refusal import Refusal

__all__ = ["Candidate", "candidates", "plan_again"]

# Imported because they register strategies.
_STRATEGIES = (with_torch, with_onednn, with_kernels, with_winograd, with_subpixel)

_MUCH = 1.3
"""A layout whose layers take this many times as long as in another is not tried as a whole."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the whole model."""

    layout: Layout
    tuned: Tuned
    plan: Prepared


def candidates(
    model: nn.Module,
    found: Exported,
    inputs: Sequence[torch.Tensor],
    strides: tuple[Strides, ...],
    choices: Choices,
    timer: Timer,
    progress: Progress,
    allowed: float = ALLOWED,
    layouts: Sequence[Layout] = ("contiguous", "channels_last"),
) -> list[Candidate]:
    """The model as a program in each layout, every layer by its fastest strategy.

    Sums of layers may round off `allowed` times as much as PyTorch's own.
    """
    graph = lowered(found.graph)
    if not any(is_layer(node) and node.meta["call"].op != "linear" for node in graph.nodes):
        layouts = ("contiguous",)
    found_in = []
    for at, layout in enumerate(layouts):

        def told(layer: str, share: float, at: int = at) -> None:
            progress(layer, (at + share) / len(layouts))

        found_in.append(
            tuned(graph, model, found.constants, layout, inputs, choices, timer, told, allowed)
        )
    made = []
    for one in _near_the_best(found_in):
        layout = one.program.layout
        program = Program(
            one.program.graph, found.constants, layout, one.program.strategies, strides
        )
        recipe = Recipe(
            tuple((tuple(x.shape), x.dtype) for x in inputs),
            layout,
            tuple(program.strategies.items()),
            strides,
        )
        made.append(Candidate(layout, one, Prepared(program, found.spec, model, recipe)))
    return made


def _near_the_best(found: Sequence[Tuned]) -> list[Tuned]:
    """Without those whose layers alone take much longer than all layers of another."""
    times = [one.milliseconds for one in found]
    known = [ms for ms in times if ms is not None]
    if len(known) < len(times):
        return list(found)
    return [one for one, ms in zip(found, known, strict=True) if ms <= _MUCH * min(known)]


def plan_again(model: nn.Module, recipe: Recipe) -> Prepared | None:
    """The plan that a recipe describes, without measuring; None where it cannot be made."""
    inputs = [torch.zeros(shape, dtype=dtype) for shape, dtype in recipe.inputs]
    found = exported(model, inputs)
    if isinstance(found, Refusal):
        return None
    layout: Any = recipe.layout
    graph = in_layout(lowered(found.graph), layout)
    strategies = dict(recipe.strategies)
    joined = {name for name, strategy in strategies.items() if strategy == CHAINED}
    chains = [links for node, links in chains_in(graph).items() if node.name in joined]
    if len(chains) < len(joined):
        return None
    join(graph, chains)
    own = {name: strategy for name, strategy in strategies.items() if name not in joined}
    layers = {node.name: node.meta["call"] for node in graph.nodes if is_layer(node)}
    try:
        fits = layers.keys() == own.keys() and all(
            WAYS[own[name]].applies(call) for name, call in layers.items()
        )
    except KeyError:
        return None
    if not fits:
        return None
    program = Program(graph, found.constants, layout, strategies, recipe.strides)
    return Prepared(program, found.spec, model, recipe)
