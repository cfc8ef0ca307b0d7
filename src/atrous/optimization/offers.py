"""What `optimize` can hand out: ways to run the whole model that give what the original gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from atrous.frameworks.torch import in_mode
from atrous.optimization import arena
from atrous.optimization.candidates import Candidate, candidate_again, candidates
from atrous.optimization.explained import as_written, layer_rows, shares_of
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.program import strides_of
from atrous.optimization.graph.tune import Progress
from atrous.optimization.judge import Inputs, Judge, flat
from atrous.optimization.known import KnownWhole
from atrous.optimization.layer.rounding import allowed_by
from atrous.optimization.order import Order
from atrous.optimization.plan import AnyPlan, Signature, signature_of
from atrous.optimization.records import LayerChoice, Layout, Mode
from atrous.optimization.swap import has_maps, run_laid_out, swapped
from atrous.refusal import Refusal

__all__ = ["Offer", "Own", "own_offers", "runner"]

_STRICTER = (4.0, 2.0, 1.5, 1.0, 0.0)
"""How much layers may round off, in times of PyTorch's sums, where 8 was too much for the whole."""

Rows = Callable[[float, float], tuple[LayerChoice, ...]]
"""A row for each layer, by what the whole took before and after."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to run the whole: `run` does it once, `model` and `plans` make the result."""

    name: str
    engine: str
    mode: Mode
    run: Callable[[], object]
    difference: float
    model: nn.Module
    plans: Mapping[Signature, AnyPlan] = field(default_factory=dict)
    layout: Layout = "contiguous"
    rows: Rows = lambda _before, _after: ()


@dataclass(slots=True)
class Own:
    """What our strategies offer, what there is to say of them, and rows where nothing is taken.

    `found` is the model's graph, where that was asked for, and `kept` what is known of the model.
    """

    offers: list[Offer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: tuple[LayerChoice, ...] = ()
    is_graph: bool = False
    found: Exported | Refusal | None = None
    kept: KnownWhole | None = None


def own_offers(order: Order, judge: Judge, reference: Sequence[Any]) -> Own:
    """The model as one graph in each layout; or, where it is none, layer by layer."""
    own = Own()
    if not order.training:
        own.found = found = exported(order.model, order.inputs)
        if isinstance(found, Exported):
            try:
                own.kept = KnownWhole(order, found)
                own.offers = _graphs(order, judge, reference, found, own.kept, own.notes)
                own.is_graph = True
                return own
            except Exception as error:  # a model layer by layer is better than none
                own.kept = None
                own.notes = [f"layer by layer, because its graph fails: {_said(error)}"]
        else:
            own.notes.append(f"layer by layer, because {found.reason}")
    _layers(order, judge, own)
    return own


def _graphs(
    order: Order,
    judge: Judge,
    reference: Sequence[Any],
    found: Exported,
    kept: KnownWhole,
    notes: list[str],
) -> list[Offer]:
    """The programs that give what the original gives; of a model of before, its fastest one."""
    model, inputs = order.model, order.inputs
    graph = as_written(found)
    strides = tuple(strides_of(value) for value in reference)
    make = partial(
        candidates, model, found, inputs, strides, order.choices, order.timer, order.progress
    )
    allowed = allowed_by(order.rounding)
    if (layout := kept.layout) is not None:
        known = kept.layers(layout)
        again = candidate_again(model, found, inputs, strides, order.choices, layout, known)
        if again is not None:
            before = kept.difference(layout)
            verdict = judge.again(partial(again.plan, model), before)
            if verdict.same and before is not None:
                most = max(verdict.difference, before)  # on drawn inputs it may have been more
                return [_graph(order, again, graph, most, kept)]
    made = make(allowed)
    order.choices.save()
    offers = []
    for first in made:
        one = first
        verdict = judge(partial(one.plan, model))
        # What layers round off may add up to too much: then each may do less.
        for less in (stricter for stricter in _STRICTER if stricter < allowed):
            if verdict.same or not one.tuned.rounds:
                break
            (one,) = make(less, layouts=(first.layout,))
            verdict = judge(partial(one.plan, model))
        if verdict.note:
            notes.append(f"{layout_name(one.layout)}, {verdict.note}")
        if verdict.same:
            kept.note(one.layout, verdict.difference, one.tuned.choices)
            offers.append(_graph(order, one, graph, verdict.difference, kept))
    return offers


def _graph(
    order: Order, made: Candidate, graph: Exported, difference: float, kept: KnownWhole
) -> Offer:
    model, inputs = order.model, order.inputs

    def run() -> object:
        with torch.no_grad():
            return made.plan(model, inputs)

    def rows(before: float, after: float) -> tuple[LayerChoice, ...]:
        shares = kept.shares(made.layout)
        if not made.tuned.choices.keys() <= shares.keys():
            shares = shares_of(model, inputs, graph, made.tuned, made.plan.ready(model))
            kept.note_shares(made.layout, shares)
        return layer_rows(made.tuned, shares, before, after)

    plans = {signature_of(inputs): made.plan}
    return Offer(made.layout, "atrous", "graph", run, difference, model, plans, made.layout, rows)


def _layers(order: Order, judge: Judge, own: Own) -> None:
    """The model with some layers exchanged, in each layout where it trains and has maps.

    Where the layout that was fastest is known, another is made only if that one offers nothing.
    """
    layouts: tuple[Layout, ...] = ("contiguous",)
    own.kept = _kept_of_training(order) if order.training else None
    known = None if own.kept is None else own.kept.layout
    if order.training and has_maps(order.inputs):
        layouts = ("channels_last", "contiguous")
        layouts = tuple(sorted(layouts, key=lambda one: one != known))
    for at, layout in enumerate(layouts):
        if known is not None and own.offers:
            break
        part = replace(order, progress=_layouts_share(order.progress, at, len(layouts)))
        try:
            _exchanged(part, layout, judge, own)
        except Exception as error:  # models may refuse a layout in their own words
            own.notes.append(f"nor layer by layer: {_said(error)}")
    order.choices.save()


def _kept_of_training(order: Order) -> KnownWhole | None:
    """What is known of a model that trains; None where it cannot be named."""
    try:
        return KnownWhole(order, None)
    except Exception:  # of a module that cannot be written, say
        return None


def _exchanged(order: Order, layout: Layout, judge: Judge, own: Own) -> None:
    made = swapped(order, layout)
    if layout == "contiguous" or not own.rows:
        own.rows = made.layers
    if layout == "contiguous" and all(row.strategy == "torch" for row in made.layers):
        own.notes.append("no layer is faster by another strategy.")
        return
    if made.writes and layout != "contiguous":
        return  # into a copy it would be
    verdict = judge(partial(_laid_out_run, made.model, layout))
    if verdict.note:
        own.notes.append(f"layers swapped: {verdict.note}")
    if not verdict.same:
        own.rows = () if own.rows is made.layers else own.rows
        return
    run = runner(made.model, order.inputs, training=order.training, layout=layout, keeps=True)
    run()  # where gradients are recorded code may refuse what it took without
    own.offers.append(
        Offer(
            layout,
            "atrous",
            "layers",
            run,
            verdict.difference,
            made.model,
            layout=layout,
            rows=lambda _before, _after: made.layers,
        )
    )


def _laid_out_run(model: nn.Module, layout: Layout, given: Inputs) -> Any:
    with in_mode(model, training=False):
        return run_laid_out(model, layout, [x.clone() for x in given], {})


def _layouts_share(progress: Progress, at: int, count: int) -> Progress:
    return lambda what, share: progress(what, (at + share) / count)


def runner(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    training: bool,
    layout: Layout = "contiguous",
    keeps: bool = False,
) -> Any:
    """One run of a model; for training also the gradients, in evaluation so that no state moves.

    `keeps` says that what it frees stays at hand, as it does where ours trains.
    """

    def forward() -> object:
        with torch.no_grad():
            return run_laid_out(model, layout, inputs, {})

    def both() -> object:
        wanted = [p for p in model.parameters() if p.requires_grad]
        kept = arena.kept() if keeps else contextlib.nullcontext()
        with kept, torch.enable_grad(), in_mode(model, training=False):
            made = run_laid_out(model, layout, inputs, {})
            parts = [y for y in flat(made) if _has_gradient(y)]
            total = sum((y.real if y.is_complex() else y).sum() for y in parts)
            return (
                torch.autograd.grad(total, wanted, allow_unused=True) if parts and wanted else None
            )

    return both if training else forward


def layout_name(layout: str) -> str:
    """The layout in words."""
    return f"in the layout {'channels last' if layout == 'channels_last' else 'channels first'}"


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
