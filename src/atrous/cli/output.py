"""What standard output can show, and how a report gets there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from atrous.cli.spelling import spelled
from atrous.errors import AtrousError
from atrous.progress import listening

if TYPE_CHECKING:
    from atrous.report import LinesView, Look

__all__ = [
    "complain",
    "forgive",
    "give_up_output",
    "look_of",
    "measuring",
    "printing",
    "show",
    "show_json",
    "size_text",
    "working",
    "wrote",
]

_OF_STREAMS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_NEEDED = "─│┌…█▀░⣿·"


def look_of(stream: TextIO) -> Look:
    """What `stream` can show.

    A pipe or a file gets 80 columns unless COLUMNS says otherwise, and no colour unless
    FORCE_COLOR does; NO_COLOR and a dumb terminal get none.
    """
    from atrous.report import Look

    size = shutil.get_terminal_size((80, 44))
    try:
        _NEEDED.encode(stream.encoding or "ascii")
        unicode = True
    except (UnicodeEncodeError, LookupError):
        unicode = False
    environ = os.environ
    dumb = environ.get("TERM", "") in {"dumb", "unknown"}
    colour = not environ.get("NO_COLOR") and (
        bool(environ.get("FORCE_COLOR")) or (stream.isatty() and not dumb)
    )
    return Look(max(size.columns, 20), max(size.lines - 4, 10), unicode, colour, spelled)


def show(view: LinesView) -> None:
    """Prints a report."""
    look = look_of(sys.stdout)
    if not look.colour:
        text = view.text(look)
        with printing():
            print(text)  # noqa: T201 - printing is what this floor is for
        return
    from rich.console import Console

    console = Console(width=look.width, force_terminal=True, highlight=False)
    with printing():
        for row in view.coloured(look):
            console.print(row, crop=False, overflow="ignore", no_wrap=True)


def show_json(data: Mapping[str, object] | str) -> None:
    """Prints JSON, and nothing beside it."""
    text = data if isinstance(data, str) else json.dumps(data)
    with printing():
        print(text)  # noqa: T201


@contextmanager
def printing() -> Iterator[None]:
    """Whoever reads a pipe may go when they have enough: the verb and its exit code go on.

    Raises `AtrousError` where standard output takes no more for another reason, as on a full disk.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        give_up_output()
    except SystemExit as stop:
        # Rich leaves with code 1 where a pipe is closed.
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_STREAMS:
            raise
        give_up_output()
        raise AtrousError(
            f"standard output: {error.strerror or error}; what was printed is not whole."
        ) from None


def complain(message: str, see: str | None = None) -> None:
    """Prints an error on standard error: one line, and below it the place where it can be shown.

    A place is a line of text and a caret under a letter of it, which end the message. `see` is a
    command that tells more.
    """
    rest, place = message, ""
    lines = message.rstrip("\n").rsplit("\n", 2)
    if len(lines) == 3 and lines[2].strip() == "^":
        rest, place = lines[0], f"\n{lines[1].rstrip()}\n{lines[2].rstrip()}"
    text = " ".join(rest.split())
    if see is not None:
        text = f"{text.rstrip('.')}; see `{see}`"
    with suppress(OSError):  # the exit code still tells
        if sys.stderr is not None:
            print(f"atrous: {text}{place}", file=sys.stderr)  # noqa: T201


def forgive() -> None:
    """Letters that a stream's encoding does not have are escaped rather than an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Sends what is still to be written to nowhere: nobody takes it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error while something takes long, which names the step it is at.

    What others print goes there, too.
    """
    with redirect_stdout(sys.stderr):
        if not look_of(sys.stderr).colour:
            yield
            return
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_terminal:
            yield
            return
        from rich.markup import escape

        with console.status(escape(what)) as status:

            def say(step: str) -> None:
                status.update(escape(f"{what}: {step}"))

            with listening(say):
                yield


@contextmanager
def measuring(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error, where that is a terminal; others' prints go there too."""

    def silent(_detail: str, _share: float) -> None:
        return None

    with redirect_stdout(sys.stderr):
        if not look_of(sys.stderr).colour:
            yield silent
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            yield silent
            return
        columns: tuple[Any, ...] = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(what), total=1.0, detail="")

            def told(detail: str, share: float) -> None:
                bar.update(task, completed=share, detail=escape(detail))

            yield told


def wrote(*paths: Path) -> None:
    """Names each file that was written on standard error, and how large it is."""
    for path in filter(Path.is_file, paths):  # not a device or a pipe, whose reader knows
        print(f"wrote {path}, {size_text(path.stat().st_size)}", file=sys.stderr)  # noqa: T201


def size_text(count: int) -> str:
    """The size of a file as file managers count it, in thousands.

    >>> size_text(312), size_text(13_912_345), size_text(999_960)
    ('312 bytes', '13.9 MB', '1.0 MB')
    """
    value, units = float(count), ["bytes", "kB", "MB", "GB"]
    while round(value, 1) >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.1f} {units[0]}" if units[0] != "bytes" else f"{count} bytes"
