"""Pure functions from a network to records: what is seen, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atrous.analysis.compare import Comparison, Scheme, compare_networks, usual_stacks
from atrous.analysis.field import Field, Phase
from atrous.analysis.findings import Finding
from atrous.analysis.inspection import Inspection, Layer, inspect_network
from atrous.analysis.memory import Memory

if TYPE_CHECKING:
    from atrous.analysis.footprint import Footprint as Footprint

__all__ = [
    "Comparison",
    "Field",
    "Finding",
    "Footprint",
    "Inspection",
    "Layer",
    "Memory",
    "Phase",
    "Scheme",
    "compare_networks",
    "inspect_network",
    "usual_stacks",
]


def __getattr__(name: str) -> Any:
    # Footprints are the one analysis that needs numpy, which costs more to import than the rest.
    if name == "Footprint":
        from atrous.analysis.footprint import Footprint

        return Footprint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
