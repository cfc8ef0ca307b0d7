"""What a module refuses: the layer in which it raises, and the sizes that do not fit there."""

from __future__ import annotations

import re
import traceback

import torch

from atrous.readers.torch.inputs import Examples

__all__ = ["misfit"]

_JOINS = (
    re.compile(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)"),
    re.compile(r"[Ss]izes of tensors must match .*Expected size (\d+) but got size (\d+)"),
)
"""How PyTorch 2.6 to 2.13 say that operands of a sum, or of a concatenation, differ in size."""


def misfit(module: torch.nn.Module, examples: Examples, error: BaseException) -> str:
    """What an error that the module raised on these inputs says, a sentence without its end."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    raised = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _layer(module, error)
    where = f"in {place}, " if place else ""
    for pattern in _JOINS:
        found = pattern.search(text)
        if found:
            one, other = found.groups()
            joins = f"{place or 'the module itself'} joins maps of {one} and {other} positions"
            return f"{joins}, on inputs of {examples} ({raised})"
    said = f"{where}on inputs of {examples} it raises {raised}"
    if isinstance(error, TypeError) and any(isinstance(one, dict) for one in examples.args):
        said += "; a dict with other names than those of its forward is handed over as one argument"
    return said


def _layer(module: torch.nn.Module, error: BaseException) -> str:
    """The path of the innermost module whose code was running."""
    names = {id(part): name for name, part in module.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get("self")), found)
    return found
