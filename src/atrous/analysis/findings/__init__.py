"""Judgement on a report: what needs attention, where, and how to mend it.

May import: `analysis.field`, `.layer`, `.trace`, `network` and below; not `.inspection`.
A new finding is one function under `@finder` that is given the evidence and yields its findings, in
the file of its kind: windows, sets, joins, future, limits; a row of README names its code.
"""

from __future__ import annotations

# The finders register themselves when they are imported; their order is that of the report.
# isort: off
from atrous.analysis.findings import sets as sets
from atrous.analysis.findings import windows as windows
from atrous.analysis.findings import joins as joins
from atrous.analysis.findings import future as future
from atrous.analysis.findings import limits as limits

# isort: on
from atrous.analysis.findings.record import Finding, Severity
from atrous.analysis.findings.registry import codes, findings_of

__all__ = ["Finding", "Severity", "codes", "findings_of"]
