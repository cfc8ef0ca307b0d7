"""Ways to compute one layer of a graph, tried and timed; the choices are kept for the next time.

May import: `operators` and below.
A new way is one class in a `with_*` file, under the decorator of `ways`; `choose` times it beside
the others, and a result that differs is never taken.
"""
