"""A model and arrays in, arrays out: PyTorch modules, ONNX files, effective fields by gradients.

May import: readers, analysis, `network` and below, the framework that the file runs.
A new framework is one file that runs its models in float64 with drawn weights.
"""
