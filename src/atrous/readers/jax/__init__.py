"""JAX functions, Flax modules and what else JAX traces into networks; nothing is computed.

`opened` makes one function of a source and of the arrays that it holds, `reader` walks its jaxpr;
`call` is one equation as a `Call`, `numbers` the arrays that depend on no input. `elements`,
`windows`, `arrays`, `products`, `picks` and `loops` translate: functions of elements and
reductions, what slides, shapes, products, what indices choose, recurrences.
May import: `jax` and `flax`, `network` and below, and what all readers share.
A new primitive is a function under `translates("NAME")`.
"""
