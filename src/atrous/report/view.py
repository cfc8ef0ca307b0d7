"""What the views of all records share: lines become text, a terminal's output, or a fragment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from atrous.errors import MissingDependencyError, UnsupportedError
from atrous.report.html import block, escaped
from atrous.report.lines import Line, Look, line, text_of
from atrous.shown import Shown, View

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

__all__ = ["LinesView", "PictureView", "TextView"]


class LinesView(View):
    """A view that is made of lines, laid out when it is known how wide they may be."""

    __slots__ = ()

    def lines(self, look: Look) -> Sequence[Line]:
        """The record in lines that `look` can show."""
        raise NotImplementedError

    def frame(self, library: Literal["pandas", "polars"], table: str) -> Any:
        from atrous.report.frames import frame_of

        # Each view of a record holds it under this name.
        return frame_of(getattr(self, "record"), library, table)  # noqa: B009

    def text(self, look: Look | None = None) -> str:
        """Plain text, without blanks at the ends of lines."""
        return text_of(self.lines(replace(look or Look(), colour=False)))

    def html(self) -> str:
        """The lines in a fixed-width font."""
        return block(self.lines(Look(width=100, colour=True)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        look = Look(
            options.max_width,
            max(options.size.height - 4, 10) if console.is_terminal else Look().height,
            unicode=not options.ascii_only,
            colour=console.color_system is not None and not console.no_color,
        )
        yield from self.coloured(look)

    def coloured(self, look: Look) -> Iterator[Text]:
        """The lines as Rich prints them."""
        from rich.text import Text

        for spans in self.lines(look):
            text = Text(no_wrap=True, overflow="ignore", end="\n")
            for span in spans:
                text.append(span.text, span.style or None)
            yield text


class PictureView(LinesView):
    """A view that is a picture in notebooks, beside words, and lines elsewhere."""

    __slots__ = ()

    def words(self) -> Sequence[str]:
        """What the picture shows; the first one stands for it where it is not seen."""
        raise NotImplementedError

    def html(self) -> str:
        """The words and the picture; the lines where there is nothing to draw or to draw it with.

        Whatever renderer the user's charts have.
        """
        from atrous.draw.images import svg_bundle

        try:
            from atrous.draw.offline import chart_svg

            svg = chart_svg(self.plot())
        except (MissingDependencyError, UnsupportedError):
            return block(self.lines(Look(width=100, colour=True)))
        said = self.words()
        text = "".join(f"<div>{escaped(one)}</div>" for one in said)
        return text + svg_bundle(svg, said[0], "")["text/html"]


@dataclass(frozen=True, slots=True)
class TextView(LinesView):
    """A record that is one line of text."""

    record: Shown

    def lines(self, look: Look) -> list[Line]:  # noqa: ARG002
        return [line(str(self.record))]

    def text(self, look: Look | None = None) -> str:  # noqa: ARG002
        return str(self.record)

    def html(self) -> str:
        return f"<pre>{escape(str(self.record))}</pre>"
