"""A model with other rates, or with layers put in: what it reads now, and what it does not keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atrous.certification.certify import certify
from atrous.certification.conversion import Conversion
from atrous.certification.network_pair import NetworkPair
from atrous.certification.verdicts import Cause
from atrous.conversion.degridding import Degridding, DegridMethod, grids_of
from atrous.conversion.edits import Edit, plan_edits
from atrous.conversion.inserted import Inserted
from atrous.conversion.rate_graph import AxisGrid
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.walk import needed, pruned
from atrous.refusal import Refusal
from atrous.shown import plain

__all__ = ["Degridded", "degrid_edits", "degridded"]

_NOT_RUN = "nothing is equal to compare: it reads other positions"


@dataclass(frozen=True, slots=True)
class Degridded(Conversion):
    """A network without holes and sub-grids, which is no equal of the one before it.

    It computes something else, and is to be trained again: `model` has the weights that there were,
    as a start, and `certificate` says `broken` unless nothing had to change. `grids` are what each
    end reads along each axis, before and after. With method `rates`, `changes` layers have another
    rate, at least `least` must have, and `fewest` says that no set of rates up to `largest` does
    better: with fewer changes, or where no set keeps the field, with a larger field; `tried` sets
    were looked at. `inserted` has the layers of the other methods. `fixed` are the layers whose
    rates cannot change and why, `by_design` the axes along which rates rise from 1 by the kernel,
    whose sub-grids are left.
    """

    method: DegridMethod = "rates"
    grids: tuple[tuple[AxisGrid, ...], tuple[AxisGrid, ...]] = ((), ())
    changes: int = 0
    least: int = 0
    fewest: bool = True
    kept: bool = True
    tried: int = 0
    largest: int = 0
    inserted: Inserted | None = None
    fixed: tuple[Refusal, ...] = ()
    by_design: tuple[str, ...] = ()
    strict: bool = field(default=False, repr=False)

    @property
    def params(self) -> tuple[int, int]:
        """The parameters before and after."""
        before, after = self.before, self.after
        if before is None or after is None:
            return 0, 0
        return before.params, after.params

    @property
    def trained_again(self) -> bool:
        """Whether the result computes something else, and its weights are only a start."""
        return bool(self.edits)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the model."""
        before, after = self.grids
        params = self.params
        return Conversion.to_dict(self) | {
            "schema": "atrous.degridding/1",
            "method": self.method,
            "trained_again": self.trained_again,
            "grids": {"before": plain(before), "after": plain(after)},
            "changes": self.changes,
            "least": self.least,
            "fewest": self.fewest,
            "kept": self.kept,
            "tried": self.tried,
            "largest": self.largest,
            "params": {"before": params[0], "after": params[1]},
            "inserted": None if self.inserted is None else self.inserted.to_dict(),
            "fixed": [{"layer": one.layer, "reason": one.reason} for one in self.fixed],
            "by_design": list(self.by_design),
        }


def degrid_edits(done: Degridding) -> tuple[Edit, ...]:
    """The diff: rates and padding of the layers that change, or the layers put in."""
    if done.inserted is None:
        return plan_edits(done.plan)
    put = done.inserted
    return tuple(
        Edit(name, "layer", None, f"conv k{put.kernel} rate {rate}, {put.channels} channels")
        for name, rate in zip(put.layers, put.rates, strict=True)
    )


def degridded(
    made: Any,
    done: Degridding,
    edits: Sequence[Edit],
    names: Sequence[str] | None,
    after: Network,
) -> Degridded:
    """The record of a model that is made; `after` is it as a network.

    Raises `ConversionError` where the model, read back, does not read what was planned.
    """
    plan = done.plan
    reference = plan.reference
    whole = folded(after)
    if made is not plan.candidate:
        _check(done, grids_of(whole, names))
        whole = pruned(whole, needed(whole, names))
    pair = NetworkPair(reference, whole, _NOT_RUN)
    shapes = tuple(tensor.shape for tensor in reference.inputs)
    certificate = certify(pair, shapes, notes=plan.notes)
    if edits:
        certificate = replace(certificate, causes=_causes_of(done))
    found = done.found
    return Degridded(
        model=made,
        certificate=certificate,
        edits=tuple(edits),
        direction=plan.direction,
        output_stride=plan.target,
        notes=plan.notes,
        networks=(reference, after),
        method=done.method,
        grids=(done.before, done.after),
        changes=0 if found is None else found.changes,
        least=0 if found is None else found.least,
        fewest=True if found is None else found.exact,
        kept=True if found is None else found.kept,
        tried=0 if found is None else found.tried,
        largest=0 if found is None else found.largest,
        inserted=done.inserted,
        fixed=done.fixed,
        by_design=done.by_design,
        strict=done.strict,
    )


def _check(done: Degridding, found: Sequence[AxisGrid]) -> None:
    """That the model which was made reads what was planned."""
    planned, read = ([(g.axis, g.size, g.taps) for g in side] for side in (done.after, found))
    if planned == read:
        return
    raise Refusal(
        "certificate",
        "",
        f"the model that was made reads {read} of its input (axis, field, positions), and not "
        f"{planned} as planned; change the rates by hand: "
        f"{'; '.join(map(str, degrid_edits(done)))}.",
    ).error()


def _causes_of(done: Degridding) -> tuple[Cause, ...]:
    """The layers that read other positions than before."""
    if done.inserted is not None:
        put = done.inserted
        why = "it is put in, and starts as the identity: train it, or nothing is gained"
        return tuple(Cause(name, why) for name in put.layers)
    grids = zip(done.plan.changes, _rates(done), strict=True)
    return tuple(
        Cause(change.node, f"rate {before} -> {after}: its taps read other positions; train again")
        for change, (before, after) in grids
    )


def _rates(done: Degridding) -> list[tuple[int, int]]:
    """The rates of the layers that change, before and after."""
    found = []
    for change in done.plan.changes:
        pairs = zip(change.before.windows, change.after.windows, strict=True)  # type: ignore[attr-defined]
        found.append(next((a.dilation, b.dilation) for a, b in pairs if a != b))
    return found
