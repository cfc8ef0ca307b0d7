"""Tiles of an image through a model: how a plan's tiles are read, run, put together and written.

`tiled` is what users hold; `pipeline` reads, runs and writes tiles side by side; `torch` and `onnx`
run a model on tiles of one shape; `places` has the resizes whose places depend on the whole image,
`onnx_sizes` opens files whose sizes are fixed.
From files into files: `sources` open images, `images` lay them out for a model, `targets` are
written to, `journal` keeps what is done, `reductions` and `parts` what is kept of a tile; `run`
does it all, `cluster` on many machines.
May import: `plan`, `readers`, `analysis` and below. A new engine is one file with `run`, which
takes stacked inputs and their tiles and gives the outputs.
"""
