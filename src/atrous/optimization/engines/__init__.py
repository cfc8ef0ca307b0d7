"""Whole models by other engines, beside ours: what is installed is tried, and held to the same.

`engine` is what one tells of itself, and the registry; a file for each registers it; `onnx_file` is
for those that read files; `engaged` follows the weights; `tried` compares with the model.
May import: what `optimization` may, and the engines' packages inside functions; none is needed.
A new engine is a file here, imported in `tried`, and a row in docs/fast.md.
"""
