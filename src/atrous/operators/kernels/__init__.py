"""Native depthwise kernels, where the installed package has them, and what is known about them."""

from atrous.operators.kernels.library import Native, native

__all__ = ["Native", "native"]
