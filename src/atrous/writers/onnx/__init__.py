"""Plans into ONNX models."""
