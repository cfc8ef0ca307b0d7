"""Findings about time: layers that read ahead where the rest of the network does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atrous.analysis.causality import scans_back
from atrous.analysis.ends import looks_at_ends
from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import Finding
from atrous.analysis.findings.registry import finder
from atrous.analysis.findings.windows import spans_with_pads
from atrous.analysis.findings.words import lengths
from atrous.analysis.scale import TIME_LIKE
from atrous.network import Node
from atrous.network.ops import Attention, Contract, Conv, ConvTranspose, Pool


@dataclass(frozen=True, slots=True)
class _Step:
    """How far a layer's output reads ahead beyond all that it is made of, and if it sees more."""

    node: Node
    more: int
    wider: bool

    @property
    def is_window(self) -> bool:
        """Whether the layer slides a window."""
        return isinstance(self.node.op, Conv | ConvTranspose | Pool)


@finder("leak")
def leak(evidence: Evidence) -> Iterator[Finding]:
    """Layers that read ahead of their own place in time where the other windows are causal.

    A network is taken to be causal along an axis where most of its windows look back and not
    ahead. Only layers that an output with positions along that axis is made of are named.
    """
    for axis in TIME_LIKE:
        if evidence.source_lengths.get(axis, 1) == 1:
            continue
        wanted = _reaching(evidence, axis)
        if not wanted:
            continue
        steps = [step for step in _steps(evidence, axis) if step.node.output.name in wanted]
        windows = [step for step in steps if step.is_window]
        causal = [s for s in windows if s.wider and s.more <= 0]
        ahead = [s for s in steps if s.more > 0]
        meant = [s for s in ahead if _front_only(s.node, evidence, axis)]
        against = sum(step.is_window for step in ahead) - len(meant)
        if 2 * against > len(causal) + len(meant) or not causal + meant:
            continue
        if not ahead:
            yield from _at_ends(evidence, axis)
        rest = len(causal)
        for step in ahead:
            yield _reads_ahead(step, axis, rest, evidence)
        if causal:
            yield from _mixers(evidence, axis, rest)


def _reads_ahead(step: _Step, axis: str, rest: int, evidence: Evidence) -> Finding:
    others = f"; the other {rest} windows read none" if rest > 1 else ""
    fix = "Crop or delay it so that it reads nothing behind its own position."
    spans = [span for span in evidence.spans(step.node) if span.axis == axis]
    if spans:
        fix = f"Pad {spans[0].window.extent - 1} in front and none behind."
    elif isinstance(step.node.op, ConvTranspose):
        fix = "Crop what it makes behind, not in front."
    return Finding(
        "leak",
        "warning",
        step.node.name,
        f"reads {lengths({axis: step.more}, evidence.scales)} ahead of its own along {axis}"
        f"{others}.",
        fix,
    )


def _at_ends(evidence: Evidence, axis: str) -> Iterator[Finding]:
    """Layers that lay positions of the future before the first, where all windows are causal."""
    found: dict[str, int] = {}
    for output in evidence.outputs:
        ends = looks_at_ends(evidence.network, evidence.source, output, axis)
        if ends is not None and ends.ahead > 0:
            found.update(dict.fromkeys(ends.layers, ends.ahead))
    for name, ahead in found.items():
        yield Finding(
            "leak",
            "warning",
            name,
            f"lays later positions before the first: outputs there read up to {ahead} input "
            f"{'positions' if ahead > 1 else 'position'} ahead of their own along {axis}.",
            "Pad in front with zeros, or with the first position repeated.",
        )


def _mixers(evidence: Evidence, axis: str, rest: int) -> Iterator[Finding]:
    names: dict[str, None] = {}
    for output in evidence.outputs:
        if evidence.positions(output).get(axis, 1) > 1:
            names.update(dict.fromkeys(output.global_axes.get(axis, ())))
    products = {n.name for n in evidence.network.nodes if isinstance(n.op, Attention | Contract)}
    for name in names:
        if scans_back(evidence.network, [name], axis):
            continue
        windows = "window is" if rest == 1 else "windows are"
        said = f"reads every position along {axis}, those ahead too"
        fix = "Use its causal form: statistics of the past alone, or a mask over the future."
        if name in products:
            said += ", as far as is known: numbers that mask the future are not followed"
            fix = "Use attention that is told to be causal (is_causal=True), or check it by a run."
        yield Finding("leak", "warning", name, f"{said}; {rest} {windows} causal.", fix)


def _reaching(evidence: Evidence, axis: str) -> set[str]:
    """The tensors that outputs with positions along the axis are made of."""
    wanted = {o.tensor for o in evidence.outputs if evidence.positions(o).get(axis, 1) > 1}
    for node in reversed(evidence.network.nodes):
        if node.output.name in wanted:
            wanted.update(node.inputs)
    return wanted


def _steps(evidence: Evidence, axis: str) -> Iterator[_Step]:
    """Each node that sees something; what a branch reads less far ahead hides nothing."""
    reached: dict[str, tuple[int, int]] = {}
    for node in evidence.network.nodes:
        before = [reached.get(name, (0, 1)) for name in node.inputs]
        ahead = max((a for a, _ in before), default=0)
        size = max((s for _, s in before), default=1)
        field = evidence.field(node.output.name, axis)
        if field is not None and field.size:
            yield _Step(node, field.ahead - ahead, field.size > size)
            ahead, size = max(ahead, field.ahead), field.size
        reached[node.output.name] = (ahead, size)


def _front_only(node: Node, evidence: Evidence, axis: str) -> bool:
    """Whether a window is padded in front alone, as those that are meant to be causal are."""
    return any(
        lo > 0 and hi <= 0
        for span, lo, hi, _ in spans_with_pads(node, evidence)
        if span.axis == axis
    )
