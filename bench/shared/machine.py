"""What a number was measured on: the processor, the threads, the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

import atrous

PACKAGES = ("torch", "numpy", "onnxruntime", "openvino", "jax", "timm", "torchvision")
SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd")


def use_threads(count: int | None) -> int:
    """Gives every framework the same number of cores and returns it.

    `None` is PyTorch's own choice. Fewer than the machine has are had by binding the process to so
    many: some frameworks can only be limited that way.
    """
    if count is None:
        return torch.get_num_threads()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if count < len(cores):
            os.sched_setaffinity(0, cores[:count])
    torch.set_num_threads(count)
    return count


def processor() -> tuple[str, list[str]]:
    """The processor's name, and the instruction sets that matter here."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine(), []
    fields = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in path.read_text().splitlines())
    }
    flags = fields.get("flags", fields.get("Features", "")).split()
    return fields.get("model name", platform.machine()), [s for s in SETS if s in flags]


def versions() -> dict[str, str]:
    """The versions of everything that takes part and is installed."""
    found = {"python": platform.python_version(), "atrous": atrous.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def native() -> str:
    """The instruction set that our kernels run with, or why there are none."""
    try:
        from atrous.operators.kernels import native as state
    except ImportError:
        return "not in this version"
    found = state()
    return found.isa if found.available else f"off: {found.reason}"


def machine(threads: int) -> dict[str, Any]:
    """All of it, as plain data."""
    name, sets = processor()
    return {
        "processor": name,
        "sets": sets,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "native": native(),
        "versions": versions(),
    }


def sentence(found: dict[str, Any]) -> str:
    """The machine in one sentence, for a README."""
    listed = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['processor']} ({', '.join(found['sets'])}), {found['threads']} threads on "
        f"{found['cores']} cores, {found['system']}; our kernels: {found['native']}. {listed}."
    )
