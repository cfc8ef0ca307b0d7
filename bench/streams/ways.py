"""Ways to run a network block by block: ours, and what people do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

import torch
from torch import Tensor, nn

import atrous
from bench.streams.cached import CACHED, cache_bytes
from bench.streams.networks import Network

__all__ = ["PEERS", "AbsentError", "Way", "ways"]

PEERS = ("torch.cat", "TorchStream", "guessed context")

FOUND = {
    "HiFi-GAN V1": (26, 1, 13, 13, 372, 256, 186, 186, 1),
    "DAC decoder": (19, 1, 9, 9, 810, 512, 149, 149, 1),
    "WaveNet": (1419, 1, 1418, 0, 1652, 1, 0, 1651, 1),
    "TCN": (302, 1, 301, 0, 2760, 1, 0, 2759, 1),
}
"""The windows that TorchStream 1.0.2 finds for these networks, in 11 to 98 s."""


class AbsentError(Exception):
    """Why a way does not take a network."""


class Way(ABC):
    """A stream: `begin` a new one, `push` blocks and get results, `late` outputs behind.

    `warm` is up to which output its results need not be right: it has no padding of its own there.
    """

    name: str
    late = 0
    warm = 0
    exact = True

    @abstractmethod
    def begin(self) -> None:
        """A new stream."""

    @abstractmethod
    def push(self, x: Tensor) -> Tensor:
        """The next results."""

    def end(self) -> Tensor | None:
        """The last ones."""
        return None

    @abstractmethod
    def state_bytes(self) -> int:
        """What it keeps between two blocks."""


class Ours(Way):
    """`atrous.stream`."""

    name = "atrous"

    def __init__(self, network: Network, model: nn.Module) -> None:
        self.live = atrous.stream(model, network.shape)

    def begin(self) -> None:
        self.live.reset()

    def push(self, x: Tensor) -> Tensor:
        return self.live.push(x)

    def end(self) -> Tensor:
        return self.live.flush()

    def state_bytes(self) -> int:
        return self.live.state.nbytes


class Joined(Way):
    """Caches of every layer, joined with `torch.cat`."""

    name = PEERS[0]

    def __init__(self, network: Network, model: nn.Module) -> None:
        self.make = lambda: CACHED[network.name](model)
        self.begin()
        self.late = self.cached.delay
        # What looks ahead has something else than zeros in front of each layer.
        self.warm = 2 * self.late

    def begin(self) -> None:
        self.cached = self.make()

    def push(self, x: Tensor) -> Tensor:
        made: Tensor = self.cached(x)
        return made

    def state_bytes(self) -> int:
        return cache_bytes(self.cached)


class TorchStream(Way):
    """The package torchstream-lib: the whole model on each block and the context that it found."""

    name = PEERS[1]

    def __init__(self, network: Network, model: nn.Module) -> None:
        try:
            import torchstream
        except ImportError as error:
            raise AbsentError(f"not installed: {error}") from error
        if network.name not in FOUND:
            raise AbsentError(
                "its solver had found no window after 300 s: what an output reads has no end"
            )
        self.kit, self.model = torchstream, model
        window = torchstream.SlidingWindowParams(*FOUND[network.name])
        channels = model(network.input(network.length)).shape[1]
        self.takes = torchstream.SeqSpec(1, network.channels, -1)
        self.gives = torchstream.SeqSpec(1, channels, -1)
        self.window, self.nothing = window, torch.zeros(1, channels, 0)
        self.begin()

    def begin(self) -> None:
        self.stream = self.kit.SlidingWindowStream(self.model, self.window, self.takes, self.gives)

    def push(self, x: Tensor) -> Tensor:
        made = self.stream(x, allow_zero_size_outputs=True)
        return made.data[0] if made.size else self.nothing

    def end(self) -> Tensor:
        made = self.stream.close_input()
        return made.data[0] if made.size else self.nothing

    def state_bytes(self) -> int:
        buffer = self.stream._in_buff
        return sum(one.numel() * one.element_size() for one in buffer.data) if buffer.size else 0


class Guessed(Way):
    """The whole model on each block, with as much before it and behind it as somebody guessed."""

    name = PEERS[2]
    exact = False

    def __init__(self, network: Network, model: nn.Module) -> None:
        self.model, (self.left, self.right) = model, network.guess
        whole = model(network.input(network.length)).shape[2]
        self.each = Fraction(whole, network.length)
        self.late = int(self.right * self.each)
        self.empty = torch.zeros(1, network.channels, 0)
        self.begin()

    def begin(self) -> None:
        self.read, self.given = self.empty, 0

    def push(self, x: Tensor) -> Tensor:
        """Results of the block that came `right` earlier, of what is kept in front and behind."""
        self.read = torch.cat([self.read, x], 2)[..., -(self.left + self.right + x.shape[2]) :]
        made: Tensor = self.model(self.read)
        count, late = int(x.shape[2] * self.each), self.late
        made = made[..., max(made.shape[2] - late - count, 0) : max(made.shape[2] - late, 0)]
        return in_front(made, count)

    def state_bytes(self) -> int:
        return self.read.numel() * self.read.element_size()


def in_front(made: Tensor, count: int) -> Tensor:
    """Zeros for what has not come in yet, in front."""
    return nn.functional.pad(made, (count - made.shape[2], 0)) if made.shape[2] < count else made


def ways(network: Network, model: nn.Module) -> tuple[list[Way], dict[str, str]]:
    """All that take the network, ours first, and why the others do not."""
    found: list[Way] = []
    absent: dict[str, str] = {}
    for kind in (Ours, Joined, TorchStream, Guessed):
        try:
            found.append(kind(network, model))
        except AbsentError as error:
            absent[kind.name] = str(error)
    return found, absent
