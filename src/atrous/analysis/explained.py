"""What each layer adds: field, holes opened and closed, sub-grids, cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from atrous.analysis.field import Field
from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.sets import grids_met
from atrous.analysis.inspection import Inspection
from atrous.analysis.layer import Layer
from atrous.shown import Plain, ShownWhole, Tabular, plain

__all__ = ["Explained", "ExplainedAxis", "ExplainedLayer", "explain_report"]

HolesMade = Literal["none", "opens", "closes", "keeps"]
"""What a layer does to holes: `opens` the first, `closes` all, `keeps` some, or there are none."""


@dataclass(frozen=True, slots=True)
class ExplainedAxis(Plain):
    """What a layer's output sees along one axis, beside the widest of what it reads.

    Sizes, gaps and steps are in input positions, as in `Field`. `grid` is how far apart one
    position of the output reads this layer's input where its neighbours read none of the same, and
    1 where neighbours share some.
    """

    axis: str
    size: tuple[int, int]
    taps: tuple[int, int]
    coverage: tuple[float, float]
    max_gap: tuple[int, int]
    step: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    grid: int = 1

    @property
    def added(self) -> int:
        """The positions by which the field grows."""
        return self.size[1] - self.size[0]

    @property
    def holes(self) -> HolesMade:
        """What becomes of holes here."""
        before, after = (share < 1 for share in self.coverage)
        if before and after:
            return "keeps"
        return "opens" if after else "closes" if before else "none"


@dataclass(frozen=True, slots=True)
class ExplainedLayer:
    """One layer: what it adds along each axis, and what it costs.

    `share` is its part of the network's MACs, `alive_bytes` what is held while it runs, by the
    graph. `widens` is False for a layer that leaves what is seen as it is.
    """

    layer: Layer
    axes: tuple[ExplainedAxis, ...]
    share: float
    alive_bytes: int

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def macs(self) -> int:
        """Its multiply-accumulates."""
        return self.layer.macs

    @property
    def changes(self) -> bool:
        """Whether something else is seen behind it than before it, at whatever distance."""
        return any(
            (one.size[0], one.taps[0], one.stride[0], one.coverage[0])
            != (one.size[1], one.taps[1], one.stride[1], one.coverage[1])
            for one in self.axes
        )

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "name": self.name,
            "op": self.layer.op,
            "detail": self.layer.detail,
            "output_shape": list(self.layer.output_shape),
            "axes": [one.to_dict() | {"added": one.added, "holes": one.holes} for one in self.axes],
            "macs": self.macs,
            "share": self.share,
            "params": self.layer.params,
            "activation_bytes": self.layer.activation_bytes,
            "alive_bytes": self.alive_bytes,
            "complete": self.layer.complete,
        }


@dataclass(frozen=True, slots=True)
class Explained(ShownWhole, Tabular):
    """What each layer of a network adds to what its outputs see, and what it costs.

    >>> import atrous
    >>> told = atrous.explain("stack:k3d2 k3d2 k3", (1, 8, 64, 64))
    >>> [(one.name, one.axes[0].size, one.axes[0].holes) for one in told]
    [('conv1', (1, 5), 'opens'), ('conv2', (5, 9), 'keeps'), ('conv3', (9, 11), 'closes')]
    """

    report: Inspection
    layers: tuple[ExplainedLayer, ...]

    def __iter__(self) -> Iterator[ExplainedLayer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> ExplainedLayer:
        layer = self.report[name]
        return next(one for one in self.layers if one.layer is layer)

    @property
    def opened(self) -> tuple[str, ...]:
        """The layers that open holes which no layer behind them closes: some output has them."""
        found = self.report.findings
        return tuple(dict.fromkeys(f.layer for f in found if f.code == "gridding"))

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        report = self.report
        return {
            "schema": "atrous.explained/1",
            "network": report.network.name,
            "macs": report.macs,
            "params": report.params,
            "peak_memory_bytes": report.memory.peak_bytes,
            "complete": report.complete,
            "opened": list(self.opened),
            "outputs": [
                {"name": one.name, "field": plain(list(one.field))} for one in report.outputs
            ],
            "layers": [one.to_dict() for one in self.layers],
        }


def explain_report(report: Inspection) -> Explained:
    """What each layer adds, from a report: what it reads at most before, what it sees behind.

    At a join the operand with the largest field stands before.
    """
    network = report.network
    by_tensor = {layer.tensor: layer for layer in report.layers}
    length = network.tensor(report.input).grid
    start = {axis: _itself(axis) for axis in length}
    evidence = Evidence(network, report.input, report.layers, report.outputs)
    grids: dict[str, dict[str, int]] = {}
    for output in evidence.ends:
        for field in () if output.opaque else output.field:
            if evidence.positions(output).get(field.axis, 1) > 1:
                for node, step in grids_met(evidence, output, field):
                    met = grids.setdefault(node.name, {})
                    met[field.axis] = max(met.get(field.axis, 1), step)
    total = report.macs
    found = []
    for layer, alive in zip(report.layers, report.memory.alive, strict=True):
        before = dict[str, Field]()
        for name in () if layer.node is None else layer.node.inputs:
            if name == report.input:
                seen: Mapping[str, Field] = start
            else:
                maker = by_tensor.get(name)
                seen = {} if maker is None else {f.axis: f for f in maker.field}
            for axis, field in seen.items():
                known = before.get(axis)
                if known is None or field.size > known.size:
                    before[axis] = field
        axes = tuple(
            _axis(before.get(field.axis, start[field.axis]), field, grids.get(layer.name, {}))
            for field in layer.field
        )
        share = layer.macs / total if total else 0.0
        found.append(ExplainedLayer(layer, axes, share, alive))
    return Explained(report, tuple(found))


def _itself(axis: str) -> Field:
    """What an input sees of itself: its own position."""
    zero, one = Fraction(0), Fraction(1)
    return Field(1, 1, one, 0, zero, 1.0, 0, 1, axis)


def _axis(one: Field, two: Field, grids: Mapping[str, int]) -> ExplainedAxis:
    return ExplainedAxis(
        two.axis,
        (one.size, two.size),
        (one.taps, two.taps),
        (one.coverage, two.coverage),
        (one.max_gap, two.max_gap),
        (one.step, two.step),
        (one.stride, two.stride),
        grids.get(two.axis, 1),
    )
