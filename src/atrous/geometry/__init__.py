"""The algebra of who reads what along one axis. Integers only, standard library only."""

from atrous.geometry.axis import AxisMap, Border, Everything, Local, Prefix, Table, fold
from atrous.geometry.coverage import HDC, fills, hdc, holes, inside_share, stack_taps, tail_factors
from atrous.geometry.padding import Dialect, causal, pad, same_lower, same_torch, same_upper
from atrous.geometry.reads import Reads, union
from atrous.geometry.resample import Coordinates, Interpolation, Rounding, adaptive, resample
from atrous.geometry.taps import Taps
from atrous.geometry.window import Window

__all__ = [
    "HDC",
    "AxisMap",
    "Border",
    "Coordinates",
    "Dialect",
    "Everything",
    "Interpolation",
    "Local",
    "Prefix",
    "Reads",
    "Rounding",
    "Table",
    "Taps",
    "Window",
    "adaptive",
    "causal",
    "fills",
    "fold",
    "hdc",
    "holes",
    "inside_share",
    "pad",
    "resample",
    "same_lower",
    "same_torch",
    "same_upper",
    "stack_taps",
    "tail_factors",
    "union",
]
