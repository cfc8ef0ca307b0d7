"""Records as data frames: flat rows, one column for each number of each axis.

Columns are called as in `to_dict`, with the axis behind where there is one number for each
(`field_h`), and the unit behind that where there is one (`field_t_ms`). What is not known is
missing, never 0. pandas and polars are imported when a frame is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

from atrous.analysis import Comparison, Field, Finding, Inspection, Layer
from atrous.analysis.diff import Change, Diff
from atrous.analysis.explained import Explained
from atrous.analysis.scale import Scale
from atrous.analysis.sizes import Sizes
from atrous.analysis.stretches import Boxes, Stretches
from atrous.analysis.trace import Trace
from atrous.certification.certificate import Certificate
from atrous.certification.conversion import Conversion
from atrous.certification.degridded import Degridded
from atrous.errors import MissingDependencyError, unknown
from atrous.optimization.records import Explanation

__all__ = ["FrameColumn", "frame_of", "tables_of"]

Holds = Literal["text", "whole", "number", "flag"]
Row = Mapping[str, Any]
Spec = Mapping[str, Holds]


@dataclass(frozen=True, slots=True)
class FrameColumn:
    """A column: its name, what it holds, and a value for each row, None where there is none."""

    name: str
    holds: Holds
    values: Sequence[Any]


Table = Callable[[], list[FrameColumn]]

_FIELD: Spec = {
    "field": "whole",
    "taps": "whole",
    "stride": "number",
    "stride_exact": "text",
    "start": "whole",
    "center": "number",
    "coverage": "number",
    "max_gap": "whole",
    "step": "whole",
    "back": "whole",
    "ahead": "whole",
}
_LAYER: Spec = {
    "name": "text",
    "op": "text",
    "module": "text",
    "detail": "text",
    "output_shape": "text",
}
_COSTS: Spec = {
    "macs": "whole",
    "params": "whole",
    "activation_bytes": "whole",
    "bytes_moved": "whole",
    "intensity": "number",
}
_MIXED: Spec = {
    "is_global": "flag",
    "globals": "text",
    "complete": "flag",
    "opaque": "text",
}
_PART: Spec = {
    "layer": "text",
    "source": "text",
    "start": "whole",
    "length": "whole",
    "first": "whole",
}
_FINDING: Spec = {
    "code": "text",
    "severity": "text",
    "layer": "text",
    "message": "text",
    "fix": "text",
}
_SCHEME: Spec = {
    "name": "text",
    "source": "text",
    "output_shape": "text",
    "growth": "text",
    "coverage": "number",
    "unread": "number",
    "macs": "whole",
    "params": "whole",
    "peak_memory_bytes": "whole",
    "lower_bounds": "text",
    "is_global": "flag",
    "complete": "flag",
}
_EDIT: Spec = {"layer": "text", "attribute": "text", "before": "text", "after": "text"}
_OUTPUT: Spec = {
    "name": "text",
    "verdict": "text",
    "state": "text",
    "max_error": "number",
    "relative_error": "number",
    "shape_before": "text",
    "shape_after": "text",
    "factor": "text",
    "phase": "text",
    "margin": "text",
    "why": "text",
}
_CHECK: Spec = {
    "output": "text",
    "sizes": "text",
    "weights": "text",
    "proved": "text",
    "measured": "text",
    "max_error": "number",
    "relative_error": "number",
    "agrees": "flag",
    "layer": "text",
    "why": "text",
}
_ADDED: Spec = {
    "name": "text",
    "op": "text",
    "detail": "text",
    "output_shape": "text",
    "macs": "whole",
    "share": "number",
    "params": "whole",
    "activation_bytes": "whole",
    "alive_bytes": "whole",
}
_ADDED_ALONG: Spec = {
    "field_before": "whole",
    "field": "whole",
    "added": "whole",
    "taps": "whole",
    "coverage_before": "number",
    "coverage": "number",
    "max_gap": "whole",
    "holes": "text",
    "grid": "whole",
}
_GRID: Spec = {
    "when": "text",
    "end": "text",
    "axis": "text",
    "size": "whole",
    "taps": "whole",
    "max_gap": "whole",
    "coverage": "number",
    "subgrids": "text",
}
_DELTA: Spec = {"what": "text", "old": "text", "new": "text"}
_CHANGE: Spec = {"layer": "text", "op": "text", "kind": "text", **_DELTA}
_CHOICE: Spec = {
    "layer": "text",
    "op": "text",
    "strategy": "text",
    "ms_before": "number",
    "ms_after": "number",
    "max_difference": "number",
    "why": "text",
}
_ENGINE: Spec = {
    "engine": "text",
    "ms": "number",
    "low": "number",
    "high": "number",
    "difference": "number",
    "why": "text",
}
_LENGTH: Spec = {
    "axes": "text",
    "length": "whole",
    "runs": "flag",
    "lossless": "flag",
    "aligned": "flag",
    "same": "flag",
    "outputs": "text",
    "dropped": "text",
    "shifted": "text",
    "refusal": "text",
}


def frame_of(record: object, library: Literal["pandas", "polars"], table: str = "") -> Any:
    """A table of a record, its first one unless another is named, as a data frame.

    Raises `UnknownNameError` for a table that it does not have, `MissingDependencyError` where
    the library is not installed.
    """
    tables = tables_of(record)
    if table and table not in tables:
        raise unknown(f"table of {type(record).__name__}", table, tables)
    build = _pandas if library == "pandas" else _polars
    return build(tables[table or next(iter(tables))]())


@singledispatch
def tables_of(record: object) -> dict[str, Table]:
    """The tables that a record has, by name, the usual one first."""
    raise TypeError(f"a {type(record).__name__} has no tables.")


@tables_of.register
def _(record: Inspection) -> dict[str, Table]:
    return {
        "layers": lambda: _layers(record, record.layers),
        "outputs": lambda: _layers(record, record.outputs),
        "parts": lambda: _parts(record),
        "findings": lambda: _held(map(_finding, record.findings), _FINDING),
    }


@tables_of.register
def _(record: Comparison) -> dict[str, Table]:
    reports = [(scheme.name, scheme.report) for scheme in record]

    def schemes() -> list[FrameColumn]:
        rows = [
            {
                **{name: getattr(scheme, name, None) for name in _SCHEME},
                "output_shape": _shape(scheme.output_shape),
                "unread": None if scheme.unread is None else float(scheme.unread),
                "lower_bounds": _joined(scheme.uncounted),
                **_by_axis(scheme.field),
            }
            for scheme in record
        ]
        return _held(rows, {**_SCHEME, **_of_axes(scheme.field for scheme in record)})

    def growth() -> list[FrameColumn]:
        rows = [
            {"scheme": scheme.name, "depth": depth, "field": size}
            for scheme in record
            for depth, size in enumerate(scheme.fields, 1)
        ]
        return _held(rows, {"scheme": "text", "depth": "whole", "field": "whole"})

    def findings() -> list[FrameColumn]:
        rows = [{"scheme": name, **_finding(f)} for name, r in reports for f in r.findings]
        return _held(rows, {"scheme": "text", **_FINDING})

    return {"schemes": schemes, "growth": growth, "findings": findings}


@tables_of.register
def _(record: Conversion) -> dict[str, Table]:
    def edits() -> list[FrameColumn]:
        rows = [
            {
                "layer": edit.layer,
                "attribute": edit.attribute,
                "before": _said(edit.before),
                "after": _said(edit.after),
            }
            for edit in record.edits
        ]
        return _held(rows, _EDIT)

    return {
        "edits": edits,
        **tables_of(record.certificate),
        "findings": lambda: _held(map(_finding, record.findings), _FINDING),
    }


@tables_of.register
def _(record: Degridded) -> dict[str, Table]:
    def grids() -> list[FrameColumn]:
        sides = zip(("before", "after"), record.grids, strict=True)
        rows = [
            {
                **{name: getattr(grid, name, when) for name in _GRID},
                "subgrids": _joined(grid.subgrids),
            }
            for when, side in sides
            for grid in side
        ]
        return _held(rows, _GRID)

    edits, *others = tables_of.dispatch(Conversion)(record).items()
    return dict([edits, ("grids", grids), *others])


@tables_of.register
def _(record: Explained) -> dict[str, Table]:
    axes = record.report.network.axes

    def layers() -> list[FrameColumn]:
        rows = []
        for one in record:
            layer = one.layer
            row: dict[str, Any] = {name: getattr(layer, name, None) for name in _ADDED} | {
                "output_shape": _shape(layer.output_shape) if layer.sized else None,
                "macs": None if layer.uncounted else one.macs,
                "share": None if layer.uncounted else one.share,
                "activation_bytes": layer.activation_bytes if layer.sized else None,
                "alive_bytes": one.alive_bytes,
            }
            for along in one.axes:
                values = {
                    "field_before": along.size[0],
                    "field": along.size[1],
                    "added": along.added,
                    "taps": along.taps[1],
                    "coverage_before": along.coverage[0],
                    "coverage": along.coverage[1],
                    "max_gap": along.max_gap[1],
                    "holes": along.holes,
                    "grid": along.grid,
                }
                row |= {f"{name}_{along.axis}": value for name, value in values.items()}
            rows.append(row)
        columns = {f"{n}_{axis}": holds for axis in axes for n, holds in _ADDED_ALONG.items()}
        return _held(rows, {**_ADDED, **columns})

    return {"layers": layers}


@tables_of.register
def _(record: Certificate) -> dict[str, Table]:
    def outputs() -> list[FrameColumn]:
        rows = [
            {
                **out.to_dict(),
                "shape_before": _shape(out.shape_before),
                "shape_after": _shape(out.shape_after),
                "factor": _joined(out.factor),
                "phase": _joined(out.phase),
                "margin": _joined(f"{low}+{high}" for low, high in out.margin),
            }
            for out in record.outputs
        ]
        return _held(rows, _OUTPUT)

    def checks() -> list[FrameColumn]:
        rows = [
            {"output": out.name, **check.to_dict(), "sizes": _shape(check.sizes)}
            for out in record.outputs
            for check in out.checks
        ]
        return _held(rows, _CHECK)

    causes: Spec = {"layer": "text", "why": "text"}
    return {
        "outputs": outputs,
        "checks": checks,
        "causes": lambda: _held((cause.to_dict() for cause in record.causes), causes),
    }


@tables_of.register
def _(record: Diff) -> dict[str, Table]:
    def changes(found: Iterable[Change]) -> list[FrameColumn]:
        rows = [
            {"layer": c.layer, "op": c.op, "kind": c.kind, **_said_of_delta(delta)}
            for c in found
            for delta in c.deltas
        ]
        return _held(rows, _CHANGE)

    return {
        "layers": lambda: changes(record.layers),
        "outputs": lambda: changes(record.outputs),
        "totals": lambda: _held(map(_said_of_delta, record.totals), _DELTA),
    }


@tables_of.register
def _(record: Explanation) -> dict[str, Table]:
    def layers() -> list[FrameColumn]:
        rows = [{**layer.to_dict(), "why": "; ".join(layer.why)} for layer in record.layers]
        return _held(rows, _CHOICE)

    def candidates() -> list[FrameColumn]:
        rows = [
            {"layer": layer.layer, "strategy": strategy, "ms": ms}
            for layer in record.layers
            for strategy, ms in layer.candidates
        ]
        return _held(rows, {"layer": "text", "strategy": "text", "ms": "number"})

    def engines() -> list[FrameColumn]:
        return _held([one.to_dict() for one in record.engines], _ENGINE)

    return {"layers": layers, "candidates": candidates, "engines": engines}


@tables_of.register
def _(record: Sizes) -> dict[str, Table]:
    def lengths() -> list[FrameColumn]:
        scaled = {
            f"length_{axis}_{scale.unit}": (axis, scale) for axis, scale in record.scales.items()
        }
        rows = [
            {
                **{name: getattr(trial, name) for name in _LENGTH if hasattr(trial, name)},
                **{
                    name: float(scale.of(trial.length)) if axis in one.axes else None
                    for name, (axis, scale) in scaled.items()
                },
                "axes": _joined(one.axes),
                "outputs": _joined(trial.outputs),
                "dropped": _joined(trial.dropped),
                "shifted": _joined(trial.shifted),
            }
            for one in dict.fromkeys(record.along)
            for trial in one.trials
        ]
        return _held(rows, {**_LENGTH, **dict.fromkeys(scaled, "number")})

    return {"lengths": lengths}


@tables_of.register
def _(record: Trace) -> dict[str, Table]:
    def layers() -> list[FrameColumn]:
        rows = [{"name": seen.name, **_by_axis(seen.field)} for seen in record]
        return _held(rows, {"name": "text", **_of_axes(seen.field for seen in record)})

    return {"layers": layers}


@tables_of.register
def _(record: Stretches) -> dict[str, Table]:
    return {"outputs": lambda: _boxes((record,))}


@tables_of.register
def _(record: Boxes) -> dict[str, Table]:
    return {"outputs": lambda: _boxes(record.axes)}


def _layers(report: Inspection, layers: Sequence[Layer]) -> list[FrameColumn]:
    axes = report.network.axes
    grids: Spec = {f"output_{axis}": "whole" for axis in axes}
    spec: Spec = {
        **_LAYER,
        **grids,
        **_COSTS,
        **_of_axes((layer.field for layer in layers), report.scales),
        **_MIXED,
    }
    return _held((_layer(layer, report.scales) for layer in layers), spec)


def _layer(layer: Layer, scales: Mapping[str, Scale]) -> Row:
    grid = {} if layer.node is None else layer.node.output.grid
    row: dict[str, Any] = {
        **{name: getattr(layer, name) for name in (*_LAYER, *_COSTS, *_MIXED)},
        "output_shape": _shape(layer.output_shape) if layer.sized else None,
        "globals": _joined(layer.globals),
        "opaque": _joined(layer.opaque),
        **{f"output_{axis}": length for axis, length in grid.items()},
        **_by_axis(layer.field, scales),
    }
    unknown_ones = {
        *(("macs", "intensity") if layer.uncounted else ()),
        *(() if layer.sized else ("activation_bytes", "bytes_moved", "intensity")),
    }
    return {**row, **dict.fromkeys(unknown_ones)}


def _parts(report: Inspection) -> list[FrameColumn]:
    parts = [(layer, part) for layer in report.layers for part in layer.parts]
    rows = [
        {
            "layer": layer.name,
            **{name: getattr(part, name) for name in _PART if name != "layer"},
            **_by_axis(part.field, report.scales),
        }
        for layer, part in parts
    ]
    return _held(rows, {**_PART, **_of_axes((p.field for _, p in parts), report.scales)})


def _boxes(axes: Sequence[Stretches]) -> list[FrameColumn]:
    """A row for each output position, the last axis fastest."""
    import numpy as np

    places = np.indices(tuple(map(len, axes))).reshape(len(axes), -1)
    columns = [
        FrameColumn(f"output_{one.axis}", "whole", place.tolist())
        for one, place in zip(axes, places, strict=True)
    ]
    for one, place in zip(axes, places, strict=True):
        unit = "" if one.scale is None else f"_{one.unit}"
        for name in ("start", "stop", "center"):
            values = getattr(one, name)
            holds: Holds = "whole" if values.dtype.kind == "i" else "number"
            column = FrameColumn(f"{name}_{one.axis}{unit}", holds, values[place].tolist())
            columns.append(column)
    return columns


def _by_axis(fields: Iterable[Field], scales: Mapping[str, Scale] | None = None) -> dict[str, Any]:
    """The numbers of each axis under names of their own."""
    row: dict[str, Any] = {}
    for field in fields:
        values = {name: getattr(field, name, None) for name in _FIELD} | {
            "field": field.size,
            "stride": float(field.stride),
            "stride_exact": str(field.stride),
            "center": float(field.center),
        }
        row |= {f"{name}_{field.axis}": value for name, value in values.items()}
        scale = (scales or {}).get(field.axis)
        if scale is not None:
            scaled = {**field.scaled(scale)}
            del scaled["axis"], scaled["unit"]
            scaled["field"] = scaled.pop("size")
            row |= {f"{name}_{field.axis}_{scale.unit}": v for name, v in scaled.items()}
    return row


def _of_axes(
    fields: Iterable[Sequence[Field]], scales: Mapping[str, Scale] | None = None
) -> dict[str, Holds]:
    """The columns of `_by_axis` for all axes that there are."""
    found: dict[str, Holds] = {}
    axes = dict.fromkeys(field.axis for held in fields for field in held)
    for axis in axes:
        found |= {f"{name}_{axis}": holds for name, holds in _FIELD.items()}
        scale = (scales or {}).get(axis)
        if scale is not None:
            lengths = ("field", "stride", "start", "center", "max_gap", "back", "ahead")
            found |= dict.fromkeys([f"{name}_{axis}_{scale.unit}" for name in lengths], "number")
    return found


def _finding(found: Finding) -> Row:
    return found.to_dict()


def _said_of_delta(delta: Any) -> Row:
    return {"what": delta.what, "old": _said(delta.old), "new": _said(delta.new)}


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _joined(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts))


def _said(value: object) -> str | None:
    """Any value as text: JSON where it is plain data, None where there is none."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str)


def _held(rows: Iterable[Row], spec: Spec) -> list[FrameColumn]:
    held = list(rows)
    return [FrameColumn(name, kind, [row.get(name) for row in held]) for name, kind in spec.items()]


def _pandas(columns: Sequence[FrameColumn]) -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise _missing("pandas") from error
    kinds = {"text": "string", "whole": "Int64", "number": "float64", "flag": "boolean"}
    return pandas.DataFrame(
        {
            one.name: pandas.Series(
                list(one.values), dtype=kinds[one.holds] if _fits(one) else "object"
            )
            for one in columns
        }
    )


def _polars(columns: Sequence[FrameColumn]) -> Any:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise _missing("polars") from error
    kinds = {
        "text": polars.String,
        "whole": polars.Int64,
        "number": polars.Float64,
        "flag": polars.Boolean,
    }
    return polars.DataFrame(
        [
            polars.Series(
                one.name, list(one.values), kinds[one.holds] if _fits(one) else polars.Int128
            )
            for one in columns
        ]
    )


def _fits(column: FrameColumn) -> bool:
    """Whether whole numbers fit in 64 bits; counts of very large inputs may not."""
    if column.holds != "whole":
        return True
    return all(value is None or -(2**63) <= value < 2**63 for value in column.values)


def _missing(library: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"a {library} data frame needs {library}, which is not installed; run "
        f"`pip install {library}`. `to_dict` gives the same as plain data."
    )
