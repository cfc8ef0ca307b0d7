"""Two networks as data, as a pair to compare: there is nothing to run."""

from __future__ import annotations

from typing import Any

from atrous.certification.certify import Weights
from atrous.network import Network
from atrous.network.shapes import Shapes
from atrous.refusal import Refusal

__all__ = ["NetworkPair"]


class NetworkPair:
    """Two networks as data: there is nothing to run, and `why`."""

    precision = "none"
    weights: tuple[Weights, ...] = ("own",)
    guessed: frozenset[Shapes] = frozenset()
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        reference: Network,
        candidate: Network,
        why: str = "a network as data has no weights",
    ) -> None:
        self.both = reference, candidate
        self.why = why

    def networks(self, shapes: Shapes, *, guess: bool = False) -> tuple[Network, Network]:  # noqa: ARG002 - a protocol
        """The two networks, whose sizes are set."""
        return self.both

    def refuses(self, shapes: Shapes) -> str:  # noqa: ARG002 - a protocol
        """Nothing is refused."""
        return ""

    def may_vary(self) -> tuple[tuple[bool, ...], ...]:
        """No size is another."""
        return tuple((False,) * len(t.shape) for t in self.both[0].inputs)

    def arrays(self, *_: Any) -> Refusal:
        """Nothing can be run."""
        return Refusal("data", "", self.why)

    def moved(self, *_: Any) -> Refusal:
        """Nothing can be run."""
        return Refusal("data", "", self.why)

    def again(self, *_: Any) -> Refusal:
        """Nothing can be run."""
        return Refusal("data", "", self.why)

    def first_difference(self, *_: Any) -> None:
        """Nothing can be run."""
