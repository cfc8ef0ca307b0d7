"""`optimize` from end to end: check, trace, tune, compare, and keep the faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from atrous.frameworks.torch import in_mode
from atrous.optimization.arguments import checked_example
from atrous.optimization.candidates import Candidate, candidates
from atrous.optimization.explained import as_written, layer_rows
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.tune import Progress
from atrous.optimization.judge import Judge, called, flat, reference_of
from atrous.optimization.layer.cache import Choices, machine, versions
from atrous.optimization.layer.timing import Timer, times
from atrous.optimization.module import Optimized
from atrous.optimization.plan import signature_of
from atrous.optimization.records import Explanation, LayerChoice, Layout, Mode, Rounding
from atrous.optimization.swap import swapped

__all__ = ["optimize_model"]

_GAIN = 0.98
"""The whole is handed out only if it takes at most this share of the original's time."""


def _silent(_layer: str, _share: float) -> None:
    return None


def _time_layer(runs: Any) -> dict[str, float]:
    # What else the machine does only adds to a short run: the least says most about it.
    return times(runs, seconds=0.2, least=2, cutoff=1.5, of=min)


def _time_whole(runs: Any) -> dict[str, float]:
    return times(runs, seconds=3.0, least=3, most=30)


def optimize_model(
    model: nn.Module,
    example: Any,
    *,
    training: bool = False,
    rounding: Rounding = None,
    choices: Choices | None = None,
    timer: Timer = _time_layer,
    whole_timer: Timer = _time_whole,
    progress: Progress = _silent,
) -> Optimized:
    """See `atrous.optimize`. The timers measure layers and the whole; tests give made ones."""
    inputs = checked_example(model, example, training=training)
    if isinstance(model, Optimized):
        model = model._original
    # Copies: a model may write into what it is given, and is run many times.
    inputs = tuple(x.detach().clone() for x in inputs)
    with _unmoved(model):
        return _optimized(model, inputs, training, rounding, choices, timer, whole_timer, progress)


@contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Runs of the model leave no trace: buffers and the generator are put back."""
    before = [(one, one.detach().clone()) for one in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for one, value in before:
                if not torch.equal(one, value):
                    one.copy_(value)


def _optimized(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    training: bool,
    rounding: Rounding,
    choices: Choices | None,
    timer: Timer,
    whole_timer: Timer,
    progress: Progress,
) -> Optimized:
    reference = reference_of(model, inputs)
    choices = Choices() if choices is None else choices
    notes: list[str] = []
    if not training:
        found = exported(model, inputs)
        if isinstance(found, Exported):
            try:
                graph = as_written(found)
                strides = tuple(_strides(value) for value in reference)
                made = candidates(model, found, inputs, strides, choices, timer, progress, rounding)
                choices.save()
                return _kept(model, inputs, reference, made, graph, whole_timer, notes)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                notes.append(f"layer by layer, because its graph fails: {_said(error)}")
        else:
            notes.append(f"layer by layer, because {found.reason}")
    try:
        result = swapped(model, inputs, timer, progress, training=training, rounding=rounding)
    except (RuntimeError, TypeError, ValueError) as error:
        notes.append(f"the original is kept: {_said(error)}")
        return _original(model, inputs, (), notes, whole_timer, training=training)
    if not any(row.strategy != "torch" for row in result.layers):
        notes.append("no layer is faster by another strategy.")
        return _original(model, inputs, result.layers, notes, whole_timer, training=training)
    verdict = Judge(model, inputs, reference)(lambda given: called(result.model, given))
    if verdict.note:
        notes.append(f"layers swapped: {verdict.note}")
    if not verdict.same:
        notes.append("the original is kept.")
        return _original(model, inputs, (), notes, whole_timer, training=training)
    runs = {
        "before": _runner(model, inputs, training=training),
        "after": _runner(result.model, inputs, training=training),
    }
    taken = whole_timer(runs)
    if taken["after"] > _GAIN * taken["before"]:
        notes.append("the original is kept: the whole is not faster.")
        return _original(model, inputs, result.layers, notes, whole_timer, training=training)
    about = _explained(
        model,
        inputs,
        "layers",
        "contiguous",
        taken,
        verdict.difference,
        result.layers,
        notes,
        training=training,
    )
    return Optimized(result.model, {}, about)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


def _kept(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    reference: list[Any],
    made: Sequence[Candidate],
    graph: Exported,
    whole_timer: Timer,
    notes: list[str],
) -> Optimized:
    """The fastest of the programs that give what the original gives, or the original."""
    runs: dict[str, Callable[[], Any]] = {"before": _runner(model, inputs, training=False)}
    furthest: dict[str, float] = {}
    judge = Judge(model, inputs, reference)
    for one in made:
        verdict = judge(partial(one.plan, model))
        furthest[one.layout] = verdict.difference
        if verdict.note:
            notes.append(f"{_name(one.layout)}, {verdict.note}")
        if verdict.same:
            runs[one.layout] = _planned(one, model, inputs)
    taken = whole_timer(runs)
    best = min(taken, key=lambda name: taken[name])
    if best != "before" and taken[best] > _GAIN * taken["before"]:
        best = "before"
    for name, ms in taken.items():
        if name not in ("before", best):
            notes.append(f"{_name(name)} it would take {ms:.3g} ms.")
    if best == "before":
        notes.insert(0, "the original is kept: nothing was faster and equal.")
        return _original(model, inputs, (), notes, None, training=False, ms=taken["before"])
    chosen = next(one for one in made if one.layout == best)
    rows = layer_rows(model, inputs, graph, chosen.tuned)
    spent = {"before": taken["before"], "after": taken[best]}
    about = _explained(
        model, inputs, "graph", chosen.layout, spent, furthest[best], rows, notes, training=False
    )
    key = signature_of(inputs)
    return Optimized(model, {key: chosen.plan}, about)


def _original(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    rows: tuple[LayerChoice, ...],
    notes: list[str],
    whole_timer: Timer | None,
    *,
    training: bool,
    ms: float = 0.0,
) -> Optimized:
    if whole_timer is not None:
        ms = whole_timer({"before": _runner(model, inputs, training=training)})["before"]
    spent = {"before": ms, "after": ms}
    about = _explained(
        model, inputs, "original", "contiguous", spent, 0.0, rows, notes, training=training
    )
    return Optimized(model, {}, about)


def _explained(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    mode: Mode,
    layout: Layout,
    taken: dict[str, float],
    far: float,
    rows: tuple[LayerChoice, ...],
    notes: list[str],
    *,
    training: bool,
) -> Explanation:
    return Explanation(
        model=type(model).__name__,
        mode=mode,
        layout=layout,
        ms_before=taken["before"],
        ms_after=taken["after"],
        max_difference=far,
        layers=rows,
        input=tuple(tuple(x.shape) for x in inputs),
        threads=torch.get_num_threads(),
        machine=machine(),
        versions=versions(),
        training=training,
        notes=tuple(notes),
    )


def _runner(model: nn.Module, inputs: Sequence[torch.Tensor], *, training: bool) -> Any:
    """One run of a model; for training also the gradients, in evaluation so that no state moves."""

    def forward() -> object:
        with torch.no_grad():
            return model(*inputs)

    def both() -> object:
        wanted = [p for p in model.parameters() if p.requires_grad]
        with torch.enable_grad(), in_mode(model, training=False):
            parts = [y for y in flat(model(*inputs)) if _has_gradient(y)]
            total = sum(y.sum() for y in parts)
            return torch.autograd.grad(total, wanted, allow_unused=True) if parts else None

    return both if training else forward


def _planned(one: Candidate, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    def run() -> object:
        with torch.no_grad():
            return one.plan(model, inputs)

    return run


def _has_gradient(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _strides(value: Any) -> tuple[int, ...] | None:
    """How the original hands out a tensor; None where its elements share memory."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return None
    shared = any(
        step == 0 and size > 1 for size, step in zip(value.shape, value.stride(), strict=True)
    )
    return None if shared else tuple(value.stride())


def _name(layout: str) -> str:
    return f"in the layout {'channels last' if layout == 'channels_last' else 'channels first'}"
