"""Lets torchvision's Python models import where its compiled ops cannot load.

torchvision describes `nms` and `qnms` to torch while it is imported, and torch refuses where no
library has defined them. That is so whenever the two were built for different devices. No model
that is tested or measured runs either op.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

__all__ = ["let_torchvision_import"]


class _Schemas(MetaPathFinder):
    library: object = None  # torch forgets a schema with the library object that defined it

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            self.define_missing()
        return None

    def define_missing(self) -> None:
        found = importlib.util.find_spec("torchvision")
        if found is None or found.origin is None:
            return
        import torch

        try:
            for extension in sorted(Path(found.origin).parent.glob("_C.*")):
                torch.ops.load_library(str(extension))
        except OSError:
            pass
        if hasattr(torch.ops.torchvision, "nms"):
            return
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        type(self).library = library


def let_torchvision_import() -> None:
    """Define what torchvision will miss, once it is imported; nothing where it is already."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _Schemas) for f in sys.meta_path):
        sys.meta_path.insert(0, _Schemas())
