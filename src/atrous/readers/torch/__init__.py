"""PyTorch modules and exported programs as networks.

May import: `network`, `frameworks.torch` and below, PyTorch; not another reader.
A new op is one function under `@aten` in `windows` or `mixing`.
"""
