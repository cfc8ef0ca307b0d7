"""An ONNX model that is cut, run by ONNX Runtime: its front on tiles, its back on the whole map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import RunError
from atrous.plan.tiles import Tile, TilePlan
from atrous.readers.onnx.file import Source
from atrous.readers.onnx.graph import one_line
from atrous.runners.onnx import session_of
from atrous.runners.tiled.onnx import as_taken, digest_of_model
from atrous.runners.tiled.onnx_sweeps import OnnxSweeps

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OnnxHalves"]


class OnnxHalves:
    """The front of a file as an engine of its tiles, with what follows: a session at a time.

    `source` is the file as it runs on the whole image, `by_tiles` as it runs on a tile.
    """

    module = None
    """A file is no PyTorch module."""

    def __init__(
        self,
        plan: TilePlan,
        source: Source,
        by_tiles: Source,
        front: onnx.ModelProto,
        back: onnx.ModelProto,
    ) -> None:
        from onnx import helper

        self.plan, self._source, self._models = plan, source, (front, back)
        (image,) = front.graph.input
        (cut,) = front.graph.output
        self._image = image.name
        kind = image.type.tensor_type.elem_type
        self._dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        self._session: Any = None
        self._sweeps = OnnxSweeps(by_tiles, plan, [cut.name]) if plan.gathered else None

    @property
    def tiles(self) -> Any:
        """What runs the tiles, by statistics of the whole image where the plan has any."""
        return self if self._sweeps is None else self._sweeps

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:  # noqa: ARG002
        """The map at the cut of one tile."""
        if self._session is None:
            self._session = session_of(self._models[0], self._source.folder, 0, optimized=True)
        (image,) = inputs
        given = {self._image: as_taken(image, self._image, self._dtype)}
        return _session_made(self._session, given)

    def host(self, made: Any) -> NDArray[Any]:
        """The map as an array in main memory."""
        found: NDArray[Any] = made
        return found

    def behind(self, cut: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, of the whole map at the cut."""
        # What the front's session holds of its tiles goes first.
        self._session = None
        back = session_of(self._models[1], self._source.folder, 0, optimized=True)
        (name,) = (one.name for one in back.get_inputs())
        return _session_made(back, {name: cut})

    def fingerprint(self) -> str:
        """A hash of the file, and of those that hold its weights."""
        return digest_of_model(self._source)


def _session_made(session: Any, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    try:
        made: list[NDArray[Any]] = session.run(None, feed)
    except Exception as error:  # the runtime has classes of its own for everything
        raise RunError(f"ONNX Runtime stopped: {one_line(error)}.") from None
    return made
