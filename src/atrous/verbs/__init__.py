"""The verbs, one file each: a source in, a record out.

May import: everything but `report`, `explore` and `cli`; a framework only inside functions, except
in `bench`, which runs models.
A new verb is one file with one public function, its line in `__init__.pyi`, and its file in `cli/`;
a new record that it returns is made on the floors below, and has its view in `report/`.
"""
