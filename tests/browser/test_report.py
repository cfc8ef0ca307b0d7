"""Reports in a real browser: they draw, sort, filter, open and turn dark, from a file, offline."""

from __future__ import annotations

import pytest
from PIL import Image

import atrous
from atrous.draw.rows import listing
from atrous.network.builder import Builder
from atrous.network.zoo.blocks import conv_bn_act


def small(shape):
    """A DeepLab of few layers: modules in modules, shortcuts, a pyramid, and most findings.

    What looks for barriers takes as long as a page has elements.
    """
    b = Builder("small")
    x = b.input("x", shape)
    with b.scope("backbone"):
        y = conv_bn_act(b, x, 16, 7, stride=4, name="stem")
        for stage, (stride, rate) in enumerate([(1, 1), (2, 1), (1, 2)], 1):
            with b.scope(f"layer{stage}.0"):
                z = conv_bn_act(b, y, 16 * stage, 3, stride=stride, dilation=rate, name="conv1")
                y = b.conv(y, 16 * stage, 1, stride=stride, name="downsample")
                y = b.relu(b.join(z, y))
    with b.scope("classifier.0"):
        rates = (12, 24, 36)
        branches = [conv_bn_act(b, y, 16, 3, dilation=r, name=f"convs.{r}") for r in rates]
        pooled = conv_bn_act(b, b.global_pool(y, "pool"), 16, name="convs.pool")
        y = b.concat(*branches, b.resize(pooled, y.shape[2:], name="resize"))
        y = b.conv(y, 21, 1, bias=True, name="project")
    return b.build(b.resize(y, shape[2:], name="out"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    photo = folder / "photo.png"
    Image.radial_gradient("L").convert("RGB").save(photo)
    report = atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))
    report.to_html(folder / "one.html")
    few, more = atrous.inspect(small((1, 3, 129, 129))), atrous.inspect(small((1, 3, 161, 161)))
    few.to_html(folder / "few.html")
    few.to_html(folder / "two.html", beside=more, image=photo)
    atrous.convert(small((1, 3, 129, 129)), 4).to_html(folder / "change.html")
    atrous.inspect("stack:k3d2 k3", (1, 1, 64)).to_html(folder / "line.html")
    causal = atrous.inspect("stack:k2d4causal k2d8causal", (1, 1, 128))
    causal.scaled(rate="16k").to_html(folder / "causal.html")
    atrous.inspect("stack:k3d2 k3", (1, 1, 16, 20, 24)).to_html(folder / "volume.html")
    atrous.compare(input=(1, 3, 128, 128)).to_html(folder / "schemes.html")
    atrous.compare(["k3d2 k3", "k5"], input=(1, 1, 64)).to_html(folder / "lines.html")
    return folder


def address(home, name):
    return (home / name).as_uri()


def assert_no_barriers(page, serious, theme):
    """Nothing keeps anybody out, in the theme that the page opened in and in the other."""
    assert page.get_attribute("html", "data-theme") == theme
    assert serious(page) == []
    other = "dark" if theme == "light" else "light"
    page.emulate_media(media="null", color_scheme=other)
    page.wait_for_selector(f"html[data-theme={other}]")
    # A theme is colours alone.
    assert serious(page, "color-contrast") == []


def assert_whole(page, width):
    """The page is as wide as its window, and each word of its pictures stands inside of them."""
    page.wait_for_selector("html[data-drawn=yes]")
    page.wait_for_selector(".plate svg text")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over = page.eval_on_selector_all(
        ".plot svg text, .plate svg text",
        """all => all.filter((one) => {
            const word = one.getBoundingClientRect();
            const room = one.closest("svg").getBoundingClientRect();
            return word.width && (word.left < room.left - 1 || word.right > room.right + 1);
        }).map((one) => one.textContent)""",
    )
    assert over == []


def assert_paper_cuts_nothing(page):
    """On paper as wide as A4 between its margins, nothing ends beyond it or scrolls."""
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print")
    page.wait_for_timeout(200)
    over = page.eval_on_selector_all(
        "table, .plate svg, .plot svg, .drawing svg, pre",
        "all => all.filter(one => one.getBoundingClientRect().right > 701)"
        ".map(one => one.parentElement.outerHTML.slice(0, 120))",
    )
    assert over == []
    cut = page.eval_on_selector_all(
        ".scroll", "all => all.filter(one => one.scrollHeight > one.clientHeight + 2).length"
    )
    assert cut == 0


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("name", ["few", "two", "change", "line", "causal", "volume"])
def test_it_draws_without_errors_overflow_or_barriers(visit, home, serious, name, width, theme):
    with visit(address(home, f"{name}.html"), width, theme) as page:
        assert_whole(page, width)
        assert page.locator(".plot svg").count() == 5
        assert_no_barriers(page, serious, theme)
        if theme == "light":
            assert_paper_cuts_nothing(page)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("name", ["schemes", "lines"])
def test_a_comparison_draws_without_errors_overflow_or_barriers(
    visit, home, serious, name, width, theme
):
    with visit(address(home, f"{name}.html"), width, theme) as page:
        page.wait_for_selector("[data-schemes][data-shown=yes]")
        assert_whole(page, width)
        figures = {"schemes": 7, "lines": 2}[name]
        assert page.locator("[data-schemes] figure svg").count() == figures
        assert page.locator("[data-schemes] figcaption").count() == figures
        assert_no_barriers(page, serious, theme)
        if theme == "light":
            assert_paper_cuts_nothing(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_of_a_large_network_stands_whole_on_the_screen_and_on_paper(visit, home, width):
    with visit(address(home, "one.html"), width) as page:
        assert_whole(page, width)
        # Long names of layers too, which go on in the next line and have room for it.
        cut = page.eval_on_selector_all(
            "tbody tr:not([hidden]) th",
            "all => all.filter(one => one.scrollWidth > one.clientWidth "
            "|| one.textContent.includes('…')).map(one => one.textContent)",
        )
        assert cut == []
        assert page.locator("tbody tr:not([hidden]) th").first.bounding_box()["width"] > 120
        for place, words in enumerate(
            ["square-root scale", "square-root scale", "%", "linear scale", "linear scale"]
        ):
            assert words in page.locator(".plot").nth(place).inner_text()
        if width == 1280:
            assert_paper_cuts_nothing(page)


def test_the_table_of_schemes_is_cut_at_no_width(visit, home):
    with visit(address(home, "schemes.html")) as page:
        assert page.locator(".schemes tbody td").count() >= 7 * 8
        for width in (1600, 1280, 1000, 768, 390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            cut = page.eval_on_selector_all(
                ".schemes th, .schemes td",
                """cells => cells.filter((cell) => {
                    const box = cell.getBoundingClientRect();
                    // For readers of screens alone where each scheme stands by itself.
                    if (cell.closest("thead") && innerWidth <= 960) return false;
                    const over = cell.scrollWidth > cell.clientWidth + 1;
                    return over || box.right > innerWidth || box.left < 0;
                }).map((cell) => cell.textContent)""",
            )
            assert cut == [], width


def test_footprints_of_schemes_are_at_one_scale(visit, home):
    found = atrous.compare(input=(1, 3, 128, 128))
    with visit(address(home, "schemes.html")) as page:
        page.wait_for_selector("[data-schemes][data-shown=yes]")
        widths = page.eval_on_selector_all(
            "[data-schemes] image.cut", "all => all.map(one => Number(one.getAttribute('width')))"
        )
        sizes = [scheme.report.footprint().box.shape[1] for scheme in found]
        assert len({round(w / size, 3) for w, size in zip(widths, sizes, strict=True)}) == 1


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


def test_the_table_sorts_by_keyboard_and_its_heads_stay(visit, home):
    with visit(address(home, "one.html")) as page:
        table = page.locator(".table")
        table.get_by_role("button", name="params").focus()
        page.keyboard.press("Enter")
        assert table.locator("th[aria-sort=descending]").inner_text().startswith("params")
        region = page.locator(".table .scroll")
        region.focus()
        page.keyboard.press("End")
        page.wait_for_function("document.querySelector('.table .scroll').scrollTop > 500")
        head, whole = table.locator("thead th").first.bounding_box(), region.bounding_box()
        assert abs(head["y"] - whole["y"]) < 2


def test_a_finding_leads_to_the_footprint_of_its_layer(visit, home):
    with visit(address(home, "one.html")) as page:
        link = page.locator(".findings button").first
        name = link.inner_text()
        link.click()
        chosen = page.locator("select[data-layer]").evaluate(
            "s => s.selectedOptions[0].textContent"
        )
        assert chosen == name
        # So does the keyboard.
        assert page.evaluate("'layer' in document.activeElement.dataset")
        assert page.locator("tr.chosen th").inner_text() == name


def choose(page, layer):
    """Shows the footprint of a layer, and waits until it is there."""
    page.locator("select[data-layer]").select_option(label=layer)
    page.wait_for_function(
        "name => document.querySelector('[data-pictures]').dataset.shown === name", arg=layer
    )


def bars(page, kind):
    """How many bars the footprint along one axis has."""
    return page.locator(f".plate path.{kind}").get_attribute("d").count("M")


def test_along_one_axis_each_position_read_is_a_bar_and_the_rest_is_hatched(visit, home):
    report = atrous.inspect("stack:k3d2 k3", (1, 1, 64))
    with visit(address(home, "line.html")) as page:
        for layer in report.layers:
            choose(page, layer.name)
            footprint = report.footprint(layer.name)
            assert f"reads {footprint.taps} of" in page.locator("[data-text]").inner_text()
            assert bars(page, "tops") == footprint.taps
            holes = footprint.coverage < 1
            assert page.locator(".plate .holes").count() == holes
            assert ("hole" in page.locator("[data-legend]").inner_text()) == holes
        assert page.locator(".plate svg").bounding_box()["height"] > 200
        assert "t, input positions" in page.locator(".plate").text_content()


def test_with_a_rate_the_axis_says_milliseconds_too(visit, home):
    with visit(address(home, "causal.html")) as page:
        choose(page, "conv2")
        marks = page.eval_on_selector_all(
            ".plate svg text",
            "all => all.map(one => [one.textContent, Number(one.getAttribute('x')), "
            "Number(one.getAttribute('y'))])",
        )
        ends = [row for row in marks if row[0].startswith("t, ")]
        assert [row[0] for row in ends] == [
            "t, input positions",
            "t, ms from the start of the input",
        ]
        positions, times = (
            {float(text): x for text, x, y in marks if abs(y - (end - 17)) < 1}
            for _, _, end in ends
        )
        # A millisecond is 16 positions.
        [(one, x), (other, far)] = list(positions.items())[:2]
        for time, place in times.items():
            assert one + (place - x) / (far - x) * (other - one) == pytest.approx(
                16 * time, abs=0.2
            )
        assert "13 positions of t are 0.812 ms" in page.locator("[data-text]").inner_text()


def test_of_three_axes_each_cut_says_where_it_is(visit, home):
    with visit(address(home, "volume.html")) as page:
        choose(page, "conv2")
        assert page.locator(".plate figcaption").all_inner_texts() == [
            "Cut at d = 8: h downwards, w across",
            "Cut at h = 10: d downwards, w across",
            "Cut at w = 12: d downwards, h across",
        ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one", ["the fewest", "log scale", "holds 95% of all paths"]),
        ("line", ["paths", "hole", "holds 95% of all paths"]),
    ],
)
def test_legends_explain_every_colour_and_mark(visit, home, name, said):
    with visit(address(home, f"{name}.html")) as page:
        choose(page, {"one": "aux", "line": "conv1"}[name])
        legend = page.locator("[data-legend]").inner_text()
        assert [words for words in said if words not in legend] == []
        for way, words in (
            ("coverage", "holes"),
            ("cost", "share of all MACs"),
            ("resolution", "stride 1"),
        ):
            page.locator("[data-colour]").select_option(way)
            key = page.locator("ul[data-key]").inner_text()
            for word in (words, "thick frame", "input or output", "findings"):
                assert word in key


def test_a_bar_in_a_box_is_as_long_as_its_share(visit, home):
    report = atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))
    with visit(address(home, "one.html")) as page:
        page.locator("[data-colour]").select_option("cost")
        drawn = page.eval_on_selector(
            ".drawing [data-module=backbone]",
            "box => box.querySelector('.bar').getBBox().width / "
            "box.querySelector('.track').getBBox().width",
        )
        inside = sum(one.macs for one in report.layers if one.name.startswith("backbone."))
        assert drawn == pytest.approx(inside / report.macs, abs=1e-3)


def test_modules_open_by_pointer_and_by_key_and_colours_change(visit, home):
    with visit(address(home, "one.html")) as page:
        page.locator(".drawing [data-module=backbone]").click()
        assert page.locator("[data-open]").input_value() == "backbone"
        page.locator(".drawing [data-module='backbone.layer1']").focus()
        page.keyboard.press("Enter")
        assert page.locator("[data-open]").input_value() == "backbone.layer1"
        # Escape leads back out, to the box that was opened, and does nothing outside.
        for module, left in (("backbone", "backbone.layer1"), ("", "backbone"), ("", "backbone")):
            page.keyboard.press("Escape")
            assert page.locator("[data-open]").input_value() == module
            assert page.evaluate("document.activeElement.dataset.module") == left
        page.keyboard.press("Space")
        assert page.locator("[data-open]").input_value() == "backbone"
        body = page.locator(".drawing .box.module .body").first
        before = body.evaluate("box => getComputedStyle(box).fill")
        page.locator("[data-colour]").select_option("cost")
        assert body.evaluate("box => getComputedStyle(box).fill") != before


def colours(page):
    """What a chart's line, its axis and the footprint's pixels are painted with."""
    return page.evaluate(
        """(marks) => marks.map((one) => {
            const style = getComputedStyle(document.querySelector(one));
            return [style.stroke, style.fill, style.filter].join(" ");
        })""",
        ["g.mark-line path", "g.role-axis-label text", ".plate image.levels"],
    )


def test_charts_and_footprints_turn_dark_with_the_page_and_light_on_paper(visit, home):
    with visit(address(home, "one.html")) as page:
        page.wait_for_selector("html[data-drawn=yes]")
        light = colours(page)
        assert "rgb(194, 65, 12)" in light[0]
        page.get_by_role("button", name="Dark").click()
        assert page.get_attribute("html", "data-theme") == "dark"
        dark = colours(page)
        assert "rgb(255, 157, 92)" in dark[0]
        assert all(one != other for one, other in zip(light, dark, strict=True))
        page.emulate_media(media="print")
        assert colours(page) == light
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)"
        )


def test_paper_gets_the_report_without_its_controls(visit, home):
    with visit(address(home, "one.html"), theme="dark") as page:
        page.wait_for_selector("html[data-drawn=yes]")
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert not page.locator("[data-filter]").is_visible()
        assert page.pdf()[:5] == b"%PDF-"


def test_the_numbers_of_a_row_stand_on_one_baseline(visit, home):
    with visit(address(home, "two.html"), 1280, "light") as page:
        page.wait_for_selector("html[data-drawn=yes]")
        rows = page.evaluate(
            """() => [...document.querySelectorAll(".numbers")].map((list) => {
                const found = [...list.querySelectorAll("strong")].map((number) => {
                    const mark = document.createElement("i");
                    mark.style = "display: inline-block; width: 0; height: 0";
                    number.append(mark);
                    return Math.round(mark.getBoundingClientRect().bottom);
                });
                return found.slice(0, 3);
            })"""
        )
    assert rows
    for row in rows:
        assert max(row) - min(row) <= 1
