"""Reports into what viewers of models show beside each node: `model_explorer`, `netron`.

May import: `writers.onnx.save`, `readers.onnx`, `analysis`, `network` and below.
A new viewer is one file, from `NodeFacts` to what it documents; a new fact goes into `facts`.
"""
