"""Draws docs/compare.svg, the picture of a terminal in the README: `python docs/picture.py`."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

import atrous

COMMAND = "atrous compare --input 1,3,512,512"


def picture() -> str:
    """The table of the usual schemes as an SVG that refers to nothing outside itself."""
    console = Console(
        record=True,
        width=100,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    console.print(f"[bold green]$[/] {COMMAND}\n")
    console.print(atrous.compare(input=(1, 3, 512, 512)))
    text = console.export_svg(title="atrous compare", unique_id="atrous")
    # Rich names a font on the web and its own page; the reader's fixed-width font does as well.
    return re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", text, flags=re.DOTALL)


if __name__ == "__main__":
    Path(__file__).with_name("compare.svg").write_text(picture(), encoding="utf-8")
