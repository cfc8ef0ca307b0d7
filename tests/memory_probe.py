"""The oracle for peak memory: PyTorch's profiler, watching an eager inference run on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# The profiler writes a line on standard error at each start and stop below this level.
os.environ.setdefault("KINETO_LOG_LEVEL", "5")


@dataclass(frozen=True)
class Peak:
    """The most bytes alive at once, the input included and parameters not.

    `tensors` leaves out what an op frees before it returns: its workspace. `everything` counts it.
    """

    tensors: int
    everything: int


def profiled_peak(model: torch.nn.Module, x: torch.Tensor) -> Peak:
    """What the profiler says that `model(x)` holds at most."""
    with (
        torch.no_grad(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True) as run,
    ):
        model(x)
    held = x.numel() * x.element_size()
    tree = run.profiler.kineto_results.experimental_event_tree()
    log = sorted(_allocations(tree, None), key=lambda entry: entry[0])
    made: dict[int, tuple[int, int, object]] = {}
    passing: set[int] = set()
    for index, (_, pointer, size, op) in enumerate(log):
        if size > 0:
            made[pointer] = (index, size, op)
        elif pointer in made:
            start, _, maker = made.pop(pointer)
            if maker is not None and maker == op:
                passing |= {start, index}
    tensors = everything = held
    most = [held, held]
    for index, (_, _, size, _) in enumerate(log):
        everything += size
        tensors += 0 if index in passing else size
        most = [max(most[0], tensors), max(most[1], everything)]
    return Peak(*most)


def _allocations(nodes: Any, op: object) -> Iterator[tuple[int, int, int, object]]:
    """Time, address and size of each allocation (freed: negative), and the outermost op around."""
    for node in nodes:
        kind = node.tag.name
        if kind == "Allocation":
            fields = node.typed[1]
            yield node.start_time_ns, fields.ptr, fields.alloc_size, op
        around = node.id if op is None and kind == "TorchOp" else op
        yield from _allocations(node.children, around)
