"""Every engine that is asked for, tried on the whole model and held to what the model gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from atrous.optimization.engines import onnx_runtime, openvino, torch_compile
from atrous.optimization.engines.engaged import Engaged, recipe_of, state_homes
from atrous.optimization.engines.engine import (
    ENGINES,
    Engine,
    Task,
    UnfitError,
    complaint,
    missing,
    task_of,
)
from atrous.optimization.graph.export import Exported
from atrous.optimization.judge import Inputs, Judge
from atrous.optimization.known import KnownWhole
from atrous.optimization.order import Order
from atrous.optimization.plan import Watch, is_same
from atrous.refusal import Refusal

__all__ = ["ENGINES", "Attempt", "missing", "tried"]

# Imported because they register engines.
_KNOWN = (torch_compile, onnx_runtime, openvino)


@dataclass(slots=True)
class Attempt:
    """What came of an engine: a plan that gives what the model gives, or `why` there is none."""

    engine: Engine
    plan: Engaged | None = None
    difference: float | None = None
    why: str = ""

    def run(self, inputs: Inputs) -> None:
        """Runs the plan once; one that fails is no choice any more."""
        if self.plan is not None and not self.why:
            try:
                self.plan.raw(inputs)
            except Exception as error:
                self.why = complaint(error)


def tried(
    order: Order,
    names: Sequence[str],
    judge: Judge,
    found: Exported | Refusal | None,
    kept: KnownWhole | None = None,
) -> list[Attempt]:
    """A trial of each engine of these names, in their order; none for training.

    `found` is the model's graph, where that was asked for, and `kept` what is known of it: who was
    clearly slower is not asked again.
    """
    trials = [Attempt(ENGINES[name]) for name in names]
    task: Task | None = None
    for at, trial in enumerate(trials):
        trial.why = "its results carry no gradient." if order.training else missing(trial.engine)
        slower = kept.behind(trial.engine.name) if kept is not None else None
        if slower is not None:
            trial.why = f"it took {slower:.3g} ms when this model was measured before."
        if trial.why:
            continue
        order.progress(f"trying {trial.engine.name}", at / len(trials))
        try:
            if task is None:
                judge.draw()  # what a model keeps of inputs is as it stays
                task = _steady(order.model, order.inputs, found)
            plan = Engaged(trial.engine, task.model, recipe_of(trial.engine, task.inputs))
            plan.hold(trial.engine.build(task), task.peak)
            verdict = judge(plan.raw)
        except Exception as error:
            trial.why = complaint(error)
            continue
        trial.difference = verdict.difference
        if verdict.same:
            trial.plan = plan
        else:
            trial.why = verdict.note or "its output differs."
    return trials


def _steady(model: nn.Module, inputs: Inputs, found: Exported | Refusal | None) -> Task:
    """The task, of a model that an engine can stand for; raises `UnfitError` for another."""
    if not all(x.is_floating_point() for x in inputs):
        raise UnfitError("it takes whole numbers, so that only the example could be compared.")
    watch = Watch(model, state_homes(model))
    before = watch.mark()
    task = task_of(model, inputs, found)
    if not is_same(before, watch.mark()):
        raise UnfitError("it changes its buffers when it runs.")
    return task
