"""The page: controls by NiceGUI, whose widgets and scripts ship in its wheel; one state a visitor.

An edit makes another `Draft`. What cannot be is said beside the control that asked for it, and the
last good picture stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from nicegui import app as nicegui_app
from nicegui import events, run, ui
from starlette.requests import Request

from atrous.analysis import compare_networks, usual_stacks
from atrous.errors import AtrousError
from atrous.explore.code import CODES
from atrous.explore.converted import converted
from atrous.explore.draft import KINDS, Draft, shape_of
from atrous.explore.files import Pages, file_report, known_report
from atrous.explore.fixes import fix_for
from atrous.explore.guard import MOST_BYTES
from atrous.explore.presets import PRESETS
from atrous.explore.shown import comparison_table, footprint_figure, layer_numbers, totals
from atrous.explore.sliding import sliding
from atrous.network import zoo
from atrous.network.stack import parse_stack, stack_network

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
_PLAIN = "outline dense no-caps padding='2px 10px'"


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
        self.opened: list[str] = []
        self.open_problem: ui.label

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
                self.build_open()
            with ui.column().classes("stacked"):
                self.build_findings()
                self.build_dots()
                with ui.element("div").classes("pair w-full"):
                    self.build_footprint()
                    self.build_slide()
                self.build_numbers()
                self.build_compare()
                self.build_code()
                self.build_opened()
            self.later = ui.timer(0.03, self.show_rest, active=False, immediate=False)
        ui.context.client.on_disconnect(self.leave)
        self.show()
        if self.beside:
            self.filling = True
            self.preset.set_value(0)
            self.lesson.set_text(PRESETS[0].lesson)
            self.filling = False

    def part(self, title: str) -> Any:
        """A part of the page with its heading."""
        home = ui.element("section").classes("part")
        with home:
            ui.html(f"<h2>{title}</h2>", sanitize=False)
        return home

    def build_presets(self, problem: str) -> None:
        with self.part("Presets"):
            titles = {place: preset.title for place, preset in enumerate(PRESETS)}
            self.preset = ui.select(titles, label="Preset", on_change=self.take_preset).classes(
                "w-full"
            )
            self.lesson = ui.label("").classes("note")
            self.link_problem = self.alert(problem)

    def build_stack(self) -> None:
        with self.part("Stack"):
            self.stack = self.typed("Stack", self.take_stack)
            self.shape = self.typed("Input: batch, channels, sizes", self.take_shape)
            ui.label("Layers: choose one to edit it, drag to move it.").classes("note")
            # One element for all layers: hundreds of widgets would slow every edit.
            self.list = ui.html("", sanitize=False).classes("layers")
            self.list.props('role=group aria-label="Layers"')
            self.list.on("click", self.chosen, js_handler=_CLICK)
            self.list.on("dragstart", js_handler=_DRAG)
            self.list.on("dragover", js_handler=_OVER)
            self.list.on("drop", self.dropped, js_handler=_DROP)

    def build_layer(self) -> None:
        with self.part("Layer"):
            self.layer_name = ui.label("").classes("text-weight-bold")
            self.parts: dict[str, Any] = {}
            with ui.element("div").classes("fields"):
                for name, label in _PARTS:
                    if name == "kind":
                        self.parts[name] = ui.select(
                            KINDS, label=label, on_change=lambda e: self.take_part("kind", e.value)
                        )
                    else:
                        self.parts[name] = self.typed(label, self._part_taker(name))
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
                    ui.button(text, on_click=action).props(_PLAIN)
            self.layer_problem = self.alert()

    def build_convert(self) -> None:
        with self.part("Convert"):
            with ui.row().classes("items-center gap-2"):
                self.output_stride = ui.select(
                    [1, 2, 4, 8, 16, 32], value=8, label="Output stride"
                ).style("min-width:8rem")
                ui.button("Convert", on_click=self.convert).props("outline no-caps")
            self.convert_text = ui.label("").classes("note").props("aria-live=polite")
            self.convert_problem = self.alert()

    def build_open(self) -> None:
        with self.part("Open a network"):
            names = list(zoo.names())
            with ui.row().classes("items-center gap-2 w-full no-wrap"):
                self.known = ui.select(names, value="resnet50", label="Known network").classes(
                    "col"
                )
                ui.button("Open", on_click=self.open_known).props("outline no-caps")
            self.upload = ui.upload(
                label="Drop an .onnx file here; it stays on this machine",
                auto_upload=True,
                max_file_size=MOST_BYTES - (1 << 20),
                on_upload=self.open_file,
                on_rejected=self.refuse_file,
            )
            self.upload.props('accept=".onnx" flat bordered').classes("w-full")
            # The widget's own button has no name for readers of screens.
            ui.button(
                "Choose an .onnx file", on_click=lambda: self.upload.run_method("pickFiles")
            ).props(_PLAIN)
            self.open_problem = self.alert()

    def build_findings(self) -> None:
        with self.part("Findings"):
            self.findings = ui.column().classes("gap-2 w-full").props("aria-live=polite")
            self.totals = ui.label("").classes("note")

    def build_dots(self) -> None:
        with self.part("Reads"):
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
                    ui.button(text).props(_PLAIN).on("click", js_handler=f"() => atrous.{call}")
            ui.html('<p id="dots-text" aria-live="polite"></p>', sanitize=False)
            self.dots_problem = self.alert()

    def build_footprint(self) -> None:
        with self.part("Footprint"):
            self.footprint_layer = ui.label("").classes("note")
            self.footprint = ui.html("", sanitize=False).classes("footprint w-full")
            self.footprint_text = ui.label("").classes("note")

    def build_slide(self) -> None:
        with self.part("Sliding kernel"):
            ui.element("div").props("id=slide").classes("w-full")
            with ui.row().classes("gap-1"):
                for text, call in (
                    ("Play", "play(true)"),
                    ("Pause", "play(false)"),
                    ("Back", "turn(-1)"),
                    ("Step", "turn(1)"),
                ):
                    ui.button(text).props(_PLAIN).on("click", js_handler=f"() => atrous.{call}")
            ui.html('<p id="slide-text" class="note"></p>', sanitize=False)
            self.slide_problem = self.alert()

    def build_numbers(self) -> None:
        with self.part("Numbers"):
            self.numbers = ui.html("", sanitize=False).classes("scroll tall")
            self.numbers.props('tabindex=0 role=region aria-label="Numbers of each layer"')

    def build_compare(self) -> None:
        with self.part("Compare"):
            self.beside_input = self.typed("Beside: another stack, or nothing", self.take_beside)
            self.comparison = ui.html("", sanitize=False).classes("scroll")
            self.comparison.props('tabindex=0 role=region aria-label="Schemes side by side"')

    def build_code(self) -> None:
        with self.part("Code"):
            self.language = ui.radio(list(CODES), value="PyTorch", on_change=self.show_code)
            self.language.props("inline")
            self.code = ui.html("", sanitize=False).classes("w-full")
            self.code_problem = self.alert()

    def build_opened(self) -> None:
        self.opened_part = self.part("Opened network")
        with self.opened_part:
            self.frame = ui.html("", sanitize=False).classes("w-full")
        self.opened_part.set_visibility(False)

    def typed(self, label: str, take: Callable[[str], None]) -> ui.input:
        """A field; what is wrong with its text is said below it."""

        def wrong(value: Any) -> str | None:
            if self.filling:
                return None
            try:
                take(str(value or ""))
            except AtrousError as error:
                return _first_line(error)
            return None

        return ui.input(label, validation=wrong).classes("w-full")

    def alert(self, text: str = "") -> ui.label:
        """A place for what went wrong."""
        made = ui.label(text).classes("problem").props("role=alert")
        made.set_visibility(bool(text))
        return made

    # Saying what is wrong.

    def say(self, place: ui.label, text: str = "") -> None:
        place.set_text(text)
        place.set_visibility(bool(text))

    @contextmanager
    def said(self, place: ui.label) -> Iterator[None]:
        try:
            yield
        except AtrousError as error:
            self.say(place, _first_line(error))
        else:
            self.say(place)

    # Edits.

    def take(self, draft: Draft, place: int | None = None) -> None:
        """Shows another draft."""
        report = draft.report()
        self.draft, self.report = draft, report
        if place is not None:
            self.place = place
        self.place = min(self.place, len(draft.layers) - 1)
        self.show()

    def take_preset(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if self.filling or event.value is None:
            return
        preset = PRESETS[event.value]
        self.beside = preset.beside
        self.say(self.link_problem)
        if preset.output_stride:
            self.output_stride.set_value(preset.output_stride)
        draft = Draft.of(preset.stack, preset.input)
        self.take(draft, len(draft.layers) - 1)
        self.lesson.set_text(preset.lesson)

    def take_stack(self, text: str) -> None:
        self.take(Draft.of(text, self.draft.shape))

    def take_shape(self, text: str) -> None:
        self.take(Draft.of(self.draft.text, shape_of(text)))

    def take_beside(self, text: str) -> None:
        if text.strip():
            stack_network(text, self.draft.shape)
        self.beside = text
        self.show_comparison()

    def _part_taker(self, part: str) -> Callable[[str], None]:
        return lambda text: self.take(self.draft.with_text(self.place, part, text))

    def take_part(self, part: str, value: Any) -> None:
        if not self.filling and value is not None:
            with self.said(self.layer_problem):
                self.take(self.draft.with_text(self.place, part, str(value)))

    def add(self) -> None:
        with self.said(self.layer_problem):
            self.take(self.draft.added(self.place), self.place + 1)

    def remove(self) -> None:
        with self.said(self.layer_problem):
            self.take(self.draft.removed(self.place))

    def move(self, place: int, to: int) -> None:
        if 0 <= to < len(self.draft.layers):
            with self.said(self.layer_problem):
                self.take(self.draft.moved(place, to), to)

    def choose(self, place: int) -> None:
        self.place = place
        self.show(only_layer=True)

    def convert(self) -> None:
        self.convert_text.set_text("")
        with self.said(self.convert_problem):
            before = self.draft.text
            made, verdict = converted(self.draft, int(self.output_stride.value))
            self.beside = before
            self.take(made)
            self.convert_text.set_text(f"{verdict}: the old stack is beside it under Compare.")

    # Opening.

    async def open_known(self) -> None:
        name = str(self.known.value)
        await self.open(lambda: known_report(name))

    async def open_file(self, event: events.UploadEventArguments) -> None:
        content = await event.file.read()
        name = event.file.name
        await self.open(lambda: file_report(name, content))
        self.upload.reset()

    def refuse_file(self) -> None:
        self.say(self.open_problem, "That is no .onnx file, or too large for this page.")

    async def open(self, made: Callable[[], Any]) -> None:
        self.say(self.open_problem)
        try:
            name = await run.io_bound(lambda: self.pages.add(made()))
        except AtrousError as error:
            self.say(self.open_problem, _first_line(error))
            return
        if name is None:  # the server is stopping
            return
        self.leave()
        self.opened.append(name)
        self.frame.set_content(
            '<iframe title="Report of the opened network" sandbox="allow-scripts" '
            f'src="/atrous-report/{name}"></iframe>'
        )
        self.opened_part.set_visibility(True)
        ui.run_javascript(f"document.getElementById('c{self.opened_part.id}').scrollIntoView()")

    def leave(self) -> None:
        for name in self.opened:
            self.pages.drop(name)
        self.opened.clear()

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
        with self.said(self.slide_problem):
            ui.run_javascript(f"atrous.slide({json.dumps(sliding(self.draft, self.place))})")
        drawn, text = footprint_figure(self.report, self.draft.layers[self.place].name)
        self.footprint.set_content(drawn)
        self.footprint_text.set_text(text)

    def show_stack(self) -> None:
        with self.said(self.dots_problem):
            ui.run_javascript(f"atrous.dots({json.dumps(self.draft.dots().to_dict())})")
        self.numbers.set_content(layer_numbers(self.report))
        self.totals.set_text(totals(self.report))
        ui.navigate.history.replace(f"/?{self.draft.query}")

    def show_rest(self) -> None:
        """What an edit changes beside the pictures; the last of quick edits counts."""
        self.later.deactivate()
        with self.home:
            self.show_findings()
            self.show_comparison()
            self.show_code()

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
            "padding": layer.padding if isinstance(layer.padding, tuple) else (layer.padding,),
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
        if self.beside_input.value != self.beside:
            self.beside_input.set_value(self.beside)

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

    def show_findings(self) -> None:
        self.findings.clear()
        with self.findings:
            if not self.report.findings:
                ui.label("Nothing needs attention.")
            for finding in self.report.findings[:8]:
                with ui.column().classes(f"finding {finding.severity} gap-1 w-full"):
                    ui.label(f"{finding.severity}: {finding.code}, {finding.layer}").classes(
                        "text-weight-bold"
                    )
                    ui.label(finding.message)
                    ui.label(finding.fix).classes("note")
                    fix = fix_for(self.draft, finding) if len(self.draft.layers) <= 40 else None
                    if fix is not None:
                        ui.button(
                            f"Apply: {fix.what}", on_click=lambda draft=fix.draft: self.take(draft)
                        ).props(_PLAIN)

    def show_comparison(self) -> None:
        draft = self.draft
        texts = {"this stack": draft.text}
        if self.beside.strip():
            texts["beside"] = self.beside
        depth = min(len(draft.layers), 6)
        kernel = max(draft.layers[0].kernel[0], 2)
        texts |= usual_stacks(kernel, depth, draft.shape[1])
        networks, sources = {}, {}
        for name, text in texts.items():
            try:
                networks[name] = stack_network(text, draft.shape)
                sources[name] = text if len(text) < 60 else f"{text[:57]}..."
            except AtrousError:
                # One that does not fit this input has no row.
                continue
        self.comparison.set_content(comparison_table(compare_networks(networks, sources)))

    def show_code(self) -> None:
        self.code.set_content("")
        with self.said(self.code_problem):
            _, written = CODES[str(self.language.value)]
            text = escape(written(self.draft))
            self.code.set_content(
                f'<pre class="code" tabindex="0" role="region" aria-label="Code">{text}</pre>'
            )


def _first_line(error: AtrousError) -> str:
    """Where a message also draws the place, its first line says it in words."""
    return str(error).splitlines()[0]


def _means(typed: str, text: str) -> bool:
    """Whether what was typed is the same stack or shape, written in another way."""
    try:
        return " ".join(map(str, parse_stack(typed))) == text
    except AtrousError:
        return typed.replace(" ", "") == text
