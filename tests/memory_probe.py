"""The oracle for peak memory: PyTorch's profiler, watching an eager inference run on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# The profiler writes a line on standard error at each start and stop below this level.
os.environ.setdefault("KINETO_LOG_LEVEL", "5")


@dataclass(frozen=True)
class Peak:
    """The most bytes alive at once, the inputs included and parameters not.

    `tensors` leaves out what a kernel frees before it returns: its workspace. `calls` leaves out
    what a whole call from Python does, such as the indices of a max pool that only its kernel
    wants; `everything` counts it all, scratch memory of libraries included.
    """

    tensors: int
    calls: int
    everything: int


def profiled_peak(model: torch.nn.Module, *inputs: torch.Tensor) -> Peak:
    """What the profiler says that `model(*inputs)` holds at most, run for the second time.

    What the first run leaves in the model is the model's own.
    """
    with torch.no_grad():
        model(*inputs)
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True
        ) as run:
            model(*inputs)
    tree = run.profiler.kineto_results.experimental_event_tree()
    log = sorted(_allocations(tree, None, None), key=lambda entry: entry.time)
    held = sum(x.numel() * x.element_size() for x in inputs)
    kernels = _passing(log, [entry.kernel for entry in log])
    calls = _passing(log, [entry.call for entry in log])
    return Peak(_peak(log, held, kernels), _peak(log, held, calls), _peak(log, held, set()))


@dataclass(frozen=True)
class Allocation:
    """Bytes that appear, or go where `size` is negative, within a call and a kernel of it."""

    time: int
    address: int
    size: int
    call: object
    kernel: object


def _passing(log: list[Allocation], within: list[object]) -> set[int]:
    """Where what is allocated goes again within one and the same."""
    made: dict[int, int] = {}
    found: set[int] = set()
    for index, entry in enumerate(log):
        if entry.size > 0:
            made[entry.address] = index
        elif entry.address in made:
            start = made.pop(entry.address)
            if within[start] is not None and within[start] == within[index]:
                found |= {start, index}
    return found


def _peak(log: list[Allocation], held: int, passing: set[int]) -> int:
    now = most = held
    for index, entry in enumerate(log):
        now += 0 if index in passing else entry.size
        most = max(most, now)
    return most


def _allocations(nodes: Any, call: object, kernel: object) -> Iterator[Allocation]:
    """Each allocation, with the outermost op around it and the outermost one that is a kernel."""
    for node in nodes:
        kind = node.tag.name
        if kind == "Allocation":
            fields = node.typed[1]
            yield Allocation(node.start_time_ns, fields.ptr, fields.alloc_size, call, kernel)
        is_op = kind == "TorchOp"
        inner = node.id if is_op and kernel is None and not _is_composite(node.name) else kernel
        outer = node.id if is_op and call is None else call
        yield from _allocations(node.children, outer, inner)


@cache
def _is_composite(name: str) -> bool:
    """Whether PyTorch has nothing for the op but the other ops that it is made of.

    The profiler does not say which overload ran: the plain one, else any of those that are there.
    """
    overloads = {n for n in torch._C._dispatch_get_all_op_names() if n.partition(".")[0] == name}
    asked = overloads & {name} or {n for n in overloads if "name" not in n.partition(".")[2]}
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(asked) and all(has(n, "CompositeImplicitAutograd") for n in asked)
