"""A certificate: both halves at several sizes, put beside each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, Protocol

from atrous.analysis import inspect_network
from atrous.certification.certificate import (
    Certificate,
    Checked,
    Measured,
    OutputCertificate,
    Price,
)
from atrous.certification.measured import Compared, compare_maps
from atrous.certification.proof import Proof, prove
from atrous.certification.verdicts import Cause, Verdict, severity, worst
from atrous.errors import AtrousError
from atrous.network import Network, Tensor
from atrous.network.shapes import Shape, Shapes
from atrous.network.walk import needed, pruned, strides

__all__ = ["Pair", "certify", "price"]

_AXIS = re.compile(r" along (\w+)\b")
Weights = Literal["own", "drawn"]


class Pair(Protocol):
    """Two models of one kind that can be read at a size, and run there."""

    precision: str
    weights: tuple[Weights, ...]

    def networks(self, shapes: Shapes) -> tuple[Network, Network]:
        """Both as networks at these input shapes."""

    def arrays(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> tuple[list[Any], list[Any]] | None:
        """What both make of the same random inputs, by output; None where unknown."""

    def first_difference(
        self, shapes: Shapes, networks: tuple[Network, Network], proofs: Sequence[Proof]
    ) -> Cause | None:
        """The first layer whose map is not the one that it should be, as far as runs show."""


@dataclass(slots=True)
class _Output:
    """What was found of one output so far; `proof` is the one that promises least."""

    names: tuple[str, str]
    proof: Proof
    shapes: tuple[Shape, Shape]
    checks: list[Checked]
    compared: list[Compared]
    verdicts: list[Verdict]


def certify(
    pair: Pair,
    shapes: Shapes,
    others: Sequence[Shapes] = (),
    names: Sequence[str] | None = None,
    *,
    run: bool = True,
    titles: tuple[str, str] = ("reference", "candidate"),
    notes: Sequence[str] = (),
) -> Certificate:
    """What holds between the two models of `pair` at `shapes`, and at the `others` that they take.

    `names` are the outputs or layers compared, by name in both; for None the outputs, in order.
    Where `run` is False only the structure is looked at for `shapes`; the others are always run.
    """
    found: list[_Output] = []
    said = list(notes)
    networks: tuple[Network, Network] | None = None
    ran = False
    for at in (shapes, *others):
        try:
            here = pair.networks(at)
            outputs = _outputs(*here, names)
        except AtrousError as error:
            if at is shapes:
                raise
            said.append(f"not checked at {_text(at)}: {error}")
            continue
        if networks is None:
            networks = here
        proofs, _ = prove(pruned(here[0], [one for one, _ in outputs]), here[1], outputs)
        if not found:
            found = [
                _Output(names_, proof, _shapes(here, names_), [], [], [])
                for names_, proof in zip(outputs, proofs, strict=True)
            ]
        for weights in pair.weights if not ran else pair.weights[:1]:
            arrays = pair.arrays(at, weights, outputs) if run or at is not shapes else None
            ran |= arrays is not None
            for index, proof in enumerate(proofs):
                alone = "drawn" not in pair.weights
                _check(found[index], here, outputs[index], proof, at, weights, arrays, index, alone)
        for output, proof in zip(found, proofs, strict=True):
            if worst((output.proof.verdict, proof.verdict)) != output.proof.verdict:
                said.append(
                    f"{output.names[0]} is {output.proof.verdict} at {_text(shapes)} and "
                    f"{proof.verdict} at {_text(at)}, of which margin, phase and causes tell"
                )
                output.proof = proof
    assert networks is not None
    results = tuple(_certified(output) for output in found)
    causes = _causes(found, results)
    if any(not r.agrees or (r.verdict == "broken" and not causes) for r in results):
        first = pair.first_difference(shapes, networks, [o.proof for o in found])
        if first is not None:
            causes = (*causes, first)
    return Certificate(
        results,
        causes,
        price(networks[0]),
        price(networks[1]),
        titles[0],
        titles[1],
        pair.precision,
        tuple(dict.fromkeys(said)),
    )


def price(network: Network) -> Price:
    """What a network costs at its input, and how coarse its coarsest map is, by axis."""
    report = inspect_network(network)
    coarsest: dict[str, Fraction] = {}
    for held in strides(network).values():
        for axis, stride in held.items():
            coarsest[axis] = max(coarsest.get(axis, Fraction(0)), stride)
    return Price(
        report.macs,
        report.peak_memory_bytes,
        tuple(coarsest.values()),
        tuple(report.uncounted.items()),
    )


def _outputs(
    reference: Network, candidate: Network, names: Sequence[str] | None
) -> list[tuple[str, str]]:
    if names is None and len(reference.outputs) != len(candidate.outputs):
        raise AtrousError(
            f"the reference has {len(reference.outputs)} outputs and the candidate "
            f"{len(candidate.outputs)}; name those to compare."
        )
    return list(zip(needed(reference, names), needed(candidate, names), strict=True))


def _shapes(networks: tuple[Network, Network], names: tuple[str, str]) -> tuple[Shape, Shape]:
    return networks[0].tensor(names[0]).shape, networks[1].tensor(names[1]).shape


def _check(
    output: _Output,
    networks: tuple[Network, Network],
    names: tuple[str, str],
    proof: Proof,
    at: Shapes,
    weights: Weights,
    arrays: tuple[list[Any], list[Any]] | None,
    index: int,
    alone: bool,
) -> None:
    sizes = tuple(networks[0].inputs[0].grid.values()) or at[0]
    checked = Checked(sizes, weights, proof.verdict, alone=alone)
    if arrays is not None:
        one, two = arrays[0][index], arrays[1][index]
        dims = _dims(networks[0].tensor(names[0]), proof)
        if dims is not None and one is not None and two is not None and _tells(one, dims):
            margins = proof.margins if proof.verdict in ("interior", "shifted") else ()
            compared = compare_maps(one, two, dims, proof.locks, _precision(one), margins)
            output.compared.append(compared)
            checked = replace(
                checked,
                measured=compared.verdict,
                max_error=compared.max_error,
                relative_error=compared.relative_error,
            )
    output.checks.append(checked)
    output.verdicts.append(_verdict(proof.verdict, checked))


def _tells(array: Any, dims: Sequence[int]) -> bool:
    """False for a map of one value everywhere, which is equal to itself at every phase."""
    return array.size == 0 or bool((array != array.min(tuple(dims), keepdims=True)).any())


def _precision(array: Any) -> str:
    return "float64" if array.dtype.itemsize == 8 else "float32"


def _dims(tensor: Tensor, proof: Proof) -> list[int] | None:
    """The dimension that each axis is; None where one shares its dimension with another."""
    found = []
    for axis in proof.axes:
        at = [
            index
            for index, dim in enumerate(tensor.layout)
            if len(dim) == 1 and dim[0].axis == axis and dim[0].size == tensor.grid[axis]
        ]
        if len(at) != 1:
            return None
        found.append(at[0])
    return found


def _verdict(proved: Verdict, checked: Checked) -> Verdict:
    measured: Measured | None = checked.measured
    if measured is None or checked.agrees:
        return proved
    return "broken" if measured == "differs" else measured


def _certified(output: _Output) -> OutputCertificate:
    proof = output.proof
    verdict = worst(tuple(output.verdicts))
    margin, phase = proof.margins, tuple(lock.phase or lock.start for lock in proof.locks)
    if proof.verdict == "broken" or not all(c.agrees for c in output.checks):
        shown = next((c for c in output.compared if c.verdict == verdict), None)
        if shown is not None:
            margin, phase = shown.margin, shown.phase
    if verdict in ("approximate", "broken"):
        margin = tuple((0, 0) for _ in margin)
    return OutputCertificate(
        output.names[0],
        tuple(lock.ratio for lock in proof.locks),
        phase,
        margin,
        max((c.max_error for c in output.compared), default=None),
        max((c.relative_error for c in output.compared), default=None),
        verdict,
        *output.shapes,
        tuple(output.checks),
    )


def _causes(found: Sequence[_Output], results: Sequence[OutputCertificate]) -> tuple[Cause, ...]:
    """The causes of all outputs in the order of the layers, worst kinds first."""
    merged: dict[tuple[str, str], tuple[str, list[str]]] = {}
    pairs = list(zip(found, results, strict=True))
    for output, result in sorted(pairs, key=lambda pair: -severity(pair[1].verdict)):
        for cause in output.proof.causes if result.verdict != "exact" else ():
            axis = _AXIS.search(cause.why)
            key = cause.layer, _AXIS.sub(" along *", cause.why)
            _, axes = merged.setdefault(key, (cause.why, []))
            if axis is not None and axis[1] not in axes:
                axes.append(axis[1])
    causes: dict[Cause, None] = {
        Cause(layer, _AXIS.sub(f" along {', '.join(axes)}", why) if axes else why): None
        for (layer, _), (why, axes) in merged.items()
    }
    for result in results:
        for check in result.checks:
            if not check.agrees:
                why = (
                    f"the two halves disagree at {'x'.join(map(str, check.sizes))}: the structure "
                    f"says {check.proved}, the measurement {check.measured}"
                )
                causes[Cause(result.name, why)] = None
    return tuple(causes)


def _text(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
