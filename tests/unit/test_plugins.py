"""Packages that extend atrous by entry points: what they add works, and a broken one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import run_python

POINTS = """
[atrous.readers]
toy = toy_reader:read
[atrous.findings]
toy = toy_finding
[atrous.onnx_ops]
toy = toy_onnx
[atrous.torch_ops]
toy = toy_torch
"""
READER = """
from atrous.network.builder import Builder
def read(source, input):
    if not str(source).endswith(".toy"):
        return None
    build = Builder("toy")
    x = build.input("x", (1, 1, 32))
    for kernel in open(source).read().split():
        x = build.conv(x, 1, int(kernel), padding=int(kernel) // 2)
    return build.build(x)
"""
FINDING = """
from atrous.analysis.findings import Finding
from atrous.analysis.findings.registry import finder
@finder("toy-deep")
def deep(evidence):
    yield Finding("toy-deep", "info", evidence.layers[-1].name, "it is a toy.", "Nothing to do.")
"""
ONNX = """
from atrous.network.ops import Elementwise
from atrous.readers.onnx.call import TRANSLATIONS
@TRANSLATIONS.under("org.toy.Wobble")
def wobble(call):
    return call.emit(Elementwise("wobble"), call.tensor(0))
"""
TORCH = """
from atrous.network.ops import Elementwise
from atrous.readers.torch.call import TRANSLATIONS
@TRANSLATIONS.under("toy.wobble")
def wobble(call):
    return call.emit(Elementwise("wobble"), *call.tensors())
"""
RUN = """
import atrous, sys
open("net.toy", "w").write("3 5")
report = atrous.inspect("net.toy")
[field] = report.outputs[0].field
print(field.size)
print([f.code for f in report.findings if f.code == "toy-deep"])
"""


def _install(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    about = folder / "toy_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)


def _run(folder: Path, script: str) -> tuple[str, str]:
    result = run_python(f"import sys; sys.path.insert(0, {str(folder)!r})\n{script}", folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


MODULES = {
    "toy_reader": READER,
    "toy_finding": FINDING,
    "toy_onnx": ONNX,
    "toy_torch": TORCH,
}


def test_a_reader_and_a_finding_of_another_package_are_used(tmp_path: Path) -> None:
    _install(tmp_path, **MODULES)
    assert _run(tmp_path, RUN) == ("7\n['toy-deep']\n", "")


def test_an_onnx_operator_of_another_domain_is_translated_by_its_package(tmp_path: Path) -> None:
    _install(tmp_path, **MODULES)
    out, _ = _run(
        tmp_path,
        """
import atrous
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 9]) for n in "xy")
node = helper.make_node("Wobble", ["x"], ["y"], domain="org.toy")
last = helper.make_node("Relu", ["y"], ["z"])
z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 1, 9])
graph = helper.make_graph([node, last], "g", [x], [z], value_info=[y])
sets = [helper.make_opsetid("", 18), helper.make_opsetid("org.toy", 1)]
print(atrous.inspect(helper.make_model(graph, opset_imports=sets)).complete)
""",
    )
    assert out == "True\n"


def test_a_torch_operator_of_another_package_is_translated_by_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    _install(tmp_path, **MODULES)
    out, _ = _run(
        tmp_path,
        """
import atrous, torch
library = torch.library.Library("toy", "DEF")
library.define("wobble(Tensor x) -> Tensor")
library.impl("wobble", lambda x: x.sin(), "CompositeExplicitAutograd")
library.impl("wobble", lambda x: x.clone(), "Meta")
class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.toy.wobble(x)
print(atrous.inspect(Net(), (1, 1, 9)).complete)
""",
    )
    assert out == "True\n"


def test_a_package_that_fails_is_named_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    _install(tmp_path, **MODULES | {"toy_finding": "import nothing_of_that_name"})
    out, said = _run(tmp_path, RUN)
    assert out == "7\n[]\n"
    assert said.count("PluginWarning: the package toy-package extends atrous and fails") == 1


def test_a_finding_that_fails_is_named_and_the_others_are_there(tmp_path: Path) -> None:
    _install(tmp_path, **MODULES | {"toy_finding": FINDING.replace("yield", "1 / 0; yield")})
    out, said = _run(tmp_path, RUN)
    assert out == "7\n[]\n"
    assert "toy_finding extends atrous and fails in its finding 'toy-deep'" in said


def test_a_reader_that_fails_is_named_and_other_sources_are_read(tmp_path: Path) -> None:
    _install(tmp_path, **MODULES | {"toy_reader": "def read(source, input): 1 / 0"})
    script = """
import atrous
open("net.toy", "w").write("3 5")
try:
    atrous.inspect("net.toy")
except atrous.AtrousError as error:
    print("refused")
print(atrous.inspect("stack:k3", (1, 1, 9)).complete)
"""
    out, said = _run(tmp_path, script.replace("atrous.AtrousError", "Exception"))
    assert out == "refused\nTrue\n"
    assert "the package toy-package extends atrous and fails in its reader" in said
