"""PyTorch modules and exported programs as networks.

May import: `readers.given`, `network`, `frameworks.torch` and below, PyTorch; no other reader.
A new op is one function under `@aten` in `windows` or `mixing`.
"""
