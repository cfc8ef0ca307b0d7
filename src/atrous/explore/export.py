"""The page as files for any web host, with Pyodide, which runs the library in the browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha512
from importlib.resources import as_file, files
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from atrous.draw.style import style_sheet
from atrous.errors import MissingDependencyError, ReadError
from atrous.explore.answers import beginning

__all__ = ["PYODIDE", "RUNTIME", "export"]

PYODIDE = "314.0.7"
_INTEGRITY = (
    "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
)
RUNTIME = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)
_FLOORS = (
    *("analysis", "certification", "conversion", "draw", "explore"),
    *("geometry", "network", "readers", "verbs"),
)
"""What answers an edit; readers of frameworks are left out below."""
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
_SILENT = '<p id="said" class="notice quiet-notice" role="status" hidden></p>'
_UNSTARTED = """<p id="said" class="notice quiet-notice" role="status">This page has not started. \
Opened as a file it cannot: browsers keep scripts of files from running. \
Run <code>python -m http.server</code> in this folder and open \
<code>localhost:8000</code>, or put the folder on any web host. \
It needs JavaScript.</p>"""
"""Stands alone until the script runs, which says something else there (`hosted/transport.js`)."""


def export(
    folder: Path, *, query: str = "", pyodide: Path | None = None, overwrite: bool = False
) -> int:
    """Writes the page into `folder`; returns how many bytes it has.

    It begins with the stack of `query` (`Draft.query`), else with the first lesson.

    `pyodide` is the unpacked npm package; without it `npm` fetches the version `PYODIDE`, whose
    content is checked. Raises `ReadError` for a folder that holds something and is not to be
    overwritten, `MissingDependencyError` where Pyodide cannot be had.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not overwrite)):
        raise ReadError(
            f"{folder} is there already and is not empty; name another, or --overwrite."
        )
    with _whole(folder) as made:
        with _runtime(pyodide) as runtime:
            (made / "pyodide").mkdir()
            for name in RUNTIME:
                shutil.copyfile(runtime / name, made / "pyodide" / name)
        with as_file(files("atrous")) as package:
            home = Path(package)
            _page(home / "explore", made, query)
            _python(home, made / "atrous.zip")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, beside `folder`; what is in it at the end is in that one, at once.

    Where the block raises, nothing of it is left.
    """
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        made = Path(place, "page")
        made.mkdir()
        yield made
        if target.is_dir():
            # Files that a page of before has and this one has not stay.
            shutil.copytree(made, target, dirs_exist_ok=True)
        else:
            made.rename(target)


def _page(home: Path, folder: Path, query: str) -> None:
    parts = folder / "atrous-static"
    parts.mkdir(exist_ok=True)
    for path in sorted((home / "static").iterdir()):
        if path.suffix in (".js", ".css"):
            shutil.copyfile(path, parts / path.name)
    for name in ("transport.js", "worker.js"):
        shutil.copyfile(home / "hosted" / name, parts / name)
    (parts / "style.css").write_text(style_sheet(), encoding="utf-8")
    html = (home / "static" / "page.html").read_text(encoding="utf-8")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    data = json.dumps(beginning(query), separators=(",", ":")).replace("<", "\\u003c")
    html = html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}', 1)
    html = html.replace("<body>", '<body data-unstarted="yes">', 1).replace(_SILENT, _UNSTARTED, 1)
    (folder / "index.html").write_text(html.replace("{first}", data, 1), encoding="utf-8")


def _python(home: Path, path: Path) -> None:
    """The library's own files, those of frameworks and commands left out; the same bytes always."""
    loader = Path(str(files("lazy_loader")))
    found = [*home.glob("*.py"), *home.glob("*.pyi"), *loader.glob("*.py")]
    for floor in _FLOORS:
        found += (home / floor).rglob("*.py")
        found += (home / floor).rglob("*.css")
    with ZipFile(path, "w", ZIP_DEFLATED) as made:
        for one in sorted(found):
            base = loader if one.is_relative_to(loader) else home
            name = one.relative_to(base.parent).as_posix()
            if not name.startswith(("atrous/readers/onnx", "atrous/readers/torch")):
                entry = ZipInfo(name)
                entry.compress_type = ZIP_DEFLATED
                made.writestr(entry, one.read_bytes())


@contextmanager
def _runtime(given: Path | None) -> Iterator[Path]:
    if given is not None:
        inner = given / "package"
        folder = inner if inner.is_dir() else given
        missing = [name for name in RUNTIME if not (folder / name).is_file()]
        if missing:
            raise ReadError(
                f"--pyodide {given} has no {missing[0]}; give the unpacked npm package `pyodide`."
            )
        yield folder
        return
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            "the page without a server needs Pyodide, which npm fetches, and npm is not here; "
            f"give the unpacked npm package pyodide@{PYODIDE} with --pyodide FOLDER."
        )
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", "--silent", "--fetch-retries", "1", f"pyodide@{PYODIDE}"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=place, capture_output=True, timeout=180)  # noqa: S603
        packed = next(Path(place).glob("*.tgz"), None)
        if packed is None:
            raise MissingDependencyError(
                f"npm could not fetch pyodide@{PYODIDE}; give its unpacked package with "
                "--pyodide FOLDER."
            )
        if b64encode(sha512(packed.read_bytes()).digest()).decode() != _INTEGRITY:
            raise ReadError(f"what npm fetched is not pyodide@{PYODIDE}: its checksum is another.")
        with tarfile.open(packed) as archive:
            archive.extractall(place, filter="data")
        yield Path(place, "package")
