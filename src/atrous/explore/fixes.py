"""Findings of a stack that an edit mends: each edit is tried, and offered only if it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from atrous.analysis import Finding, Inspection
from atrous.draw.units import shape_text
from atrous.errors import AtrousError
from atrous.explore.draft import Draft
from atrous.network.stack import StackLayer

__all__ = ["Fix", "fix_for"]

_RATES = ((1, 2, 3), (1, 2, 5), (1, 2, 4), (1, 2), (1, 3, 5))
_HOLES = frozenset({"gridding", "subgrids"})
"""Holes and sub-grids are one kind, as rates cause both."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What is done, in words, and the stack that it makes."""

    what: str
    draft: Draft


def fix_for(
    draft: Draft,
    finding: Finding,
    report: Inspection | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Fix | None:
    """The edit that mends a finding and brings no other warning, or None.

    Of several that do, one that leaves the output's shape, and then the one whose receptive field
    stays nearest. `stop` is asked before each try, which takes a report.

    >>> holes = Draft.of("k3d2 k3d2 k3d2", (1, 8, 64, 64))
    >>> fix = fix_for(holes, holes.report().findings[0])
    >>> fix.what, fix.draft.text
    ('rates 1, 2, 3', 'k3 k3d2 k3d3')
    """
    before = draft.report() if report is None else report
    count, warned = _kinds(before, finding.code), _warned(before)
    best: tuple[tuple[bool, int], Fix] | None = None
    for what, layers, shape in _tries(draft, finding, before):
        if stop():
            break
        try:
            tried = Draft.of(" ".join(map(str, layers)), shape)
            after = tried.report()
            if _kinds(after, finding.code) >= count or not _warned(after) <= warned:
                continue
            if _ahead(after) > _ahead(before):
                continue  # whoever works along time waits for what comes
        except AtrousError:
            continue
        made = after.outputs[0].output_shape
        moved = made != before.outputs[0].output_shape
        rank = moved, abs(_field(after) - _field(before))
        if best is None or rank < best[0]:
            said = f"{what} (output {shape_text(made)})" if moved else what
            best = rank, Fix(said, tried)
    return None if best is None else best[1]


def _field(report: Inspection) -> int:
    return max((axis.size for axis in report.outputs[0].field), default=0)


def _ahead(report: Inspection) -> int:
    """How far the output reads ahead along time."""
    return max((f.ahead for f in report.outputs[0].field if f.axis == "t"), default=0)


def _kinds(report: Inspection, code: str) -> int:
    """How many findings of that kind there are."""
    alike = _HOLES if code in _HOLES else {code}
    return sum(finding.code in alike for finding in report.findings)


def _warned(report: Inspection) -> set[str]:
    """The kinds of findings that are more than worth knowing."""
    codes = {finding.code for finding in report.findings if finding.severity != "info"}
    return codes | _HOLES if codes & _HOLES else codes


def _tries(
    draft: Draft, finding: Finding, report: Inspection
) -> Iterator[tuple[str, list[StackLayer], tuple[int, ...]]]:
    layers = list(draft.layers)
    if finding.code in _HOLES:
        yield from ((what, tried, draft.shape) for what, tried in _other_rates(layers))
        return
    if finding.code == "field-exceeds-input":
        fields = [layer.field for layer in report.layers if layer.field]
        largest = [max(axis.size for axis in axes) for axes in zip(*fields, strict=True)]
        sizes = tuple(max(pair) for pair in zip(draft.shape[2:], largest, strict=True))
        yield f"an input of {'x'.join(map(str, sizes))}", layers, (*draft.shape[:2], *sizes)
        return
    place = next((at for at, one in enumerate(layers) if one.name == finding.layer), None)
    if place is None:
        return
    for what, changed in _of_layer(layers[place], finding.code):
        tried = [*layers[:place], changed, *layers[place + 1 :]]
        yield f"{finding.layer} with {what}", tried, draft.shape


def _even(layer: StackLayer) -> bool:
    """Whether the layer is the same along all axes: one that is not is its author's to mend."""
    return all(len(set(v)) == 1 for v in (layer.kernel, layer.stride, layer.dilation))


def _other_rates(layers: list[StackLayer]) -> Iterator[tuple[str, list[StackLayer]]]:
    """Rates in a pattern without a common factor, in the layers that are dilated now."""
    dilated = [at for at, layer in enumerate(layers) if max(layer.dilation) > 1]
    for rates in _RATES if all(_even(layers[at]) for at in dilated) else ():
        tried = list(layers)
        used = [rates[turn % len(rates)] for turn in range(len(dilated))]
        for at, rate in zip(dilated, used, strict=True):
            tried[at] = replace(layers[at], dilation=(rate,))
        yield f"rate{'s' * (len(used) > 1)} {', '.join(map(str, used))}", tried
    padding = "causal" if layers[-1].padding == "causal" else "same"
    last = StackLayer("conv", (3,), padding=padding)  # type: ignore[arg-type]
    yield "a last layer of rate 1", [*layers, last]


def _of_layer(layer: StackLayer, code: str) -> Iterator[tuple[str, StackLayer]]:
    if not _even(layer):
        return
    kernel, stride, rate = layer.kernel[0], layer.stride[0], layer.dilation[0]
    if code == "checkerboard":
        more = " and rate 1" if rate > 1 else ""
        for size in (stride * -(-kernel // stride), 2 * stride):
            yield f"kernel {size}{more}", replace(layer, kernel=(size,), dilation=(1,))
    elif code == "half-cell-shift":
        for size in (kernel + 1, max(kernel - 1, 1)):
            changed = replace(layer, kernel=(size,))
            yield f"kernel {size}", changed
            evenly = replace(changed, padding="same")
            yield f"kernel {size}, padded alike on both sides", evenly
        yield "padding that is alike on both sides", replace(layer, padding="same")
    elif code == "leak":
        yield "causal padding", replace(layer, padding="causal")
    elif code == "narrow-window":
        for size in (stride, stride + 1):
            yield f"kernel {size}", replace(layer, kernel=(size,))
    elif code == "aspp-center":
        while rate > 1:
            rate = rate * 2 // 3
            yield f"rate {rate}", replace(layer, dilation=(rate,))
