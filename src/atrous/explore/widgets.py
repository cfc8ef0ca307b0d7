"""The few things that the page is made of, over and over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import ui

from atrous.errors import AtrousError

__all__ = ["PLAIN", "alert", "first_line", "part", "said", "say", "typed"]

PLAIN = "outline dense no-caps padding='2px 10px'"
"""How small buttons look."""


def part(title: str) -> Any:
    """A part of the page with its heading."""
    home = ui.element("section").classes("part")
    with home:
        ui.html(f"<h2>{title}</h2>", sanitize=False)
    return home


def typed(label: str, take: Callable[[str], None], unless: Callable[[], bool]) -> ui.input:
    """A field; what is wrong with its text is said below it. Nothing is taken while `unless`."""

    def wrong(value: Any) -> str | None:
        if unless():
            return None
        try:
            take(str(value or ""))
        except AtrousError as error:
            return first_line(error)
        return None

    return ui.input(label, validation=wrong).classes("w-full")


def alert(text: str = "") -> ui.label:
    """A place for what went wrong."""
    made = ui.label(text).classes("problem").props("role=alert")
    made.set_visibility(bool(text))
    return made


def say(place: ui.label, text: str = "") -> None:
    """Says it there, or nothing any more."""
    place.set_text(text)
    place.set_visibility(bool(text))


@contextmanager
def said(place: ui.label) -> Iterator[None]:
    """What goes wrong inside is said there."""
    try:
        yield
    except AtrousError as error:
        say(place, first_line(error))
    else:
        say(place)


def first_line(error: AtrousError) -> str:
    """Where a message also draws the place, its first line says it in words."""
    return str(error).splitlines()[0]
