"""Stacks that statements are tried on: read, and side by side."""

from __future__ import annotations

from collections.abc import Mapping

from atrous.analysis import Comparison, Inspection, compare_networks, inspect_network, usual_stacks
from atrous.lessons.record import Numbers
from atrous.network.stack import stack_network

__all__ = ["compared", "on_line", "reported", "usual"]


def reported(stack: str, shape: tuple[int, ...]) -> Inspection:
    """The report on a stack."""
    return inspect_network(stack_network(stack, shape))


def on_line(stack: str, length: int) -> Inspection:
    """The report on a stack along one axis, with one channel."""
    return reported(stack, (1, 1, length))


def compared(stacks: Mapping[str, str], shape: tuple[int, ...], title: str = "") -> Comparison:
    """Stacks side by side on one input."""
    networks = {name: stack_network(stack, shape) for name, stack in stacks.items()}
    return compare_networks(networks, stacks, title=title)


def usual(n: Numbers, *names: str) -> Comparison:
    """Some of the usual schemes, or all, at the reader's numbers."""
    stacks = usual_stacks(n.kernel, n.depth, n.channels)
    chosen = {name: stacks[name] for name in names or stacks if name in stacks}
    return compared(chosen, n.input)
