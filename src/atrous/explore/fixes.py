"""Findings of a stack that an edit mends: each edit is tried, and offered only if it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from atrous.analysis import Finding
from atrous.errors import AtrousError
from atrous.explore.draft import Draft
from atrous.network.stack import StackLayer

__all__ = ["Fix", "fix_for"]

_RATES = ((1, 2, 3), (1, 2, 5), (1, 2, 4), (1, 2), (1, 3, 5))


@dataclass(frozen=True, slots=True)
class Fix:
    """What is done, in words, and the stack that it makes."""

    what: str
    draft: Draft


def fix_for(draft: Draft, finding: Finding) -> Fix | None:
    """The edit that mends a finding and brings none of its kind elsewhere, or None.

    Of several that do, the one whose receptive field stays nearest.

    >>> holes = Draft.of("k3d2 k3d2 k3d2", (1, 8, 64, 64))
    >>> fix = fix_for(holes, holes.report().findings[0])
    >>> fix.what, fix.draft.text
    ('rates 1, 2, 3', 'k3 k3d2 k3d3')
    """
    before = _field(draft)
    count = _kinds(draft, finding.code)
    best: tuple[int, Fix] | None = None
    for what, layers, shape in _tries(draft, finding):
        try:
            tried = Draft.of(" ".join(map(str, layers)), shape)
            if _kinds(tried, finding.code) >= count:
                continue
            far = abs(_field(tried) - before)
        except AtrousError:
            continue
        if best is None or far < best[0]:
            best = (far, Fix(what, tried))
    return None if best is None else best[1]


def _field(draft: Draft) -> int:
    return max((axis.size for axis in draft.report().outputs[0].field), default=0)


def _kinds(draft: Draft, code: str) -> int:
    """How many findings of that kind; holes and sub-grids are one kind, as rates cause both."""
    alike = {"gridding", "subgrids"} if code in ("gridding", "subgrids") else {code}
    return sum(finding.code in alike for finding in draft.report().findings)


def _tries(
    draft: Draft, finding: Finding
) -> Iterator[tuple[str, list[StackLayer], tuple[int, ...]]]:
    layers = list(draft.layers)
    place = next((at for at, one in enumerate(layers) if one.name == finding.layer), None)
    if finding.code in ("gridding", "subgrids"):
        yield from ((what, tried, draft.shape) for what, tried in _other_rates(layers))
        return
    if finding.code == "field-exceeds-input":
        fields = [layer.field for layer in draft.report().layers if layer.field]
        largest = [max(axis.size for axis in axes) for axes in zip(*fields, strict=True)]
        sizes = tuple(max(pair) for pair in zip(draft.shape[2:], largest, strict=True))
        shape = (*draft.shape[:2], *sizes)
        yield f"an input of {'x'.join(map(str, sizes))}", layers, shape
        return
    if place is None:
        return
    layer = layers[place]
    for what, changed in _of_layer(layer, finding.code):
        yield (
            f"{finding.layer} with {what}",
            [*layers[:place], changed, *layers[place + 1 :]],
            (draft.shape),
        )


def _other_rates(layers: list[StackLayer]) -> Iterator[tuple[str, list[StackLayer]]]:
    """Rates in a pattern without a common factor, in the layers that are dilated now."""
    dilated = [at for at, layer in enumerate(layers) if max(layer.dilation) > 1]
    for rates in _RATES:
        tried = list(layers)
        for turn, at in enumerate(dilated):
            tried[at] = replace(layers[at], dilation=(rates[turn % len(rates)],))
        used = [rates[turn % len(rates)] for turn in range(len(dilated))]
        yield f"rate{'s' * (len(used) > 1)} {', '.join(map(str, used))}", tried
    yield (
        "a last layer of rate 1",
        [*layers, replace(layers[-1], kind="conv", kernel=(3,), stride=(1,), dilation=(1,))],
    )


def _of_layer(layer: StackLayer, code: str) -> Iterator[tuple[str, StackLayer]]:
    if code == "checkerboard":
        stride = max(layer.stride)
        for kernel in (stride * -(-max(layer.kernel) // stride), 2 * stride):
            yield f"kernel {kernel}", replace(layer, kernel=(kernel,), dilation=(1,))
    elif code == "half-cell-shift":
        for kernel in (max(layer.kernel) + 1, max(max(layer.kernel) - 1, 1)):
            yield f"kernel {kernel}", replace(layer, kernel=(kernel,))
            evenly = replace(layer, kernel=(kernel,), padding="same")
            yield f"kernel {kernel}, padded alike on both sides", evenly
        yield "padding that is alike on both sides", replace(layer, padding="same")
    elif code == "narrow-window":
        for kernel in (max(layer.stride), max(layer.stride) + 1):
            yield f"kernel {kernel}", replace(layer, kernel=(kernel,))
    elif code == "aspp-center":
        rate = max(layer.dilation)
        while rate > 1:
            rate = rate * 2 // 3
            yield f"rate {rate}", replace(layer, dilation=(rate,))
