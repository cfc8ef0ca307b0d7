"""The interactive page: edit a stack and see what it reads, costs, and how to mend it.

`server` serves it on this machine only, `page` lays it out, the other files are its parts.
May import: everything but `cli`; NiceGUI is an extra.
A new part of the page is one file with one class that `page` places.
"""
