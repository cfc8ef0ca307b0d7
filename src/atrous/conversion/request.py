"""What a conversion is asked to be, and the plan that does it, or the error that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from typing import Any

from atrous.conversion.dilating import plan_dilation
from atrous.conversion.plan import Heads, Plan
from atrous.conversion.striding import plan_striding
from atrous.errors import AtrousError, ReadError
from atrous.geometry import Tail
from atrous.network import Network, Node, Tensor
from atrous.network.aside import coarsest
from atrous.network.layout import ROWS, has_axes
from atrous.network.walk import ancestors, needed, pruned
from atrous.refusal import Refusal
from atrous.shown import how_many

__all__ = ["ConversionRequest", "plan_for"]


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """What a conversion is to be: see `atrous.convert`."""

    output_stride: int | Sequence[int]
    names: tuple[str, ...] | None
    heads: Heads
    tail: Tail
    measure: bool
    resample: bool = False


def plan_for(network: Network, asked: ConversionRequest) -> Plan:
    """The plan that gives the wanted outputs the wanted stride. Raises `ConversionError`."""
    wanted = needed(network, asked.names)
    refusal = _no_map(network, wanted)
    if refusal is not None:
        raise refusal.error()
    reference = pruned(network, wanted)
    target = _target(reference, asked.output_stride)
    now = coarsest(reference)
    finer = [axis for axis, stride in target.items() if stride < now[axis]]
    coarser = [axis for axis, stride in target.items() if stride > now[axis]]
    if finer and coarser:
        raise Refusal(
            "output stride",
            "",
            f"output_stride={tuple(target.values())} is finer than now along "
            f"{', '.join(finer)} and coarser along {', '.join(coarser)}; convert one after the "
            "other.",
        ).error()
    plan: Plan | Refusal
    if coarser:
        opaque = next((node for node in reference.nodes if node.opaque), None)
        if opaque is not None:
            raise Refusal(
                "opaque", opaque.name, f"it is not understood ({opaque.opaque.rstrip('.')})."
            ).error()
        plan = plan_striding(network, target, wanted)
    else:
        plan = plan_dilation(
            network,
            target,
            wanted,
            heads=asked.heads,
            tail=asked.tail,
            resample=asked.resample,
        )
    if isinstance(plan, Refusal):
        raise plan.error()
    return plan


def _target(network: Network, output_stride: int | Sequence[int]) -> dict[str, int]:
    axes = network.axes
    given: Any = output_stride
    try:
        values = tuple(map(index, given)) if isinstance(given, list | tuple) else (index(given),)
    except TypeError:
        values = (0,)
    if len(values) == 1:
        values *= len(axes)
    if any(value < 1 for value in values):
        raise ReadError(f"output_stride={output_stride!r} is no whole number of at least 1.")
    if len(values) != len(axes):
        raise ReadError(
            f"output_stride={output_stride!r} has {how_many(len(values), 'value')} for "
            f"{how_many(len(axes), 'spatial axis')} ({', '.join(axes)}); "
            "give one, or one each."
        )
    return dict(zip(axes, values, strict=True))


def _no_map(network: Network, outputs: Sequence[str]) -> Refusal | None:
    """Why no output has positions whose stride could change."""
    held = ancestors(network, outputs)
    laid = next(
        (
            node
            for node in network.nodes
            if node.output.name in held and ROWS in node.output.grid and node.seams
        ),
        None,
    )
    if laid is not None:
        return Refusal(
            "parts",
            laid.name,
            "it lays parts that hold different positions end to end, which would have other "
            "lengths; name the layers before it whose maps you want, "
            f"{_such_as(network, laid)}.",
        )
    if any(network.tensor(name).grid for name in outputs):
        return None
    last = None
    for node in network.nodes:
        if node.output.name not in held:
            continue
        if node.opaque:
            return Refusal("opaque", node.name, f"it is not understood ({node.opaque}).")
        before = [network.tensor(name) for name in node.inputs]
        if any(t.grid for t in before) and not node.output.grid:
            last = node
    if last is None:
        return Refusal("global", "", "no output has spatial positions; there is no map to convert.")
    return Refusal(
        "global",
        last.name,
        "it mixes all positions, and no output behind it has any left to convert; name the layers "
        f"whose maps you want, {_such_as(network, last)}.",
    )


def _such_as(network: Network, end: Node) -> str:
    """What to name for outputs: the last layer before a node that makes a map, or its block."""
    held = ancestors(network, end.inputs)
    maps = [node for node in network.nodes if node.output.name in held and node.output.grid]
    whole = [node for node in maps if _is_laid_out(node.output)] or maps
    for node in reversed(whole):
        parts = node.module.split(".")
        blocks = [".".join(parts[: i + 1]) for i in range(len(parts))]
        for name in (*blocks, node.name):
            with suppress(AtrousError):
                if needed(network, [name]) == (node.output.name,):
                    return f"such as outputs={name!r}"
    return "with outputs="


def _is_laid_out(x: Tensor) -> bool:
    """Whether each axis has a dimension of its own."""
    dims = [dim for dim in x.layout if has_axes(dim)]
    return ROWS not in x.grid and all(len(dim) == 1 for dim in dims) and len(dims) == len(x.grid)
