"""The memory of training: what is alive at the peak, how it grows with the batch, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atrous.draw.units import bytes_text
from atrous.network.training import BatchMemory, StepMemory, Training
from atrous.report.lines import Column, Line, Look, Span, line, table, wrapped
from atrous.report.view import LinesView
from atrous.shown import some, view

__all__ = ["TrainingView", "training_statements"]

_INDENT = 17
_MOST_KEPT = 10
_KINDS = {
    "parameters": "parameters",
    "buffers": "buffers",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "activations": "activations",
    "inputs": "input",
    "temporaries": "temporaries",
}


@view.register(Training)
@dataclass(frozen=True, slots=True)
class TrainingView(LinesView):
    """The peak and what it is made of, then the layers whose results are kept."""

    record: Training

    def lines(self, look: Look) -> list[Line]:
        found = self.record
        out = [
            line(Span(found.name, "bold"), f": training with {found.optimizer}{_settings(found)}")
        ]
        for label, text, style in training_statements(found, every=True):
            out += wrapped(Span(label, style or "bold"), text, _INDENT, look, style)
        rows = found.kept[:_MOST_KEPT]
        columns = [
            Column("kept of", tuple(Span(row.layer) for row in rows)),
            Column("bytes", tuple(Span(bytes_text(row.nbytes)) for row in rows)),
            Column("for", tuple(Span(some(row.wanted_by, 2) or "the code") for row in rows)),
        ]
        rest = found.kept[_MOST_KEPT:]
        more = f"and {bytes_text(sum(row.nbytes for row in rest))} of {len(rest)} more"
        return [*out, (), *table(columns, look), *([line(more)] if rest else [])]


def training_statements(found: Training, *, every: bool = False) -> Iterator[tuple[str, str, str]]:
    """What a summary says of training, as labels, texts and styles."""
    worst = max((found.later, found.first), key=lambda one: one.peak_bytes)
    which = "" if worst is found.later else "first step: "
    head = "peak memory" if every else "training memory"
    by = "" if every else f" with {found.optimizer}{_settings(found)}"
    yield head, f"{which}{bytes_text(worst.peak_bytes)}{by}, {_place(worst)}: {_made_of(worst)}", ""
    if every:
        other = found.first if worst is found.later else found.later
        name = "first step" if other is found.first else "later steps"
        yield name, f"{bytes_text(other.peak_bytes)}, {_place(other)}", ""
        yield "loss", found.loss, ""
    if found.batch is not None:
        yield "by batch", _grows(found.batch), ""
    if found.kept and not every:
        most = found.kept[0].nbytes
        rows = [row for row in found.kept[:3] if 100 * row.nbytes >= most]
        top = [f"{row.layer} {bytes_text(row.nbytes)}" for row in rows]
        yield "kept most", ", ".join(top), ""
    for note in found.notes:
        yield "note", note, ""


def _settings(found: Training) -> str:
    parts = [f" under {found.autocast}"] if found.autocast else []
    return "".join([*parts, *([", gradients kept"] if found.keeps_gradients else [])])


def _place(step: StepMemory) -> str:
    """When in a step its peak is."""
    at = f" of {step.at}" if step.at else ""
    return (
        f"while the optimizer steps{at}"
        if step.phase == "optimizer"
        else f"in the {step.phase}{at}"
    )


def _made_of(step: StepMemory) -> str:
    held = {words: getattr(step, kind) for kind, words in _KINDS.items()}
    return ", ".join(f"{words} {bytes_text(count)}" for words, count in held.items() if count)


def _grows(batch: BatchMemory) -> str:
    """How much one more in the batch takes, and how many fit."""
    text = f"{bytes_text(batch.bytes_per_item)} more for each one"
    if not batch.linear:
        tried = f"{batch.batches[-2]} to {batch.batches[-1]}"
        text += f" from {tried}; from {batch.batches[0]} on it is not linear"
    if batch.budget is not None:
        fits = f"largest batch in {bytes_text(batch.budget)}: {batch.largest}"
        text = (
            f"{fits}; {text}"
            if batch.largest
            else f"not even 1 fits in {bytes_text(batch.budget)}; {text}"
        )
    return text
