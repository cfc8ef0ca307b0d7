"""Tiles of an image through a model: how a plan's tiles are read, run, put together and written.

`tiled` is what users hold; `pipeline` reads, runs and writes tiles side by side; `torch` and `onnx`
run them; `places`, `onnx_sizes`: resizes, fixed sizes. `sweeps` gathers statistics of images by
`counted`, `statistics` or `onnx_statistics` and `onnx_sweeps`, `scratch` keeps maps between;
`front`, `onnx_cut` and `behind` run networks that are cut. From files into files: `sources`,
`images`, `targets`, `journal`, `reductions` and `parts`; `run` does it all, `cluster` elsewhere.
May import: `plan`, `readers`, `analysis` and below. A new engine is one file with `run`, which
takes stacked inputs and their tiles and gives the outputs.
"""
