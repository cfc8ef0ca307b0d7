"""`optimize` from end to end: check, collect what gives the same, time it, keep the fastest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from atrous.optimization import arena
from atrous.optimization.arguments import OURS, checked_example
from atrous.optimization.contest import (
    Turns,
    WholeTimer,
    by_processor,
    contest,
    crowded,
    disturbance,
)
from atrous.optimization.engines.engaged import Engaged
from atrous.optimization.engines.engine import versions_of
from atrous.optimization.engines.tried import Attempt, tried
from atrous.optimization.graph.tune import Progress
from atrous.optimization.judge import Judge, reference_of
from atrous.optimization.layer.cache import Choices, machine, versions
from atrous.optimization.layer.timing import Timer, times
from atrous.optimization.module import Optimized
from atrous.optimization.offers import Offer, Own, layout_name, own_offers, runner
from atrous.optimization.order import Order
from atrous.optimization.plan import signature_of
from atrous.optimization.records import EngineTime, Explanation, LayerChoice, Rounding

__all__ = ["optimize_model"]

_GAIN = 0.98
"""What is taken needs at most this share of the original's time, and another's of ours."""


def _silent(_layer: str, _share: float) -> None:
    return None


def optimize_model(
    model: nn.Module,
    example: Any,
    *,
    training: bool = False,
    rounding: Rounding = None,
    engines: Sequence[str] = (OURS,),
    choices: Choices | None = None,
    timer: Timer | None = None,
    whole_timer: WholeTimer | None = None,
    progress: Progress = _silent,
) -> Optimized:
    """See `atrous.optimize`. The timers measure layers and the whole; tests give made ones."""
    inputs = checked_example(model, example, training=training)
    if isinstance(model, Optimized):
        model = model._original
    # Copies: a model may write into what it is given, and is run many times.
    inputs = tuple(x.detach().clone() for x in inputs)
    choices = Choices() if choices is None else choices
    if timer is None:
        # What else the machine does only adds to a short run: the least says most about it.
        measure = by_processor(torch.get_num_threads()) if crowded() else None
        timer = partial(times, measure=measure, of=min)
    others = [name for name in engines if name != OURS]
    order = Order(model, inputs, training, rounding, choices, timer, progress)
    with _unmoved(model), arena.holding():
        return _optimized(order, OURS in engines or training, others, whole_timer)


@contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Runs of the model leave no trace: buffers and the generator are put back."""
    before = [(one, one.detach().clone(), _version(one)) for one in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for one, value, written in before:
                plain = one.layout == torch.strided  # others cannot be compared
                if not torch.equal(one, value) if plain else _version(one) != written:
                    one.copy_(value)


def _version(one: torch.Tensor) -> int:
    """How often a tensor was written to, where that is counted."""
    return -1 if one.is_inference() else one._version


def _optimized(
    order: Order, ours: bool, others: Sequence[str], whole_timer: WholeTimer | None
) -> Optimized:
    crowd = crowded()
    begin = time.perf_counter()
    reference = reference_of(order.model, order.inputs)
    ran = {} if order.training else {"before": 1e3 * (time.perf_counter() - begin)}
    judge = Judge(order.model, order.inputs, reference)
    share = int(ours) / (int(ours) + len(others))
    own = Own()
    if ours:
        first = replace(order, progress=_share_of(order.progress, 0, share))
        own = own_offers(first, judge, reference)
    second = replace(order, progress=_share_of(order.progress, share, 1))
    trials = tried(second, others, judge, own.found, own.kept)
    offers = [*own.offers, *(_offer(order, trial) for trial in trials if trial.plan is not None)]
    runs = {"before": runner(order.model, order.inputs, training=order.training)}
    if whole_timer is None:
        measure = by_processor(torch.get_num_threads()) if crowd else None
        known = None if own.kept is None or crowd else own.kept.times
        whole_timer = partial(contest, measure=measure, known=known, ran=ran)
    taken = whole_timer(runs | {one.name: one.run for one in offers})
    failed = {trial.engine.name for trial in trials if trial.why}
    best = _fastest([one for one in offers if one.name not in failed], taken)
    notes = _notes(own, best, taken)
    if busy := disturbance(taken["before"], crowd):
        notes.append(busy)
    if best is not None:
        _in_reserve(best, own, taken)
    engines = [_timed_as("original", taken["before"], 0.0)]
    engines += [_ours(own, taken)] if ours else []
    engines += [_of_trial(trial, taken) for trial in trials]
    made = _handed_out(order, own, best, taken, notes, engines)
    if own.kept is not None:
        own.kept.save(taken)
    return made


def _share_of(progress: Progress, start: float, end: float) -> Progress:
    """What tells of a part of the work, from one share of the whole to another."""
    return lambda what, share: progress(what, start + share * (end - start))


def _offer(order: Order, trial: Attempt) -> Offer:
    """The whole by another engine."""
    name, plan = trial.engine.name, trial.plan
    assert plan is not None

    def run() -> None:
        with torch.no_grad():
            trial.run(order.inputs)

    plans = {signature_of(order.inputs): plan}
    return Offer(name, name, "engine", run, trial.difference or 0.0, order.model, plans)


def _fastest(offers: Sequence[Offer], taken: Mapping[str, Turns]) -> Offer | None:
    """What is handed out; None for the original. Ours wins where another is hardly faster."""
    clear = [one for one in offers if taken[one.name].ms <= _GAIN * taken["before"].ms]
    ours = _quickest([one for one in clear if one.engine == OURS], taken)
    other = _quickest([one for one in clear if one.engine != OURS], taken)
    if ours is None or other is None:
        return ours or other
    return other if taken[other.name].ms < _GAIN * taken[ours.name].ms else ours


def _quickest(offers: Sequence[Offer], taken: Mapping[str, Turns]) -> Offer | None:
    return min(offers, key=lambda one: taken[one.name].ms, default=None)


def _in_reserve(best: Offer, own: Own, taken: Mapping[str, Turns]) -> None:
    """Gives what runs by another engine our best program, which runs where weights are new."""
    graphs = [one for one in own.offers if one.mode == "graph"]
    ours = _fastest(graphs, taken)
    for plan in best.plans.values():
        if isinstance(plan, Engaged) and ours is not None:
            (plan.own,) = ours.plans.values()
            plan.own.refresh()  # weights that may never be asked for


def _notes(own: Own, best: Offer | None, taken: Mapping[str, Turns]) -> list[str]:
    graphs = [one for one in own.offers if one.mode == "graph"]
    shown = best if best is not None and best.engine == OURS else _quickest(graphs, taken)
    notes = [*own.notes]
    notes += [
        f"{layout_name(one.layout)} it would take {taken[one.name].ms:.3g} ms."
        for one in graphs
        if one is not shown or best is None
    ]
    if best is None:
        kept = "the original is kept: nothing was faster and equal."
        notes.insert(0 if own.is_graph else len(notes), kept)
    return notes


def _handed_out(
    order: Order,
    own: Own,
    best: Offer | None,
    taken: Mapping[str, Turns],
    notes: list[str],
    engines: Sequence[EngineTime],
) -> Optimized:
    before = taken["before"].ms
    after = before if best is None else taken[best.name].ms
    about = Explanation(
        model=type(order.model).__name__,
        mode="original" if best is None else best.mode,
        layout="contiguous" if best is None else best.layout,
        ms_before=before,
        ms_after=after,
        max_difference=0.0 if best is None else best.difference,
        layers=own.rows if best is None else _rows_within(best, before, after, notes),
        input=tuple(tuple(x.shape) for x in order.inputs),
        threads=torch.get_num_threads(),
        machine=machine(),
        versions=(*versions(), *versions_of(one.engine for one in engines if one.ms is not None)),
        training=order.training,
        notes=tuple(notes),
        engine="original" if best is None else best.engine,
        engines=tuple(engines),
    )
    if best is None:
        return Optimized(order.model, {}, about)
    return Optimized(best.model, best.plans, about)


def _rows_within(
    best: Offer, before: float, after: float, notes: list[str]
) -> tuple[LayerChoice, ...]:
    try:
        return best.rows(before, after)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        notes.append(f"its layers could not be timed: {str(error)[:160]}")
        return ()


def _ours(own: Own, taken: Mapping[str, Turns]) -> EngineTime:
    best = _quickest(own.offers, taken)
    if best is None:
        return EngineTime(OURS, why="nothing that it has is faster and equal.")
    return _timed_as(OURS, taken[best.name], best.difference)


def _of_trial(trial: Attempt, taken: Mapping[str, Turns]) -> EngineTime:
    name = trial.engine.name
    if trial.plan is None or trial.why:
        return EngineTime(name, difference=trial.difference, why=trial.why)
    return _timed_as(name, taken[name], trial.difference or 0.0)


def _timed_as(name: str, spread: Turns, difference: float) -> EngineTime:
    return EngineTime(name, spread.ms, spread.low, spread.high, difference)
