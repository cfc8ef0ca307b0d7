"""Threads that the kernels and PyTorch share.

PyTorch's builds for Linux bring GCC's OpenMP runtime, whose threads stay awake for a while after
each operation. Threads of our own would wait for these to give up their cores, so the kernels run
on the same ones: they are told where the runtime's `GOMP_parallel` is.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch

from atrous.operators.kernels.library import library

__all__ = ["share_threads"]


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
