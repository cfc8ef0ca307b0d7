"""Pages and pictures that verbs write: looked at before any work is done, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from atrous.cli.output import wrote
from atrous.draw.needs import Needs, look_for
from atrous.errors import ReadError
from atrous.files import write_whole

__all__ = ["animation_place", "picture_place", "place_for", "put"]


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


def _place(target: str, option: str, endings: tuple[str, ...], needs: Needs | None) -> Path:
    """Where to write, known to be possible. Raises `ReadError`, which names the option.

    Where a library is missing that draws such a file, that is said now, not after the work.
    """
    path = Path(target)
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise ReadError(f"{option}: {error.strerror or type(error).__name__}.") from None
    if not target or is_folder:
        raise ReadError(f"{option} {target or path} is a folder; name a file in it.")
    if path.suffix.lower() not in endings:
        named = " or ".join(ending for ending in endings if ending != ".htm")
        raise ReadError(f"{option} {target}: give it the ending {named}.")
    if not path.parent.is_dir():
        raise ReadError(f"{option} {target}: there is no folder {path.parent}.")
    if needs is not None:
        look_for(needs)
    return path


def put(text: str, path: Path, option: str) -> None:
    """Writes a file in one step, so that none is left half written, and says so."""
    try:
        write_whole(path, text)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ReadError(f"{option} {path}: {reason}.") from None
    wrote(path)
