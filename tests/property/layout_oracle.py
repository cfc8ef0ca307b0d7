"""What each output position of a graph reads, by finite changes; and what a report says of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from atrous import Inspection
from atrous.analysis.paths import footprint_of
from atrous.analysis.unread import read_mask
from atrous.errors import UnsupportedError
from tests.onnx_probe import on_grid

__all__ = ["disagreement"]

Run = Callable[[np.ndarray], np.ndarray]


def disagreement(report: Inspection, run: Run, *, folds: bool, seed: int = 0) -> str:
    """What a report says wrongly of what outputs read, or nothing.

    `run` is the model; `folds` says that what is read outside a border may lie anywhere inside.
    """
    network, output = report.network, report.outputs[0]
    source = network.tensor(report.input)
    tensor = network.tensor(output.tensor)
    spatial = [i for i, dim in enumerate(source.layout) if any(a.axis for a in dim)]
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 1.5, source.shape)
    before = run(base)
    if before.shape != tensor.shape:
        return f"shape {tensor.shape}, the model makes {before.shape}"
    truth = {}
    for position in product(*(range(source.shape[i]) for i in spatial)):
        where: list[object] = [slice(None)] * base.ndim
        for dim, p in zip(spatial, position, strict=True):
            where[dim] = p
        read = np.zeros(before.shape, bool)
        for factor in (1.25, np.nan):
            changed = base.copy()
            changed[tuple(where)] *= factor  # type: ignore[index]
            read |= run(changed) != before
        truth[position] = on_grid(read, tensor.layout)
    grid = tuple(tensor.grid.values())
    axes = list(source.grid)
    union = np.zeros(tuple(source.grid.values()), bool)
    for at in np.ndindex(*grid):
        # Not the report's own, which refuses outputs that only look like a map.
        mask = footprint_of(network, output.tensor, at, report.input).mask
        read = np.zeros_like(mask)
        for position, outputs in truth.items():
            read[position] = outputs[at]
        union |= read
        if (read & ~mask).any():
            return f"output {at} reads {np.argwhere(read & ~mask)[0]}, the footprint does not"
        if (mask & ~read).any() and not output.is_global:
            return f"the footprint of {at} reads {np.argwhere(mask & ~read)[0]}, the model does not"
        wrong = "" if folds else _field(report, read, axes)
        if wrong:
            return f"output {at}: {wrong}"
    try:
        unread = read_mask(network, report.input)
    except UnsupportedError:
        return ""
    if output.is_global:
        return "" if (unread | ~union).all() else "a position that is read counts as not read"
    return "" if (unread == union).all() else "the positions that no output reads are others"


def _field(report: Inspection, read: np.ndarray, axes: list[str]) -> str:
    """What is read must fit in the field along each axis that is not mixed."""
    output = report.outputs[0]
    if not output.complete:
        return ""
    for index, axis in enumerate(axes):
        along = np.flatnonzero(read.any(axis=tuple(i for i in range(read.ndim) if i != index)))
        if axis in output.global_axes or not along.size:
            continue
        field = next((f for f in output.field if f.axis == axis), None)
        size, taps = (0, 0) if field is None else (field.size, field.taps)
        if along[-1] - along[0] + 1 > size or along.size > taps:
            return (
                f"reads {along.size} positions over {along[-1] - along[0] + 1} along {axis}, "
                f"the field is {taps} over {size}"
            )
    return ""
