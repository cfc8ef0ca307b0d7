"""The verb that opens the page to play with stride and dilation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.sources import given_stack
from atrous.errors import ReadError, concerning

__all__ = ["explore"]


def explore(
    stack: Annotated[
        str | None,
        typer.Argument(
            metavar="STACK",
            help='What to begin with, in quotes, such as "k3d2 k3d2" (see '
            "`atrous stack --help`), without branches.",
        ),
    ] = None,
    input: Annotated[
        str, typer.Option("--input", "-i", metavar="SHAPE", help="Batch, channels and sizes.")
    ] = "1,8,64,64",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            show_default=False,
            help="Where to listen: 8347, or the next free port; 0 is any free one.",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Write the page for any web host instead: it needs no server of its own.",
        ),
    ] = None,
    pyodide: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="With --export: the unpacked npm package `pyodide`, else fetched with npm.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --export: into a folder that holds files.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
) -> None:
    """A page to edit a stack and see at once what it reads and costs. Stop it with Ctrl-C.

    It is served on this machine only; files opened in it stay here, and nothing in them runs.

    Examples:

    - atrous explore

    - atrous explore "k3d2 k3d2 k3d2" --input 1,16,64,64

    - atrous explore "k3d2 k3d2 k3d2" --export public/explore
    """
    if export is None and (pyodide is not None or overwrite):
        raise ReadError("--pyodide and --overwrite are for --export; give a FOLDER with it.")
    from atrous.draw.needs import drawing_needs

    with drawing_needs("explore", "explore"):
        from atrous.explore.draft import Draft, shape_of
    with concerning("--input"):
        shape = shape_of(input)
    query = "" if stack is None else Draft.of(given_stack(stack, "explore"), shape).query
    if export is not None:
        from atrous.explore.export import export as written

        size = written(export, query=query, pyodide=pyodide, overwrite=overwrite)
        print(f"{export}: {size / 2**20:.1f} MiB, for any web host.")  # noqa: T201
        return
    with drawing_needs("explore", "explore"):
        from atrous.explore.server import USUAL_PORT, serve

    def announce(address: str, at: int) -> None:
        print(f"atrous explore: {address}  (Ctrl-C stops it)")  # noqa: T201
        if port is None and at != USUAL_PORT:
            print(f"Port {USUAL_PORT} is taken, so this one is at {at}.")  # noqa: T201
        sys.stdout.flush()

    serve(query, port=port, show=open_, ready=announce)
