"""Findings about single windows at their actual sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from math import gcd, prod

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import Finding
from atrous.analysis.findings.registry import finder
from atrous.analysis.findings.words import cells, lengths, units
from atrous.analysis.rates import branch_of, percent
from atrous.analysis.spans import Span
from atrous.geometry import Box, Local, Reads, Window
from atrous.network import Node
from atrous.network.ops import Conv, ConvTranspose, Filtered, Linear, Pad, Pool

_MOST_RESIDUES = 1 << 16

__all__ = ["spans_with_pads"]


@finder("aspp-center")
def aspp_center(evidence: Evidence) -> Iterator[Finding]:
    """Dilated convolutions of which a position sees only one tap, the others being padding.

    Looked for where a rate is more than half of its map: below that every position has two taps
    inside.
    """
    for node in evidence.network.nodes:
        found = branch_of(node, evidence.network)
        if found is None or not found.alone or not any(map(_reaches_out, found.windows, found.map)):
            continue
        axes = tuple(span.axis for span in evidence.spans(node))
        sizes = dict(zip(axes, found.map, strict=True))
        rates = {a: w.dilation for a, w in zip(axes, found.windows, strict=True) if w.kernel > 1}
        size = "x".join(map(str, found.map)) + _in_input(node, sizes, evidence)
        rate = f"{max(found.rate)}" + _in_input(node, rates, evidence)
        taps = "x".join(map(str, found.kernel))
        alone = "every position" if found.alone == 1 else f"{percent(found.alone)} of positions"
        full = f"all of them at {percent(found.full)}" if found.full else "all of them nowhere"
        yield Finding(
            "aspp-center",
            "warning" if found.alone >= Fraction(1, 2) else "info",
            node.name,
            f"rate {rate} on a map of {size}: only one of its {taps} taps lies inside "
            f"at {alone}, {full}"
            + ("; it is a 1x1 convolution here." if found.alone == 1 else "."),
            f"Use rates below {(min(found.map) + 1) // 2} at this input size, or a larger input.",
        )


@finder("narrow-window")
def narrow_window(evidence: Evidence) -> Iterator[Finding]:
    """Windows whose taps skip part of their input for good, as a 1x1 of stride 2 does.

    Beside something that reads the same tensor without skipping it is only worth knowing.
    """
    for node in evidence.network.nodes:
        found = evidence.spans(node)
        if all(s.window.stride == 1 for s in found):
            continue
        share = _read_share(found, getattr(node.op, "parts", None))
        if share == 1:
            continue
        others = [
            other
            for other in evidence.consumers.get(node.inputs[0], ())
            if other is not node and _reads_all(other, node.inputs[0])
        ]
        lost = not others and node.inputs[0] not in evidence.network.outputs
        kernel = "x".join(str(s.window.kernel) for s in found)
        stride = max(s.window.stride for s in found)
        rate = max(s.window.dilation for s in found)
        rated = f" at rate {rate}" if rate > 1 else ""
        rest = "nothing reads the rest." if lost else "other branches read the rest."
        yield Finding(
            "narrow-window",
            "warning" if lost else "info",
            node.name,
            f"a {kernel} window{rated} with stride {stride} reads {percent(share)} of its input; "
            + rest,
            f"Average over {stride} positions before it, or widen the window to its stride.",
        )


@finder("zero-taps")
def zero_taps(evidence: Evidence) -> Iterator[Finding]:
    """Layers whose weight is 0 for all channels at some taps, which are not read."""
    for node in evidence.network.nodes:
        op = node.op
        if isinstance(op, Filtered) and op.unread:
            count, whole, what = len(op.unread), prod(op.kernel), "taps"
        elif isinstance(op, Linear) and op.unread:
            whole = evidence.network.tensor(node.inputs[0]).shape[-1]
            count, what = len(op.unread), "inputs"
        else:
            continue
        yield Finding(
            "zero-taps",
            "info",
            node.name,
            f"the weight is 0 for all channels at {count} of its {whole} {what}: they are not "
            "read, and count in its MACs.",
            "Where they are to count as read, look at the structure only: --structure-only, or "
            "structure_only=True.",
        )


@finder("checkerboard")
def checkerboard(evidence: Evidence) -> Iterator[Finding]:
    """Transposed convolutions whose outputs receive unequal numbers of contributions by phase."""
    for node in evidence.network.nodes:
        if not isinstance(node.op, ConvTranspose):
            continue
        for window in node.op.windows:
            totals = [taps.total for taps in Reads.transposed(window).phases]
            if min(totals) == max(totals):
                continue
            rounded = -(-window.kernel // window.stride) * window.stride
            cause = f"kernel {window.kernel} is no multiple of stride {window.stride}"
            fix = f"Use kernel {rounded}, or resize and convolve."
            if gcd(window.dilation, window.stride) > 1:
                cause = f"rate {window.dilation} shares a factor with stride {window.stride}"
                fix = f"Use rate 1 and kernel {rounded}, or resize and convolve."
            yield Finding(
                "checkerboard",
                "warning",
                node.name,
                f"{cause}: along an axis outputs receive "
                f"{_list(totals)} contributions in turn, "
                "a checkerboard.",
                fix,
            )
            break


@finder("half-cell-shift")
def half_cell_shift(evidence: Evidence) -> Iterator[Finding]:
    """Windows whose outputs lie half a cell or more beside their inputs, padded unevenly.

    Measured between the middles of the two maps, in cells of the output. Causal windows look back
    on purpose. An even kernel at an even rate, padded alike on both sides, is centred but reads
    the positions on both sides of its own: beside the strided layer that it stands for it is off.
    """
    for node in evidence.network.nodes:
        worst: dict[Fraction, dict[str, Fraction]] = {}
        text: dict[Fraction, str] = {}
        fix: dict[Fraction, str] = {}
        for span, lo, hi, inputs in spans_with_pads(node, evidence):
            window = span.window
            spread = window.extent - 1
            if spread == 0 or (hi <= 0 and lo >= spread):
                continue
            # Twice the distance between the middles of outputs and inputs, in input positions.
            twice = (span.outputs - 1) * window.stride + spread - 2 * lo - (inputs - 1)
            if abs(twice) >= window.stride and span.outputs > 1:
                shift = abs(Fraction(twice, 2 * window.stride))
                cell = _cell(node, span, evidence)
                worst.setdefault(shift, {})[span.axis] = shift * cell
                text[shift] = f"kernel {window.kernel} padded {lo}+{hi} shifts the map by "
                odd = window.kernel % 2
                fix[shift] = "Pad both sides alike" if odd else "Use an odd kernel"
                continue
            even = window.kernel % 2 == 0 and window.dilation % 2 == 0 and window.stride == 1
            if even and lo == hi and lo * 2 == spread:
                off, cell = Fraction(window.dilation, 2), _cell(node, span, evidence)
                # Along time to the past: no advice makes a network wait for what comes.
                past = span.axis == "t"
                toward = window.dilation // 2 * (1 if past else -1)
                yield Finding(
                    "half-cell-shift",
                    "warning",
                    node.name,
                    f"kernel {window.kernel} at rate {window.dilation}, padded {lo}+{hi}, reads "
                    f"the cells beside its own and never its own: {cells(off)}, "
                    f"{lengths({span.axis: off * cell}, evidence.scales)}, off the strided "
                    "layer that it stands for.",
                    f"Pad {lo + toward}+{hi - toward} instead.",
                )
                break
        if worst:
            most = max(worst)
            alike = len(set(worst[most].values())) == 1
            along = f", along {' and '.join(worst[most])}" if alike else ""
            yield Finding(
                "half-cell-shift",
                "warning" if most >= 1 else "info",
                node.name,
                f"{text[most]}{cells(most)}, {lengths(worst[most], evidence.scales)}{along}.",
                f"{fix[most]}, or make up for it with the next layer's padding.",
            )


def _reaches_out(window: Window, length: int) -> bool:
    return window.dilation > 1 and window.kernel > 1 and length < 2 * window.dilation


def _in_input(node: Node, counts: Mapping[str, int], evidence: Evidence) -> str:
    """So many positions of what a node reads, by axis, in units and brackets; empty without one."""
    said = units(evidence.apart(node.inputs[0], counts), evidence.scales)
    return f" ({said})" if said else ""


def _read_share(found: tuple[Span, ...], parts: tuple[Box, ...] | None) -> Fraction:
    """The share of its input that windows read, away from its ends, by these parts of their taps.

    All taps where no parts are given.
    """
    sliding = [i for i, span in enumerate(found) if span.window.stride > 1 and span.outputs > 1]
    read: set[tuple[int, ...]] = set()
    for part in parts or ((None,) * len(found),):
        along = []
        for i in sliding:
            window, kept = found[i].window, part[i]
            taps = window.taps(0)
            along.append({taps[j] % window.stride for j in kept or range(window.kernel)})
        read.update(product(*along))
    return Fraction(len(read), prod(found[i].window.stride for i in sliding))


def _reads_all(node: Node, tensor: str) -> bool:
    """True where the operands of `node` leave out no position of `tensor`, away from its ends."""
    read: set[tuple[int, ...]] = set()
    strides: dict[str, int] = {}
    parts: list[dict[str, set[int]]] = []
    for name, moves in zip(node.inputs, node.moves, strict=True):
        steps = {axis: m.reads for axis, m in moves.items() if isinstance(m, Local)}
        if name != tensor:
            continue
        parts.append({axis: _residues(reads) for axis, reads in steps.items()})
        strides.update((axis, reads.shift) for axis, reads in steps.items())
        if all(len(parts[-1][axis]) == reads.shift for axis, reads in steps.items()):
            return True
    if len(parts) < 2 or prod(strides.values()) > _MOST_RESIDUES:
        return False
    for part in parts:
        read.update(product(*(part.get(axis, range(n)) for axis, n in strides.items())))
    return len(read) == prod(strides.values())


def _residues(reads: Reads) -> set[int]:
    """Where reads fall among the positions after which they repeat."""
    return {tap % reads.shift for taps in reads.phases for tap in taps}


def spans_with_pads(node: Node, evidence: Evidence) -> Iterator[tuple[Span, int, int, int]]:
    """Each window with its padding in all, a padding op right before it counted in."""
    if not isinstance(node.op, Conv | Pool):
        return
    found = evidence.spans(node)
    before = evidence.network.maker(node.inputs[0]) if node.inputs else None
    pads: dict[str, tuple[int, int]] = {}
    if before is not None and isinstance(before.op, Pad):
        rank = len(before.op.pads)
        for index, pair in enumerate(before.op.pads):
            dim = before.output.layout[index - rank]
            if len(dim) == 1 and dim[0].axis is not None:
                pads[dim[0].axis] = pair
    for span in found:
        lo, hi = pads.get(span.axis, (0, 0))
        inputs = span.inputs - lo - hi
        yield span, span.window.pad_lo + lo, span.window.pad_hi + hi, inputs


def _cell(node: Node, span: Span, evidence: Evidence) -> Fraction:
    field = evidence.field(node.output.name, span.axis)
    return Fraction(1) if field is None else field.stride


def _list(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return shown if len(values) <= 6 else f"{shown} ..."
