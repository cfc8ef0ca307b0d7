"""What `optimize` chose, layer by layer, and what that gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from atrous.operators.arguments import Sums
from atrous.shown import Shown, ShownWhole, Tabular, plain_fields, view

__all__ = ["EngineTime", "Explanation", "LayerChoice", "Layout", "Mode", "Rounding"]

Layout = Literal["contiguous", "channels_last"]
Mode = Literal["graph", "layers", "engine", "original"]
"""How the result runs: as one prepared graph, layer by layer, by another engine, or as it was."""
Rounding = Sums | None
"""Which sums: the definition's, those of fewer products, or these where they round off little."""


def _set_state(self: Any, state: Sequence[Any]) -> None:
    """Fields of a saved record; those that it had not yet are as if nothing were known."""
    for field in fields(self):
        object.__setattr__(self, field.name, field.default)
    for field, value in zip(fields(self), state, strict=False):
        object.__setattr__(self, field.name, value)


@dataclass(frozen=True, slots=True)
class LayerChoice(Shown):
    """How one layer runs, and what it and the operations fused into it took before and after.

    `ms_before` and `ms_after` are the layer's shares of the whole's times, as whole runs divide
    them; of a model that runs layer by layer they are the layer's own, alone. `max_difference` is
    the largest difference from PyTorch's own operation, as a share of the largest output.
    `candidates` are the strategies that were tried with their milliseconds, alone; `why` says why
    others were not. `slow_path` names the slow path that PyTorch took before, and why, where that
    is known. Where the strategy computes other sums than the definition's, `error` is what they
    round off on the layer's values and `direct_error` what PyTorch's own sums do, both the largest
    error against float64 as a share of the largest output.
    """

    layer: str
    op: str
    strategy: str
    ms_before: float
    ms_after: float
    max_difference: float | None = None
    candidates: tuple[tuple[str, float], ...] = ()
    why: tuple[str, ...] = ()
    slow_path: str = ""
    error: float | None = None
    direct_error: float | None = None

    __setstate__ = _set_state

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**plain_fields(self), "candidates": dict(self.candidates)}


@dataclass(frozen=True, slots=True)
class EngineTime(Shown):
    """What the whole took by one engine, or why it was not taken.

    `engine` is `"original"`, `"atrous"`, or another's name. `ms` is the median of its turns, `low`
    and `high` are their quartiles, without turns that something else disturbed; None where it was
    not timed. `difference` is the largest of any output from the original's, as a share of its
    largest value. `why` says why it is no choice, empty where it is one.
    """

    engine: str
    ms: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    why: str = ""

    __setstate__ = _set_state

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return plain_fields(self)


@dataclass(frozen=True, slots=True)
class Explanation(ShownWhole, Tabular):
    """What became of a model: each layer's strategy, and the whole before and after.

    `ms_before` and `ms_after` are medians of alternating runs of the whole model on the example;
    `max_difference` is the largest difference of any output, as a share of its largest value.
    `mode` is `"original"` where nothing was faster and equal; `notes` say why. `engine` is what is
    handed out, and `engines` what each took for the whole, or why it was not taken.
    """

    model: str
    mode: Mode
    layout: Layout
    ms_before: float
    ms_after: float
    max_difference: float
    layers: tuple[LayerChoice, ...]
    input: tuple[tuple[int, ...], ...]
    threads: int
    machine: str
    versions: tuple[tuple[str, str], ...]
    training: bool = False
    notes: tuple[str, ...] = ()
    engine: str = "atrous"
    engines: tuple[EngineTime, ...] = ()

    __setstate__ = _set_state

    @property
    def ratio(self) -> float:
        """How many times faster the whole is: before divided by after."""
        return self.ms_before / self.ms_after if self.ms_after else 1.0

    def plot(self) -> Any:
        """Milliseconds of the slowest layers before and after, as an `altair.Chart`.

        Raises `MissingDependencyError` without the extra `report`.
        """
        return view(self).plot()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": "atrous.explanation/1",
            "model": self.model,
            "mode": self.mode,
            "engine": self.engine,
            "layout": self.layout,
            "training": self.training,
            "ms_before": self.ms_before,
            "ms_after": self.ms_after,
            "ratio": self.ratio,
            "max_difference": self.max_difference,
            "input": [list(shape) for shape in self.input],
            "threads": self.threads,
            "machine": self.machine,
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "engines": [one.to_dict() for one in self.engines],
            "layers": [layer.to_dict() for layer in self.layers],
        }
