"""Times whole models: `atrous.optimize` beside every mode of PyTorch, ONNX Runtime and OpenVINO.

    python bench/models/run.py [NAME ...] [--again] [--quick] [--turns N] [--out FILE]

For each model whose name holds one of the words (all, if none is given), everybody takes turns on
one input with the same threads. Models that the file already has are left out unless `--again`:
what is compared is always of one run. `table.py` reads the file.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import MODELS, Model

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from machine import machine, sentence, use_threads
from rounds import Contestant, Times, take_turns

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Problem:
    """A model, its input, a file of it as ONNX (None where the export failed), and threads."""

    model: torch.nn.Module
    x: torch.Tensor
    onnx: Path | None
    threads: int


@dataclass(frozen=True, slots=True)
class Way:
    """A call that runs the model once, its result as an array, and what there is to say."""

    call: Callable[[], object]
    value: Callable[[], np.ndarray]
    notes: dict[str, Any]


def of_torch(call: Callable[[], torch.Tensor], **notes: Any) -> Way:
    return Way(call, lambda: call().contiguous().numpy(), notes)


def ours(problem: Problem) -> Way:
    """As a user calls it, with nothing known from before; counts the layers of each strategy."""
    import atrous

    if not hasattr(atrous, "optimize"):
        raise ImportError("atrous.optimize is not in this version")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATROUS_CACHE"] = folder
        fast = atrous.optimize(problem.model, problem.x)
    chosen: dict[str, int] = {}
    for layer in fast.explain().layers:
        chosen[layer.strategy] = chosen.get(layer.strategy, 0) + 1
    return of_torch(lambda: fast(problem.x), strategies=chosen)


def eager(problem: Problem) -> Way:
    return of_torch(lambda: problem.model(problem.x))


def channels_last(problem: Problem) -> Way | None:
    """The model and its input in channels last, where there are maps with two axes."""
    if problem.x.dim() != 4:
        return None
    model = copy.deepcopy(problem.model).to(memory_format=torch.channels_last)
    x = problem.x.to(memory_format=torch.channels_last)
    return of_torch(lambda: model(x))


def compiled(problem: Problem) -> Way:
    call = torch.compile(copy.deepcopy(problem.model), dynamic=False)
    call(problem.x)
    return of_torch(lambda: call(problem.x))


def frozen(problem: Problem) -> Way:
    """Compiled with parameters as constants: a setting of the process, read at the first call."""
    import torch._inductor.config as inductor

    model = copy.deepcopy(problem.model)
    for p in model.parameters():
        p.requires_grad_(False)
    call = torch.compile(model, dynamic=False)
    with inductor.patch(freezing=True):
        call(problem.x)
    return of_torch(lambda: call(problem.x))


def onnx_runtime(problem: Problem) -> Way:
    """Inputs and outputs are bound, so that no array is copied to or from NumPy."""
    import onnxruntime

    if problem.onnx is None:
        raise RuntimeError("the model was not exported")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(problem.onnx), options, providers=["CPUExecutionProvider"]
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

    if problem.onnx is None:
        raise RuntimeError("the model was not exported")
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": problem.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(str(problem.onnx), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(problem.x.numpy(), shared_memory=True))

    def value() -> np.ndarray:
        request.infer()
        return np.array(request.get_output_tensor().data)

    return Way(request.infer, value, {})


PEERS: dict[str, Callable[[Problem], Way | None]] = {
    "atrous": ours,
    "PyTorch": eager,
    "PyTorch, channels last": channels_last,
    "torch.compile": compiled,
    "torch.compile, frozen": frozen,
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": open_vino,
}


def export(model: torch.nn.Module, x: torch.Tensor, folder: Path) -> Path | None:
    """The model as an ONNX file, or None where PyTorch cannot write it."""
    path = folder / "model.onnx"
    try:
        torch.onnx.export(model, (x,), str(path), dynamo=True, verbose=False)
    except Exception as failure:  # two peers less, which the file says
        print(f"  no ONNX file: {type(failure).__name__}: {str(failure)[:200]}", flush=True)
        return None
    return path


def figures(times: Times) -> dict[str, Any]:
    return {
        "median_ms": round(times.median, 3),
        "min_ms": round(times.least, 3),
        "turns": times.turns,
        "calls": times.calls,
    }


def run_model(case: Model, names: list[str], threads: int, turns: int) -> dict[str, Any]:
    """All that is measured of one model."""
    torch._dynamo.reset()
    model, x = case.build()
    truth = copy.deepcopy(model).double()(x.double()).numpy()
    entrants: list[Contestant] = []
    described: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"ONNX Runtime", "OpenVINO"} & set(names)
        problem = Problem(model, x, export(model, x, Path(folder)) if wanted else None, threads)
        for name in names:
            start = time.perf_counter()
            try:
                way = PEERS[name](problem)
                if way is None:
                    continue
                error = float(np.abs(way.value() - truth).max() / np.abs(truth).max())
            except Exception as failure:  # one peer that cannot must not end the run
                absent[name] = f"{type(failure).__name__}: {str(failure)[:300]}"
                continue
            entrants.append(Contestant(name, way.call))
            described[name] = {
                "error": float(f"{error:.2e}"),
                "prepared_s": round(time.perf_counter() - start, 1),
                **way.notes,
            }
        times = take_turns(entrants, turns=turns, seconds=0.05)
    return {
        "name": case.name,
        "input": list(case.input),
        "contestants": {name: described[name] | figures(times[name]) for name in described},
        "absent": absent,
    }


def line(found: dict[str, Any]) -> str:
    listed = sorted(found["contestants"].items(), key=lambda item: item[1]["median_ms"])
    return "; ".join(f"{name} {c['median_ms']:.1f} ms" for name, c in listed)


def main() -> None:
    """Runs what is asked for; what is done is in the file after each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="words that the models' names hold")
    parser.add_argument("--again", action="store_true", help="also models that have a result")
    parser.add_argument("--quick", action="store_true", help="one turn each, nothing is kept")
    parser.add_argument("--turns", type=int, help="turns of each contestant; 7, or 1 when quick")
    parser.add_argument("--peers", default="", help=f"parts of names, of: {'; '.join(PEERS)}")
    parser.add_argument("--threads", type=int, help="as many as PyTorch takes, if left out")
    parser.add_argument("--out", type=Path, help="results.json beside this file, unless quick")
    asked = parser.parse_args()
    parts = asked.peers.lower().split(",")
    names = [name for name in PEERS if any(part in name.lower() for part in parts)]
    if not names:
        parser.error(f"no peer is named like {asked.peers}; there are {'; '.join(PEERS)}")
    words = [word.lower() for word in asked.names] or [""]
    chosen = [case for case in MODELS if any(word in case.name.lower() for word in words)]
    partial = asked.quick or asked.peers
    path = asked.out or (None if partial else HERE / "results.json")
    turns = asked.turns or (1 if asked.quick else 7)
    threads = use_threads(asked.threads)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    about = machine(threads)
    print(sentence(about), flush=True)
    results: dict[str, Any] = {"schema": "atrous.bench.models/1", "models": {}}
    if path is not None and path.exists():
        results = json.loads(path.read_text())
    for index, case in enumerate(chosen, 1):
        if case.name in results["models"] and not asked.again:
            continue
        start = time.perf_counter()
        found = run_model(case, names, threads, turns)
        found["machine"] = about
        found["seconds"] = round(time.perf_counter() - start)
        results["models"][case.name] = found
        print(f"{index}/{len(chosen)} {case.name}, {found['seconds']} s: {line(found)}", flush=True)
        for name, why in found["absent"].items():
            print(f"  took no part: {name}: {why}")
        if path is not None:
            path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
