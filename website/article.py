"""The page that goes through the article: each statement, its verdict, and what shows it."""

from __future__ import annotations

from pathlib import Path

from atrous.analysis import Comparison, Footprint
from atrous.draw.animation import animation, sliding_scene
from atrous.draw.units import bytes_text, quantity
from atrous.lessons import Lesson, Numbers, Slide, Statement, Table, lesson_of, topics
from atrous.report.lesson import VERDICTS
from website.tables import markdown_table, rows_of

__all__ = ["article"]

HEAD = """# Stride or dilation: what is said, and what is exactly true

Both change how a window goes over its input: stride how far it moves, dilation how far apart its
taps lie. Much is said of them, in articles, courses and reviews. This page takes what is said
statement by statement, in the order in which it is usually told, and puts beside each what the
library computes. No number here was typed: pictures and tables are made when the site is built, and
each statement is a test against PyTorch.

The same is in your terminal, with your own numbers:

```console
$ atrous learn receptive-field --kernel 5 --dilation 3
...
```

The usual numbers here are {numbers}.

In the moving pictures the upper row is the input and the lower one the output: the orange cells are
read by the output that is blue, and dashed cells are padding.

"""


def article(pictures: Path, *, measure: bool) -> str:
    """The page in Markdown; its pictures go into a folder."""
    numbers = Numbers(measure=measure)
    shape = ",".join(map(str, numbers.input))
    named = (
        f"kernel {numbers.kernel}, stride {numbers.stride}, rate {numbers.dilation}, "
        f"{numbers.depth} layers of {numbers.channels} channels, input {shape}"
    )
    lessons = [lesson_of(topic.name, numbers) for topic in topics()]
    parts = [HEAD.format(numbers=named), *(section(one, pictures) for one in lessons)]
    return "\n".join(parts)


def section(lesson: Lesson, pictures: Path) -> str:
    """A topic: its heading, and its statements."""
    out = [f"## {lesson.title}\n"]
    for one in lesson.statements:
        word = VERDICTS[one.verdict][0]
        anchor = f"{lesson.topic}-{one.name}"
        out.append(f"### {one.says} {{ #{anchor} }}\n")
        out.append(f'<span class="verdict {one.verdict}">{word}</span> {one.exactly}\n')
        out += [
            shown(record, one, f"{anchor}-{place}", pictures)
            for place, record in enumerate(one.evidence)
        ]
    return "\n".join(out)


def shown(record: object, one: Statement, name: str, pictures: Path) -> str:
    """What shows a statement: a table, a moving picture, or a footprint."""
    if isinstance(record, Table):
        return rows_of(record)
    if isinstance(record, Slide):
        sizes = [record.length]
        scene = sliding_scene(
            [record.window], sizes, transposed=record.transposed, title=record.title
        )
        (pictures / f"{name}.svg").write_text(animation([scene], 0.8, side=22), encoding="utf-8")
        return f"![{record.title}: what each output reads](pictures/{name}.svg){{ .slide }}\n"
    if isinstance(record, Footprint):
        record.plot().save(str(pictures / f"{name}.svg"))
        return f"![{one.exactly}](pictures/{name}.svg)\n"
    if isinstance(record, Comparison):
        return compared(record)
    raise TypeError(f"a {type(record).__name__} has no place on the page.")


def compared(comparison: Comparison) -> str:
    """Schemes side by side."""
    rows = [
        [
            scheme.name,
            "x".join(map(str, scheme.output_shape[1:])),
            " ".join(map(str, scheme.fields)),
            str(scheme.output_stride[0]),
            f"{scheme.coverage or 0:.0%}",
            quantity(scheme.macs, "MAC"),
            bytes_text(scheme.peak_memory_bytes),
        ]
        for scheme in comparison
    ]
    heads = ["scheme", "output", "field by layer", "stride", "read", "products", "peak memory"]
    return markdown_table(heads, rows)
