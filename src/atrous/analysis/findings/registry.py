"""The finders by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import SEVERITIES, Finding
from atrous.registry import Registry

__all__ = ["FINDERS", "codes", "finder", "findings_of"]

Finder = Callable[[Evidence], Iterable[Finding]]

FINDERS = Registry[str, Finder]("finder")

finder = FINDERS.under


def codes() -> tuple[str, ...]:
    """The codes that findings have.

    >>> "gridding" in codes()
    True
    """
    return tuple(FINDERS)


def findings_of(evidence: Evidence) -> tuple[Finding, ...]:
    """All findings, the most serious first; one for each code and layer."""
    found: dict[tuple[str, str], Finding] = {}
    for function in FINDERS.values():
        for finding in function(evidence):
            found.setdefault((finding.code, finding.layer), finding)
    return tuple(sorted(found.values(), key=lambda finding: SEVERITIES.index(finding.severity)))
