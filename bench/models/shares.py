"""Where the time of whole models goes: eager, and as `optimize` runs them, by kind of operation.

    python bench/models/shares.py [NAME ...] [--threads N] [--rounds N] [--top N]

For each model whose name holds one of the words (all, if none is given): a table of the kinds of
operation, their share of the time, and what they reach in GFLOP/s and GB/s, in percent of the best
that products (of matrices, or in an undilated 3x3) and a copy reach in the same run. Choices are
kept in the cache folder, so that a second run is short. With one thread, which is what it takes by
itself, times are those that the thread had a core, so that a busy machine hardly matters. `run.py`
compares; this only says where to look.
"""

from __future__ import annotations

import argparse
import inspect
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
from cases import MODELS, Model
from torch.fx import Node
from torch.nn.functional import conv2d

import atrous
from atrous.optimization.explained import as_written
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.program import Program, compiled, profiled
from atrous.optimization.graph.prologues import is_fed, prologue_of
from bench.shared.machine import machine, sentence, use_threads

KINDS = {
    "dense kxk": "convolutions of several taps, not grouped",
    "1x1": "convolutions of one tap, and linear maps",
    "depthwise": "one channel a group",
    "grouped": "several channels a group",
    "transposed": "transposed convolutions",
    "pool": "max and average pools, and means",
    "resample": "interpolation",
    "element-wise": "sums, gates, activations that no layer took up",
    "norm": "batch, layer and group norms, and scans",
    "rest": "concatenations, copies, views",
}
WORDS = {
    "transposed": "conv_transpose",
    "resample": "upsample interpolate grid_sampler pixel_shuffle",
    "1x1": "linear addmm aten.mm bmm matmul einsum",
    "pool": "pool aten.mean aten.amax",
    "norm": "norm cumsum aten.sum aten.var group_factors axis_sum",
    "rest": (
        "cat copy clone contiguous reshape view permute transpose slice split chunk expand select "
        "squeeze pad getitem arange zeros full laid_out flatten stack"
    ),
}
"""Parts of the operations' names, the first that fits; all others are element-wise."""
SQUARE = 512
COPIED = 4 * 2**20  # bytes: a map of the models here, in the caches with its copy


@dataclass(frozen=True, slots=True)
class Cost:
    """One operation of a program: its kind, what it computes and moves, and its milliseconds."""

    kind: str
    title: str
    layer: str
    flop: float
    bytes: float
    ms: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What the machine reaches now: GFLOP/s of products, GB/s of a copy."""

    flop: float
    bytes: float


def rates(before: Rates) -> Rates:
    """The best so far: of a product of matrices and of an undilated 3x3; a copy of 4 MiB.

    PyTorch's product and its convolutions are by different libraries, and on some processors one of
    them is twice as fast.
    """
    a, out = torch.randn(SQUARE, SQUARE), torch.empty(SQUARE, SQUARE)
    maps = torch.randn(1, 256, 32, 32).to(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3).to(memory_format=torch.channels_last)
    x, y = torch.randn(COPIED // 4), torch.empty(COPIED // 4)
    product = 2 * SQUARE**3 / least(partial(torch.mm, a, a, out=out)) / 1e9
    window = 2 * kernel.numel() * 32 * 32 / least(partial(conv2d, maps, kernel, padding=1)) / 1e9
    return Rates(
        max(before.flop, product, window),
        max(before.bytes, 2 * COPIED / least(partial(y.copy_, x)) / 1e9),
    )


def clock() -> float:
    """Seconds: of this thread's work where it is alone, so that waiting for a core is none."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def least(call: Callable[[], object], seconds: float = 0.5, calls: int = 3) -> float:
    """Seconds of the fastest call."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < calls or time.perf_counter() < end:
        begin = clock()
        call()
        found.append(clock() - begin)
    return min(found)


def kind_of_conv(kernel: Sequence[int], channels: int, groups: int) -> str:
    if groups == 1:
        return "1x1" if math.prod(kernel) == 1 else "dense kxk"
    return "depthwise" if groups == channels else "grouped"


def cost_of(node: Node, args: tuple[Any, ...], strategy: str, ms: float) -> Cost:
    """What one step of a program costs by the shapes it is called with.

    Products that meet the padding, and those that fewer-product kernels save, count as well.
    """
    name = getattr(node.target, "__name__", str(node.target))
    title = str(node.target) if "aten" in str(node.target) else name
    made = node.meta.get("val")
    moved = sum(size(one) for one in (*args, made))
    flop = 0.0
    kind = next(
        (k for k, words in WORDS.items() if any(w in title for w in words.split())), "element-wise"
    )
    if is_layer(node) and node.meta["call"].pooling is not None:
        kind, title = "pool", f"{node.meta['call'].title} {shape(made)}: {strategy}"
    elif is_layer(node) and node.meta["call"].resizing is not None:
        kind, title = "resample", f"{node.meta['call'].title} {shape(made)}: {strategy}"
    elif is_layer(node) or is_fed(node):
        call = prologue_of(node).call if is_fed(node) else node.meta["call"]
        kind = kind_of_conv(call.kernel, call.input[1], call.groups) if call.windows else "1x1"
        channels = f"{call.weight[1] * call.groups}-{call.weight[0]}"
        text = prologue_of(node).title if is_fed(node) else call.title
        title = f"{text}, {channels} {shape(made)}: {strategy}"
        flop = 2 * outputs(made) * math.prod(call.weight[1:])
        moved += 4 * math.prod(call.weight)
    elif title.startswith(("aten.conv", "aten._conv")):
        weight = args[1]
        if "transpose" in title:
            flop = 2 * outputs(args[0]) * math.prod(weight.shape[1:])
        else:
            groups = args[0].shape[1] // weight.shape[1]
            kind = kind_of_conv(weight.shape[2:], args[0].shape[1], groups)
            flop = 2 * outputs(made) * math.prod(weight.shape[1:])
        title = f"{title} {'x'.join(map(str, weight.shape))} {shape(made)}"
    elif kind == "1x1":
        flop = 2 * outputs(made) * args[0].shape[-1]
    else:
        title = f"{title} {shape(made)}"
    return Cost(kind, title, node.meta.get("layer", node.name), flop, moved, ms)


def outputs(value: Any) -> int:
    return int(value.numel()) if isinstance(value, torch.Tensor) else 0


def shape(value: Any) -> str:
    return "x".join(map(str, getattr(value, "shape", ())))


def size(value: Any) -> int:
    """The bytes of a tensor, or of all in a list; for views, as if they were copied."""
    if isinstance(value, list | tuple):
        return sum(map(size, value))
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def costs(program: Program, model: torch.nn.Module, x: torch.Tensor, rounds: int) -> list[Cost]:
    """The steps of a program in whole runs, with the least time of each.

    What else the machine does only adds to a time.
    """
    given: dict[Node, tuple[Any, ...]] = {}

    def seen(node: Node, *args: Any) -> None:
        given[node] = tuple(light(one) for one in args)

    taken = profiled(program, compiled(program, model), (x,), rounds, seen, clock)
    return [
        cost_of(node, given[node], program.strategies.get(node.name, ""), ms)
        for node, ms in taken.items()
    ]


def light(value: Any) -> Any:
    """The same without its memory, which must not be held."""
    if isinstance(value, list | tuple):
        return [light(one) for one in value]
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def table(found: list[Cost], best: Rates) -> Iterator[str]:
    """A row for each kind, the largest first."""
    whole = sum(one.ms for one in found)
    yield (
        f"{'kind':<14}{'steps':>6}{'ms':>9}{'share':>8}{'GFLOP/s':>10}{'of best':>12}"
        f"{'GB/s':>8}{'of copy':>9}"
    )
    groups = {kind: [one for one in found if one.kind == kind] for kind in KINDS}
    for kind, steps in sorted(groups.items(), key=lambda item: -sum(s.ms for s in item[1])):
        ms = sum(one.ms for one in steps)
        if not ms:
            continue
        flop = sum(one.flop for one in steps) / ms / 1e6
        moved = sum(one.bytes for one in steps) / ms / 1e6
        compute = f"{flop:>10.1f}{flop / best.flop:>12.0%}" if flop else f"{'-':>10}{'-':>12}"
        yield (
            f"{kind:<14}{len(steps):>6}{ms:>9.2f}{ms / whole:>8.1%}{compute}"
            f"{moved:>8.1f}{moved / best.bytes:>9.0%}"
        )
    yield f"{'all':<14}{len(found):>6}{whole:>9.2f}"


def largest(found: list[Cost], best: Rates, count: int) -> Iterator[str]:
    """The steps that take the most, those of one title together."""
    whole = sum(one.ms for one in found)
    groups: dict[str, list[Cost]] = {}
    for one in found:
        groups.setdefault(one.title, []).append(one)
    for title, steps in sorted(groups.items(), key=lambda i: -sum(s.ms for s in i[1]))[:count]:
        ms = sum(one.ms for one in steps)
        flop = sum(one.flop for one in steps) / ms / 1e6 / best.flop
        moved = sum(one.bytes for one in steps) / ms / 1e6 / best.bytes
        reached = f"{flop:.0%} of best" if flop else f"{moved:.0%} of copy"
        yield f"  {ms / whole:>6.1%} {ms:>8.2f} ms  {len(steps):>3} x {title} ({reached})"


def optimized(model: torch.nn.Module, x: torch.Tensor) -> Any:
    """By our own engine alone, where there is a choice."""
    more = (
        {"engines": "atrous"} if "engines" in inspect.signature(atrous.optimize).parameters else {}
    )
    return atrous.optimize(model, x, **more)


def report(case: Model, best: Rates, rounds: int, top: int) -> Rates:
    """Prints the tables of one model; returns the best rates so far."""
    model, x = case.build()
    begin = time.perf_counter()
    fast = optimized(model, x)
    prepared = time.perf_counter() - begin
    best = rates(best)
    about = fast.explain()
    programs: list[tuple[str, Program, Any]] = []
    found = exported(model, (x,))
    if isinstance(found, Exported):
        graph = as_written(found)
        programs.append(("eager", Program(graph.graph, graph.constants, "contiguous", {}), model))
    programs += [("optimized", plan.program, fast) for plan in fast._plans.values()]
    parts = []
    for title, program, call in programs:
        steps = costs(program, model, x, rounds)
        parts.append((title, steps, 1e3 * least(partial(call, x), 0.0, rounds)))
        best = rates(best)
    print(f"\n## {case.name}, {'x'.join(map(str, case.input))}")
    print(
        f"products {best.flop:.0f} GFLOP/s, copy {best.bytes:.0f} GB/s; optimized in "
        f"{prepared:.1f} s: {about.mode}, {about.layout}"
    )
    notes = about.notes if isinstance(found, Exported) else (found.reason, *about.notes)
    for note in notes:
        print(f"note: {note}")
    for title, steps, whole in parts:
        spent = sum(one.ms for one in steps)
        print(f"\n{title}: {whole:.2f} ms a call, {spent:.2f} ms in its steps")
        print("\n".join(table(steps, best)))
        print("largest:")
        print("\n".join(largest(steps, best, top)), flush=True)
    return best


def main() -> None:
    """Prints the tables of the models asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="words that the models' names hold")
    parser.add_argument("--threads", type=int, default=1, help="1, if left out")
    parser.add_argument("--rounds", type=int, default=5, help="runs, of which the least counts")
    parser.add_argument("--top", type=int, default=8, help="how many of the largest steps to name")
    asked = parser.parse_args()
    words = [word.lower() for word in asked.names] or [""]
    threads = use_threads(asked.threads)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    print(sentence(machine(threads)), flush=True)
    best = Rates(0.0, 0.0)
    for case in MODELS:
        if any(word in case.name.lower() for word in words):
            best = report(case, best, asked.rounds, asked.top)


if __name__ == "__main__":
    main()
