"""Everything that is written of a few networks, in a folder: `python -m tests.same_bytes FOLDER`.

Two processes that differ in the order of sets and in their threads must write the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
from onnx import helper

import atrous
from atrous.explore.answers import beginning, edited, followed
from atrous.explore.export import export
from tests import command
from tests.onnx_probe import model, weights

__all__ = ["write_everything"]

_LINES = {
    "text": "inspect net.onnx",
    "json": "inspect net.onnx --json",
    "layer": "inspect net.onnx --layer deep",
    "page": "inspect net.onnx --html report.html --graph graph.svg --animate moving.svg",
    "beside": "inspect net.onnx --diff stack:k3x4 --html beside.html",
    "netron": "inspect net.onnx --annotate netron.onnx",
    "explorer": "inspect net.onnx --annotate viewer",
    "compare": "compare a=k3,k3d2 b=k3s2,k3 -i 1,4,33,33 --html cmp.html --animate cmp.svg",
    "convert": "convert net.onnx -s 1 -o converted.onnx --html change.html",
    "converted": "convert net.onnx -s 1 --json",
    "audit": "audit net.onnx net.onnx --json",
    "check": "check net.onnx --coverage ==1 --no gridding --json",
    "rates": "rates 513 --json",
    "learn": "learn formula",
    "zoo": "zoo --json",
}


def write_everything(folder: Path) -> None:
    """What the verbs print and write, pictures as PNG, and the explorer, all in one folder."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="stem", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Conv", ["a", "v"], ["b"], name="deep", pads=[2] * 4, dilations=[2, 2]),
        helper.make_node("Conv", ["a", "v"], ["c"], name="side", pads=[1] * 4),
        helper.make_node("Concat", ["b", "c"], ["y"], axis=1, name="cat"),
    ]
    held = {"w": weights(4, 2, 3, 3), "v": weights(4, 4, 3, 3)}
    onnx.save(model(nodes, {"x": (1, 2, 33, 33)}, held), folder / "net.onnx")
    (folder / "viewer").mkdir()
    for name, line in _LINES.items():
        words = [word.replace(",k", " k") for word in line.split()]
        ran = command.atrous(*words, cwd=folder)
        assert ran.returncode < 2, ran.stderr
        (folder / f"{name}.out").write_text(ran.stdout, encoding="utf-8")
    report = atrous.inspect(folder / "net.onnx")
    report.footprint("deep").plot().save(folder / "footprint.png")
    report.plot().save(folder / "chart.png")
    asked = {"stack": "k3d2 k3d2 k3d2", "input": "1,8,64,64", "place": 1, "do": {"what": "add"}}
    answers = [beginning(""), edited(asked), followed({**asked, "beside": "k3", "code": "PyTorch"})]
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    _explorer(folder)


def _explorer(folder: Path) -> None:
    """The explorer for any web host, on files that stand for Pyodide's."""
    runtime = folder / "runtime"
    runtime.mkdir()
    for name in (
        *("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm"),
        *("python_stdlib.zip", "pyodide-lock.json"),
    ):
        (runtime / name).write_text(name, encoding="utf-8")
    export(folder / "explorer", pyodide=runtime)


if __name__ == "__main__":
    write_everything(Path(sys.argv[1]))
