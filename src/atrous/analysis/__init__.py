"""Networks into records: what each layer sees, what it costs, what needs attention.

Pure functions; numpy is loaded by the files that need it, a framework by none.
May import: `network`, `geometry` and below.
A new question is one file with its frozen record and the function that answers it; the record's
view goes into `report/`, its verb into `verbs/`. A new finding goes into `findings/`.
"""

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
