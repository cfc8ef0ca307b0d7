"""What each op of the table reads and makes: windows, layout, mixing. Costs are in `network.costs`.

May import: `network.ops`, `.table`, `.layout`, `.records`, `geometry` and below.
A new op's rule is one function under `@rule` in the file of its kind. A new
file is named in `network/__init__`, which registers them all.
"""
