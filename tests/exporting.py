"""PyTorch's ONNX exporters, with the table of translations made once.

Torch makes that table anew for each export: a third of a second in which nothing depends on the
model, and more than a small model takes.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

__all__ = ["export"]

_made_anew = ONNXRegistry.from_torchlib
_made_once = cache(_made_anew)


def _table(*args: int, **kwargs: int) -> ONNXRegistry:
    """A copy: an export may add to its own."""
    kept, copied = _made_once(*args, **kwargs), ONNXRegistry()
    copied.__dict__.update(kept.__dict__)
    copied.functions = {target: list(found) for target, found in kept.functions.items()}
    return copied


def export(model: nn.Module, example: torch.Tensor, path: Path, **options: Any) -> Path:
    """`torch.onnx.export` to `path`, without its warnings."""
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        patch.object(ONNXRegistry, "from_torchlib", staticmethod(_table)),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (example,), str(path), verbose=False, **options)
    return path
