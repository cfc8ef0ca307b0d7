"""An ONNX model whose front is in a loop over tiles, run whole by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import ArgumentError, RunError
from atrous.readers.onnx.graph import one_line
from atrous.runners.onnx import session_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OnnxCut"]


class OnnxCut:
    """What the whole image gives, for images of the shape that the file was made for."""

    def __init__(self, model: onnx.ModelProto, folder: Path | None) -> None:
        self._session = session_of(model, folder, 0, optimized=True)
        (self._input,) = self._session.get_inputs()

    def __call__(self, image: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, as arrays."""
        if list(image.shape) != self._input.shape:
            asked, given = ("x".join(map(str, s)) for s in (self._input.shape, image.shape))
            raise ArgumentError(f"planned for an image of {asked}, got {given}; plan that anew.")
        try:
            made: list[NDArray[Any]] = self._session.run(
                None, {self._input.name: np.ascontiguousarray(image)}
            )
        except Exception as error:  # the runtime has classes of its own for everything
            raise RunError(f"ONNX Runtime stopped: {one_line(error)}.") from None
        return made
