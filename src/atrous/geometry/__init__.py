"""The algebra of who reads what along one axis. Integers only, standard library only.

May import: `errors` and `shown`.
A new way to read is a class in the union `AxisMap`, its law in its docstring, a test of the law
against brute force in `tests/property`, and a branch wherever `analysis` asks which one it has.
"""

from atrous.geometry.axis import AxisMap, Border, Everything, Local, Prefix, Table, fold_back
from atrous.geometry.boxes import Box, boxes, kept_taps
from atrous.geometry.coverage import (
    HDC,
    fills,
    hdc,
    holes,
    inside_counts,
    inside_share,
    rises_by_kernels,
    stack_taps,
    tail_factors,
)
from atrous.geometry.dense import Dense, Tail, sparse_window
from atrous.geometry.lockstep import Lockstep, follow, unequal
from atrous.geometry.padding import (
    Dialect,
    ahead_within,
    causal,
    pad,
    same_lower,
    same_torch,
    same_upper,
    symmetric,
    torch_pads,
    transposed_pads,
)
from atrous.geometry.phases import Phased, phased
from atrous.geometry.reads import Reads, repeated, union
from atrous.geometry.resample import Coordinates, Interpolation, Rounding, adaptive, resample
from atrous.geometry.sampling import Outside, sampled
from atrous.geometry.taps import Taps
from atrous.geometry.window import Window, Windowed

__all__ = [
    "HDC",
    "AxisMap",
    "Border",
    "Box",
    "Coordinates",
    "Dense",
    "Dialect",
    "Everything",
    "Interpolation",
    "Local",
    "Lockstep",
    "Outside",
    "Phased",
    "Prefix",
    "Reads",
    "Rounding",
    "Table",
    "Tail",
    "Taps",
    "Window",
    "Windowed",
    "adaptive",
    "ahead_within",
    "boxes",
    "causal",
    "fills",
    "fold_back",
    "follow",
    "hdc",
    "holes",
    "inside_counts",
    "inside_share",
    "kept_taps",
    "pad",
    "phased",
    "repeated",
    "resample",
    "rises_by_kernels",
    "same_lower",
    "same_torch",
    "same_upper",
    "sampled",
    "sparse_window",
    "stack_taps",
    "symmetric",
    "tail_factors",
    "torch_pads",
    "transposed_pads",
    "unequal",
    "union",
]
