"""OpenVINO: the model as one request, on PyTorch's number of threads.

Native code that fails ends its process. So a model is compiled and run in another process first;
only what lives through that is compiled here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from atrous.optimization.engines.engine import ENGINES, Engine, Run, Task, UnfitError
from atrous.optimization.engines.onnx_file import array_types, onnx_bytes
from atrous.optimization.judge import Inputs

__all__ = ["in_request"]

_SECONDS = 300
_TRIAL = """
import sys
import torch  # its threads are there as well
from pathlib import Path
import numpy as np
import openvino
data = Path(sys.argv[1]).read_bytes()
torch.set_num_threads(int(sys.argv[2]))
core = openvino.Core()
settings = {"INFERENCE_NUM_THREADS": int(sys.argv[2]), "INFERENCE_PRECISION_HINT": "f32"}
compiled = core.compile_model(core.read_model(data), "CPU", settings)
request = compiled.create_infer_request()
for at, port in enumerate(compiled.inputs):
    kind = port.element_type.to_dtype()
    request.set_input_tensor(at, openvino.Tensor(np.zeros(tuple(port.shape), kind)))
request.infer()
"""


def in_request(task: Task) -> Run:
    """What runs the model, one run at a time; every run writes into tensors of its own."""
    data = onnx_bytes(task)
    _outlive(data)
    import openvino

    core: Any = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(data), "CPU", settings)
    request = compiled.create_infer_request()
    array_types(task)
    give = task.giver()
    shapes = [(tuple(one.shape), one.dtype) for one in task.tensors]
    alone = Lock()

    def run(inputs: Inputs) -> Any:
        given = [x.contiguous() for x in inputs]
        made = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
        with alone:
            for at in range(len(compiled.inputs)):
                tensor = openvino.Tensor(given[at].numpy(), shared_memory=True)
                request.set_input_tensor(at, tensor)
            for at, y in enumerate(made):
                tensor = openvino.Tensor(y.numpy(), shared_memory=True)
                request.set_output_tensor(at, tensor)
            request.infer()
        return give(made)

    return run


def _outlive(data: bytes) -> None:
    """Compiles and runs the model in another process; raises `UnfitError` where that ends badly."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        command = [sys.executable, "-c", _TRIAL, str(path), str(torch.get_num_threads())]
        try:
            done = subprocess.run(  # noqa: S603 (this interpreter, on a file of our own)
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnfitError(
                f"a trial in a process of its own failed ({type(error).__name__})."
            ) from None
    if done.returncode < 0:
        raise UnfitError(f"a trial in a process of its own was ended by signal {-done.returncode}.")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [""])[-1][:160]
        raise UnfitError(f"a trial in a process of its own failed: {reason}")


ENGINES["openvino"] = Engine(
    "openvino", ("openvino", "onnxscript"), "pip install openvino onnxscript", in_request
)
