"""Threads that the kernels and PyTorch share.

PyTorch's builds for Linux bring GCC's OpenMP runtime, whose threads stay awake for a while after
each operation. Threads of our own would wait for these to give up their cores, so the kernels run
on the same ones: they are told where the runtime's `GOMP_parallel` is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from atrous.operators.kernels.library import library

__all__ = ["on_threads", "share_threads"]


Layer = TypeVar("Layer", bound="OnThreads")


class OnThreads(Protocol):
    """A layer as the kernels see it: a dataclass that says on how many threads it runs."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def threads(self) -> int:
        """How many."""
        ...


def on_threads(layer: Layer) -> Callable[[], Layer]:
    """The layer on as many threads as PyTorch has at the moment of a call."""
    known = {layer.threads: layer}

    def now() -> Layer:
        threads = torch.get_num_threads()
        if threads not in known:
            known[threads] = replace(layer, threads=threads)
        return known[threads]

    return now


@cache
def share_threads() -> bool:
    """Lets the kernels compute on PyTorch's threads; False where PyTorch has others."""
    loaded, home = library(), Path(torch.__file__).parent
    if loaded is None or "OpenMP" not in torch.__config__.parallel_info():
        return False
    for path in (*home.glob("lib/libgomp*.so*"), *home.parent.glob("torch.libs/libgomp*.so*")):
        try:
            # Loaded already: this only finds it again.
            found = ctypes.CDLL(str(path), mode=getattr(ctypes, "RTLD_NOLOAD", 4))
            address = ctypes.cast(found.GOMP_parallel, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
        loaded.atrous_use_team(address)
        return True
    return False
