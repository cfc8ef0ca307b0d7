"""Ways to compute one layer of a graph, tried and timed; the choices are kept for the next time.

May import: `operators` and below.
A new way is a `Way` that a `with_*` file registers, which `candidates` imports; `choose` times it
beside the others, and a result that differs is never taken. A way to compute any convolution is a
strategy of `operators`, and comes here with the rest of them.
"""
