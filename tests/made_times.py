"""Times made up for the choices of `optimize`: tests measure none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atrous.optimization.contest import Turns
from atrous.optimization.optimize import optimize_model

__all__ = ["optimized_by"]

Runs = Mapping[str, Callable[[], object]]


def optimized_by(
    model: Any, example: Any, strategy: str, layout: str = "", *, training: bool = False
) -> Any:
    """The model optimized where this strategy is fastest for layers, and ours for the whole.

    Of the layouts the one that is named, where one is.
    """

    def layers(runs: Runs) -> dict[str, float]:
        for run in runs.values():
            run()
        return {name: 1.0 if name == strategy else 2.0 for name in runs}

    def whole(runs: Runs) -> dict[str, Turns]:
        for run in runs.values():
            run()
        times = {name: 2.0 if name == "before" else 1.0 for name in runs}
        times |= {name: 0.5 for name in runs if name == layout}
        return {name: Turns(ms, ms, ms) for name, ms in times.items()}

    return optimize_model(model, example, training=training, timer=layers, whole_timer=whole)
