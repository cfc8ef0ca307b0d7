"""ONNX Runtime: the model as one session, on PyTorch's number of threads."""

from __future__ import annotations

from typing import Any

import torch

from atrous.optimization.engines.engine import ENGINES, Engine, Run, Task
from atrous.optimization.engines.onnx_file import array_types, onnx_bytes
from atrous.optimization.judge import Inputs

__all__ = ["in_session"]


def in_session(task: Task) -> Run:
    """What runs the model; every run writes into tensors of its own, and nothing is copied."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(
        onnx_bytes(task), options, providers=["CPUExecutionProvider"]
    )
    types = array_types(task)
    ins = [one.name for one in session.get_inputs()]
    outs = [one.name for one in session.get_outputs()]
    give = task.giver()
    shapes = [(tuple(one.shape), one.dtype) for one in task.tensors]

    def run(inputs: Inputs) -> Any:
        binding = session.io_binding()
        given = [x.contiguous() for x in inputs]
        for name, x, kind in zip(ins, given, types, strict=False):
            binding.bind_input(name, "cpu", 0, kind, tuple(x.shape), x.data_ptr())
        made = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
        for name, y, kind in zip(outs, made, types[len(given) :], strict=True):
            binding.bind_output(name, "cpu", 0, kind, tuple(y.shape), y.data_ptr())
        session.run_with_iobinding(binding)
        return give(made)

    return run


ENGINES["onnxruntime"] = Engine(
    "onnxruntime",
    ("onnxruntime", "onnxscript"),
    "pip install onnxruntime onnxscript",
    in_session,
)
