"""A notebook with every picture, run and turned into a page, in a browser without a network."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from tests.processes import environment

nbformat = pytest.importorskip("nbformat", reason="needs the extra `test`")

SETUP = """
import atrous
report = atrous.inspect("zoo:drn_c_26", (1, 3, 96, 96))
change = atrous.convert("stack:k3s2 k3s2 k3", 1, input=(1, 1, 32, 32))
from atrous.optimization.records import Explanation, LayerChoice
rows = tuple(LayerChoice(n, "conv", "phases", 2.0, 1.0) for n in ("one", "two"))
fast = Explanation("net", "graph", "contiguous", 4.0, 2.0, 0.0, rows, ((1, 3, 8, 8),), 1, "", ())
"""

PICTURES = (
    *(f"report.plot({kind!r})" for kind in ("field", "resolution", "coverage", "cost", "memory")),
    "report.plot(beside=atrous.inspect('zoo:drn_c_26', (1, 3, 64, 64)))",
    "change.plot()",
    "atrous.compare(input=(1, 3, 64, 64)).plot()",
    "fast.plot()",
    "report.footprint().plot()",
    "report.footprint().plot(image='photo.png')",
    "report.plot('cost').properties(width=200) | report.plot('memory').interactive()",
    "report.footprint()",
    "atrous.inspect('stack:k3d2', (1, 1, 16, 16, 16)).footprint()",
    "atrous.effective('stack:k3 k3', (1, 1, 16, 16))",
    "atrous.effective('stack:k3 k3', (1, 1, 16, 16)).plot()",
    "report.graph()",
    "report.graph('layer4', colour='cost')",
)

WORDS = {
    "report": "receptive field",
    "report.findings": "1x1 window",
    "report['layer4']": "layer4",
    "change": "exact",
    "change.certificate": "exact",
    "atrous.compare(input=(1, 3, 64, 64))": "dilated, doubling",
    "atrous.sizes('zoo:unet', (1, 1, 64, 64))": "multiples of 16",
    "report.boxes('layer3')": "layer3",
    "report.to_pandas()[['name', 'field_h', 'macs']].head(4)": "field_h",
    "report.to_polars('findings')": "narrow-window",
    "atrous.compare(input=(1, 3, 64, 64)).to_pandas()[['name', 'macs']]": "dilated, doubling",
}


# How many colours a picture has, as it is drawn.
COLOURS = """async image => {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const draw = canvas.getContext("2d");
    draw.drawImage(image, 0, 0);
    const { data } = draw.getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""


def notebook(cells):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return nbformat.writes(made)


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    """Runs the lines of a notebook, a cell each, and turns it into a page as nbconvert does."""
    folder = tmp_path_factory.mktemp("notebooks")
    Image.radial_gradient("L").convert("RGB").save(folder / "photo.png")
    (folder / "all.ipynb").write_text(notebook([SETUP, *PICTURES, *WORDS]))
    # The page's own scripts for formulas and widgets come from the network: it has neither.
    urls = (f"--HTMLExporter.{name}_url=" for name in ("require_js", "mathjax", "jquery"))
    command = [sys.executable, "-m", "nbconvert", "--to=html", "--execute", *urls, "all.ipynb"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / "all.html"


def test_every_picture_of_a_notebook_draws_without_a_network(visit, page_of):
    with visit(page_of.as_uri()) as page:
        cells = page.locator(".jp-CodeCell")
        assert cells.count() == 1 + len(PICTURES) + len(WORDS)
        for place, line in enumerate(PICTURES, 1):
            image = cells.nth(place).locator(".jp-OutputArea-output img")
            assert image.count() == 1, line
            assert image.evaluate(COLOURS) > 20, line
        for place, (line, word) in enumerate(WORDS.items(), 1 + len(PICTURES)):
            text = cells.nth(place).locator(".jp-OutputArea-output").inner_text()
            assert word in text, line
            assert len(text) < 6000, line


def test_a_chart_that_loads_its_library_is_noticed(visit, tmp_path):
    import altair

    chart = altair.Chart(altair.Data(values=[{"a": 1}])).mark_point().encode(x="a:Q")
    page = tmp_path / "page.html"
    page.write_text(chart._repr_mimebundle_()["text/html"])
    with pytest.raises(AssertionError, match="jsdelivr"), visit(page.as_uri()) as opened:
        opened.wait_for_timeout(200)
