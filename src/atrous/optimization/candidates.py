"""A whole model as one program: traced, folded, fused, tuned in both layouts, and checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import nn
from torch.fx import Graph

from atrous.optimization.graph.chains import chain_of, chains_in, is_chain, join
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.passes import lowered
from atrous.optimization.graph.placing import place_parts
from atrous.optimization.graph.program import Program, Strides
from atrous.optimization.graph.prologues import is_fed, join_passes, passes_read, prologue_of
from atrous.optimization.graph.tune import Progress, Tuned, in_layout, tuned
from atrous.optimization.known import KnownLayer
from atrous.optimization.layer import (
    with_kernels,
    with_onednn,
    with_strassen,
    with_subpixel,
    with_torch,
    with_winograd,
)
from atrous.optimization.layer.cache import Choices
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.chain import CHAINED
from atrous.optimization.layer.choose import Choice
from atrous.optimization.layer.prologue import fed_by
from atrous.optimization.layer.rounding import ALLOWED
from atrous.optimization.layer.timing import Timer
from atrous.optimization.layer.ways import WAYS, applying
from atrous.optimization.layer.with_strassen import LEVELS
from atrous.optimization.plan import Prepared, Recipe
from atrous.optimization.records import Layout
from atrous.refusal import Refusal

__all__ = ["Candidate", "candidate_again", "candidates", "is_much", "kinds_of", "plan_again"]

# Imported because they register strategies.
_STRATEGIES = (with_torch, with_onednn, with_kernels, with_winograd, with_strassen, with_subpixel)

_MUCH = 1.15
"""A layout whose layers take this many times as long as in another is not tried as a whole."""
_REST = 0.85
"""Layers that were not measured yet are not faster than this share of what they take in another."""
_BETTER, _PART = 0.95, 0.2
"""Nor than this share of what the ratio is for their kind, once this share of the kind is known."""
_FEW = 16
"""Channels of which no vector is filled: a layer that reads an image is of a kind of its own."""

Kind = tuple[object, ...]
"""What layers have in common whose times in two layouts have much the same ratio."""


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
    layouts: Sequence[Layout] = ("channels_last", "contiguous"),
) -> list[Candidate]:
    """The model as a program in each layout, every layer by its fastest strategy.

    Sums of layers may round off `allowed` times as much as PyTorch's own.
    """
    graph = lowered(found.graph)
    if not any(is_layer(node) and node.meta["call"].op != "linear" for node in graph.nodes):
        layouts = ("contiguous",)
    found_in: list[Tuned] = []
    for at, layout in enumerate(layouts):

        def told(layer: str, share: float, at: int = at) -> None:
            progress(layer, (at + share) / len(layouts))

        limit = None
        if found_in:
            # Chains and layers that make what they read are not what they are in another layout.
            own = {n: k for n, k in kinds_of(graph).items() if _is_alone(found_in[0], n)}
            limit = partial(is_much, found_in[0].times, own)
        one = tuned(
            *(graph, model, found.constants, layout, inputs, strides),
            *(choices, timer, told, allowed, limit),
        )
        found_in += [] if one is None else [one]
    return [_candidate(model, found, inputs, strides, one) for one in _near_the_best(found_in)]


def candidate_again(
    model: nn.Module,
    found: Exported,
    inputs: Sequence[torch.Tensor],
    strides: tuple[Strides, ...],
    choices: Choices,
    layout: Layout,
    layers: Mapping[str, KnownLayer],
) -> Candidate | None:
    """The program of another day, whose layers are known by the names of their nodes.

    None of them is run or compared, and None is returned where they are not those of the graph.
    """
    strategies = {name: one.strategy for name, one in layers.items()}
    graph = _with_strategies(found, layout, strides, strategies)
    if graph is None:
        return None
    made: dict[str, Choice] = {}
    for node in graph.nodes:
        if node.name not in layers:
            continue
        refused: list[Refusal] = []
        if is_chain(node):
            signature = chain_of(node).signature
        else:
            call = prologue_of(node).call if is_fed(node) else node.meta["call"]
            signature = prologue_of(node).signature if is_fed(node) else call.signature
            _, refused = applying(call)
        taken = (choices.get(signature) or {}).items()
        one = layers[node.name]
        made[node.name] = Choice(
            one.strategy,
            _unprepared,
            one.difference,
            tuple(sorted((p for p in taken if isfinite(p[1])), key=lambda pair: pair[1])),
            tuple(f"{why.rule}: {why.reason}" for why in dict.fromkeys(refused)),
            one.error,
            one.direct_error,
        )
    program = Program(graph, found.constants, layout, strategies)
    return _candidate(model, found, inputs, strides, Tuned(program, made))


def _is_fed_by_rows(strategy: str, call: LayerCall) -> bool:
    """Whether the product of a layer that makes what it reads applies to its call."""
    way = WAYS.get(fed_by(strategy) or "")
    return way is not None and way.name in LEVELS and way.applies(call) is True


def _unprepared(*_operands: torch.Tensor) -> torch.Tensor:
    """Stands for what a program prepares by itself."""
    raise NotImplementedError


def _candidate(
    model: nn.Module,
    found: Exported,
    inputs: Sequence[torch.Tensor],
    strides: tuple[Strides, ...],
    one: Tuned,
) -> Candidate:
    program = replace(one.program, constants=found.constants, strides=strides)
    recipe = Recipe(
        tuple((tuple(x.shape), x.dtype) for x in inputs),
        program.layout,
        tuple(program.strategies.items()),
        strides,
    )
    return Candidate(program.layout, one, Prepared(program, found.spec, model, recipe))


def kinds_of(graph: Graph) -> dict[str, Kind]:
    """What decides, beside sizes, how layouts compare on a layer, by the name of its node."""
    return {node.name: _kind_of(node.meta["call"]) for node in graph.nodes if is_layer(node)}


def _is_alone(found: Tuned, name: str) -> bool:
    """Whether a layer's time is that of the layer by itself."""
    one = found.choices.get(name)
    return one is not None and one.strategy != CHAINED and not fed_by(one.strategy)


def _kind_of(call: LayerCall) -> Kind:
    strided = any(step > 1 for step in call.stride)
    dilated = any(step > 1 for step in call.dilation)
    few = len(call.input) > 1 and call.input[1] < _FEW
    return call.op, call.kernel, strided, dilated, few, call.groups > 1, call.is_depthwise


def is_much(
    other: Mapping[str, float],
    kinds: Mapping[str, Kind],
    taken: Mapping[str, float],
    names: Collection[str],
) -> bool:
    """Whether layers seem to take much longer than in another layout, whose times are `other`.

    `names` are those that are done. The others are taken to be better off than those of their kind
    were together, where a good part of the kind is done, and else as fast as may be. What was one
    layer there (a chain, by the name of its last one) counts when its last one is done.

    >>> once = {"a": 1.0, "b": 1.0, "c": 1.0}
    >>> is_much(once, dict.fromkeys("abc", ("linear",)), {"a": 1.3}, {"a"})
    True
    >>> is_much(once, {"a": ("linear",), "b": ("conv",), "c": ("conv",)}, {"a": 1.3}, {"a"})
    False
    >>> is_much({"b": 3.0}, {}, {"a": 2.4}, {"a"})  # a part of what was b
    False
    """
    if not all(taken.values()) or not all(other.values()):
        return False
    whole: defaultdict[Kind, float] = defaultdict(float)
    there, here = whole.copy(), whole.copy()
    for name in kinds.keys() & other.keys():
        whole[kinds[name]] += other[name]
        if name in taken:
            there[kinds[name]] += other[name]
            here[kinds[name]] += taken[name]
    ratios = {
        kind: max(_BETTER * here[kind] / ms, _REST)
        for kind, ms in there.items()
        if ms >= _PART * whole[kind]
    }
    rest = sum(
        ms * ratios.get(kinds.get(name, ()), _REST)
        for name, ms in other.items()
        if name not in names
    )
    done = waiting = 0.0
    for name, ms in taken.items():
        waiting += ms
        if name in other:
            done, waiting = done + waiting, 0.0
    return done + rest > _MUCH * sum(other.values())


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
    strategies = dict(recipe.strategies)
    graph = _with_strategies(found, layout, recipe.strides, strategies)
    if graph is None:
        return None
    program = Program(graph, found.constants, layout, strategies, recipe.strides)
    return Prepared(program, found.spec, model, recipe)


def _with_strategies(
    found: Exported, layout: Layout, strides: Sequence[Strides], strategies: Mapping[str, str]
) -> Graph | None:
    """The lowered graph whose layers run by these; None where they are not those of the graph."""
    graph = in_layout(lowered(found.graph), layout, strides)
    joined = {name for name, strategy in strategies.items() if strategy == CHAINED}
    fed = {name for name, strategy in strategies.items() if fed_by(strategy)}
    chains = [links for node, links in chains_in(graph).items() if node.name in joined]
    passes = [read for node, read in passes_read(graph).items() if node.name in fed]
    made = [node for read in passes for node in read.layers]
    if len(chains) < len(joined) or {node.name for node in made} != fed:
        return None
    if not all(_is_fed_by_rows(strategies[node.name], node.meta["call"]) for node in made):
        return None
    join(graph, chains)
    join_passes(graph, passes)
    taken = joined | fed
    own = {name: strategy for name, strategy in strategies.items() if name not in taken}
    layers = {node.name: node.meta["call"] for node in graph.nodes if is_layer(node)}
    try:
        fits = layers.keys() == own.keys() and all(
            WAYS[own[name]].applies(call) for name, call in layers.items()
        )
    except KeyError:
        return None
    if not fits:
        return None
    place_parts(graph, own)
    return graph
