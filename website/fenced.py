"""For the reference: examples in docstrings become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Fenced"]

# From a prompt to the next blank line: what the session printed is part of it.
_SESSION = re.compile(r"(?:^|(?<=\n\n))(>>> .*?)(?=\n\n|\Z)", re.DOTALL)


class Fenced(griffe.Extension):
    """Fences every `>>>` session, which Markdown would take for text."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object that is read."""
        if obj.docstring:
            obj.docstring.value = _SESSION.sub(r"```pycon\n\1\n```", obj.docstring.value)
