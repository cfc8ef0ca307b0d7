"""What an import or a command loads: nothing that it does not need."""

from __future__ import annotations

import json
import sys

import pytest

from tests.processes import run_python

HEAVY = (
    "flax",
    "jax",
    "keras",
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "rich",
    "torch",
    "torchvision",
    "typer",
)
FRAMEWORKS = ("flax", "jax", "keras", "onnx_ir", "onnxruntime", "torch", "torchvision")


def loaded_by(script: str) -> set[str]:
    """The top-level modules that a script adds to those of a new interpreter."""
    result = run_python(
        "import sys; before = set(sys.modules)\n"
        f"{script}\n"
        "added = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "import json; print('\\n' + json.dumps(sorted(added)))"
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def assert_loads_none_of(names: tuple[str, ...], script: str) -> None:
    loaded = loaded_by(script).intersection(names)
    assert not loaded, f"`{script}` loads {', '.join(sorted(loaded))}"


def assert_loads_only_the_standard_library(script: str) -> None:
    # lazy_loader finds the public names, and is 200 lines on the standard library.
    foreign = loaded_by(script) - sys.stdlib_module_names - {"atrous", "lazy_loader"}
    assert not foreign, f"`{script}` loads {', '.join(sorted(foreign))}"


@pytest.mark.parametrize("module", ["atrous", "atrous.errors", "atrous.geometry"])
def test_importing_the_lowest_floors_loads_the_standard_library_only(module):
    assert_loads_only_the_standard_library(f"import {module}")


def test_listing_the_public_names_loads_nothing():
    assert_loads_none_of(HEAVY, "import atrous; dir(atrous); atrous.__all__; atrous.__version__")


def test_inspecting_a_known_network_loads_no_framework():
    script = "import atrous; atrous.inspect('zoo:resnet18', (1, 3, 224, 224))"
    assert_loads_none_of((*FRAMEWORKS, "onnx"), script)


def test_a_command_about_a_known_network_loads_no_framework():
    script = """
import sys
from atrous.cli import main
sys.argv = ["atrous", "inspect", "zoo:resnet18", "--input", "1,3,224,224"]
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
"""
    assert_loads_none_of((*FRAMEWORKS, "onnx"), script)


def test_convolving_arrays_loads_no_framework():
    script = "import numpy, atrous; atrous.conv(numpy.ones((1, 2, 5)), numpy.ones((3, 2, 2)))"
    assert_loads_none_of((*FRAMEWORKS, "onnx", "rich"), script)


def test_an_import_that_loads_too_much_is_noticed():
    with pytest.raises(AssertionError, match="loads numpy"):
        assert_loads_none_of(HEAVY, "import numpy")
    with pytest.raises(AssertionError, match="pytest"):
        assert_loads_only_the_standard_library("import pytest")
