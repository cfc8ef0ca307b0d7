"""What is said of stride and dilation, statement by statement, each beside what is computed.

The topics follow an article on strided and dilated convolution in its order, then the ideas that
it builds on. A statement is a function under `@TOPIC.states(name, what is said)`: it takes the
reader's `Numbers` and returns a `Fact`, whose every number comes from the library.
May import: `analysis`, `conversion`, `network`, `operators`, `geometry` and below; no framework.
A new topic goes into the file of its kind, and into `tests/parity/test_lessons.py` with an oracle.
"""

from atrous.lessons.record import (
    Column,
    Fact,
    Lesson,
    Numbers,
    Slide,
    Statement,
    Table,
    lesson_of,
    topics,
)

# The order here is the order in which topics are told.
from atrous.lessons import moving, fields, maps, prices, related  # isort: skip

__all__ = [
    "Column",
    "Fact",
    "Lesson",
    "Numbers",
    "Slide",
    "Statement",
    "Table",
    "lesson_of",
    "topics",
]

_PARTS = (moving, fields, maps, prices, related)
