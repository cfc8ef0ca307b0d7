"""The addresses of the page, answered in threads beside the loop that listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from atrous.analysis import Inspection
from atrous.draw.style import style_sheet
from atrous.errors import AtrousError
from atrous.explore.answers import beginning, edited, first_line, followed, improved
from atrous.explore.draft import shape_of
from atrous.explore.files import Pages, file_report, known_report, stack_report

__all__ = ["made_app"]

MOST_TEXT = 1 << 20
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FRESH = {"Cache-Control": "no-cache"}


def made_app() -> Starlette:
    """The page and what it asks for."""
    site = _Site()
    return Starlette(
        routes=[
            Route("/", site.page),
            Route("/alive", site.alive),
            Route("/edit", site.edit, methods=["POST"]),
            Route("/rest", site.rest, methods=["POST"]),
            Route("/better", site.better, methods=["POST"]),
            Route("/open", site.open, methods=["POST"]),
            Route("/file", site.file, methods=["POST"]),
            Route("/atrous-report/{name}", site.report),
            Route("/atrous-static/style.css", site.style),
            Mount("/atrous-static", StaticFiles(directory=_folder())),
        ],
        exception_handlers={404: _nothing_here},
    )


def _folder() -> Path:
    with as_file(files("atrous.explore").joinpath("static")) as folder:
        return Path(folder)


async def _nothing_here(request: Request, _: Exception) -> Response:
    return PlainTextResponse(
        f"atrous explore has nothing at this address; its page is {request.base_url}.", 404
    )


class _Site:
    """All that visitors share: opened reports, and how many edits there were."""

    def __init__(self) -> None:
        self.pages = Pages()
        self.edits = 0
        self.html = (_folder() / "page.html").read_text(encoding="utf-8")

    async def page(self, request: Request) -> Response:
        first = await run_in_threadpool(beginning, request.url.query)
        # In a block of data, where only `<` could end it.
        data = json.dumps(first, separators=(",", ":")).replace("<", "\\u003c")
        return HTMLResponse(
            self.html.replace("{first}", data, 1),
            headers=_FRESH | {"Content-Security-Policy": _POLICY},
        )

    async def alive(self, _: Request) -> Response:
        return Response(status_code=204)

    async def style(self, _: Request) -> Response:
        return Response(style_sheet(), media_type="text/css", headers=_FRESH)

    async def edit(self, request: Request) -> Response:
        # Searches for fixes that are under way make room.
        self.edits += 1
        return await _answered(request, edited)

    async def rest(self, request: Request) -> Response:
        edits = self.edits
        return await _answered(request, lambda asked: followed(asked, lambda: self.edits != edits))

    async def better(self, request: Request) -> Response:
        return await _answered(request, improved)

    async def open(self, request: Request) -> Response:
        def opened(asked: dict[str, Any]) -> dict[str, Any]:
            self.pages.drop(str(asked.get("leave", "")))
            if asked.get("stack"):
                shape = str(asked.get("input", ""))
                return self._shown(lambda: stack_report(str(asked["stack"]), shape_of(shape)))
            return self._shown(lambda: known_report(str(asked.get("name", ""))))

        return await _answered(request, opened)

    async def file(self, request: Request) -> Response:
        name = unquote(request.headers.get("x-file-name", ""))
        try:
            content = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        self.pages.drop(request.headers.get("x-leave", ""))
        found = await run_in_threadpool(self._shown, lambda: file_report(name, content))
        return _json(found)

    async def report(self, request: Request) -> Response:
        text = self.pages.get(request.path_params["name"])
        if text is None:
            return PlainTextResponse("This report is gone; open the network again.", 404)
        # In a frame of its own, whose scripts reach nothing of the page around it.
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    def _shown(self, made: Callable[[], Inspection]) -> dict[str, Any]:
        try:
            return {"report": self.pages.add(made)}
        except AtrousError as error:
            return {"problem": first_line(error)}
        except Exception as error:
            # A file may ask for more than there is; the page goes on, and says so.
            return {"problem": f"This network cannot be shown: {type(error).__name__}."}


async def _answered(request: Request, made: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """The answer to a request whose body is JSON, made in a thread."""
    content = b""
    try:
        async for part in request.stream():
            content += part
            if len(content) > MOST_TEXT:
                return PlainTextResponse("This is more than the page takes.", 413)
    except ClientDisconnect:
        return Response(status_code=400)
    return await run_in_threadpool(_made, content, made)


def _made(content: bytes, made: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        return PlainTextResponse("This is no request of the page: it is no JSON object.", 400)
    try:
        return _json(made(asked))
    except AtrousError as error:
        return _json({"problem": first_line(error)})


def _json(found: dict[str, Any]) -> Response:
    return Response(
        json.dumps(found, separators=(",", ":")),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
