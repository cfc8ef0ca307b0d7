"""Shapes of the inputs of a network, as plain data."""

from __future__ import annotations

__all__ = ["Shape", "Shapes"]


Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
