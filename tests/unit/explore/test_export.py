"""The exported page, where no browser is needed to see what is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atrous.errors import MissingDependencyError, ReadError
from atrous.explore import export as exporting
from atrous.explore.export import export
from tests.command import atrous as command


def runtime(folder):
    """Files that stand for Pyodide's."""
    folder.mkdir()
    for name in exporting.RUNTIME:
        (folder / name).write_text(name)
    return folder


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    pyodide, home = runtime(tmp_path / "pyodide"), tmp_path / "page"
    home.mkdir()
    (home / "mine").write_text("mine")
    with pytest.raises(ReadError, match="not empty; name another, or --overwrite"):
        export(home, pyodide=pyodide)
    assert [path.name for path in home.iterdir()] == ["mine"]
    assert export(home, pyodide=pyodide, overwrite=True) > 100_000
    assert (home / "mine").read_text() == "mine"


def test_the_same_bytes_are_written_each_time(tmp_path):
    pyodide = runtime(tmp_path / "pyodide")
    made = []
    for name in ("one", "two"):
        export(tmp_path / name, pyodide=pyodide)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        made.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert made[0] == made[1]
    page = made[0]["index.html"].decode()
    assert '="/' not in page
    assert "://" not in page
    assert "unsafe-inline" not in page


def test_a_folder_that_is_no_pyodide_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"has no pyodide\.mjs; give the unpacked npm package"):
        export(tmp_path / "page", pyodide=tmp_path)
    assert not (tmp_path / "page").exists()


def test_without_npm_it_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.shutil, "which", lambda _: None)
    with pytest.raises(MissingDependencyError, match="--pyodide FOLDER"):
        export(tmp_path / "page")


def test_what_npm_fetched_is_checked(tmp_path, monkeypatch):
    def packed(_, cwd, **__):
        Path(cwd, "pyodide.tgz").write_bytes(b"another")

    monkeypatch.setattr(exporting.shutil, "which", lambda name: name)
    monkeypatch.setattr(exporting.subprocess, "run", packed)
    with pytest.raises(ReadError, match="checksum is another"):
        export(tmp_path / "page")


def test_the_answers_need_no_library_that_a_browser_lacks():
    code = """
import sys
for name in ("numpy", "PIL", "onnx", "torch", "altair", "jinja2", "starlette", "rich", "typer"):
    sys.modules[name] = None
from atrous.explore.hosted import replied
shown = '{"stack": "k3s2 k3d2 k3", "input": "1,8,65,65", "do": {"what": "%s", "outputStride": 1}}'
for path, asked in (
    ("/edit", shown % "show"), ("/edit", shown % "convert"), ("/rest", shown % "show"),
    ("/open", '{"name": "resnet50"}'), ("/open", '{"stack": "[k3 + k5] k3", "input": "1,8,32,32"}'),
):
    found = replied(path, asked)
    assert "roblem\\":\\"" not in found.replace('besideProblem":""', ""), found
"""
    home = {**os.environ, "PYTHONPATH": str(Path(exporting.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=home)


def test_the_page_begins_with_the_stack_that_was_given(tmp_path):
    pyodide, page = runtime(tmp_path / "pyodide"), tmp_path / "page"
    words = ["explore", "k3d2 k3d4", "--input", "1,8,33,33", "--export", str(page)]
    made = command(*words, "--pyodide", str(pyodide))
    assert (made.returncode, made.stderr) == (0, "")
    text = (page / "index.html").read_text(encoding="utf-8")
    first = json.loads(re.findall(r"<script[^>]*json[^>]*>(\{.*?)</script>", text, re.DOTALL)[0])
    assert first["state"]["stack"] == "k3d2 k3d4"
    assert first["state"]["input"] == "1,8,33,33"
    refused = command("explore", "k3q", "--export", str(tmp_path / "none"))
    assert refused.returncode == 2
    assert "'q' is not known" in refused.stderr
    assert not (tmp_path / "none").exists()
