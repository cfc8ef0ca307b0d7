"""Findings in words: one line for each kind, with how many layers there are of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atrous.analysis import Finding
from atrous.shown import some

__all__ = ["SEVERITIES", "kinds_found"]

SEVERITIES = {"error": "bold red", "warning": "yellow"}


def kinds_found(findings: Sequence[Finding], *, fixes: bool = True) -> Iterator[tuple[str, str]]:
    """For each kind its severity and a text: what it says of its first layers, and of how many.

    The most serious layers come first. What is only worth knowing goes without its fix.
    """
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.code, []).append(finding)
    for code, found in kinds.items():
        first = found[0]
        alike = [finding.layer for finding in found if finding.message == first.message]
        others = [finding.layer for finding in found if finding.message != first.message]
        count = f" ({len(found)})" if len(found) > 1 else ""
        text = f"{code}{count}, {some(alike, 2)}: {first.message}"
        if fixes and first.severity != "info":
            text += f" {first.fix}"
        if others:
            text += f" Also at {some(others, 2)}."
        yield first.severity, text.strip()
