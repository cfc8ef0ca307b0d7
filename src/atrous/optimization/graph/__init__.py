"""Passes over an exported graph, which `passes` lists in the order in which they run.

May import: `optimization.layer`, `operators` and below, `torch.fx`.
A new pass is one file with one function that changes a graph in place, and its name in the list of
passes; the graph computes the same before and after.
"""
