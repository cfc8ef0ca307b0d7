"""ONNX files and models as networks."""
