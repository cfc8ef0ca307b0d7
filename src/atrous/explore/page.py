"""The page: controls by NiceGUI, whose widgets and scripts ship in its wheel; one state a visitor.

An edit makes another `Draft`. What cannot be is said beside the control that asked for it, and the
last good picture stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from nicegui import app as nicegui_app
from nicegui import events, ui
from starlette.requests import Request

from atrous.errors import AtrousError
from atrous.explore.below import Code, Findings, Schemes
from atrous.explore.converted import converted
from atrous.explore.draft import KINDS, Draft, shape_of
from atrous.explore.files import Pages
from atrous.explore.opening import Opening
from atrous.explore.presets import PRESETS
from atrous.explore.sliding import sliding
from atrous.explore.tables import footprint_figure, layer_numbers
from atrous.explore.widgets import PLAIN, alert, part, said, say, typed
from atrous.network.stack import parse_stack

__all__ = ["attach"]

_STATIC = "/atrous-static"
_PARTS = (
    ("kind", "Kind"),
    ("kernel", "Kernel"),
    ("stride", "Stride"),
    ("dilation", "Dilation"),
    ("padding", "Padding"),
    ("channels", "Channels"),
)

_ENTRY = "e.target.closest('[data-place]')"
_CLICK = f"(e) => {{ const at = {_ENTRY}; if (at) emit(at.dataset.place); }}"
_DRAG = f"(e) => e.dataTransfer.setData('text/plain', {_ENTRY}?.dataset.place ?? '')"
_OVER = (
    "(e) => { e.preventDefault(); "
    "for (const one of e.currentTarget.children) one.classList.toggle('over', one === e.target); }"
)
_DROP = (
    f"(e) => {{ e.preventDefault(); const at = {_ENTRY}; "
    "if (at) emit([e.dataTransfer.getData('text/plain'), at.dataset.place]); }"
)


def attach(app: FastAPI) -> None:
    """Puts the page and what it needs into `app`."""
    pages = Pages()
    nicegui_app.add_static_files(_STATIC, _folder())

    @app.get("/atrous-report/{name}")
    def report(name: str) -> Response:
        text = pages.get(name)
        if text is None:
            return Response("This report is gone; open the network again.", 404)
        # In a frame of its own, whose scripts reach nothing of the page around it.
        return Response(text, media_type="text/html", headers={"Cache-Control": "no-store"})

    @ui.page("/", title="atrous explore")
    def index(request: Request) -> None:
        Explorer(pages).build(request.url.query)

    ui.run_with(
        app, title="atrous explore", dark=None, language="en-US", show_welcome_message=False
    )


def _folder() -> Path:
    with as_file(files("atrous.explore").joinpath("static")) as folder:
        return Path(folder)


class Explorer:
    """What one visitor sees."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        preset = PRESETS[0]
        self.draft = Draft.of(preset.stack, preset.input)
        self.report = self.draft.report()
        self.beside = preset.beside
        self.place = len(self.draft.layers) - 1
        self.filling = False

    # Building.

    def build(self, query: str) -> None:
        """Lays the page out, with the stack that the URL holds."""
        problem = ""
        if query:
            try:
                self.draft = Draft.from_query(query)
                self.report = self.draft.report()
                self.place = len(self.draft.layers) - 1
                self.beside = ""
            except AtrousError as error:
                problem = f"The link could not be read, so this is the first preset: {error}"
        ui.add_head_html(f'<link rel="stylesheet" href="{_STATIC}/explore.css">')
        ui.add_head_html(f'<script src="{_STATIC}/explore.js"></script>')
        ui.colors(primary="#00589b")
        dark = ui.dark_mode(None)
        with (
            ui.header(fixed=False).style("background:#00406f"),
            ui.row().classes("w-full items-center gap-4"),
        ):
            ui.html("<h1>atrous explore</h1>", sanitize=False)
            ui.space()
            ui.button("Copy link", on_click=self.copy_link).props("flat color=white no-caps")
            ui.button("Theme", on_click=lambda: self.turn_theme(dark)).props(
                "flat color=white no-caps"
            )
        self.home = ui.element("div").classes("explorer")
        with self.home:
            with ui.column().classes("stacked"):
                self.build_presets(problem)
                self.build_stack()
                self.build_layer()
                self.build_convert()
                self.opening = Opening(self.pages)
            with ui.column().classes("stacked"):
                self.findings = Findings(self.take)
                self.build_dots()
                with ui.element("div").classes("pair w-full"):
                    self.build_footprint()
                    self.build_slide()
                self.build_numbers()
                self.schemes = Schemes()
                self.code = Code()
                self.opening.build_frame()
            self.later = ui.timer(0.03, self.show_rest, active=False, immediate=False)
        ui.context.client.on_disconnect(self.opening.leave)
        self.schemes.put_beside(self.beside)
        self.show()
        if self.beside:
            self.filling = True
            self.preset.set_value(0)
            self.lesson.set_text(PRESETS[0].lesson)
            self.filling = False

    def build_presets(self, problem: str) -> None:
        with part("Presets"):
            titles = {place: preset.title for place, preset in enumerate(PRESETS)}
            self.preset = ui.select(titles, label="Preset", on_change=self.take_preset).classes(
                "w-full"
            )
            self.lesson = ui.label("").classes("note")
            self.link_problem = alert(problem)

    def build_stack(self) -> None:
        with part("Stack"):
            self.stack = typed("Stack", self.take_stack, self.is_filling)
            self.shape = typed("Input: batch, channels, sizes", self.take_shape, self.is_filling)
            ui.label("Layers: choose one to edit it, drag to move it.").classes("note")
            # One element for all layers: hundreds of widgets would slow every edit.
            self.list = ui.html("", sanitize=False).classes("layers")
            self.list.props('role=group aria-label="Layers"')
            self.list.on("click", self.chosen, js_handler=_CLICK)
            self.list.on("dragstart", js_handler=_DRAG)
            self.list.on("dragover", js_handler=_OVER)
            self.list.on("drop", self.dropped, js_handler=_DROP)

    def build_layer(self) -> None:
        with part("Layer"):
            self.layer_name = ui.label("").classes("text-weight-bold")
            self.parts: dict[str, Any] = {}
            with ui.element("div").classes("fields"):
                for name, label in _PARTS:
                    if name == "kind":
                        self.parts[name] = ui.select(
                            KINDS, label=label, on_change=lambda e: self.take_part("kind", e.value)
                        )
                    else:
                        self.parts[name] = typed(label, self._part_taker(name), self.is_filling)
            ui.label(
                "Padding: same, valid, causal, or lo,hi. Several axes: 1,7. "
                "Channels left empty are the input's."
            ).classes("note")
            with ui.row().classes("gap-1"):
                for text, action in (
                    ("Add after", self.add),
                    ("Remove", self.remove),
                    ("Up", lambda: self.move(self.place, self.place - 1)),
                    ("Down", lambda: self.move(self.place, self.place + 1)),
                ):
                    ui.button(text, on_click=action).props(PLAIN)
            self.layer_problem = alert()

    def build_convert(self) -> None:
        with part("Convert"):
            with ui.row().classes("items-center gap-2"):
                self.output_stride = ui.select(
                    [1, 2, 4, 8, 16, 32], value=8, label="Output stride"
                ).style("min-width:8rem")
                ui.button("Convert", on_click=self.convert).props("outline no-caps")
            self.convert_text = ui.label("").classes("note").props("aria-live=polite")
            self.convert_problem = alert()

    def build_dots(self) -> None:
        with part("Reads"):
            ui.label(
                "Point at a dot: below it is what it reads, above it what reads it. The input is "
                "at the bottom."
            ).classes("note")
            ui.element("div").props('id=dots tabindex=0 role=region aria-label="Picture of reads"')
            with ui.row().classes("gap-1"):
                for text, call in (
                    ("Left", "step(-1)"),
                    ("Right", "step(1)"),
                    ("Layer up", "climb(1)"),
                    ("Layer down", "climb(-1)"),
                ):
                    ui.button(text).props(PLAIN).on("click", js_handler=f"() => atrous.{call}")
            ui.html('<p id="dots-text" aria-live="polite"></p>', sanitize=False)
            self.dots_note = ui.label("").classes("note")
            self.dots_problem = alert()

    def build_footprint(self) -> None:
        with part("Footprint"):
            self.footprint_layer = ui.label("").classes("note")
            self.footprint = ui.html("", sanitize=False).classes("footprint w-full")
            self.footprint_text = ui.label("").classes("note")

    def build_slide(self) -> None:
        with part("Sliding kernel"):
            ui.element("div").props("id=slide").classes("w-full")
            with ui.row().classes("gap-1"):
                for text, call in (
                    ("Play", "play(true)"),
                    ("Pause", "play(false)"),
                    ("Back", "turn(-1)"),
                    ("Step", "turn(1)"),
                ):
                    ui.button(text).props(PLAIN).on("click", js_handler=f"() => atrous.{call}")
            ui.html('<p id="slide-text" class="note"></p>', sanitize=False)
            self.slide_problem = alert()

    def build_numbers(self) -> None:
        with part("Numbers"):
            self.numbers = ui.html("", sanitize=False).classes("scroll tall")
            self.numbers.props('tabindex=0 role=region aria-label="Numbers of each layer"')

    # Edits.

    def is_filling(self) -> bool:
        """True while fields are set by the page and not by its visitor."""
        return self.filling

    def take(self, draft: Draft, place: int | None = None) -> None:
        """Shows another draft."""
        report = draft.report()
        self.draft, self.report = draft, report
        # What was said of the stack before this one is said no more.
        for problem in (self.layer_problem, self.convert_problem, self.link_problem):
            say(problem)
        self.convert_text.set_text("")
        preset = None if self.preset.value is None else PRESETS[self.preset.value]
        if preset and Draft.of(preset.stack, preset.input) != draft:
            self.filling = True
            self.preset.set_value(None)
            self.lesson.set_text("")
            self.filling = False
        if place is not None:
            self.place = place
        self.place = min(self.place, len(draft.layers) - 1)
        self.show()

    def take_preset(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if self.filling or event.value is None:
            return
        preset = PRESETS[event.value]
        self.schemes.put_beside(preset.beside)
        say(self.link_problem)
        if preset.output_stride:
            self.output_stride.set_value(preset.output_stride)
        draft = Draft.of(preset.stack, preset.input)
        self.take(draft, len(draft.layers) - 1)
        self.lesson.set_text(preset.lesson)

    def take_stack(self, text: str) -> None:
        self.take(Draft.of(text, self.draft.shape))

    def take_shape(self, text: str) -> None:
        self.take(Draft.of(self.draft.text, shape_of(text)))

    def _part_taker(self, part: str) -> Callable[[str], None]:
        return lambda text: self.take(self.draft.with_text(self.place, part, text))

    def take_part(self, part: str, value: Any) -> None:
        if not self.filling and value is not None:
            with said(self.layer_problem):
                self.take(self.draft.with_text(self.place, part, str(value)))

    def add(self) -> None:
        with said(self.layer_problem):
            self.take(self.draft.added(self.place), self.place + 1)

    def remove(self) -> None:
        with said(self.layer_problem):
            self.take(self.draft.removed(self.place))

    def move(self, place: int, to: int) -> None:
        if 0 <= to < len(self.draft.layers):
            with said(self.layer_problem):
                self.take(self.draft.moved(place, to), to)

    def choose(self, place: int) -> None:
        self.place = place
        self.show(only_layer=True)

    def convert(self) -> None:
        self.convert_text.set_text("")
        with said(self.convert_problem):
            before = self.draft.text
            made, verdict = converted(self.draft, int(self.output_stride.value))
            self.schemes.put_beside(before)
            self.take(made)
            self.convert_text.set_text(f"{verdict}: the old stack is beside it under Compare.")

    def copy_link(self) -> None:
        ui.run_javascript("navigator.clipboard?.writeText(location.href)")
        ui.notify("The link holds this stack.")

    def turn_theme(self, dark: ui.dark_mode) -> None:
        async def turn() -> None:
            now = await ui.run_javascript("document.body.classList.contains('body--dark')")
            dark.set_value(not now)

        ui.timer(0, turn, once=True)

    # Showing.

    def show(self, *, only_layer: bool = False) -> None:
        """Brings all that is shown up to date."""
        # In the page itself: the button that asked may be gone before all is shown.
        with self.home:
            self.filling = True
            try:
                self.fill()
            finally:
                self.filling = False
            self.show_layer()
            if not only_layer:
                self.show_stack()
                # The pictures go out before what takes longer and is read later.
                self.later.activate()

    def show_layer(self) -> None:
        with said(self.slide_problem):
            ui.run_javascript(f"atrous.slide({json.dumps(sliding(self.draft, self.place))})")
        drawn, text = footprint_figure(self.report, self.draft.layers[self.place].name)
        self.footprint.set_content(drawn)
        self.footprint_text.set_text(text)

    def show_stack(self) -> None:
        with said(self.dots_problem):
            dots = self.draft.dots()
            ui.run_javascript(f"atrous.dots({json.dumps(dots.to_dict())})")
            drawn, whole = dots.rows[0].length, self.draft.shape[-1]
            less = f"Drawn on an input of {drawn} of the {whole} positions along {dots.axis}."
            self.dots_note.set_text(less if drawn < whole else "")
        self.numbers.set_content(layer_numbers(self.report))
        self.findings.total(self.report)
        ui.navigate.history.replace(f"/?{self.draft.query}")

    def show_rest(self) -> None:
        """What an edit changes beside the pictures; the last of quick edits counts."""
        self.later.deactivate()
        with self.home:
            self.findings.show(self.draft, self.report)
            self.schemes.show(self.draft)
            self.code.show(self.draft)

    def fill(self) -> None:
        layer = self.draft.layers[self.place]
        for field, text in ((self.stack, self.draft.text), (self.shape, self.draft.shape_text)):
            # What is being typed is not rewritten while it means the same.
            if field.value != text and not _means(str(field.value), text):
                field.set_value(text)
            field.error = None
        values = {
            "kernel": layer.kernel,
            "stride": layer.stride,
            "dilation": layer.dilation,
            "padding": _ends(layer.padding),
            "channels": () if layer.channels is None else (layer.channels,),
        }
        for name, value in values.items():
            text = ",".join(map(str, value))
            if (self.parts[name].value or "").replace(" ", "") != text:
                self.parts[name].set_value(text)
            self.parts[name].error = None
        self.parts["kind"].set_value(layer.kind)
        for name in ("kernel", "dilation", "padding"):
            self.parts[name].set_enabled(layer.kind != "up")
        self.parts["channels"].set_enabled(layer.kind not in ("max", "avg", "up"))
        self.layer_name.set_text(layer.name)
        self.fill_list()

    def fill_list(self) -> None:
        entries = "".join(
            f'<button type="button" draggable="true" data-place="{place}" '
            f'aria-pressed="{str(place == self.place).lower()}">{escape(one.name)}: {one}</button>'
            for place, one in enumerate(self.draft.layers)
        )
        if self.list.content != entries:
            self.list.set_content(entries)

    def chosen(self, event: events.GenericEventArguments) -> None:
        place = self._place(event.args)
        if place is not None:
            self.choose(place)
            # The list is written anew; who came by keyboard stays where they were.
            with self.home:
                ui.run_javascript(f"document.querySelector('[data-place=\"{place}\"]')?.focus()")

    def dropped(self, event: events.GenericEventArguments) -> None:
        given = event.args if isinstance(event.args, list) else []
        places = [place for one in given if (place := self._place(one)) is not None]
        if len(places) == 2:
            self.move(*places)

    def _place(self, given: Any) -> int | None:
        """A layer's place from a message, which anybody may have made up."""
        text = str(given)
        known = text.isascii() and text.isdigit() and len(text) < 6
        return int(text) if known and int(text) < len(self.draft.layers) else None


def _ends(padding: str | tuple[int, int]) -> tuple[object, ...]:
    """Padding as it is typed: a word, one number for both ends, or two."""
    if isinstance(padding, str):
        return (padding,)
    return padding if padding[0] != padding[1] else padding[:1]


def _means(typed: str, text: str) -> bool:
    """Whether what was typed is the same stack or shape, written in another way."""
    try:
        return " ".join(map(str, parse_stack(typed))) == text
    except AtrousError:
        return typed.replace(" ", "") == text
