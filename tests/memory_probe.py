"""The oracle for peak memory: PyTorch's profiler, watching an eager inference run on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

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


def profiled_steps(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    make: Callable[[list[torch.Tensor]], Any],
    loss: Callable[[Any], torch.Tensor],
    *,
    autocast: torch.dtype | None = None,
    keep_gradients: bool = False,
    steps: int = 2,
) -> list[Peak]:
    """What the profiler says that each step of training holds at most, parameters included."""

    def step(optimizer: Any) -> None:
        with torch.autocast("cpu", autocast) if autocast else nullcontext():
            output = model(*args)
            value = loss(output)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=not keep_gradients)

    model.train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True) as run:
        optimizer = make([p for p in model.parameters() if p.requires_grad])
        for index in range(steps):
            with record_function(f"training step {index}"):
                step(optimizer)
    tree = run.profiler.kineto_results.experimental_event_tree()
    log = sorted(_allocations(tree, None, None), key=lambda entry: entry.time)
    there = [*model.parameters(), *model.buffers(), *args]
    sizes = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in there}
    held = sum(sizes.values())
    kernels = _passing(log, [entry.kernel for entry in log])
    calls = _passing(log, [entry.call for entry in log])
    spans = sorted(_spans(tree))
    return [
        Peak(*(_peak(log, held, without, span) for without in (kernels, calls, set())))
        for span in spans
    ]


def _spans(nodes: Any) -> Iterator[tuple[int, int]]:
    """When each step began and ended."""
    for node in nodes:
        if node.name.startswith("training step "):
            yield node.start_time_ns, node.end_time_ns
        yield from _spans(node.children)


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


def _peak(
    log: list[Allocation], held: int, passing: set[int], span: tuple[float, float] = (0, inf)
) -> int:
    """The most bytes within a span of time; at its start there is what was there before."""
    now, most = held, 0
    start, end = span
    for index, entry in enumerate(log):
        if entry.time >= start:
            most = max(most, now)
        now += 0 if index in passing else entry.size
        if start <= entry.time <= end:
            most = max(most, now)
        if entry.time > end:
            break
    return max(most, held)


def _allocations(nodes: Any, call: object, kernel: object) -> Iterator[Allocation]:
    """Each allocation, with the outermost op around it and the outermost one that is a kernel."""
    for node in nodes:
        kind = node.tag.name
        if kind == "Allocation":
            fields = node.typed[1]
            yield Allocation(node.start_time_ns, fields.ptr, fields.alloc_size, call, kernel)
        is_op = kind == "TorchOp" and _is_op(node.name)
        inner = node.id if is_op and kernel is None and not _is_composite(node.name) else kernel
        outer = node.id if is_op and call is None else call
        yield from _allocations(node.children, outer, inner)


@cache
def _ops() -> frozenset[str]:
    """All ops, without their overloads."""
    return frozenset(n.partition(".")[0] for n in torch._C._dispatch_get_all_op_names())


def _is_op(name: str) -> bool:
    """Whether an entry is an op, and not what the engine, an optimizer or a caller notes down."""
    return name in _ops()


@cache
def _is_composite(name: str) -> bool:
    """Whether PyTorch has nothing for the op but the other ops that it is made of.

    The profiler does not say which overload ran: the plain one, else any of those that are there.
    """
    overloads = {n for n in torch._C._dispatch_get_all_op_names() if n.partition(".")[0] == name}
    asked = overloads & {name} or {n for n in overloads if "name" not in n.partition(".")[2]}
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(asked) and all(has(n, "CompositeImplicitAutograd") for n in asked)
