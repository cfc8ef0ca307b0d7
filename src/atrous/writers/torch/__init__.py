"""Plans into PyTorch modules: layers changed in a copy, code rewritten where it calls functions.

`modules` changes layers, `code` and `recoded` rewrite what is called, `joins` resamples, `layers`
holds what PyTorch has no argument for.
May import: readers, `frameworks`, `conversion`, `network` and below, PyTorch.
A new layer that PyTorch lacks goes into `layers`, as a `OneOp` if it is one op of the table.
"""
