"""Schemes side by side: what stride, dilation, both, or pooling buys and costs on one input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as record_field
from fractions import Fraction
from math import prod
from typing import Any, Literal

from atrous.analysis.field import Field
from atrous.analysis.findings.record import Finding
from atrous.analysis.inspection import Inspection, inspect_network
from atrous.errors import AtrousError, GeometryError, UnsupportedError, unknown
from atrous.files import write_whole
from atrous.network import Network
from atrous.shown import Shown, ShownWhole, Tabular, view

__all__ = ["Comparison", "Growth", "Scheme", "compare_networks", "growth_of", "usual_stacks"]

SCHEMA = "atrous.comparison/1"
MOST_LAYERS = 12

Growth = Literal["linear", "exponential", "slowing", "mixed", ""]


@dataclass(frozen=True, slots=True)
class Scheme(Shown):
    """One network of a comparison: what its (last) output sees of the input, and what that costs.

    `fields` is the size of the receptive field after each layer, the largest of the axes; `growth`
    says how it grows with depth (see `growth_of`). `unread` is the share of the input's positions
    that no output reads; None where it is not known. `risks` are the findings of its report, and
    `report` has everything else.
    """

    name: str
    source: str
    output_shape: tuple[int, ...]
    field: tuple[Field, ...]
    fields: tuple[int, ...]
    growth: Growth
    unread: Fraction | None
    macs: int
    params: int
    peak_memory_bytes: int
    is_global: bool
    complete: bool
    risks: tuple[Finding, ...]
    report: Inspection = record_field(repr=False, compare=False)

    @property
    def output_stride(self) -> tuple[Fraction, ...]:
        """Input positions per output position, for each axis."""
        return tuple(axis.stride for axis in self.field)

    @property
    def uncounted(self) -> dict[str, tuple[str, ...]]:
        """Which costs are only lower bounds, and the layers that they leave out."""
        return self.report.uncounted

    @property
    def coverage(self) -> float | None:
        """The smallest share of its field that an output reads, over the axes; None: not known."""
        return min((axis.coverage for axis in self.field), default=None)

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        scales = self.report.scales
        return {
            "name": self.name,
            "source": self.source,
            "output_shape": list(self.output_shape),
            "output_stride": [str(stride) for stride in self.output_stride],
            "field": [axis.to_dict() for axis in self.field],
            "fields": list(self.fields),
            "growth": self.growth,
            "coverage": self.coverage,
            "unread": None if self.unread is None else float(self.unread),
            "macs": self.macs,
            "params": self.params,
            "peak_memory_bytes": self.peak_memory_bytes,
            "memory_by": "graph" if self.report.eager is None else "eager",
            "uncounted": {name: list(layers) for name, layers in self.uncounted.items()},
            "is_global": self.is_global,
            "complete": self.complete,
            "risks": [risk.to_dict() for risk in self.risks],
            **({"scaled": self.report.outputs[-1].scaled(scales)} if scales else {}),
        }

    def __str__(self) -> str:
        shape = "x".join(map(str, self.output_shape))
        return f"{self.name}: {shape}, {'; '.join(map(str, self.field)) or 'field not known'}"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(ShownWhole, Tabular):
    """Schemes on one input, in the order given.

    >>> import atrous
    >>> table = atrous.compare(input=(1, 3, 64, 64))
    >>> [(s.name, s.field[0].size, s.growth) for s in table if "dilated" in s.name]
    [('dilated, rate 2', 17, 'linear'), ('dilated, doubling', 31, 'exponential')]
    """

    schemes: tuple[Scheme, ...]
    title: str = ""

    @property
    def input(self) -> tuple[int, ...] | None:
        """The input's shape; None where the schemes differ in it."""
        shapes = {s.report.network.tensor(s.report.input).shape for s in self.schemes}
        return shapes.pop() if len(shapes) == 1 else None

    def __getitem__(self, name: str) -> Scheme:
        """The scheme of that name."""
        for scheme in self.schemes:
            if scheme.name == name:
                return scheme
        raise unknown("scheme", name, [scheme.name for scheme in self.schemes])

    def __iter__(self) -> Iterator[Scheme]:
        return iter(self.schemes)

    def __len__(self) -> int:
        return len(self.schemes)

    def scaled(self, *, rate: Any = None, pixel: Any = None) -> Comparison:
        """The same comparison, whose fields are shown in ms and lengths as well.

        As `Inspection.scaled` of the report of each scheme; raises `ReadError` as that does.

        >>> import atrous
        >>> table = atrous.compare({"a": "k3 k3d2"}, input=(1, 1, 64)).scaled(rate=1000)
        >>> table["a"].report.scales["t"].text(7)
        '7 ms'
        """
        scaled = [one.report.scaled(rate=rate, pixel=pixel) for one in self.schemes]
        schemes = (
            replace(one, report=report, risks=report.findings)
            for one, report in zip(self.schemes, scaled, strict=True)
        )
        return replace(self, schemes=tuple(schemes))

    def alike(self) -> tuple[tuple[Scheme, ...], ...]:
        """Groups of schemes that see equally far on every axis but cost differently.

        Each group has the cheapest scheme first; the group that sees farthest comes first.
        """
        groups: dict[tuple[int, ...], list[Scheme]] = {}
        for scheme in self.schemes:
            if scheme.field and not scheme.is_global and not scheme.uncounted:
                groups.setdefault(tuple(axis.size for axis in scheme.field), []).append(scheme)
        found = [
            tuple(sorted(group, key=lambda scheme: scheme.macs))
            for size, group in sorted(groups.items(), key=lambda item: -prod(item[0]))
            if len({scheme.macs for scheme in group}) > 1
        ]
        return tuple(found)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the comparison as one HTML file that opens offline.

        The footprints at one scale, the table, growth with depth, and what to know of each scheme.
        Needs the extra `report`: raises `MissingDependencyError` without it.
        """
        write_whole(path, view(self).page())

    def plot(self) -> Any:
        """Growth with depth and prices side by side, as an `altair.Chart`.

        Raises `MissingDependencyError` without the extra `report`.
        """
        return view(self).plot()

    def animate(self, path: str | os.PathLike[str], seconds: float = 0.5) -> None:
        """Writes an SVG picture in which each scheme's output goes over its map.

        See `Footprint.animate`. Raises `ArgumentError` for an input of more than 10,000 positions.
        """
        write_whole(path, view(self).moving(seconds))

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "input": None if self.input is None else list(self.input),
            "schemes": [scheme.to_dict() for scheme in self.schemes],
        }

    __repr__ = ShownWhole.__str__


def usual_stacks(kernel: int, depth: int, channels: int) -> dict[str, str]:
    """The schemes that one compares, as stacks: `depth` convolutions of one kernel and width.

    `plain` has neither stride nor dilation. `strided` has stride 2 in every layer, `dilated` a
    constant rate of 2 or rates 1, 2, 4 and so on. `hybrid` has stride 2 in the first half, rounded
    down, and rates 1, 2, 4 and so on in the rest, which sees exactly as far as strides or doubling
    rates alone; it takes 3 layers to have both. The two pooled ones halve by a maximum over 2
    positions an axis, after each convolution or before it.

    >>> usual_stacks(3, 4, 64)["hybrid"]
    'k3s2x64 k3s2x64 k3x64 k3d2x64'
    """
    for name, value, most in (
        ("kernel", kernel, 255),
        ("depth", depth, MOST_LAYERS),
        ("channels", channels, 1 << 16),
    ):
        if type(value) is not int or not 1 <= value <= most:
            raise GeometryError(f"{name}={value!r} is no whole number from 1 to {most}.")
    plain = f"k{kernel}x{channels}"
    strided = f"k{kernel}s2x{channels}"
    doubling = [_dilated(kernel, 1 << i, channels) for i in range(depth)]
    early = depth // 2
    stacks = {
        "plain": [plain] * depth,
        "strided": [strided] * depth,
        "dilated, rate 2": [_dilated(kernel, 2, channels)] * depth,
        "dilated, doubling": doubling,
        "hybrid": [strided] * early + doubling[: depth - early],
        "pooled after": [plain, "maxk2s2"] * depth,
        "pooled before": ["maxk2s2", plain] * depth,
    }
    if depth < 3:
        del stacks["hybrid"]
    return {name: " ".join(layers) for name, layers in stacks.items()}


def compare_networks(
    networks: Mapping[str, Network], sources: Mapping[str, str], *, title: str = ""
) -> Comparison:
    """The comparison of networks already read; `sources` says what each was read from.

    Memory is that of eager runs where each of them has one, and that of the graphs otherwise.
    """
    if any(
        network.eager is None or network.eager.peak_bytes is None for network in networks.values()
    ):
        networks = {name: replace(network, eager=None) for name, network in networks.items()}
    return Comparison(
        tuple(
            _scheme(name, sources.get(name, network.name), network)
            for name, network in networks.items()
        ),
        title,
    )


def growth_of(fields: Sequence[int]) -> Growth:
    """How a receptive field grows, from its size after each layer.

    What each layer adds is compared with what the layer one period before added: `linear` where it
    is always the same, `exponential` where it is always the same multiple above 1, `slowing` where
    below. Layers that add nothing are left out; the period is the shortest for which that holds,
    so that a convolution and its pool may alternate. `mixed` where none does, and nothing at all
    where there are too few layers to tell.

    >>> growth_of([3, 5, 7, 9]), growth_of([3, 7, 15, 31]), growth_of([3, 4, 8, 10, 18, 22])
    ('linear', 'exponential', 'exponential')
    >>> growth_of([3, 5, 9, 11]), growth_of([3, 7])
    ('mixed', '')
    """
    added = [b - a for a, b in zip((1, *fields), fields, strict=False) if b != a]
    if len(added) < 3 or min(added) < 0:
        return ""
    for period in range(1, len(added) // 2 + 1):
        pairs = list(zip(added, added[period:], strict=False))
        ratios = {Fraction(later, earlier) for earlier, later in pairs}
        if len(ratios) == 1 and len(pairs) > 1:
            ratio = ratios.pop()
            return "linear" if ratio == 1 else "exponential" if ratio > 1 else "slowing"
    return "mixed"


def _scheme(name: str, source: str, network: Network) -> Scheme:
    try:
        report = inspect_network(network)
        output = report.outputs[-1]
        fields = tuple(
            max(axis.size for axis in layer.field) for layer in report.layers if layer.field
        )
        return Scheme(
            name=name,
            source=source,
            output_shape=output.output_shape,
            field=output.field,
            fields=fields,
            growth=growth_of(fields),
            unread=_share_unread(report),
            macs=report.macs,
            params=report.params,
            peak_memory_bytes=report.peak_memory_bytes,
            is_global=output.is_global,
            complete=report.complete,
            risks=report.findings,
            report=report,
        )
    except AtrousError as error:
        error.subject = f"{name}, {error.subject}" if error.subject else name
        raise


def _share_unread(report: Inspection) -> Fraction | None:
    from atrous.analysis.chain import chain_unread

    found = chain_unread(report.network, report.input)
    if found is not None:
        return found
    from atrous.analysis.unread import unread_share

    try:
        return unread_share(report.network, report.input)
    except UnsupportedError:
        return None


def _dilated(kernel: int, rate: int, channels: int) -> str:
    return f"k{kernel}d{rate}x{channels}" if rate > 1 else f"k{kernel}x{channels}"
