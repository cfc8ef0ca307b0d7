"""Pages and pictures that verbs write: looked at before any work is done, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from atrous.cli.output import wrote
from atrous.draw.needs import Needs, look_for
from atrous.errors import AtrousError, ReadError
from atrous.files import is_writable, whole_file

__all__ = [
    "Drawn",
    "animation_place",
    "chart_file",
    "image_for",
    "picture_place",
    "place_for",
    "placing",
    "put",
    "refusals",
]


def place_for(target: str, option: str, ending: str) -> Path:
    """Where to write a page or a graph: see `_place`."""
    endings = (ending, ".htm") if ending == ".html" else (ending,)
    return _place(target, option, endings, "a page" if ending == ".html" else "drawing a network")


def picture_place(target: str, option: str) -> Path:
    """Where to write a picture, a .png or .svg: see `_place`."""
    return _place(target, option, (".png", ".svg"), "drawing a picture")


def animation_place(target: str) -> Path:
    """Where to write a moving picture: see `_place`. It takes no library."""
    return _place(target, "--animate", (".svg",), None)


def chart_file(chart: Any, form: str) -> str | bytes:
    """A chart as the content of a file, svg or png."""
    held: StringIO | BytesIO = StringIO() if form == "svg" else BytesIO()
    chart.save(held, format=form)
    return held.getvalue()


def _place(target: str, option: str, endings: tuple[str, ...], needs: Needs | None) -> Path:
    """Where to write, known to be possible. Raises `ReadError`, which names the option.

    Where a library is missing that draws such a file, that is said now, not after the work.
    """
    path = Path(target)
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise ReadError(f"{option}: {error.strerror or type(error).__name__}.") from None
    if not target:
        raise ReadError(f"{option} is empty; name a file, such as name{endings[0]}.")
    if is_folder:
        raise ReadError(f"{option} {target} is a folder; name a file in it.")
    if path.suffix.lower() not in endings:
        named = " or ".join(ending for ending in endings if ending != ".htm")
        raise ReadError(f"{option} {target}: give it the ending {named}.")
    if not path.parent.is_dir():
        raise ReadError(f"{option} {target}: there is no folder {path.parent}; make it first.")
    if not is_writable(path):
        raise ReadError(f"{option} {target}: nothing can be written there; name another place.")
    if needs is not None:
        look_for(needs)
    return path


def image_for(image: str | None, html: str | None) -> Any:
    """The image that --image names, read before any work is done; None where it is left out."""
    if image is None:
        return None
    if html is None:
        raise ReadError("--image lies behind the footprints of a page; give --html as well.")
    from atrous.draw.footprints import opened

    return opened(image)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture or a page that is to be written, and the option that asks for it."""

    content: str | bytes
    path: Path
    option: str


@contextmanager
def placing(*files: Drawn) -> Iterator[None]:
    """All files are there at the end of the block, or where anything fails, none of them."""
    with ExitStack() as placed:
        for file in files:
            placed.enter_context(refusals(file.option, file.path))
            made = placed.enter_context(whole_file(file.path))
            held = file.content
            made.write_bytes(
                held if isinstance(held, bytes) else held.encode("utf-8", "backslashreplace")
            )
        yield
    wrote(*(file.path for file in files))


def put(*files: Drawn) -> None:
    """Writes all files, or where one cannot be written, none of them."""
    with placing(*files):
        pass


@contextmanager
def refusals(option: str, path: Path) -> Iterator[None]:
    """What the system says against a file becomes a `ReadError` that names the option."""
    try:
        yield
    except AtrousError:
        raise
    except OSError as error:
        raise ReadError(f"{option} {path}: {error.strerror or type(error).__name__}.") from None
