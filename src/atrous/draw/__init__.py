"""Pictures of records: charts, footprints, graphs of networks, dots and lines; computes nothing.

May import: the records of `analysis` and below; Altair, Pillow and Graphviz inside functions, since
they are extras (`needs` says which and how to get them).
A new picture is one function from a record to a chart or SVG, called by the record's view.
"""
