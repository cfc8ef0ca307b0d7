"""Whole models by other engines, beside ours: what is installed is tried, and held to the same.

`engine` is what one tells of itself and the registry; a file for each engine registers it;
`onnx_file` writes the model for those that read files; `engaged` is a model that runs by one and
follows its weights; `tried` makes offers of them. May import what `optimization` may, and the
engines' own packages inside functions: none is needed.
A new engine is a file here, imported in `tried`, a row in docs/fast.md and its package in
`pyproject.toml`.
"""
