"""What a tiled model asks of the one who plans for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from atrous.network.shapes import Shape
from atrous.plan.cut import CutPlan
from atrous.plan.tiles import TilePlan

__all__ = ["Halves", "Planning"]


class Halves(Protocol):
    """A model that is cut: what runs the tiles of its front, and what follows."""

    @property
    def tiles(self) -> Any:
        """An engine whose outputs are the map at the cut."""

    @property
    def module(self) -> Any:
        """Both as one PyTorch module, which a file is not."""

    def behind(self, cut: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, of the whole map at the cut."""


class Planning(Protocol):
    """What plans how images are cut."""

    def plan(self, shapes: tuple[Shape, ...]) -> TilePlan | CutPlan:
        """The plan for an image of these shapes."""

    def halves(self, plan: CutPlan) -> Halves:
        """What runs the front on tiles, and the back behind it."""

    def to_onnx(self, plan: CutPlan, path: Path) -> None:
        """Writes the model as the plan cuts it into an ONNX file."""

    def beside(self, plan: TilePlan) -> TilePlan:
        """The same image in tiles of another size, smaller where there is room for that."""

    def exact(self, plan: TilePlan) -> TilePlan:
        """The same tiles with the statistics of the whole image."""

    @property
    def scratch_folder(self) -> Path:
        """Where maps are kept between sweeps that memory does not hold."""

    @property
    def rank(self) -> int | None:
        """How many dimensions the model's images have, batch and channels included, if known."""
