"""Exact ways to compute one convolution of tensors, by name: each says when it applies and why.

May import: `operators.convolution`, `geometry` and below, PyTorch.
A new strategy is one file with one class under `@strategy`: `applies` is True or a `Refusal`, `run`
computes; its import goes below, and `optimize` tries it with the others.
`tests/property/test_strategy_laws.py` tries every one against the reference.
"""

from atrous.operators.strategies import framework as framework
from atrous.operators.strategies import phases as phases
from atrous.operators.strategies import slices as slices
from atrous.operators.strategies import taps as taps
from atrous.operators.strategies.channels_last import is_channels_last, padded, to_channels_last
from atrous.operators.strategies.phase_run import PhaseRun, from_phases, to_phases
from atrous.operators.strategies.registry import STRATEGIES, ConvStrategy, Strategy, strategy

__all__ = [
    "STRATEGIES",
    "ConvStrategy",
    "PhaseRun",
    "Strategy",
    "from_phases",
    "is_channels_last",
    "padded",
    "strategy",
    "to_channels_last",
    "to_phases",
]
