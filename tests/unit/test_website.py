"""The pages that the library computes for its site, and the links of those by hand."""

import re
import sys

import nbformat
import pytest

from tests.processes import ROOT

sys.path.insert(0, str(ROOT))

pytest.importorskip("website", reason="the site is made from a checkout")

import atrous
from atrous.lessons import topics
from website.article import article
from website.build import linked
from website.glossary import TERMS, glossary
from website.notebooks import NOTEBOOKS, notebook_page
from website.reference import api, networks


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return article(folder, measure=False), folder


def test_every_statement_is_on_the_page_with_its_verdict(page):
    text, _ = page
    for topic in topics():
        for name, (says, _) in topic.claims.items():
            assert f"### {says} {{ #{topic.name}-{name} }}" in text
    assert text.count('<span class="verdict') == sum(len(topic.claims) for topic in topics())


def test_every_picture_of_the_page_is_there_and_says_what_it_shows(page):
    text, folder = page
    shown = re.findall(r"!\[([^\]]+)\]\(pictures/([^)]+)\)", text)
    assert len(shown) > 5
    for words, name in shown:
        assert len(words) > 10
        assert (folder / name).stat().st_size > 500


def test_the_glossary_shows_each_term(tmp_path):
    text = glossary(tmp_path)
    assert len(TERMS) >= 20
    for name, (meaning, _) in TERMS.items():
        assert f"## {name}\n\n{meaning}\n\n" in text
    for picture in re.findall(r"\(pictures/([^)]+)\)", text):
        assert (tmp_path / picture).exists()


def test_the_reference_has_every_public_name():
    text = api()
    for name in atrous.__all__:
        assert (
            re.search(rf"^::: atrous\.[\w.]*\b{name}$", text, re.MULTILINE) or name == "__version__"
        )


def test_the_known_networks_are_all_there():
    from atrous.network import zoo

    text = networks()
    assert all(f"`zoo:{name}`" in text for name in zoo.names())


def test_a_notebook_is_a_page_with_what_its_cells_put_out_up_to_what_is_not_installed(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("# A title\n\nWords."),
        nbformat.v4.new_code_cell(
            "import atrous\natrous.inspect('stack:k3', (1, 1, 9)).macs * 111"
        ),
        nbformat.v4.new_code_cell("import not_installed.part\n1 / 0"),
        nbformat.v4.new_code_cell("6 * 111"),
    ]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    text = notebook_page(path)
    assert text.startswith(
        "# A title\n\n*Run when this page was built. [Download the notebook](small"
    )
    assert "\n    2997\n" in text
    ran, _, left = text.partition(
        "*What follows was not run when this page was built: not_installed"
    )
    assert "```python\nimport atrous\n" in ran
    assert "```python\nimport not_installed.part\n" in left
    assert "6 * 111" in left
    assert "666" not in left


def test_every_notebook_is_in_the_navigation_of_the_site_under_its_title():
    text = (ROOT / "website" / "zensical.toml").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        title = nbformat.read(path, 4).cells[0].source.partition("\n")[0].removeprefix("# ")
        assert f'{{ "{title}" = "notebook_{path.stem}.md" }}' in text


def test_every_guide_is_in_the_navigation_of_the_site():
    text = (ROOT / "website" / "zensical.toml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert f'"{path.name}"' in text, path


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("[a](../README.md#install)", "[a](index.md#install)"),
        ("[a](docs/fast.md)", "[a](fast.md)"),
        ("[a](sizes.md#x)", "[a](sizes.md#x)"),
        (
            "[the bench](../bench/sweep/README.md)",
            "the bench (`bench/sweep/README.md` in the source)",
        ),
        ("[![shot](docs/report.png)](docs/show.md)", "[![shot](report.png)](show.md)"),
        ("[a](https://semver.org)", "[a](https://semver.org)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](examples/input_sizes.ipynb)", "[a](notebook_input_sizes.md)"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_are_named(given, made):
    assert linked(given) == made
