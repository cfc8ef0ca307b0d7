"""What frameworks do that they do not promise: one file a framework, each habit with its reason.

`recording` runs a PyTorch module and notes its calls, `functional` gives what these write to new
names; `exported` says which sizes an exported program takes; `structures` takes
what models are given and return apart.

May import: the framework that the file is about, the standard library.
A new habit is one function here, with the release that it was seen in; nobody else touches what a
framework keeps private.
"""
