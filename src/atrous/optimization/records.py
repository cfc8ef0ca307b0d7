"""What `optimize` chose, layer by layer, and what that gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from atrous.operators.arguments import Sums
from atrous.shown import Shown, ShownWhole, Tabular, plain_fields, view

__all__ = ["Explanation", "LayerChoice", "Layout", "Mode", "Rounding"]

Layout = Literal["contiguous", "channels_last"]
Mode = Literal["graph", "layers", "original"]
"""How the result runs: as one prepared graph, layer by layer, or as it was."""
Rounding = Sums | None
"""Which sums: the definition's, those of fewer products, or these where they round off little."""


@dataclass(frozen=True, slots=True)
class LayerChoice(Shown):
    """How one layer runs, and what it and the operations fused into it took before and after.

    `ms_before` and `ms_after` are medians within whole runs of the model; `max_difference` is the
    largest difference from PyTorch's own operation, as a share of the largest output. `candidates`
    are the strategies that were tried with their milliseconds, alone; `why` says why others were
    not. `slow_path` names the slow path that PyTorch took before, and why, where that is known.
    Where the strategy computes other sums than the definition's, `error` is what they round off on
    the layer's values and `direct_error` what PyTorch's own sums do, both the largest error against
    float64 as a share of the largest output.
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

    def __setstate__(self, state: Sequence[Any]) -> None:
        # Saved by a version that had fewer fields, the later ones are as if nothing were known.
        for field in fields(self):
            object.__setattr__(self, field.name, field.default)
        for field, value in zip(fields(self), state, strict=False):
            object.__setattr__(self, field.name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**plain_fields(self), "candidates": dict(self.candidates)}


@dataclass(frozen=True, slots=True)
class Explanation(ShownWhole, Tabular):
    """What became of a model: each layer's strategy, and the whole before and after.

    `ms_before` and `ms_after` are medians of alternating runs of the whole model on the example;
    `max_difference` is the largest difference of any output, as a share of its largest value.
    `mode` is `"original"` where nothing was faster and equal; `notes` say why.
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
            "layers": [layer.to_dict() for layer in self.layers],
        }
