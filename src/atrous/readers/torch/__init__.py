"""PyTorch modules and exported programs as networks.

`traced` makes a graph of calls, `reader` goes through the nodes, `call` is one of them, `values`
what flows between.
May import: `call`, `einsum` and `given` of readers, `network`, `frameworks` and below,
PyTorch; no other reader.
A new op is one function under `@translates` in `windows` or `mixing`, or, where it is elementwise
and PyTorch does not say so, a name in `call`. One with products is named there too, so that they
count where it is opaque.
"""
