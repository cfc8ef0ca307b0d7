"""Without PyTorch and the libraries on it, every verb says in one line what is missing."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.processes import run_python

LINES = (
    "inspect timm:resnet18 -i 1,3,64,64",
    "inspect torchvision:resnet18",
    "inspect smp:Unet",
    "compare timm:resnet18 -i 1,3,64,64",
    "sizes timm:resnet18 -i 1,3,64,64",
    "check timm:resnet18 --macs <=1",
    "convert timm:resnet18 -s 8",
    "audit timm:resnet18 smp:Unet",
    "bench timm:resnet18",
)
ABSENT = f"""
import io, json, sys
for name in {{absent!r}}:
    sys.modules[name] = None
from atrous.cli import main
said = {{{{}}}}
for line in {LINES!r}:
    own = sys.stdout, sys.stderr
    sys.argv = ["atrous", *line.split()]
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        main()
    except SystemExit as done:
        said[line] = done.code, sys.stdout.getvalue(), sys.stderr.getvalue()
    sys.stdout, sys.stderr = own
print(json.dumps(said))
"""
TORCH = ("torch", "torchvision", "timm", "segmentation_models_pytorch")


@cache
def said(absent: tuple[str, ...]) -> dict[str, tuple[int, str, str]]:
    """By line: the exit code, the output and the errors, where those libraries are missing."""
    result = run_python(ABSENT.format(absent=absent))
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.mark.parametrize("absent", [TORCH, TORCH[1:]], ids=["nothing", "torch alone"])
@pytest.mark.parametrize("line", LINES)
def test_a_library_that_is_missing_is_one_line_and_exit_code_2(absent, line):
    code, out, errors = said(absent)[line]
    assert (code, out) == (2, "")
    assert errors.count("\n") == 1, errors
    assert "pip install" in errors
