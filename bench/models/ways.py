"""Who takes part, and how each prepares a model in a process of its own.

The files of a model (weights, input, the result in float64, the ONNX file) are written once, by
`prepare`; everybody reads them, so that all run the same numbers. A way is a function from a
`Problem` to a call that runs the model once; one that does not do a model returns `None`, one that
is not installed raises `ImportError`.
"""

from __future__ import annotations

import copy
import gc
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import MODELS, Model

from bench.shared.alone import Built

__all__ = ["OURS", "PEERS", "Task", "contestant", "prepare"]

OURS = "atrous"


@dataclass(frozen=True, slots=True)
class Task:
    """A model by its name, and the folder of its files."""

    name: str
    folder: Path

    @property
    def case(self) -> Model:
        return next(case for case in MODELS if case.name == self.name)

    @property
    def state(self) -> Path:
        """Weights and input."""
        return self.folder / "state.pt"

    @property
    def truth(self) -> Path:
        """The result in float64."""
        return self.folder / "truth.npy"

    @property
    def onnx(self) -> Path:
        """The model as ONNX, where PyTorch can write it."""
        return self.folder / "model.onnx"


@dataclass(frozen=True, slots=True)
class Problem:
    """A model, its input, a file of it as ONNX, and threads."""

    model: torch.nn.Module
    x: torch.Tensor
    onnx: Path
    threads: int

    def exported(self) -> str:
        """The ONNX file's path."""
        if not self.onnx.exists():
            raise RuntimeError("the model was not exported")
        return str(self.onnx)


@dataclass(frozen=True, slots=True)
class Way:
    """A call that runs the model once, its result as an array, and what there is to say."""

    call: Callable[[], object]
    value: Callable[[], np.ndarray]
    notes: dict[str, Any]


def prepare(threads: int, export: bool, task: Task) -> Built:
    """Writes the files of a model. The notes say why there is no ONNX file, where there is none."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model, x = task.case.build()
    torch.save({"weights": model.state_dict(), "x": x}, task.state)
    np.save(task.truth, copy.deepcopy(model).double()(x.double()).numpy())
    notes: dict[str, Any] = {}
    if export:
        try:
            torch.onnx.export(model, (x,), str(task.onnx), dynamo=True, verbose=False)
        except Exception as failure:  # two peers less, which the file says
            notes["no_onnx"] = f"{type(failure).__name__}: {str(failure)[:200]}"
    return Built(lambda: None, notes)


def contestant(name: str, threads: int, task: Task) -> Built | None:
    """That peer with the model prepared, its result compared with float64's."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch._dynamo.reset()
    held = torch.load(task.state, weights_only=True)
    model = task.case.make().eval()
    model.load_state_dict(held["weights"])
    start = time.perf_counter()
    way = PEERS[name](Problem(model, held["x"], task.onnx, threads))
    if way is None:
        return None
    way.call()
    prepared = time.perf_counter() - start
    truth = np.load(task.truth)
    error = float(np.abs(way.value() - truth).max() / np.abs(truth).max())
    notes = {"error": float(f"{error:.2e}"), "prepared_s": round(prepared, 1), **way.notes}
    return Built(way.call, notes)


def of_torch(call: Callable[[], torch.Tensor], **notes: Any) -> Way:
    return Way(call, lambda: call().contiguous().numpy(), notes)


def ours(problem: Problem) -> Way:
    """Our own engine, as a user calls it, with nothing known from before."""
    return optimized(problem, {"engines": "atrous"} if has_engines() else {})


def ours_of_all(problem: Problem) -> Way | None:
    """The best of all engines that are installed, where this version has that."""
    return optimized(problem, {}) if has_engines() else None


def has_engines() -> bool:
    import atrous

    return "engines" in inspect.signature(atrous.optimize).parameters


def optimized(problem: Problem, more: dict[str, str]) -> Way:
    """Twice, since the second call finds the first one's choices; the first one's result counts."""
    import atrous

    cache = problem.onnx.parent / f"choices-{os.getpid()}"
    os.environ["ATROUS_CACHE"] = str(cache)
    took: list[float] = []
    made: list[Any] = []
    for _ in range(2):
        start = time.perf_counter()
        made.append(atrous.optimize(problem.model, problem.x, **more))
        took.append(round(time.perf_counter() - start, 1))
    fast = made[0]
    made.clear()
    gc.collect()
    about = fast.explain()
    chosen: dict[str, int] = {}
    for layer in about.layers:
        chosen[layer.strategy] = chosen.get(layer.strategy, 0) + 1
    notes = {"optimized_s": took[0], "again_s": took[1], "mode": about.mode, "strategies": chosen}
    timed = {one.engine: one.ms for one in about.engines if one.ms is not None and not one.why}
    if timed:
        notes["engine"] = min(timed, key=lambda name: timed[name])
        notes["engines_ms"] = {name: round(ms, 3) for name, ms in timed.items()}
    return of_torch(lambda: fast(problem.x), **notes)


def eager(problem: Problem) -> Way:
    return of_torch(lambda: problem.model(problem.x))


def channels_last(problem: Problem) -> Way | None:
    """The model and its input in channels last, where there are maps with two axes."""
    if problem.x.dim() != 4:
        return None
    model = problem.model.to(memory_format=torch.channels_last)
    x = problem.x.to(memory_format=torch.channels_last)
    return of_torch(lambda: model(x))


def compiled(problem: Problem) -> Way:
    call = torch.compile(problem.model, dynamic=False)
    return of_torch(lambda: call(problem.x))


def frozen(problem: Problem) -> Way:
    """Compiled with parameters as constants: a setting of the process, read at the first call."""
    import torch._inductor.config as inductor

    for p in problem.model.parameters():
        p.requires_grad_(False)
    call = torch.compile(problem.model, dynamic=False)
    with inductor.patch(freezing=True):
        call(problem.x)
    return of_torch(lambda: call(problem.x))


def onnx_runtime(problem: Problem) -> Way:
    """Inputs and outputs are bound, so that no array is copied to or from NumPy."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        problem.exported(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, problem.x.numpy())
    binding.bind_output(session.get_outputs()[0].name, "cpu")

    def value() -> np.ndarray:
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return Way(lambda: session.run_with_iobinding(binding), value, {})


def open_vino(problem: Problem) -> Way:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": problem.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    request = core.compile_model(problem.exported(), "CPU", settings).create_infer_request()
    # The tensor shares the array's memory and does not keep it: `infer` does.
    held = problem.x.numpy().copy()
    request.set_input_tensor(openvino.Tensor(held, shared_memory=True))

    def infer(_given: np.ndarray = held) -> None:
        request.infer()

    def value() -> np.ndarray:
        infer()
        return np.array(request.get_output_tensor().data)

    return Way(infer, value, {})


PEERS: dict[str, Callable[[Problem], Way | None]] = {
    OURS: ours,
    f"{OURS}, all engines": ours_of_all,
    "PyTorch": eager,
    "PyTorch, channels last": channels_last,
    "torch.compile": compiled,
    "torch.compile, frozen": frozen,
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": open_vino,
}
