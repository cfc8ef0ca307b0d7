"""Opening known networks and .onnx files as reports, in a frame below everything else."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import events, run, ui

from atrous.analysis import Inspection
from atrous.errors import AtrousError
from atrous.explore.files import Pages, file_report, known_report
from atrous.explore.guard import MOST_BYTES
from atrous.explore.widgets import PLAIN, alert, first_line, part, say
from atrous.network import zoo

__all__ = ["Opening"]


class Opening:
    """The controls, and the frame, which is built where `build_frame` is called."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._opened: list[str] = []
        with part("Open a network"):
            with ui.row().classes("items-center gap-2 w-full no-wrap"):
                self._known = ui.select(list(zoo.names()), value="resnet50", label="Known network")
                self._known.classes("col")
                ui.button("Open", on_click=self._open_known).props("outline no-caps")
            self._upload = ui.upload(
                label="Drop an .onnx file here; it stays on this machine",
                auto_upload=True,
                max_file_size=MOST_BYTES - (1 << 20),
                on_upload=self._open_file,
                on_rejected=self._refuse,
            )
            self._upload.props('accept=".onnx" flat bordered').classes("w-full")
            # The widget's own button has no name for readers of screens.
            choose = ui.button("Choose an .onnx file")
            choose.on_click(lambda: self._upload.run_method("pickFiles")).props(PLAIN)
            self._problem = alert()

    def build_frame(self) -> None:
        """The part in which a report is shown, hidden until there is one."""
        self._part = part("Opened network")
        with self._part:
            self._frame = ui.html("", sanitize=False).classes("w-full")
        self._part.set_visibility(False)

    def leave(self) -> None:
        """Forgets what was opened."""
        for name in self._opened:
            self._pages.drop(name)
        self._opened.clear()

    async def _open_known(self) -> None:
        name = str(self._known.value)
        await self._open(lambda: known_report(name))

    async def _open_file(self, event: events.UploadEventArguments) -> None:
        content = await event.file.read()
        name = event.file.name
        await self._open(lambda: file_report(name, content))
        self._upload.reset()

    def _refuse(self) -> None:
        say(self._problem, "That is no .onnx file, or too large for this page.")

    async def _open(self, made: Callable[[], Inspection]) -> None:
        say(self._problem)
        try:
            # Beside the loop that serves all visitors.
            name = await run.io_bound(lambda: self._pages.add(made))
        except AtrousError as error:
            say(self._problem, first_line(error))
            return
        except Exception as error:
            # A file may ask for more than there is; the page goes on, and says so.
            say(self._problem, f"This network cannot be shown: {type(error).__name__}.")
            return
        if name is None:  # the server is stopping
            return
        self.leave()
        self._opened.append(name)
        self._frame.set_content(
            '<iframe title="Report of the opened network" sandbox="allow-scripts" '
            f'src="/atrous-report/{name}"></iframe>'
        )
        self._part.set_visibility(True)
        ui.run_javascript(f"document.getElementById('c{self._part.id}').scrollIntoView()")
