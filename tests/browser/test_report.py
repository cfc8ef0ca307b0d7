"""Reports in a real browser: they draw, sort, filter, open and turn dark, from a file, offline."""

from __future__ import annotations

import pytest
from PIL import Image

import atrous
from atrous.draw.rows import listing


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    photo = folder / "photo.png"
    Image.radial_gradient("L").convert("RGB").save(photo)
    report = atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))
    report.to_html(folder / "one.html")
    atrous.inspect("zoo:resnet50", (1, 3, 160, 160)).to_html(
        folder / "two.html", beside=atrous.inspect("zoo:resnet50"), image=photo
    )
    atrous.convert("zoo:resnet50", 8, outputs="layer4").to_html(folder / "change.html")
    atrous.inspect("stack:k3d2 k3", (1, 1, 64)).to_html(folder / "line.html")
    atrous.inspect("stack:k3d2 k3", (1, 1, 16, 20, 24)).to_html(folder / "volume.html")
    return folder


def address(home, name):
    return (home / name).as_uri()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["one", "two", "change", "line", "volume"])
def test_it_draws_without_errors_overflow_or_barriers(visit, home, serious, name, width, theme):
    with visit(address(home, f"{name}.html"), width, theme) as page:
        page.wait_for_selector("html[data-drawn=yes]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".plot svg").count() == 5
        assert page.get_attribute("html", "data-theme") == theme
        assert serious(page) == []


def test_the_table_shows_the_reports_numbers(visit, home):
    report = atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))
    with visit(address(home, "one.html")) as page:
        rows = page.eval_on_selector_all(
            "tbody tr:not([hidden])",
            "rows => rows.map(row => [...row.cells].map(c => c.dataset.key ?? c.textContent))",
        )
        assert len(rows) == len(listing(report).rows)
        for cells, row in zip(rows, listing(report).rows, strict=True):
            if row.layer.field:
                assert float(cells[3]) == max(axis.size for axis in row.layer.field)
            assert float(cells[11]) == row.macs
            assert float(cells[13]) == row.activation_bytes


def test_the_table_sorts_filters_and_unfolds(visit, home):
    with visit(address(home, "one.html")) as page:
        table = page.locator(".table")
        table.get_by_role("button", name="MACs").click()
        keys = page.eval_on_selector_all(
            "tbody tr:not([hidden])", "rows => rows.map(row => Number(row.cells[11].dataset.key))"
        )
        assert keys == sorted(keys, reverse=True)
        assert table.locator("th[aria-sort=descending]").inner_text().startswith("MACs")
        table.get_by_label("Filter").fill("classifier d12")
        assert page.locator("tbody tr:not([hidden])").count() == 1
        table.get_by_label("Filter").fill("")
        before = page.locator("tbody tr:not([hidden])").count()
        table.get_by_label("also layers").check()
        assert page.locator("tbody tr:not([hidden])").count() > before


def test_a_finding_leads_to_the_footprint_of_its_layer(visit, home):
    with visit(address(home, "one.html")) as page:
        link = page.locator(".findings button").first
        name = link.inner_text()
        link.click()
        chosen = page.locator("[data-layer]").evaluate("s => s.selectedOptions[0].textContent")
        assert chosen == name
        assert page.locator("tr.chosen th").inner_text() == name


def test_each_layer_has_a_picture_whose_holes_are_those_of_the_report(visit, home):
    report = atrous.inspect("stack:k3d2 k3", (1, 1, 64))
    with visit(address(home, "line.html")) as page:
        for layer in report.layers:
            page.locator("[data-layer]").select_option(label=layer.name)
            taps = report.footprint(layer.name).taps
            assert f"reads {taps} of" in page.locator("[data-text]").inner_text()
            read = page.evaluate(
                """async () => {
                    const href = document.querySelector(".pictures image").getAttribute("href");
                    const image = new Image(); image.src = href; await image.decode();
                    const canvas = document.createElement("canvas");
                    canvas.width = image.width; canvas.height = image.height;
                    const draw = canvas.getContext("2d"); draw.drawImage(image, 0, 0);
                    const bytes = draw.getImageData(0, 0, image.width, image.height).data;
                    let count = 0;
                    for (let at = 0; at < bytes.length; at += 4) {
                        count += bytes[at] === 24 && bytes[at + 1] === 24 ? 0 : 1;
                    }
                    return count;
                }"""
            )
            assert read == taps


def test_modules_open_by_pointer_and_by_key_and_colours_change(visit, home):
    with visit(address(home, "one.html")) as page:
        page.locator(".drawing [data-module=backbone]").click()
        assert page.locator("[data-open]").input_value() == "backbone"
        page.locator(".drawing [data-module='backbone.layer1']").focus()
        page.keyboard.press("Enter")
        assert page.locator("[data-open]").input_value() == "backbone.layer1"
        before = page.locator(".drawing .box.module rect").first.get_attribute("fill")
        page.locator("[data-colour]").select_option("cost")
        assert page.locator(".drawing .box.module rect").first.get_attribute("fill") != before


def test_the_theme_button_redraws(visit, home):
    with visit(address(home, "one.html")) as page:
        page.wait_for_selector("html[data-drawn=yes]")
        page.get_by_role("button", name="Dark").click()
        assert page.get_attribute("html", "data-theme") == "dark"
        page.wait_for_timeout(500)
        assert page.locator(".plot svg").count() == 5


def test_paper_gets_the_report_without_its_controls(visit, home):
    with visit(address(home, "one.html"), theme="dark") as page:
        page.wait_for_selector("html[data-drawn=yes]")
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert not page.locator("[data-filter]").is_visible()
        assert page.pdf()[:5] == b"%PDF-"
