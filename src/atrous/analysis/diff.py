"""What a change did: two reports as plain data, layer by layer and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from atrous.analysis.inspection import SCHEMA as INSPECTION
from atrous.analysis.scale import Scale
from atrous.errors import ReadError
from atrous.shown import Plain, ShownWhole, Tabular, plain_fields

__all__ = ["Change", "Delta", "Diff", "Kind", "diff_reports"]

SCHEMA = "atrous.diff/1"

Kind = Literal["added", "removed", "changed"]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delta(Plain):
    """One thing that changed, as plain data before and after; None where it does not exist."""

    what: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Change(Plain):
    """A layer that one report has and the other does not, or that differs; and in what."""

    layer: str
    op: str
    kind: Kind
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Diff(ShownWhole, Tabular):
    """What differs between two reports; False where nothing does.

    `totals` is about the whole network, `outputs` about its outputs in their order (`layer` is the
    name of the new one), `layers` about layers of one name, in the new order with each removed
    layer after the one that it followed. `same` counts the layers that do not differ. `scales` are
    those of the new report, by axis in the order of fields.

    >>> import atrous
    >>> old, new = (atrous.inspect(f"stack:k3 {k}", (1, 4, 32)) for k in ("k3s2", "k3d2"))
    >>> diff = diff_reports(old.to_dict(), new.to_dict())
    >>> [(change.layer, [delta.what for delta in change.deltas]) for change in diff.layers]
    [('conv2', ['op', 'output', 'field', 'stride', 'macs', 'activation'])]
    """

    old: str
    new: str
    totals: tuple[Delta, ...]
    outputs: tuple[Change, ...]
    layers: tuple[Change, ...]
    same: int
    scales: Mapping[str, Scale | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.totals or self.outputs or self.layers)

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        return {"schema": SCHEMA, **plain_fields(self)}

    __repr__ = ShownWhole.__str__


def diff_reports(old: Any, new: Any) -> Diff:
    """What differs between two reports as `Inspection.to_dict` writes them, layers told by name.

    Raises `ReadError` where one of them is no such report.
    """
    for record in (old, new):
        schema = record.get("schema") if isinstance(record, Mapping) else None
        if schema != INSPECTION:
            has = "it has no schema" if schema is None else f"its schema is {str(schema)[:40]!r}"
            raise ReadError(
                f"{has}, not {INSPECTION!r}; save a report with `atrous inspect SOURCE --json`."
            )
    try:
        return _diff(old, new)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReadError(
            f"it is not a whole report ({type(error).__name__}: {error}); save one with "
            "`atrous inspect SOURCE --json`."
        ) from None


def _diff(old: Record, new: Record) -> Diff:
    before = {layer["name"]: layer for layer in old["layers"]}
    after = {layer["name"]: layer for layer in new["layers"]}
    changes: list[Change] = []
    for name in _order(list(before), list(after)):
        a, b = before.get(name), after.get(name)
        deltas = _deltas(_facts(a), _facts(b))
        if deltas:
            kind: Kind = "added" if a is None else "removed" if b is None else "changed"
            changes.append(Change(name, str((b or a or {})["op"]), kind, deltas))
    outputs = []
    for place in range(max(len(old["outputs"]), len(new["outputs"]))):
        a = old["outputs"][place] if place < len(old["outputs"]) else None
        b = new["outputs"][place] if place < len(new["outputs"]) else None
        seen = [_seen(layer) if layer is not None else {} for layer in (a, b)]
        deltas = _deltas(seen[0], seen[1])
        if deltas:
            kind = "added" if a is None else "removed" if b is None else "changed"
            outputs.append(Change(str((b or a or {})["name"]), "output", kind, deltas))
    same = len(after.keys() & before.keys()) - sum(c.kind == "changed" for c in changes)
    names = (str(old["network"]), str(new["network"]))
    totals = _totals(old), _totals(new)
    if totals[0].pop("measured") != totals[1].pop("measured"):
        # An eager run and a graph are no two states of one thing.
        for total in totals:
            total.pop("memory")
    scales = _scales_along(new)
    return Diff(*names, _deltas(*totals), tuple(outputs), tuple(changes), same, scales)


def _scales_along(report: Record) -> dict[str, Scale | None]:
    """What a position is along each axis that fields have; nothing where no axis has a scale."""
    given = report.get("scales") or {}
    if not given:
        return {}
    axes = max(([f["axis"] for f in one["field"]] for one in report["layers"]), key=len, default=[])
    held = {axis: Scale(Fraction(one["step"]), str(one["unit"])) for axis, one in given.items()}
    return {axis: held.get(axis) for axis in axes}


def _order(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The new names in order, each old one that is gone after the name that it followed."""
    following: dict[str, list[str]] = {}
    kept = set(new)
    last = ""
    for name in old:
        if name in kept:
            last = name
        else:
            following.setdefault(last, []).append(name)
    out = list(following.get("", ()))
    for name in new:
        out += [name, *following.get(name, ())]
    return out


def _deltas(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Delta, ...]:
    return tuple(
        Delta(what, old.get(what), new.get(what))
        for what in dict.fromkeys((*old, *new))
        if old.get(what) != new.get(what)
    )


def _totals(report: Record) -> dict[str, Any]:
    return {
        "input": {name: list(shape) for name, shape in report["inputs"].items()},
        "macs": int(report["macs"]),
        "params": int(report["params"]),
        "memory": int(report["peak_memory_bytes"]),
        **_graph_memory(report),
        "opaque": list(report["opaque"]),
        "not counted": _left_out(report),
        "findings": sorted(f"{f['code']}: {f['layer']}" for f in report["findings"]),
    }


def _graph_memory(report: Record) -> dict[str, Any]:
    """The graph's peak where it stands beside that of an eager run, which `measured` tells."""
    both = report.get("memory") or {}
    eager = both.get("eager") or {}
    measured = eager.get("peak_bytes") is not None
    graph = {"memory of the graph": int(both["graph"]["peak_bytes"])} if both.get("eager") else {}
    return {"measured": measured, **graph}


def _left_out(report: Record) -> list[str]:
    """The layers that some total leaves out; a report of 0.1.0 names none."""
    return sorted({name for names in report.get("uncounted", {}).values() for name in names})


def _facts(layer: Record | None) -> dict[str, Any]:
    if layer is None:
        return {}
    op = f"{layer['op']} {layer['detail']}".strip()
    costs = {
        "macs": int(layer["macs"]),
        "params": int(layer["params"]),
        "activation": int(layer["activation_bytes"]),
    }
    return {"op": op, **_seen(layer), **costs}


def _seen(layer: Record) -> dict[str, Any]:
    fields = layer["field"]
    return {
        "output": [int(size) for size in layer["output_shape"]],
        "field": [int(axis["size"]) for axis in fields],
        "coverage": [float(axis["coverage"]) for axis in fields],
        "stride": [str(axis["stride_exact"]) for axis in fields],
        "global": list(layer["globals"]),
        "complete": bool(layer["complete"]),
    }
