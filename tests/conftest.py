"""What every test shares: threads per worker, how hypothesis draws, torchvision's op schemas."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from hypothesis import settings

# The workers already fill the cores: torch's threads on top of them would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Exports make objects by the hundred thousand, nearly all of which stay: a collection every 700 of
# them finds nothing, at 6 % of the time.
gc.set_threshold(20_000)

# Every run draws the same examples, however slow the machine is; `--hypothesis-profile=wide` draws
# new ones, and more of them.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("wide", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile("fixed")


class _TorchvisionSchemas(MetaPathFinder):
    """Lets torchvision's Python models import where its compiled ops cannot load.

    torchvision describes `nms` and `qnms` to torch while it is imported, and torch refuses where
    no library has defined them. That is so whenever the two were built for different devices. No
    model under test runs either op.
    """

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


sys.meta_path.insert(0, _TorchvisionSchemas())
