"""A certificate: both halves at several sizes, put beside each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from atrous.analysis import Field, Inspection, inspect_network
from atrous.certification.certificate import (
    Certificate,
    Checked,
    OutputCertificate,
    Price,
    agreeing,
)
from atrous.certification.places import axes_by_dim, laid
from atrous.certification.proof import Proof, prove
from atrous.certification.sizes import (
    Open,
    farther_sizes,
    first_size,
    larger_sizes,
    leftovers,
    other_sizes,
    rounded_sizes,
)
from atrous.certification.verdicts import ALONG, Apart, Cause, Verdict, severity, worst
from atrous.errors import AtrousError, ReadError
from atrous.geometry import Lockstep
from atrous.network import Network, Tensor
from atrous.network.aside import coarsest
from atrous.network.shapes import Shape, Shapes
from atrous.network.walk import needed, pruned
from atrous.progress import step
from atrous.readers.near import without_offers
from atrous.refusal import Refusal
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.certification.measured import Compared

__all__ = ["Found", "Pair", "certify", "price"]

Weights = Literal["own", "drawn"]
Arrays = tuple[list[Any], list[Any]]
_MOST_TRIED = 8
_UNKNOWN = "where its positions lie is not known"


@dataclass(frozen=True, slots=True)
class Found:
    """The first layer whose map is not what the structure says, and how the two compare there."""

    cause: Cause
    proved: Verdict
    compared: Compared


class Pair(Protocol):
    """Two models of one kind that can be read at a size, and run there.

    `weights` are those that runs can have, the ones that show most last; `guessed` are the shapes
    whose networks follow from those at other shapes, and were not read. `remarks` say what runs
    showed beside arrays.
    """

    precision: str
    weights: tuple[Weights, ...]
    remarks: tuple[str, ...]

    @property
    def guessed(self) -> Collection[Shapes]: ...

    def networks(self, shapes: Shapes, *, guess: bool = False) -> tuple[Network, Network]:
        """Both as networks at these input shapes. Raises `AtrousError` where one takes them not."""

    def refuses(self, shapes: Shapes) -> str:
        """Why the reference itself does not take these shapes, found by running it; else empty."""

    def may_vary(self) -> Open | None:
        """Which dimensions of the inputs may have other sizes; None for all that have positions."""

    def arrays(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> Arrays | Refusal:
        """What both make of the same random inputs, by output, or why they do not."""

    def moved(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> list[Any] | Refusal:
        """What the reference makes of other random inputs, by output."""

    def again(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> list[Any] | Refusal:
        """What the reference makes of the same inputs once more, by output."""

    def first_difference(
        self,
        shapes: Shapes,
        networks: tuple[Network, Network],
        output: tuple[str, str],
    ) -> Found | None:
        """The first layer whose map is not the one that it should be, as far as runs show."""


def certify(
    pair: Pair,
    shapes: Shapes,
    names: Sequence[str] | None = None,
    *,
    titles: tuple[str, str] = ("reference", "candidate"),
    notes: Sequence[str] = (),
) -> Certificate:
    """What holds between the two models of `pair` at `shapes`, and at other sizes that they take.

    `names` are the outputs or layers compared, by name in both; for None the outputs, in order.
    The structure is followed at `shapes`; both are run there, or at a smaller size where that would
    take long, and at one whose maps are odd where those of the first are even. A size that the
    models refuse is noted, and another one taken in its place.
    """
    judge = _Judge(pair, names, list(notes))
    judge.read_first(shapes)
    judge.run_first()
    judge.run_second()
    judge.look_inside()
    return judge.certificate(titles)


@dataclass(slots=True)
class _Output:
    """What was found of one output so far; `proof` is the one that promises least."""

    names: tuple[str, str]
    proof: Proof
    shapes: tuple[Shape, Shape]
    checks: list[Checked] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the structure says at one size."""

    shapes: Shapes
    networks: tuple[Network, Network]
    outputs: list[tuple[str, str]]
    proofs: tuple[Proof, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of the first input, by axis."""
        return tuple(self.networks[0].inputs[0].grid.values()) or self.shapes[0]

    @property
    def spent(self) -> bool:
        """Whether some map is no larger than its margin."""
        return any(proof.spent for proof in self.proofs)


class _Judge:
    """Two models while they are compared."""

    def __init__(self, pair: Pair, names: Sequence[str] | None, notes: list[str]) -> None:
        self.pair, self.names, self.notes = pair, names, notes
        self.found: list[_Output] = []
        self.asked: _Look | None = None
        self.ran: _Look | None = None
        self.causes: list[Cause] = []

    def read_first(self, shapes: Shapes) -> None:
        """The structure at the size asked for, or at one near it if the models refuse that."""
        try:
            look = self._look(shapes)
        except AtrousError:
            why = self.pair.refuses(shapes)
            if not why:
                raise
            found = self._readable(rounded_sizes(shapes))
            if found is None:
                raise
            self.notes.append(
                f"the reference does not take {_text(shapes)} ({why}): {_text(found.shapes)} is "
                "judged in its place"
            )
            look = found
        self.asked = look
        self._note(look)

    def run_first(self) -> None:
        """Runs both at the size asked for, or at another one that they take."""
        asked = self._asked
        may = self.pair.may_vary()
        refused = _Refused()
        small = first_size(asked.shapes, asked.networks, may)
        if small != asked.shapes:
            self.ran = self._taken([small], self.pair.weights, refused)
            if self.ran is not None:
                self._leave(asked, f"{_sizes_text(self.ran.sizes)} takes less time")
                return
        refusal = self._run(asked, self.pair.weights)
        if isinstance(refusal, _Look):
            self.ran = refusal
            self.notes += refused.notes()
            return
        self._leave(asked, refusal.reason)
        if refusal.rule == "size":
            refused.add(refusal.reason, asked.shapes)
            others = (*rounded_sizes(asked.shapes), *other_sizes(asked.shapes, asked.networks, may))
            self.ran = self._taken(dict.fromkeys(others), self.pair.weights, refused)
            self.notes += refused.notes()

    def run_second(self) -> None:
        """Runs both where maps are odd that were even, and where margins leave positions."""
        first = self.ran
        if first is None:
            return
        may, weights, refused = self.pair.may_vary(), self.pair.weights[-1:], _Refused()
        second = self._taken(other_sizes(first.shapes, first.networks, may), weights, refused)
        self.notes += refused.notes()
        if second is not None and leftovers(first.networks) == leftovers(second.networks) != []:
            # Its code rounds the size: inside, nothing is another than at the first one.
            for shapes in farther_sizes(first.shapes, first.networks, may):
                other = self._taken([shapes], weights, _Refused())
                if other is not None and leftovers(other.networks) != leftovers(first.networks):
                    break
        for look in (first, second):
            if look is not None and look.spent:
                larger = larger_sizes(look.shapes, look.networks, may)
                self._taken(larger, weights, _Refused(), spent=False)

    def look_inside(self) -> None:
        """Which layer is at fault, where the structure alone does not say; and where a map is only
        approximate, whether all that should be equal on the way to it is."""
        if self.ran is None:
            return
        results = [_certified(output) for output in self.found]
        ran = self.ran
        for output, result in zip(self.found, results, strict=True):
            unclear = result.agrees is False
            unclear |= result.verdict == "broken" and not output.proof.causes
            if not unclear and result.verdict != "approximate":
                continue
            step(f"looking for the first layer that differs on the way to {result.name}")
            if ran.shapes in self.pair.guessed:
                ran = self._look(ran.shapes)
            found = self.pair.first_difference(ran.shapes, ran.networks, output.names)
            if found is None:
                continue
            if found.cause not in self.causes:
                self.causes.append(found.cause)
            if result.verdict == "approximate":
                compared = found.compared
                output.checks.append(
                    Checked(
                        ran.sizes,
                        self.pair.weights[-1],
                        found.proved,
                        compared.verdict,
                        compared.max_error,
                        compared.relative_error,
                        alone=True,
                        layer=found.cause.layer,
                    )
                )
                output.verdicts.append(_verdict(output.checks[-1]))

    def certificate(self, titles: tuple[str, str]) -> Certificate:
        """All of it."""
        results = tuple(_certified(output) for output in self.found)
        why = next((result.why for result in results if result.why), "")
        ran = any(result.state != "not run" for result in results)
        # Memory is that of the graph on both sides, whatever else the source of one of them tells.
        before, after = (
            inspect_network(replace(network, eager=None)) for network in self._asked.networks
        )
        results = tuple(
            _seen(result, output.names, (before, after))
            for result, output in zip(results, self.found, strict=True)
        )
        return Certificate(
            outputs=results,
            causes=(*_causes(self.found, results), *self.causes),
            before=price(before),
            after=price(after),
            reference=titles[0],
            candidate=titles[1],
            precision=self.pair.precision if ran else f"not run: {why}",
            notes=tuple(dict.fromkeys((*self.notes, *self.pair.remarks))),
            axes=tuple(before.network.tensor(before.input).grid),
        )

    @property
    def _asked(self) -> _Look:
        assert self.asked is not None
        return self.asked

    def _look(self, shapes: Shapes, *, guess: bool = False) -> _Look:
        step(f"reading both at {_text(shapes)}")
        here = self.pair.networks(shapes, guess=guess)
        for mine, theirs in _input_pairs(*here):
            if set(mine.grid) != set(theirs.grid):
                axes = [", ".join(one.grid) or "none" for one in (mine, theirs)]
                raise ReadError(
                    f"the reference's input has the axes {axes[0]} and the candidate's {axes[1]}; "
                    "only models of the same inputs can be compared."
                )
        outputs = _output_pairs(*here, self.names)
        # What only others need may hold another run of a layer, which is then no twin.
        one, two = (pruned(net, [pair[i] for pair in outputs]) for i, net in enumerate(here))
        proofs, _ = prove(one, two, outputs)
        return _Look(shapes, here, outputs, proofs)

    def _readable(self, sizes: Iterable[Shapes]) -> _Look | None:
        for shapes in sizes:
            with suppress(AtrousError), without_offers():
                return self._look(shapes)
        return None

    def _taken(
        self,
        sizes: Iterable[Shapes],
        weights: Sequence[Weights],
        refused: _Refused,
        *,
        spent: bool = True,
    ) -> _Look | None:
        """Runs both at the first of the sizes that they take; one not `spent`, where asked for."""
        for shapes in islice(sizes, _MOST_TRIED):
            try:
                with without_offers():
                    look = self._look(shapes, guess=True)
                    if look.spent and shapes in self.pair.guessed:
                        look = self._look(shapes)
            except AtrousError as error:
                refused.add(str(error), shapes)
                continue
            if look.spent and not spent:
                continue
            found = self._run(look, weights)
            if isinstance(found, _Look):
                return found
            refused.add(found.reason, shapes)
        return None

    def _note(self, look: _Look) -> None:
        """Takes over what the structure says at a size."""
        if not self.found:
            self.found = [
                _Output(names, proof, _shapes(look.networks, names))
                for names, proof in zip(look.outputs, look.proofs, strict=True)
            ]
        for output, proof in zip(self.found, look.proofs, strict=True):
            known = output.proof
            name = output.names[0]
            if proof.spent:
                self.notes.append(
                    f"{name}: at {_text(look.shapes)} the margin takes every position there is"
                )
            if worst((known.verdict, proof.verdict)) != known.verdict:
                self.notes.append(
                    f"{name} is {known.verdict} at {_text(self._asked.shapes)} and "
                    f"{proof.verdict} at {_text(look.shapes)}, of which margin, phase and causes "
                    "tell"
                )
                output.proof = proof
            elif proof.verdict == known.verdict and known.spent and not proof.spent:
                output.proof = proof

    def _leave(self, look: _Look, why: str) -> None:
        """Nothing is run at the size asked for, which goes first."""
        for index, output in enumerate(self.found):
            self._keep(look, index, self.pair.weights[-1], why)
            output.checks.insert(0, output.checks.pop())

    def _run(self, look: _Look, weights: Sequence[Weights]) -> _Look | Refusal:
        """Runs both at a size and compares what they make; the reason where they do not run."""
        for held in weights:
            step(f"running both in {self.pair.precision} at {_text(look.shapes)}, {held} weights")
            arrays = self.pair.arrays(look.shapes, held, look.outputs)
            if isinstance(arrays, Refusal):
                if held == weights[0]:
                    return arrays
                for index in range(len(self.found)):
                    self._keep(look, index, held, arrays.reason)
                continue
            step(f"comparing what both make at {_text(look.shapes)}")
            found = [self._compared(look, i, held, arrays) for i in range(len(self.found))]
            if look.shapes in self.pair.guessed and not all(map(_bears_out, found, look.proofs)):
                # The code may do something else at this size: it is read there.
                try:
                    look = self._look(look.shapes)
                except AtrousError as error:
                    return Refusal("size", "", str(error))
                found = [self._compared(look, i, held, arrays) for i in range(len(self.found))]
            if held == weights[0] and look is not self.asked:
                self._note(look)
            for index, compared in enumerate(found):
                self._keep(look, index, held, compared)
        return look

    def _compared(
        self, look: _Look, index: int, weights: Weights, arrays: Arrays
    ) -> Compared | str:
        """How one output compares, or why that tells nothing."""
        import numpy as np

        from atrous.certification.measured import compare_maps, tells

        proof, names = look.proofs[index], look.outputs[index]
        if proof.spent:
            return "the margin takes every position"
        both = [side[index] for side in arrays]
        if not all(isinstance(one, np.ndarray) and one.dtype.kind in "biufc" for one in both):
            return "it is no array of numbers"
        tensors = [net.tensor(name) for net, name in zip(look.networks, names, strict=True)]
        one, two = (laid(a, t, proof.axes) for a, t in zip(both, tensors, strict=True))
        locks: Sequence[Lockstep] = proof.locks
        if one is None or two is None or axes_by_dim(tensors[0]) != axes_by_dim(tensors[1]):
            if any(lock != Lockstep() for lock in locks):
                return _UNKNOWN
            (one, two), locks = both, ()
        dims = range(len(locks))
        margins = proof.margins if locks and proof.verdict in ("interior", "shifted") else ()
        precision = _precision(both[0], self.pair.precision)
        compared = compare_maps(one, two, dims, locks, precision, margins)
        if compared.verdict == "differs" and not locks and proof.verdict in ("interior", "shifted"):
            return _UNKNOWN
        if not agreeing(proof.verdict, compared.verdict):
            again = self.pair.again(look.shapes, weights, look.outputs)
            if not isinstance(again, Refusal) and _differ(both[0], again[index]):
                return "the reference makes other values each time it is run"
        if compared.verdict != "exact" or tells(one, dims):
            return compared
        # Equal at all positions alike: that says something where it follows the input.
        moved = self.pair.moved(look.shapes, weights, look.outputs)
        if isinstance(moved, Refusal) or not _differ(both[0], moved[index]):
            return "it holds the same whatever the input, which tells nothing"
        return compared

    def _keep(self, look: _Look, index: int, weights: Weights, found: Compared | str) -> None:
        """Takes over one comparison, or why there is none."""
        output, proof = self.found[index], look.proofs[index]
        checked = Checked(
            look.sizes,
            weights,
            proof.verdict,
            alone="drawn" not in self.pair.weights,
            same=proof.verdict == "approximate" and not proof.changed,
        )
        if isinstance(found, str):
            checked = replace(checked, why=found)
        else:
            output.compared.append(found)
            checked = replace(
                checked,
                measured=found.verdict,
                max_error=found.max_error,
                relative_error=found.relative_error,
            )
        output.checks.append(checked)
        output.verdicts.append(_verdict(checked))


class _Refused:
    """The sizes that models did not take, and why; one note for each of the two."""

    def __init__(self) -> None:
        self.sizes: dict[bool, list[Shapes]] = {}
        self.why: dict[bool, str] = {}

    def add(self, why: str, shapes: Shapes) -> None:
        """One more."""
        theirs = why.startswith("the candidate")
        self.sizes.setdefault(theirs, []).append(shapes)
        self.why.setdefault(theirs, why)

    def notes(self) -> list[str]:
        """What a certificate says of them."""
        return [
            f"not checked at {', '.join(map(_text, sizes))}: {self.why[theirs]}"
            for theirs, sizes in self.sizes.items()
        ]


def price(report: Inspection) -> Price:
    """What a network costs at its input, and how coarse its coarsest map is, by axis."""
    strides = coarsest(report.network)
    return Price(
        report.macs,
        report.peak_memory_bytes,
        tuple(strides.values()),
        tuple(report.uncounted.items()),
        tuple(strides),
    )


def _seen(
    result: OutputCertificate, names: tuple[str, str], reports: tuple[Inspection, Inspection]
) -> OutputCertificate:
    """The same, with what an output sees in both; nothing where one of them is not known."""
    layers = [
        next((layer for layer in report.layers if layer.tensor == name), None)
        for name, report in zip(names, reports, strict=True)
    ]
    sides: list[tuple[Field, ...]] = [() if one is None else one.field for one in layers]
    known = all(one is not None and not one.opaque for one in layers)
    return replace(
        result,
        fields=(sides[0], sides[1]) if known else ((), ()),
        mixed=any(one is not None and one.is_global for one in layers),
    )


def _input_pairs(before: Network, after: Network) -> list[tuple[Tensor, Tensor]]:
    """The inputs that are the same by their names; by their places where no name is shared."""
    named = {tensor.name: tensor for tensor in after.inputs}
    pairs = [(mine, named[mine.name]) for mine in before.inputs if mine.name in named]
    return pairs or list(zip(before.inputs, after.inputs, strict=False))


def _output_pairs(
    reference: Network, candidate: Network, names: Sequence[str] | None
) -> list[tuple[str, str]]:
    if names is None and len(reference.outputs) != len(candidate.outputs):
        raise AtrousError(
            f"the reference has {how_many(len(reference.outputs), 'output')} and the candidate "
            f"{len(candidate.outputs)}; name those to compare."
        )
    return list(zip(needed(reference, names), needed(candidate, names), strict=True))


def _shapes(networks: tuple[Network, Network], names: tuple[str, str]) -> tuple[Shape, Shape]:
    return networks[0].tensor(names[0]).shape, networks[1].tensor(names[1]).shape


def _bears_out(found: Compared | str, proof: Proof) -> bool:
    """Whether a run shows what a structure says that was not read at its size."""
    if proof.verdict in ("interior", "shifted") or found == _UNKNOWN:
        return False  # its margins are those of that size
    return isinstance(found, str) or agreeing(proof.verdict, found.verdict)


def _precision(array: Any, precision: str) -> str:
    """In which precision the numbers of an array were computed."""
    if array.dtype.kind == "f" and array.dtype.itemsize == 2:
        return "float16"
    return "float64" if array.dtype.kind in "iu" and array.dtype.itemsize == 8 else precision


def _differ(one: Any, two: Any) -> bool:
    """Whether two runs on other inputs made clearly other values."""
    from atrous.certification.measured import compare_maps

    if one.shape != two.shape:
        return True
    return compare_maps(one, two, (), (), "float32").verdict == "differs"


def _verdict(checked: Checked) -> Verdict:
    if checked.measured is None or checked.agrees:
        return checked.proved
    measured: Verdict = "broken" if checked.measured == "differs" else checked.measured
    return worst((checked.proved, measured)) if checked.proved == "approximate" else measured


def _certified(output: _Output) -> OutputCertificate:
    proof = output.proof
    verdict = worst(tuple(output.verdicts))
    margin, phase = proof.margins, tuple(lock.phase or lock.start for lock in proof.locks)
    if proof.verdict == "broken" or any(c.agrees is False for c in output.checks):
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
        proof.axes,
    )


def _causes(found: Sequence[_Output], results: Sequence[OutputCertificate]) -> tuple[Cause, ...]:
    """The causes of all outputs in the order of the layers, worst kinds first."""
    merged: dict[tuple[str, str], tuple[str, dict[str, None], dict[Apart, None]]] = {}
    pairs = list(zip(found, results, strict=True))
    for output, result in sorted(pairs, key=lambda pair: -severity(pair[1].verdict)):
        for cause in output.proof.causes if result.verdict != "exact" else ():
            axis = ALONG.search(cause.why)
            key = cause.layer, ALONG.sub(" along *", cause.why)
            _, axes, apart = merged.setdefault(key, (cause.why, {}, {}))
            axes.update({axis[1]: None} if axis is not None else {})
            apart.update(dict.fromkeys(cause.apart))
    causes: dict[Cause, None] = {
        Cause(
            layer, ALONG.sub(f" along {', '.join(axes)}", why) if axes else why, tuple(apart)
        ): None
        for (layer, _), (why, axes, apart) in merged.items()
    }
    for result in results:
        for check in result.checks:
            if check.agrees is False:
                why = (
                    f"the two halves disagree at {_sizes_text(check.sizes)}: the structure says "
                    f"{check.proved}, the measurement {check.measured}"
                )
                causes[Cause(check.layer or result.name, why)] = None
    return tuple(causes)


def _sizes_text(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _text(shapes: Shapes) -> str:
    return ", ".join(map(_sizes_text, shapes))
