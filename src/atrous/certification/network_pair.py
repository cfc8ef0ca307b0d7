"""Two networks as data, as a pair to compare: there is nothing to run."""

from __future__ import annotations

from typing import Any

from atrous.certification.certify import Weights
from atrous.network import Network
from atrous.network.shapes import Shapes

__all__ = ["NetworkPair"]


class NetworkPair:
    """Two networks as data: there is nothing to run."""

    precision = "not run: a network as data has no weights"
    weights: tuple[Weights, ...] = ("own",)

    def __init__(self, reference: Network, candidate: Network) -> None:
        self.both = reference, candidate

    def networks(self, shapes: Shapes) -> tuple[Network, Network]:  # noqa: ARG002 - a protocol
        """The two networks, whose sizes are set."""
        return self.both

    def arrays(self, *_: Any) -> None:
        """Nothing can be run."""

    def first_difference(self, *_: Any) -> None:
        """Nothing can be run."""
