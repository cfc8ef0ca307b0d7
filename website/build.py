"""The site: pages by hand from `docs`, pages that the library computes, built strictly.

    pip install ".[docs]" && python website/build.py [--no-measure] [--pyodide FOLDER]

The site is in `website/.site` afterwards, and any web host serves it. The article has times and
memory measured on this machine, or with `--no-measure` none. The explorer is in it where npm
fetches Pyodide, or its unpacked package is given; without, its page says how to have
it, and the rest is the same. Cells of notebooks that need PyTorch are run where it is installed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from atrous.draw.animation import animation, sliding_scene  # noqa: E402
from atrous.errors import AtrousError  # noqa: E402
from atrous.explore.export import export  # noqa: E402
from atrous.geometry import Window  # noqa: E402
from website.article import article  # noqa: E402
from website.glossary import glossary  # noqa: E402
from website.notebooks import NOTEBOOKS, notebook_page  # noqa: E402
from website.reference import api, commands, networks  # noqa: E402

HERE = ROOT / "website"
PAGES, SITE = HERE / ".pages", HERE / ".site"

# Where files that pages point to are on the site.
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
# And those that become pages when they are run.
ELSEWHERE = MOVED | {f"examples/{path.name}": f"notebook_{path.stem}.md" for path in NOTEBOOKS}


HOME = """# atrous

What does each output of a convolutional network see, what does it cost, and how is stride traded
for dilation while the network computes the same? Exact answers for PyTorch, ONNX, Keras and JAX
models, before anything is trained or run.
{{ .lead }}

```console
$ pip install . && atrous inspect zoo:resnet50
```

![A kernel of three: above with stride 2, below with dilation 2](pictures/home.svg){{ .slide }}

Orange is read by the output that is blue. Stride leaves every second output out; dilation keeps
them all, and reads every second position.

| You ask | You type |
| --- | --- |
| [What does an output see, and what does it cost?](report.md) | `atrous inspect model.onnx` |
| [Output stride 8, same weights?](convert.md) | `atrous convert model.onnx --output-stride 8` |
| [Which input sizes work?](sizes.md) | `atrous sizes model.onnx` |
| [How far does it hear, and how late is it?](audio.md) | `atrous inspect vocoder.onnx --rate 16k` |
| [Which rates still see the image at this crop?](rates.md) | `atrous rates 513` |
| [Why is my dilated layer slow?](fast.md) | `atrous bench "stack:k3x64 k3d2x64"` |
| [The image is larger than memory?](run.md) | `atrous run models.py:net scan.tif out.zarr` |
| [Does it keep its budget, in CI?](checks.md) | `atrous check model.onnx --macs "<=4G"` |
| [What is said of stride and dilation: is it true?](article.md) | `atrous learn` |
| [May I just play with it?](explore.md) | `atrous explore` |

## What a report says

{rest}"""


EXPLORER = """---
hide:
  - toc
---

# Try it here

Edit a stack and see at once what it reads, costs, and how to mend it. The library itself runs in
this page; the first picture is there before it is, and nothing leaves your browser.

<a href="explorer/index.html">The explorer on a page of its own</a>, whose address holds the stack,
so that it can be sent.

<iframe src="explorer/index.html" title="The explorer" loading="lazy"></iframe>
"""
WITHOUT = """# Try it here

This copy of the site was built without the explorer. `atrous explore` opens it on your machine,
and `atrous explore --export FOLDER` writes it for any web host;
[Pages, plots, pictures](show.md) says how.
"""


def build(measure: bool, pyodide: Path | None = None) -> int:
    """Writes the pages and builds them; the exit code of the builder, which a warning makes 1."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py"))
    for source, page in MOVED.items():
        shutil.copy(ROOT / source, PAGES / page)
    for path in PAGES.rglob("*.md"):
        path.write_text(linked(path.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("look.css", "look.js", "keys.js"):
        shutil.copy(HERE / name, PAGES / name)
    pictures = PAGES / "pictures"
    pictures.mkdir()
    made = {
        "index.md": home(pictures),
        "article.md": article(pictures, measure=measure),
        "glossary.md": glossary(pictures),
        "commands.md": commands(),
        "api.md": api(),
        "networks.md": networks(),
        "explore.md": WITHOUT,
        **{f"notebook_{path.stem}.md": notebook_page(path) for path in NOTEBOOKS},
    }
    for path in NOTEBOOKS:
        shutil.copy(path, PAGES / path.name)
    explorer = HERE / ".explorer"
    shutil.rmtree(explorer, ignore_errors=True)
    try:
        export(explorer, pyodide=pyodide)
        made["explore.md"] = EXPLORER
    except AtrousError as error:
        print(f"The site is built without the explorer: {error}")  # noqa: T201
    for name, text in made.items():
        (PAGES / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    code = subprocess.run([*command, "-f", str(HERE / "zensical.toml")], cwd=HERE).returncode
    if explorer.exists():
        shutil.move(explorer, SITE / "explorer")
    return code


def home(pictures: Path) -> str:
    """The first page: what it answers, what to type, and then the README."""
    scenes = [
        sliding_scene([Window(3, 2)], [13], title="stride 2"),
        sliding_scene([Window(3, 1, 2)], [13], title="dilation 2"),
    ]
    (pictures / "home.svg").write_text(animation(scenes, 0.8, side=22), encoding="utf-8")
    readme = (PAGES / "index.md").read_text(encoding="utf-8")
    return HOME.format(rest=readme[readme.index("```console") :])


def linked(text: str) -> str:
    """A page whose links lead to pages of the site; other files of the source are only named."""
    link = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")

    def target(found: re.Match[str]) -> str:
        name = found[1].removeprefix("../").removeprefix("docs/")
        if name in ELSEWHERE or (ROOT / "docs" / name).exists():
            return f"]({ELSEWHERE.get(name, name)}{found[2] or ''})"
        return f"](in-the-source:{name})"

    elsewhere = re.compile(r"\[([^\[\]]+)\]\(in-the-source:([^)]*)\)")
    return elsewhere.sub(r"\1 (`\2` in the source)", link.sub(target, text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take times for the article, too",
    )
    parser.add_argument("--pyodide", type=Path, help="the unpacked npm package `pyodide`")
    given = parser.parse_args()
    sys.exit(build(given.measure, given.pyodide))
