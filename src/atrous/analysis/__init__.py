"""Pure functions from a network to records: what is seen, and what it costs."""

from __future__ import annotations

from atrous.analysis.compare import Comparison, Scheme, compare_networks, usual_stacks
from atrous.analysis.field import Field, Phase
from atrous.analysis.findings import Finding
from atrous.analysis.footprint import Footprint
from atrous.analysis.inspection import Inspection, Layer, inspect_network
from atrous.analysis.memory import Memory

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
