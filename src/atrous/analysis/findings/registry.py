"""The finders by code: one dict, one decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.record import SEVERITIES, Finding
from atrous.errors import NetworkError

__all__ = ["codes", "finder", "findings_of"]

Finder = Callable[[Evidence], Iterable[Finding]]

FINDERS: dict[str, Finder] = {}


def finder(code: str) -> Callable[[Finder], Finder]:
    """Register the function that looks for `code`. A second one for one code is an error."""

    def register(function: Finder) -> Finder:
        if code in FINDERS:
            raise NetworkError(f"finding {code!r} has a finder already; one code, one finder.")
        FINDERS[code] = function
        return function

    return register


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
