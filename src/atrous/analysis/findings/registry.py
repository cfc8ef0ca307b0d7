"""The finders by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import SEVERITIES, Finding
from atrous.plugins import extensions, guarded
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
    extensions("atrous.findings")
    return tuple(FINDERS)


def findings_of(evidence: Evidence) -> tuple[Finding, ...]:
    """All findings, the most serious first; one for each code and layer."""
    found: dict[tuple[str, str], Finding] = {}
    extensions("atrous.findings")
    for code, function in FINDERS.items():
        made: Iterable[Finding] = ()
        if function.__module__.startswith("atrous."):
            made = function(evidence)
        else:
            with guarded(function.__module__, f"its finding {code!r}"):
                made = tuple(function(evidence))
        for finding in made:
            found.setdefault((finding.code, finding.layer), finding)
    return tuple(sorted(found.values(), key=lambda finding: SEVERITIES.index(finding.severity)))
