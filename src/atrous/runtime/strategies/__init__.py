"""Exact ways to compute one convolution of tensors, by name: each says when it applies and why."""

from atrous.runtime.strategies import framework as framework
from atrous.runtime.strategies import phases as phases
from atrous.runtime.strategies import slices as slices
from atrous.runtime.strategies import taps as taps
from atrous.runtime.strategies.layout import is_channels_last, padded, to_channels_last
from atrous.runtime.strategies.phase_run import PhaseRun, from_phases, to_phases
from atrous.runtime.strategies.registry import STRATEGIES, Strategy, named, strategy

__all__ = [
    "STRATEGIES",
    "PhaseRun",
    "Strategy",
    "from_phases",
    "is_channels_last",
    "named",
    "padded",
    "strategy",
    "to_channels_last",
    "to_phases",
]
