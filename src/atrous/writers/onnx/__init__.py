"""Plans into ONNX models: nodes edited in a copy, sizes that the file computes followed.

May import: `readers.onnx`, `conversion`, `network` and below.
A new op that a plan may change gets a step in `windows`, one that carries sizes a step in `sizes`.
"""
