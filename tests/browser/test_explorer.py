"""The explorer in a real browser: every control and preset, links, files, and bad input."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from PIL import Image

import atrous
from atrous.draw.units import quantity, shape_text
from atrous.explore.code import onnx_code
from atrous.explore.draft import KINDS, Draft
from atrous.explore.presets import PRESETS
from tests.servers import explorer


@pytest.fixture(scope="module")
def address(browser):
    with explorer("--port", "0") as found:
        yield found


_CUT = """
[...document.querySelectorAll("#schemes :is(th, td), button, input, select, .legend > *")]
    .filter(one => one.offsetParent && !one.closest(".skip, thead"))
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML)
"""


def numbers(page):
    """The table of numbers, as it stands in the page."""
    return page.eval_on_selector_all(
        "table[aria-label=Layers] tbody tr",
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))",
    )


def stack(page):
    return page.get_by_label("Stack", exact=True)


def wait_for(page, text):
    """Until the page shows the stack: its link says so, after all else."""
    query = Draft.of(text, (1, 8, 64, 64)).query.partition("&")[0]
    # Whole: many a stack begins as a shorter one does.
    page.wait_for_function("query => location.search.includes(query)", arg=query + "&")


def assert_shows(page, text, shape):
    """The page's numbers are those of `atrous.inspect`, as soon as it has settled."""
    report = atrous.inspect(f"stack:{text}", shape)
    wanted = [
        [
            layer.name,
            shape_text(layer.output_shape),
            str(layer.field[0].size),
            str(layer.field[0].taps),
            quantity(layer.macs),
        ]
        for layer in report.layers
    ]
    for _ in range(200):
        cells = [[c[0], c[2], c[3].split("x")[0], c[4].split("x")[0], c[7]] for c in numbers(page)]
        if cells == wanted:
            break
        page.wait_for_timeout(50)
    assert cells == wanted
    for finding in report.findings[:8]:
        page.get_by_text(finding.message, exact=True).first.wait_for()


def choose(page, label, option):
    page.get_by_label(label, exact=True).select_option(label=option)


def drawn(page):
    """Until the picture of the first stack is there."""
    page.wait_for_selector("#lines .chosen", state="attached")


def settled(page, query):
    """Until what follows from an edit is there as well: findings, schemes and code."""
    page.wait_for_function("query => document.body.dataset.rest === query", arg=query)


def test_each_preset_shows_its_lesson_and_the_librarys_numbers(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        for preset in (*PRESETS[1:], PRESETS[0]):
            choose(page, "Lesson", preset.title)
            wait_for(page, Draft.of(preset.stack, preset.input).text)
            assert page.get_by_text(preset.lesson).is_visible()
            assert_shows(page, preset.stack, preset.input)
            rows = page.locator("#tags .name").all_text_contents()
            layers = Draft.of(preset.stack, preset.input).layers
            assert rows == [layer.name for layer in reversed(layers)]


def test_a_preset_is_taken_again_after_an_edit(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        choose(page, "Lesson", "Gridding")
        wait_for(page, "k3d2 k3d2 k3d2")
        stack(page).fill("k5")
        wait_for(page, "k5")
        choose(page, "Lesson", "Gridding")
        wait_for(page, "k3d2 k3d2 k3d2")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_it_is_laid_out_and_without_barriers(visit, address, serious, width, theme):
    with visit(address + "/?stack=k3d2+k3d2&input=1,8,64,64", width, theme) as page:
        drawn(page)
        settled(page, "stack=k3d2+k3d2&input=1%2C8%2C64%2C64")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing of the schemes is cut, nor of any control.
        assert page.evaluate(_CUT) == []
        assert serious(page) == []
        # In the other theme, which differs in its colours.
        paper = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(paper)
        page.emulate_media(media="null", color_scheme="dark" if theme == "light" else "light")
        page.wait_for_function(f"before => {paper} !== before", arg=before)
        page.wait_for_timeout(300)  # colours go over into one another
        assert serious(page, "color-contrast") == []


def test_a_link_holds_the_state(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        stack(page).fill("k5s2x16 k3d3 dwk3")
        wait_for(page, "k5s2x16 k3d3 dwk3")
        link = page.url
    with visit(link) as page:
        drawn(page)
        assert stack(page).input_value() == "k5s2x16 k3d3 dwk3"
        assert_shows(page, "k5s2x16 k3d3 dwk3", (1, 8, 64, 64))


@pytest.mark.parametrize(
    "query",
    [
        "stack=k3q9&input=1,8,64,64",
        "stack=k3&input=huge",
        "nothing=1",
        "stack=k3&input=1,8,99999,99999",
    ],
)
def test_a_link_that_cannot_be_read_says_so_and_shows_a_preset(visit, address, query):
    with visit(f"{address}/?{query}") as page:
        drawn(page)
        said = page.locator("#link-problem").inner_text()
        assert said.startswith("The stack in this address could not be read: ")
        assert said.endswith("The first lesson is shown instead.")
        assert stack(page).input_value() == PRESETS[0].stack


def test_each_part_of_a_layer_is_edited(visit, address):
    with visit(address + "/?stack=k3+k3&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_role("button", name="conv1: k3").click()
        # The form is the chosen layer's only once the page has it.
        page.wait_for_function("() => document.querySelector('#layer-name').textContent == 'conv1'")
        for label, text, made in (
            ("Kernel", "5", "k5 k3"),
            ("Stride", "2", "k5s2 k3"),
            ("Dilation", "3", "k5s2d3 k3"),
            ("Padding", "causal", "k5s2d3causal k3"),
            ("Padding", "2,1", "k5s2d3p(2,1) k3"),
            ("Channels", "16", "k5s2d3p(2,1)x16 k3"),
            ("Kernel", "1,7", "k(1,7)s2d3p(2,1)x16 k3"),
        ):
            page.get_by_label(label, exact=True).fill(text)
            wait_for(page, made)
        assert_shows(page, "k(1,7)s2d3p(2,1)x16 k3", (1, 8, 64, 64))


def test_each_kind_is_chosen(visit, address):
    with visit(address + "/?stack=k3+k3&input=1,8,64,64") as page:
        drawn(page)
        for kind in KINDS:
            stack(page).fill("k3 k3")
            wait_for(page, "k3 k3")
            if kind != "conv":
                choose(page, "Kind", KINDS[kind])
                made = {"up": "k3 ups2"}.get(kind, f"k3 {kind}k3")
                wait_for(page, made)
            made = Draft.from_query(page.url.partition("?")[2])
            assert made.layers[1].kind == kind
            assert_shows(page, made.text, (1, 8, 64, 64))


def test_layers_are_added_removed_and_moved_by_button_and_by_dragging(visit, address):
    with visit(address + "/?stack=k3+k5&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_role("button", name="Add after").click()
        wait_for(page, "k3 k5 k3")
        # As in the picture, whose top is the output.
        page.get_by_role("button", name="Down", exact=True).click()
        wait_for(page, "k3 k3 k5")
        page.get_by_role("button", name="Up", exact=True).click()
        wait_for(page, "k3 k5 k3")
        page.get_by_role("button", name="conv2: k5").click()
        page.get_by_role("button", name="Remove").click()
        wait_for(page, "k3 k3")
        stack(page).fill("k3 k5 k7")
        wait_for(page, "k3 k5 k7")
        drag(page, page.get_by_role("button", name="conv3: k7"), 0, 2 * gap(page))
        wait_for(page, "k7 k3 k5")
        page.get_by_role("button", name="conv1: k7").focus()
        page.keyboard.press("Alt+ArrowUp")
        wait_for(page, "k3 k7 k5")
        page.keyboard.press("Alt+ArrowUp")
        wait_for(page, "k3 k5 k7")


def test_the_last_layer_stays(visit, address):
    with visit(address + "/?stack=k3&input=1,8,64,64") as page:
        drawn(page)
        assert page.get_by_role("button", name="Remove").is_disabled()
        stack(page).fill("k3 k3")
        wait_for(page, "k3 k3")
        remove = page.get_by_role("button", name="Remove")
        remove.focus()
        page.keyboard.press("Enter")
        wait_for(page, "k3")
        # A button that can do no more keeps the keyboard until it is left, and does nothing.
        page.wait_for_selector("#remove[aria-disabled=true]")
        assert page.evaluate("document.activeElement.id") == "remove"
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
        assert page.locator("#stack").input_value() == "k3"
        assert page.locator("#layer-problem").inner_text() == ""
        page.keyboard.press("Shift+Tab")
        assert page.evaluate(
            "[document.activeElement.id, document.getElementById('remove').disabled]"
        ) == ["add", True]
        undo = page.get_by_role("button", name="Undo")
        undo.focus()
        for _ in range(4):
            page.keyboard.press("Enter")
            page.wait_for_timeout(100)
        assert page.evaluate("document.activeElement.id") == "undo"
        wait_for(page, "k3")
        assert undo.is_disabled()


def test_a_finding_is_mended_by_its_button(visit, address):
    with visit(address + "/?stack=k3d2+k3d2+k3d2&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_role("button", name="Apply: rates 1, 2, 3").first.click()
        wait_for(page, "k3 k3d2 k3d3")
        page.get_by_text("Nothing needs attention.").wait_for()


def test_a_better_schedule_is_found_and_taken_by_its_button(visit, address):
    with visit(address + "/?stack=k3d2+k3d2+k3d2&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_role("button", name="Find better").click()
        page.get_by_text("2 rates changed, no holes, no sub-grids").wait_for()
        page.get_by_role("button", name="Apply: k3d2 k3d3 k3").click()
        wait_for(page, "k3d2 k3d3 k3")
        page.get_by_text("Nothing needs attention.").wait_for()
        assert page.locator("#better-found").is_hidden()
        page.get_by_role("button", name="Find better").click()
        page.get_by_text("channels were searched").wait_for()
        page.get_by_role("button", name="Undo").click()
        wait_for(page, "k3d2 k3d2 k3d2")
        page.locator("#better-found").wait_for(state="hidden")


def point_at(page, row, at):
    page.locator("#dots").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate("([row, at]) => atrous.where(row, at)", [row, at]))


def lit(page):
    return page.evaluate("atrous.state()")


def gap(page):
    """Pixels from one row of the picture to the next."""
    (_, low), (_, high) = (page.evaluate("row => atrous.where(row, 0)", row) for row in (0, 1))
    return low - high


def pitch(page):
    """Pixels from one position of the input to the next."""
    (left, _), (right, _) = (page.evaluate("at => atrous.where(0, at)", at) for at in (0, 1))
    return right - left


def drag(page, what, across, down, steps=12):
    box = what.bounding_box()
    pull(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, across, down, steps)


def pull(page, x, y, across, down, steps=12):
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y + down, steps=steps)
    page.mouse.up()


def ring(page, row, side):
    """Where the outermost tap of a row's layer is, on the left (0) or on the right (1)."""
    found = page.evaluate(
        "row => atrous.rings().filter(one => one.row === row && one.part === 'dilation')", row
    )
    return found[side]["x"], found[side]["y"]


def test_pointing_at_a_dot_lights_what_it_reads_and_what_reads_it(visit, address):
    text = "k3d2 k3s2 k3"
    dots = Draft.of(text, (1, 8, 64, 64)).dots()
    with visit(address + "/?stack=k3d2+k3s2+k3&input=1,8,64,64") as page:
        drawn(page)
        for output in (0, 5, dots.rows[-1].length - 1):
            point_at(page, 3, output)
            found = lit(page)
            assert (found["row"], found["at"]) == (3, output)
            assert tuple(found["read"]) == dots.reaches(output)
            marks = page.locator("#lines .down[data-row='0']").get_attribute("data-at")
            assert tuple(map(int, marks.split())) == dots.reaches(output)
        point_at(page, 0, 3)
        reached = [at for at in range(dots.rows[-1].length) if 3 in dots.reaches(at)]
        assert lit(page)["reached"] == reached


def test_a_tap_that_is_dragged_outward_raises_the_rate(visit, address):
    with visit(address + "/?stack=k3+k3+k3&input=1,8,64,64") as page:
        drawn(page)
        by = pitch(page)
        pull(page, *ring(page, 3, 1), 2 * by, 0)
        wait_for(page, "k3 k3 k3d3")
        assert_shows(page, "k3 k3 k3d3", (1, 8, 64, 64))
        # On the left outward is to the left, and another layer's tap chooses that layer.
        pull(page, *ring(page, 2, 0), -by, 0)
        wait_for(page, "k3 k3d2 k3d3")
        assert page.locator("#layer-name").inner_text() == "conv2"
        pull(page, *ring(page, 2, 1), -4 * by, 0)
        wait_for(page, "k3 k3 k3d3")
        # A drag is one step back.
        page.get_by_role("button", name="Undo").click()
        wait_for(page, "k3 k3d2 k3d3")
        page.get_by_role("button", name="Undo").click()
        wait_for(page, "k3 k3 k3d3")
        page.get_by_role("button", name="Undo").click()
        wait_for(page, "k3 k3 k3")
        assert page.get_by_role("button", name="Undo").is_disabled()


def test_a_drag_changes_the_axis_that_is_drawn(visit, address):
    with visit(address + "/?stack=k3d(1,2)&input=1,8,64,64") as page:
        drawn(page)
        pull(page, *ring(page, 1, 1), pitch(page), 0)
        wait_for(page, "k3d(1,3)")


def test_the_second_window_that_is_dragged_is_the_stride(visit, address):
    with visit(address + "/?stack=k3+k3&input=1,8,64") as page:
        drawn(page)
        handle = page.get_by_role("slider", name="Stride of conv2")
        drag(page, handle, pitch(page), 0)
        wait_for_stack(page, "k3 k3s2")
        drag(page, handle, 2 * pitch(page), 0)
        wait_for_stack(page, "k3 k3s4")
        drag(page, handle, -9 * pitch(page), 0)
        wait_for_stack(page, "k3 k3")


def test_the_windows_of_transposed_layers_are_dragged_on_what_they_make(visit, address):
    with visit(address + "/?stack=k3+tconvk4s2&input=1,8,32") as page:
        drawn(page)
        drag(page, page.get_by_role("slider", name="Stride of tconv2"), pitch(page) / 2, 0)
        wait_for_stack(page, "k3 tconvk4s3")


def test_sliders_answer_to_keys(visit, address):
    with visit(address + "/?stack=k3+k3&input=1,8,64") as page:
        drawn(page)
        rate = page.get_by_role("slider", name="Rate (dilation) of conv2")
        rate.focus()
        page.keyboard.press("ArrowRight")
        wait_for_stack(page, "k3 k3d2")
        assert rate.get_attribute("aria-valuenow") == "2"
        page.keyboard.press("ArrowRight")
        wait_for_stack(page, "k3 k3d3")
        page.keyboard.press("Home")
        wait_for_stack(page, "k3 k3")
        page.get_by_role("slider", name="Stride of conv2").focus()
        page.keyboard.press("ArrowUp")
        wait_for_stack(page, "k3 k3s2")


def wait_for_stack(page, text):
    """Until the page shows the stack, whatever its input."""
    query = f"stack={Draft.of(text, (1, 8, 64)).query.partition('&')[0].partition('=')[2]}&"
    page.wait_for_function("query => location.search.includes(query)", arg=query)


def test_undo_redo_and_the_browsers_back_and_forward(visit, address):
    with visit(address + "/?stack=k3&input=1,8,64,64") as page:
        drawn(page)
        for text, more in (("k3 k5", "k3 k3 k5"), ("k3 k5 k7", "k3 k5 k3 k7")):
            stack(page).fill(text)
            wait_for(page, text)
            page.get_by_role("button", name="Add after").click()
            wait_for(page, more)
        page.go_back()
        wait_for(page, "k3 k5 k7")
        page.locator("#layer-name").click()
        page.keyboard.press("Control+z")
        wait_for(page, "k3 k3 k5")
        # The address is there before the picture that it names.
        page.wait_for_function("() => document.querySelector('#stack').value === 'k3 k3 k5'")
        page.keyboard.press("Control+Shift+z")
        wait_for(page, "k3 k5 k7")
        page.get_by_role("button", name="Redo").click()
        wait_for(page, "k3 k5 k3 k7")
        assert page.get_by_role("button", name="Redo").is_disabled()
        for _ in range(4):
            page.get_by_role("button", name="Undo").click()
        page.wait_for_function("() => location.search.includes('stack=k3&')")
        assert_shows(page, "k3", (1, 8, 64, 64))


def test_a_finger_drags_taps_and_is_told_to_tap(browser, address):
    context = browser.new_context(
        has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}
    )
    page = context.new_page()
    page.goto(address + "/?stack=k3+k3&input=1,8,64,64")
    drawn(page)
    assert page.get_by_text("Tap a dot to light it.").is_visible()
    assert not page.get_by_text("Point at a dot").is_visible()
    page.locator("#dots").scroll_into_view_if_needed()
    x, y = page.evaluate("atrous.where(0, 5)")
    page.touchscreen.tap(x, y)
    assert (lit(page)["row"], lit(page)["at"]) == (0, 5)
    x, y = page.evaluate("atrous.where(2, 16)")
    page.touchscreen.tap(x, y)
    fingers = context.new_cdp_session(page)
    x, y = ring(page, 2, 1)
    for kind, across in (("touchStart", 0), ("touchMove", 8), ("touchMove", 1.2 * pitch(page))):
        fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x + across, "y": y}]}
        )
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for(page, "k3 k3d2")
    context.close()


def test_the_dots_are_reached_without_a_pointer(visit, address):
    with visit(address + "/?stack=k3+k3&input=1,8,64,64") as page:
        drawn(page)
        said = page.locator("#dots-text")
        before = said.inner_text()
        page.get_by_role("button", name="Right").click()
        assert said.inner_text() != before
        page.get_by_role("button", name="Left").click()
        assert said.inner_text() == before
        page.get_by_role("button", name="Layer down").click()
        assert "conv1" in said.inner_text()
        page.get_by_role("button", name="Layer up").click()
        assert "conv2" in said.inner_text()


_CORNER = """
(aside) => {
    const svg = document.querySelector("#footprint svg"), one = svg.querySelector(".frame");
    const to = svg.getScreenCTM();
    const [x, y] = [one.x.baseVal.value, one.y.baseVal.value];
    const at = (by) => new DOMPoint(x + aside + by, y + aside + by).matrixTransform(to);
    const [low, high] = [at(0.2), at(0.8)];
    return { x: low.x, y: low.y, width: high.x - low.x, height: high.y - low.y };
}
"""


def test_only_what_is_not_read_is_hatched(visit, address):
    with visit(f"{address}/?stack=k3d2+k3d2&input=1,1,32,32") as page:
        page.wait_for_selector("#footprint svg .frame", state="attached")
        page.locator("#footprint").scroll_into_view_if_needed()
        # The first position of the frame is read by one path, in thin ink; the next is a hole.
        for aside, plain in ((0, True), (1, False)):
            shot = page.screenshot(clip=page.evaluate(_CORNER, aside))
            colours = Image.open(BytesIO(shot)).convert("RGB").getcolors(1 << 16)
            assert (len(colours) == 1) is plain


def test_the_kernel_slides(visit, address):
    with visit(address + "/?stack=k3d2s2&input=1,8,64,64") as page:
        page.wait_for_selector("#slide svg")
        said = page.locator("#slide-text")
        assert said.inner_text().startswith("Output (0, 0) reads h -2, 0, 2 and w -2, 0, 2")
        assert page.locator("#slide .read").count() == 9
        page.get_by_role("button", name="Step").click()
        assert said.inner_text().startswith("Output (0, 1) reads h -2, 0, 2 and w 0, 2, 4")
        page.get_by_role("button", name="Back").click()
        assert said.inner_text().startswith("Output (0, 0)")
        # Of the picture's two maps the outputs are on the right; the pointer chooses one.
        made = page.locator("#slide .made").bounding_box()
        page.mouse.move(made["x"] + 3.5 * made["width"], made["y"] + 1.5 * made["height"])
        assert said.inner_text().startswith("Output (1, 3) reads h 0, 2, 4 and w 4, 6, 8")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function(
            "() => !document.querySelector('#slide-text').textContent.startsWith('Output (0, 0)')"
        )
        page.get_by_role("button", name="Pause").click()
        now = said.inner_text()
        page.wait_for_timeout(600)
        assert said.inner_text() == now


def test_a_stack_is_converted(visit, address):
    with visit(address + "/?stack=k3s2+k3s2+k3&input=1,8,65,65") as page:
        drawn(page)
        choose(page, "Output stride", "2")
        page.get_by_role("button", name="Convert").click()
        page.wait_for_function("() => location.search.includes('k3s2+k3+k3d2')")
        page.get_by_text("exact: the old stack is beside it").wait_for()


def test_schemes_stand_side_by_side(visit, address):
    with visit(address + "/?stack=k3d2+k3d2&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_label("Beside: another stack, or nothing").fill("k5 k5")
        page.wait_for_function(
            "() => document.querySelector('#schemes').textContent.includes('k5 k5')"
        )
        table = {
            row[0]: row
            for row in page.eval_on_selector_all(
                "table[aria-label=Schemes] tbody tr",
                "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))",
            )
        }
        found = atrous.compare({"this": "k3d2 k3d2", "beside": "k5 k5"}, input=(1, 8, 64, 64))
        assert table["this stack"][6] == quantity(found["this"].macs)
        assert table["beside"][6] == quantity(found["beside"].macs)
        assert {"plain", "strided"} <= table.keys()


def test_code_is_shown_in_three_dialects(visit, address):
    with visit(address + "/?stack=k3d2x4&input=1,8,64,64") as page:
        drawn(page)
        for name, part in (
            ("PyTorch", "nn.Conv2d(8, 4, 3"),
            ("Keras", "layers.Conv2D(4, 3"),
            ("ONNX", "add('Conv'"),
        ):
            page.get_by_role("radio", name=name).click()
            page.wait_for_function(
                "part => document.querySelector('.code').textContent.includes(part)", arg=part
            )


def test_the_theme_turns_and_is_kept(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        page.get_by_role("button", name="Theme").click()
        page.wait_for_selector("html[data-theme=dark]")
        page.reload()
        page.wait_for_selector("html[data-theme=dark]")
        page.get_by_role("button", name="Theme").click()
        page.wait_for_selector("html[data-theme=light]")


def test_without_javascript_it_says_so_and_shows_no_empty_form(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address + "/")
    assert "This page needs JavaScript" in page.locator("main").inner_text()
    assert page.locator("input:visible, select:visible, button:visible, svg:visible").count() == 0
    page.context.close()


def test_what_is_copied_says_where_it_works(visit, address):
    with visit(address + "/?stack=k3d2&input=1,8,64,64") as page:
        drawn(page)
        page.get_by_role("button", name="Copy link").click()
        page.get_by_text("It opens on this machine only, while `atrous explore` runs").wait_for()
        page.get_by_role("button", name="Copy command").click()
        page.get_by_text("wherever atrous is installed").wait_for()


def test_branches_are_not_edited_and_say_what_to_do(visit, address):
    with visit(address + "/?stack=k3+[k3d6+|+k3d12]&input=1,8,64,64") as page:
        drawn(page)
        said = page.locator("#link-problem")
        assert "a stack with branches or `global` is not edited here" in said.inner_text()
        said.get_by_role("button", name="Show it as a report").click()
        frame = page.frame_locator("iframe")
        frame.locator("html[data-drawn=yes]").wait_for()
        assert "k3d12" in frame.locator("h1").inner_text()
        stack(page).fill("k3 [k3 | k5]")
        said = page.locator("#stack-problem")
        said.wait_for()
        assert '`atrous inspect "stack:..."`' in said.inner_text()
        assert said.get_by_role("button", name="Show it as a report").is_visible()


def test_a_server_that_stops_is_said_to_and_the_page_goes_on_with_the_next(browser):
    page = browser.new_context().new_page()
    page.set_default_timeout(20_000)
    with explorer("--port", "0") as address:
        page.goto(address + "/?stack=k3&input=1,8,64,64")
        drawn(page)
    stack(page).fill("k3 k3")
    page.get_by_text("The server has stopped").wait_for()
    assert "`atrous explore`" in page.locator("#gone").inner_text()
    with explorer("--port", address.rpartition(":")[2]):
        page.locator("#gone").wait_for(state="hidden")
        stack(page).fill("k3 k3 k3")
        wait_for(page, "k3 k3 k3")
    page.context.close()


CANNOT_BE = [
    ("Stack", "k3q9", "'q' is not known"),
    ("Stack", "", "the stack has no layers"),
    ("Stack", "k99valid", "conv1"),
    ("Input: batch, channels, sizes", "1,8", "is no shape"),
    ("Input: batch, channels, sizes", "1,8,99999,99999", "more than"),
    ("Kernel", "0", "kernel"),
    ("Kernel", "many", "is no whole number"),
    ("Stride", "-1", "stride"),
    ("Dilation", "1.5", "is no whole number"),
    ("Padding", "some", "is no whole number"),
    ("Channels", "0", "channels"),
    ("Beside: another stack, or nothing", "k3k3", "k3k3"),
]


def test_what_cannot_be_is_said_at_the_control_and_the_picture_stays(visit, address):
    with visit(address + "/?stack=k3d2+k3&input=1,8,64,64") as page:
        drawn(page)
        for label, text, said in CANNOT_BE:
            stack(page).fill("k3d2 k3")
            settled(page, "stack=k3d2+k3&input=1%2C8%2C64%2C64")
            before = numbers(page), page.locator("#lines").inner_html(), page.url
            field = page.get_by_label(label, exact=True)
            field.fill(text)
            message = page.locator("#" + field.get_attribute("aria-describedby"))
            message.wait_for()
            assert said in message.inner_text()
            assert (numbers(page), page.locator("#lines").inner_html(), page.url) == before
            stale = page.locator("#stale")
            if not label.startswith("Beside"):
                # What is still shown says whose it is.
                whose = "Still the picture of the last stack that can be: k3d2 k3"
                assert field.get_attribute("aria-invalid") == "true"
                assert stale.inner_text() == whose
                opacity = "getComputedStyle(document.querySelector('#lines')).opacity"
                assert page.evaluate(opacity) < "1"
                # Escape gives back what is shown, and says nothing any more.
                field.press("Escape")
                assert not message.is_visible()
                assert not stale.is_visible()
                assert field.get_attribute("aria-invalid") is None
                assert field.input_value() != text
                assert (numbers(page), page.locator("#lines").inner_html(), page.url) == before
                # And once it can be again, neither.
                field.fill(text)
                message.wait_for()
                stack(page).fill("k3d2 k3 k3")
                settled(page, "stack=k3d2+k3+k3&input=1%2C8%2C64%2C64")
                assert not message.is_visible()
            assert not stale.is_visible()


def test_a_known_network_opens_as_a_report(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        choose(page, "Known network", "resnet18")
        page.get_by_role("button", name="Open", exact=True).click()
        frame = page.frame_locator("iframe")
        frame.locator("html[data-drawn=yes]").wait_for()
        assert frame.locator("h1").inner_text() == "resnet18"


def test_a_dropped_file_opens_as_a_report(visit, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(onnx_code(Draft.of("k3d2 k3d2", (1, 8, 64, 64))), {"__name__": "script"})
    content = (tmp_path / "stack.onnx").read_bytes()
    with visit(address + "/") as page:
        drawn(page)
        transfer = page.evaluate_handle(
            """bytes => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "mine.onnx"));
                return transfer;
            }""",
            list(content),
        )
        page.locator("#drop").dispatch_event("dragover", {"dataTransfer": transfer})
        page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
        frame = page.frame_locator("iframe")
        frame.locator("html[data-drawn=yes]").wait_for()
        assert frame.locator("tbody tr").count() >= 2
        assert frame.locator("h1").inner_text() == "mine.onnx"
        # And by the button. Chromium asks the frame for a click on what it was before scrolling.
        choose_file = page.get_by_role("button", name="Choose an .onnx file")
        choose_file.scroll_into_view_if_needed()
        page.wait_for_timeout(800)
        with page.expect_file_chooser() as chooser:
            choose_file.click()
        chooser.value.set_files((tmp_path / "stack.onnx").rename(tmp_path / "chosen.onnx"))
        frame.locator("html[data-drawn=yes] h1", has_text="chosen.onnx").wait_for()


def test_a_bad_file_is_explained_and_the_page_stays(visit, address, tmp_path):
    with visit(address + "/?stack=k3d2&input=1,8,64,64") as page:
        drawn(page)
        for name, content, said in (
            ("bad.onnx", b"\x00\x01 no model", "bad.onnx"),
            ("empty.onnx", b"", "empty.onnx"),
            ("page.html", b"<script>alert(1)</script>", "no .onnx file"),
        ):
            path = tmp_path / name
            path.write_bytes(content)
            with page.expect_file_chooser() as chooser:
                page.get_by_role("button", name="Choose an .onnx file").click()
            chooser.value.set_files(path)
            message = page.get_by_role("alert").filter(has_text=re.compile(re.escape(said)))
            message.wait_for()
            assert "/tmp" not in message.inner_text()
            assert_shows(page, "k3d2", (1, 8, 64, 64))


def test_two_people_do_not_see_each_others_state(visit, address):
    with (
        visit(address + "/?stack=k3&input=1,8,64,64") as one,
        visit(address + "/?stack=k5&input=1,8,64,64") as two,
    ):
        one.wait_for_selector("#dots svg")
        two.wait_for_selector("#dots svg")
        stack(one).fill("k3 k3 k3")
        wait_for(one, "k3 k3 k3")
        stack(two).fill("k7d2")
        wait_for(two, "k7d2")
        assert_shows(one, "k3 k3 k3", (1, 8, 64, 64))
        assert_shows(two, "k7d2", (1, 8, 64, 64))
        assert stack(one).input_value() == "k3 k3 k3"


def test_two_hundred_layers_are_still_usable(visit, address):
    with visit(address + "/") as page:
        drawn(page)
        text = " ".join(["k3"] * 200)
        stack(page).fill(text)
        page.wait_for_function(
            "() => document.querySelectorAll('table[aria-label=Layers] tbody tr').length === 200"
        )
        page.get_by_role("button", name="conv150: k3", exact=True).click()
        page.wait_for_function(
            "() => document.querySelector('#slide svg').ariaLabel.includes('conv150')"
        )
        page.get_by_label("Dilation", exact=True).fill("2")
        page.wait_for_function(
            "() => document.querySelector('#numbers').rows[150].innerText.includes('d2')"
        )
