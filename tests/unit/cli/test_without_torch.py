"""Without PyTorch and the libraries on it, every verb says in one line what is missing."""

from __future__ import annotations

import pytest

from tests.processes import run_python

ABSENT = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from atrous.cli import main
sys.argv = ["atrous", *{arguments!r}]
main()
"""
TORCH = ("torch", "torchvision", "timm", "segmentation_models_pytorch")


@pytest.mark.parametrize("absent", [TORCH, TORCH[1:]], ids=["nothing", "torch alone"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "timm:resnet18", "-i", "1,3,64,64"),
        ("inspect", "torchvision:resnet18"),
        ("inspect", "smp:Unet"),
        ("compare", "timm:resnet18", "-i", "1,3,64,64"),
        ("sizes", "timm:resnet18", "-i", "1,3,64,64"),
        ("check", "timm:resnet18", "--macs", "<=1"),
        ("convert", "timm:resnet18", "-s", "8"),
        ("audit", "timm:resnet18", "smp:Unet"),
        ("bench", "timm:resnet18"),
    ],
    ids=" ".join,
)
def test_a_library_that_is_missing_is_one_line_and_exit_code_2(absent, arguments):
    result = run_python(ABSENT.format(absent=absent, arguments=arguments))
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "pip install" in result.stderr
