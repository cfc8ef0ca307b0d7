"""Which layer of an earlier network a layer of the present one is held against."""

from __future__ import annotations

from collections.abc import Iterator

from atrous.analysis.inspection import Inspection
from atrous.analysis.layer import Layer

__all__ = ["twins"]


def twins(
    report: Inspection, baseline: Inspection | None, place: Layer
) -> Iterator[tuple[Layer, Layer | None]]:
    """Each of the parts of `place` that lie end to end, and the same part of its twin.

    An output's twin is the baseline's output of its name; where there is none, the one in its
    place, if no other output has its name. Another layer's is the layer of its name. None where the
    baseline has no such layer, or not as many parts.

    >>> import atrous
    >>> old, new = (atrous.inspect(f"stack:{text}", (1, 1, 9)) for text in ("k3", "k3 k5"))
    >>> [(part.name, twin.name) for part, twin in twins(new, old, new.outputs[0])]
    [('conv2', 'conv1')]
    """
    twin = None if baseline is None else _twin(report, baseline, place)
    parts, others = place.apart(), () if twin is None else twin.apart()
    for index, part in enumerate(parts):
        yield part, others[index] if len(others) == len(parts) else None


def _twin(report: Inspection, baseline: Inspection, place: Layer) -> Layer | None:
    names = [output.name for output in report.outputs]
    known = baseline.layers
    if place.name in names:
        known = baseline.outputs
    named = next((layer for layer in known if layer.name == place.name), None)
    if named is not None or place.name not in names:
        return named
    index = names.index(place.name)
    there = known[index] if index < len(known) else None
    return None if there is not None and there.name in names else there
