"""Native kernels, where the installed package has them, and what is known about them.

`library` finds and loads them, `layer`, `pool`, `winograd` and `bottleneck` check what they are
asked, `arrays` and the `torch_*` files call it for numpy and PyTorch, `threads` shares PyTorch's.
May import: `operators.strategies`, `operators.convolution`, `geometry` and below, numpy, PyTorch.
A new kernel is one header in `native/`, a line in its `kernels.cpp` and `kernels.h`, an entry of
`abi.h`, whose number grows here too, of `checks.h`, `dispatch.cpp` and `library`. Those for another
device get a folder in `native/` and one here, and `torch_ops` sends tensors there.
"""

from atrous.operators.kernels.library import Native, native

__all__ = ["Native", "native"]
