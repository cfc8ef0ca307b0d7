"""What each op of the table reads, makes and costs: windows, layout, mixing.

May import: `network.ops`, `network.table`, `network.layout`, `geometry`.
A new op's rule is one function under `@rule` in the file of its kind. Importing this package
registers them all.
"""
