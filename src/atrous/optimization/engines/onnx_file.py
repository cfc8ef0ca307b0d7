"""A model as an ONNX file in memory, for the engines that read such."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch

from atrous.frameworks.torch import quiet, unfused, without_stacks
from atrous.optimization.engines.engine import Task, UnfitError

__all__ = ["array_types", "onnx_bytes"]

_MOST = 2**31 - 2**20
"""Bytes that a file in one piece may have."""


def onnx_bytes(task: Task) -> bytes:
    """The model with its weights as they are now.

    Raises `UnfitError` for what is no graph (forward hooks, code that changes what it holds), gives
    something else than tensors, or has too many weights.
    """
    held = vars(task)
    if "_onnx" not in held:
        held["_onnx"] = _as_onnx(task)
    data: bytes = held["_onnx"]
    return data


def _as_onnx(task: Task) -> bytes:
    program = task.graph.program
    array_types(task)
    weights = [*task.model.parameters(), *task.model.buffers()]
    if sum(one.numel() * one.element_size() for one in weights) > _MOST:
        raise UnfitError("its weights are more than the 2 GiB that a file in one piece may have.")
    with (
        quiet(),
        unfused(),
        without_stacks(),
        torch.no_grad(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        made: Any = torch.onnx.export(program, task.inputs, dynamo=True, verbose=False)
    data: bytes = made.model_proto.SerializeToString()
    return data


def array_types(task: Task) -> list[Any]:
    """The NumPy types of the inputs and of the outputs; raises `UnfitError` where one has none."""
    try:
        return [torch.empty(0, dtype=x.dtype).numpy().dtype for x in [*task.inputs, *task.tensors]]
    except TypeError as error:
        raise UnfitError(f"NumPy has no such type ({error}).") from None
