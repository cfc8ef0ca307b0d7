"""Why a thing is not done: a value, which says so, or the error that carries it."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.errors import AtrousError, clean
from atrous.shown import Shown

__all__ = ["ConversionError", "Refusal"]


class ConversionError(AtrousError, ValueError):
    """A conversion that would not compute the same; `refusal` says which rule and layer.

    >>> isinstance(ConversionError("up1: upsamples a map that has changed."), ValueError)
    True
    """

    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Refusal(Shown):
    """Why a rule made no edit: falsy, with the rule's name, the layer, and the reason with its fix.

    >>> bool(Refusal("join", "cat", "its inputs differ in size."))
    False
    """

    rule: str
    layer: str
    reason: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return clean(f"{self.layer}: {self.reason}" if self.layer else self.reason)

    def error(self) -> ConversionError:
        """The refusal as the error that a public function raises."""
        error = ConversionError(self.reason)
        error.subject = self.layer or None
        error.refusal = self
        return error
