"""`--annotate`: what viewers of models show, looked at before any work is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.cli.output import wrote
from atrous.cli.sources import model
from atrous.errors import ReadError, concerning

if TYPE_CHECKING:
    from atrous.analysis import Inspection

__all__ = ["annotation_place", "put_annotation"]


@dataclass(frozen=True, slots=True)
class _Place:
    source: Any
    path: Path


def annotation_place(target: str, source: str, inputs: Sequence[str]) -> _Place:
    """Where to write for which source, known to be possible. Raises `ReadError`."""
    from atrous.writers.viewers.write import annotation_target

    made, _ = model(source, inputs)
    with concerning("--annotate"):
        return _Place(made, annotation_target(made, target))


def put_annotation(place: _Place, report: Inspection) -> None:
    """Writes the files, and says so, and how many nodes they say something of."""
    from atrous.writers.viewers.write import write_annotation

    with concerning("--annotate"):
        try:
            done = write_annotation(place.source, place.path, report)
        except OSError as error:
            raise ReadError(f"{place.path}: {error.strerror or error}.") from None
    wrote(*done.files)
    print(f"{done.noted} of {done.nodes} nodes have notes", file=sys.stderr)  # noqa: T201
