"""Native depthwise kernels, where the installed package has them, and what is known about them.

`library` finds and loads them, `layer` checks what it is asked, `arrays` and the `torch_*` files
call it for numpy and PyTorch, `threads` shares PyTorch's.
May import: `operators.strategies`, `geometry` and below.
A new kernel is one file in `native/` and an entry of `abi.h`, called from here; kernels for another
device get a folder beside these files.
"""

from atrous.operators.kernels.library import Native, native

__all__ = ["Native", "native"]
