"""Keras 3 models into networks, through Keras' own graph of operations; no layer is run.

`graph` records that graph at the sizes asked for, `reader` walks it; `call` is one operation as a
`Call`. `windows`, `layers` and `arrays` translate: what slides, the
other layers, and the functions of `keras.ops`. A layer that none of them knows is traced: its own
code is followed down to operations that they know.
May import: `keras`, `network` and below, and what all readers share.
A new layer or operation is a function under `translates("layers.NAME")` or `"ops.NAME"`.
"""
