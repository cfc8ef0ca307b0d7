"""ONNX files as PyTorch modules of plain calls, each held against ONNX Runtime before it is used.

`module` goes through the nodes, `call` is one of them and what its names stand for; `elements`,
`slides`, `forms`, `mixes`, `spectra` and `recurrences` have the calls, `fitted` sizes of files.
Nothing of a file runs: what no table has is refused by the node's name.
May import: `readers`, `network` and below. A new op is a function under `@rebuilds` in the file of
its kind; it takes tensors, and numbers that no input reaches but by its sizes.
"""
