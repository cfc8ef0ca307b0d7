"""ONNX files and models as networks.

May import: `network` and below, `onnx` inside functions; not another reader.
A new op is one function under `@translates` in `windows`, `layout` or `math`.
"""
