"""Plans into ONNX models: nodes edited in a copy, sizes that the file computes followed.

`looped` puts a front in a loop over tiles before a back.
May import: `readers.onnx`, `conversion`, `plan`, `network` and below.
A new op that a plan may change gets a step in `windows`, one that carries sizes a step in `sizes`.
"""
