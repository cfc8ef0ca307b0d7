"""What strangers may send, and inputs that nobody thought of: each door is fed until it complains.

A target is a file here with `feed(data)`, which hands bytes to one door of the library, and
`changed(data, rng)`, which makes another input of one: `onnx_files`, `stacks`, `saved_files` and
`requests`. Any exception but the library's own is a crash, more than `MOST_SECONDS` of processor
time is a hang, and more than `MOST_BYTES` held is unbounded memory.

`python -m tests.fuzz TARGET --minutes 30` searches with Atheris, which is libFuzzer on the coverage
of Python code, is kept up by Google and runs on Python 3.11 to 3.13 (`pip install atheris`, which
the tests do without). `corpus` holds inputs that between them reach what was reached; `test_corpus`
feeds them in every run of the tests. What was found stands in `test_found` or beside the code's own
tests.
"""

MOST_SECONDS = 5.0
MOST_BYTES = 1 << 30
MOST_INPUT = 1 << 16
