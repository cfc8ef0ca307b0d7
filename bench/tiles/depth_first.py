"""Two classifiers run whole and depth first: peak memory, difference, what is computed twice.

    python bench/tiles/depth_first.py

MobileNetV2 at 224 and ResNet-50 at 512, through PyTorch and ONNX Runtime, each run in a process of
its own. PyTorch's peak is what its allocator holds beside the image, by the profiler's memory
events; ONNX Runtime's is what the process's resident memory grows by, without an arena and with
each block given back at once, so that it is what a run holds. Both are second runs: what the first
one leaves, such as weights laid out anew, counts as the model's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from memory import resident

import atrous
from tests.torchvision_schemas import let_torchvision_import

CASES = {"mobilenet_v2": (224, "2.6MiB"), "resnet50": (512, "13.7MiB")}
RUNTIMES, WAYS = ("PyTorch", "ONNX Runtime"), ("whole", "depth first")


def classifier(name: str) -> torch.nn.Module:
    """A network of torchvision with random weights, whose norms know the size of its maps."""
    let_torchvision_import()
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 128, 128))
    return model.eval()


def allocated(function: object) -> int:
    """The bytes that PyTorch's allocator holds at most while a function runs."""
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        function()  # type: ignore[operator]
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    return int(np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max())


def by_torch(model: torch.nn.Module, image: torch.Tensor, budget: str, way: str) -> tuple:
    """The result, and the bytes held at most beside the image."""
    run = model if way == "whole" else atrous.tile(model, memory=budget).module(*image.shape)
    with torch.no_grad():
        made = run(image).numpy()
    return made, allocated(lambda: run(image))


def by_onnx(
    model: torch.nn.Module, image: torch.Tensor, budget: str, way: str, path: Path
) -> tuple:
    """The same through ONNX Runtime, of the file that PyTorch exports or the one with a loop."""
    import onnxruntime

    if way == "whole":
        torch.onnx.export(model, (image,), path, dynamo=True, verbose=False)
    else:
        atrous.tile(model, memory=budget).to_onnx(path, *image.shape)
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: image.numpy()}
    session.run(None, given)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    (made,) = session.run(None, given)
    return made, resident("VmHWM") - before


def measure(name: str, runtime: str, way: str, result: Path) -> None:
    """One case in this process: its figures as a line of JSON, its result into a file."""
    torch.set_num_threads(1)
    size, budget = CASES[name]
    model, image = classifier(name), torch.randn(1, 3, size, size)
    plan = atrous.plan_tiles(model, tuple(image.shape), memory=budget)
    if runtime == "PyTorch":
        made, held = by_torch(model, image, budget, way)
    else:
        made, held = by_onnx(model, image, budget, way, result.with_suffix(".onnx"))
    np.save(result, made)
    print(
        json.dumps(
            {
                "held": held,
                "tiles": len(plan),
                "recomputed": plan.recomputed,
                "planned": plan.peak_bytes - plan.image_bytes,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("case", nargs="*")
    given = parser.parse_args()
    if given.case:
        name, runtime, way, result = given.case
        measure(name, runtime, way, Path(result))
        return
    print("| network | runtime | whole | depth first | share | difference | MACs twice |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    # Each block beyond this is mapped by itself, and given back where it is freed.
    around = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "4096"}
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, _) in CASES.items():
            whole: np.ndarray | None = None
            for runtime in RUNTIMES:
                held, results = [], []
                for way in WAYS:
                    path = Path(folder, f"{name} {runtime} {way}.npy")
                    ran = subprocess.run(
                        [sys.executable, __file__, name, runtime, way, path],
                        env=around,
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    found = json.loads(ran.stdout.splitlines()[-1])
                    held.append(found["held"] / 2**20)
                    results.append(np.load(path))
                whole = results[0] if whole is None else whole
                apart = float(np.abs(results[1] - whole).max() / np.abs(whole).max())
                print(
                    f"| {name} at {size} | {runtime} | {held[0]:.1f} MiB | {held[1]:.1f} MiB "
                    f"| {held[1] / held[0]:.2f} | {apart:.1e} | {found['recomputed']:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
