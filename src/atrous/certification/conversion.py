"""A converted model, with what was changed and what is certified."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from atrous.analysis import Finding, Inspection, inspect_network
from atrous.analysis.inspection import Kind
from atrous.certification.certificate import Certificate
from atrous.conversion.edits import Edit
from atrous.conversion.plan import Direction, Head
from atrous.files import write_whole
from atrous.network import Network
from atrous.shown import ShownWhole, Tabular, view

__all__ = ["Conversion"]


@dataclass(frozen=True, slots=True)
class Conversion(ShownWhole, Tabular):
    """A converted model, what was changed in it, and what is certified of it.

    `model` is of the kind of the source: a module, a Keras model, an `onnx.ModelProto`, or a
    `Network`. `edits`
    are its changes in the order of the layers, `heads` what happened to the rates of a head behind
    the changed map, `findings` what to look at in the result.
    """

    model: Any = field(repr=False)
    certificate: Certificate
    edits: tuple[Edit, ...]
    direction: Direction = "none"
    output_stride: tuple[int, ...] = ()
    heads: tuple[Head, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    networks: tuple[Network, Network] | None = field(default=None, repr=False, compare=False)

    @property
    def before(self) -> Inspection | None:
        """The report of the source, where it was kept."""
        return None if self.networks is None else self._report(self.networks[0])

    @property
    def after(self) -> Inspection | None:
        """The report of the result, where it was kept."""
        return None if self.networks is None else self._report(self.networks[1])

    def scaled(self, *, rate: Any = None, pixel: Any = None) -> Conversion:
        """The same conversion, whose positions are shown in ms and lengths as well.

        As `Certificate.scaled`; the reports before and after have the scales, too.
        """
        found = replace(self, certificate=self.certificate.scaled(rate=rate, pixel=pixel))
        if found.after is None:
            return found
        kept = {(one.code, one.layer) for one in self.findings}
        said = tuple(one for one in found.after.findings if (one.code, one.layer) in kept)
        return replace(found, findings=said)

    def _report(self, network: Network) -> Inspection:
        return replace(inspect_network(network), scales=self.certificate.scales)

    def _reach(self, head: Head) -> dict[str, Any]:
        """The reach of a head along the axes that have a scale."""
        scales = self.certificate.scales
        if not scales:
            return {}
        return {
            "scaled": [
                {
                    "axis": axis,
                    "unit": scales[axis].unit,
                    "reach_before": float(scales[axis].of(head.reach_before)),
                    "reach_after": float(scales[axis].of(head.reach_after)),
                }
                for axis in head.axes
                if axis in scales
            ]
        }

    def plot(self, kind: Kind = "overview") -> Any:
        """The charts of `Inspection.plot` with before and after in each."""
        return view(self).plot(kind)

    def to_html(self, path: str | os.PathLike[str], *, image: Any = None) -> None:
        """Writes a page: verdict, certificate and diff, then before and after side by side.

        Needs the extra `report`. `image` is as for `Inspection.to_html`.
        """
        write_whole(path, view(self).page(image=image))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the model."""
        return {
            "schema": "atrous.conversion/1",
            "direction": self.direction,
            "output_stride": list(self.output_stride),
            "edits": [edit.to_dict() for edit in self.edits],
            "certificate": self.certificate.to_dict(),
            "heads": [head.to_dict() | self._reach(head) for head in self.heads],
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
        }
