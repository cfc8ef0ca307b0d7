"""ONNX files and models as networks.

`reader` goes through the nodes, `call` is one of them, `values` what its names stand for; `file`,
`graph`, `inputs`, `names` and `constants` tell what a file holds, and trust none of it.
May import: `call` and `einsum` of readers, `network` and below, `onnx` inside functions; no other
reader.
A new op is one function under `@translates` in `windows`, `resampling`, `layout`, `places`, `math`,
`quantized` or `sampled`; one on lists of tensors in `sequences`. `loops` lays out known turns.
One with products is named in `call`, so that they count where it is opaque.
"""
