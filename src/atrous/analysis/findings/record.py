"""The record of a finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atrous.errors import clean
from atrous.shown import Plain, Shown

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "info"]
"""`error`: numbers are missing or partial. `warning`: the network loses or distorts something.
`info`: true, often on purpose, worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding(Plain, Shown):
    """Something that needs attention: where, what, and how to mend it.

    >>> import atrous
    >>> found = atrous.inspect("stack:k3d2 k3d2 k3d2", (1, 1, 64)).findings[0]
    >>> found.code, found.severity, found.layer
    ('gridding', 'warning', 'conv3')
    >>> str(found).partition(": ")[0]
    'warning [gridding]'
    """

    code: str
    severity: Severity
    layer: str
    message: str
    fix: str

    def __str__(self) -> str:
        text = f"{self.severity} [{self.code}]: {self.layer}: {self.message} {self.fix}"
        return clean(text.strip())
