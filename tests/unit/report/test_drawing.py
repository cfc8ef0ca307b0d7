"""A drawing of a footprint, read back letter by letter, is the footprint."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rich.console import Console

from atrous import Builder
from atrous.analysis import Footprint, inspect_network
from atrous.report import FootprintView, Look
from atrous.report.drawing import (
    ASCII_HALVES,
    ASCII_SQUARES,
    BRAILLE_DOTS,
    HALVES,
    SQUARES,
    drawing,
)
from atrous.report.html import inline
from atrous.report.lines import Span, plain
from atrous.shown import view

AXES = {1: ("t",), 2: ("h", "w"), 3: ("d", "h", "w")}


def made_of(box):
    """A footprint of these counts, somewhere inside a larger input."""
    box = np.asarray(box)
    origin = tuple(range(3, 3 + box.ndim))
    shape = tuple(low + size + 5 for low, size in zip(origin, box.shape, strict=True))
    return Footprint((0,) * box.ndim, origin, shape, AXES[box.ndim], box)


def random_box(*shape, share=0.4, seed=0):
    generator = np.random.default_rng(seed)
    box = (generator.random(shape) < share) * generator.integers(1, 100, shape)
    for axis in range(box.ndim):
        # A box begins and ends with a position that is read.
        for end in (0, -1):
            corner = [0] * box.ndim
            corner[axis] = end
            box[tuple(corner)] = 1
    return box


def framed(lines):
    """The insides of the frames in a drawing."""
    pictures, current = [], None
    for line in lines:
        if re.fullmatch(r"[┌+][─-]+[┐+]", line) and current is None:
            current = []
        elif re.fullmatch(r"[└+][─-]+[┘+]", line):
            pictures.append(current)
            current = None
        elif current is not None:
            assert line[0] == line[-1]
            assert line[0] in "│|"
            current.append(line[1:-1])
    assert current is None
    return pictures


def letters_of(line):
    # An upper half on a background is two positions of different colours.
    return "".join("█" if " on " in span.style else span.text for span in line)


def drawn(footprint, look):
    return framed([letters_of(line) for line in drawing(footprint, look)])


def from_squares(rows, letters):
    read, unread = letters
    return np.array(
        [[{read: True, unread: False}[r[i : i + 2]] for i in range(0, len(r), 2)] for r in rows]
    )


def from_halves(rows, letters, height):
    codes = np.array([[letters.index(letter) for letter in row] for row in rows])
    mask = np.stack([codes & 1, codes >> 1], axis=1).reshape(-1, codes.shape[1]) > 0
    assert not mask[height:].any()
    return mask[:height]


def from_braille(rows, height, width):
    codes = np.array([[ord(letter) - 0x2800 for letter in row] for row in rows])
    mask = (codes[:, None, :, None] & np.array(BRAILLE_DOTS)[:, None, :]) > 0
    mask = mask.reshape(4 * codes.shape[0], 2 * codes.shape[1])
    assert not mask[height:].any()
    assert not mask[:, width:].any()
    return mask[:height, :width]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (24, 39)])
def test_a_small_footprint_is_drawn_as_squares_that_are_its_mask(shape, unicode, colour):
    footprint = made_of(random_box(*shape))
    (rows,) = drawn(footprint, Look(80, 40, unicode, colour))
    mask = from_squares(rows, SQUARES if unicode else ASCII_SQUARES)
    np.testing.assert_array_equal(mask, footprint.box > 0)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("shape", [(25, 9), (51, 78), (80, 40)])
def test_a_larger_footprint_is_drawn_in_halves_that_are_its_mask(shape, unicode, colour):
    footprint = made_of(random_box(*shape))
    (rows,) = drawn(footprint, Look(80, 40, unicode, colour))
    mask = from_halves(rows, HALVES if unicode else ASCII_HALVES, shape[0])
    np.testing.assert_array_equal(mask, footprint.box > 0)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("shape", [(81, 20), (9, 155), (127, 127)])
def test_a_footprint_that_still_fits_in_braille_is_exact_there(shape, colour):
    footprint = made_of(random_box(*shape))
    (rows,) = drawn(footprint, Look(80, 40, True, colour))
    np.testing.assert_array_equal(from_braille(rows, *shape), footprint.box > 0)


@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("shape", [(500, 40), (33, 900), (161, 157), (1027, 1027)])
def test_a_footprint_larger_than_the_terminal_is_scaled_to_fit_and_says_so(shape, unicode, colour):
    look = Look(80, 40, unicode, colour)
    lines = [plain(line) for line in drawing(made_of(random_box(*shape, share=0.02)), look)]
    (rows,) = framed(lines)
    assert len(rows) <= 40
    assert all(len(line) <= 80 for line in lines)
    scale = int(re.search(r"scale 1:(\d+)", "\n".join(lines))[1])
    assert len(rows) == -(-shape[0] // (2 * scale))
    assert len(rows[0]) == -(-shape[1] // scale)


@pytest.mark.parametrize("unicode", [False, True])
def test_a_scaled_drawing_is_blank_where_nothing_is_read_and_full_where_everything_is(unicode):
    box = np.zeros((200, 200), dtype=int)
    box[:100, :100] = 1
    box[100:, 100:] = np.indices((100, 100)).sum(axis=0) % 2
    footprint = made_of(box)
    (rows,) = drawn(footprint, Look(102, 50, unicode=False) if not unicode else Look(52, 25))
    high, wide = len(rows) // 2, len(rows[0]) // 2
    assert {letter for row in rows[:high] for letter in row[:wide]} == {"█" if unicode else "#"}
    assert {letter for row in rows[:high] for letter in row[wide:]} == {" "}
    assert {letter for row in rows[high:] for letter in row[wide:]} <= set("░▒▓.+*")


def test_a_scaled_drawing_without_holes_shows_where_the_paths_are():
    ramp = np.minimum(np.arange(1, 401), np.arange(400, 0, -1))
    (rows,) = drawn(made_of(np.outer(ramp, ramp)), Look(80, 40))
    order = " ░▒▓█"
    assert " " not in "".join(rows)
    middle = rows[len(rows) // 2]
    assert order.index(middle[len(middle) // 2]) > order.index(rows[0][0])


@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("length", [1, 67, 70, 71, 500])
def test_one_axis_is_laid_out_in_rows_that_say_where_they_start(length, unicode, colour):
    footprint = made_of(random_box(length))
    (rows,) = drawn(footprint, Look(80, 40, unicode, colour))
    read = "█" if unicode else "#"
    mask = []
    for row in rows:
        start, cells = row.split(" ", 1) if row[0] != " " else row.lstrip().split(" ", 1)
        assert int(start) == footprint.origin[0] + len(mask)
        mask += [letter == read for letter in cells.rstrip(" ")]
    np.testing.assert_array_equal(mask, footprint.box > 0)


def test_one_long_axis_is_scaled_and_says_so():
    lines = [plain(line) for line in drawing(made_of(random_box(20_000)), Look(80, 40))]
    (rows,) = framed(lines)
    assert len(rows) <= 20
    assert "scale 1:" in lines[-1]


def test_three_axes_are_drawn_as_a_slice_for_each_pair_of_them():
    box = np.zeros((5, 7, 9), dtype=int)
    box[::2, ::2, ::4] = 3
    lines = [plain(line) for line in drawing(made_of(box), Look())]
    titles = [line for line in lines if line.startswith("slice at")]
    pictures = framed(lines)
    # The middle of the box, (2, 3, 4), is not read; the nearest position that is gives the slices.
    assert titles[0] == "slice at w 9: d downwards, h across"
    assert re.fullmatch(r"slice at h (6|8): d downwards, w across", titles[1])
    assert titles[2] == "slice at d 5: h downwards, w across"
    for picture, slice_ in zip(pictures, [box[:, :, 4], box[:, 2], box[2]], strict=True):
        np.testing.assert_array_equal(from_squares(picture, SQUARES), slice_ > 0)


def test_a_footprint_of_nothing_says_so():
    empty = Footprint((0, 0), (0, 0), (4, 4), ("h", "w"), np.zeros((0, 0), dtype=int))
    assert FootprintView(empty).text() == "output (0, 0) reads no position of the input"


def test_path_counts_that_no_integer_holds_are_drawn():
    box = np.array([[1.0, 1e30], [0.0, 5.0]])
    text = FootprintView(made_of(box)).text()
    assert "1 to 1.00e+30" in text


def test_more_paths_are_another_colour():
    styles = {
        span.style
        for line in drawing(made_of([[1, 0, 1000]]), Look(colour=True))
        for span in line
        if span.text == "██"
    }
    assert len(styles) == 2


def test_a_branched_network_is_drawn_as_the_cross_that_it_reads():
    b = Builder("cross")
    x = b.input("x", (1, 1, 32, 32))
    row = b.conv(x, 4, (1, 7), padding=(0, 3), name="row")
    column = b.conv(x, 4, (7, 1), padding=(3, 0), name="column")
    footprint = inspect_network(b.build(b.join(row, column))).footprint()
    (rows,) = framed(str(footprint).splitlines())
    inside = tuple(
        slice(o, o + n) for o, n in zip(footprint.origin, footprint.box.shape, strict=True)
    )
    np.testing.assert_array_equal(from_squares(rows, SQUARES), footprint.mask[inside])


def test_the_reader_of_drawings_notices_a_wrong_one():
    box = random_box(7, 9)
    (rows,) = drawn(made_of(box), Look())
    box[3, 4] = 0 if box[3, 4] else 1
    assert not np.array_equal(from_squares(rows, SQUARES), box > 0)


@pytest.mark.parametrize("shape", [(9, 9), (60, 60), (127, 127), (300, 300)])
def test_rich_prints_the_same_letters_as_plain_text(shape):
    view = FootprintView(made_of(random_box(*shape)))
    console = Console(width=80, record=True, force_terminal=True, color_system=None, file=None)
    with console.capture() as capture:
        console.print(view, crop=False)
    look = Look(80, max(console.size.height - 4, 10))
    assert [line.rstrip() for line in capture.get().splitlines()] == view.text(look).splitlines()


def test_html_of_a_footprint_is_its_words_and_one_picture():
    html = view(made_of([[1, 0, 1000]])).html()
    assert html.startswith("<div>output (0, 0) reads h 3 to 3, w 4 to 6: 2 of 3 positions (67%)")
    assert html.count("<img") == 1
    assert "data:image/svg+xml;base64," in html


def luminance(colour):
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def rgb(text):
    return [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]


@pytest.mark.parametrize("style", ["red", "yellow", "cyan"])
@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("#000000", "#ffffff"),
        ("#212121", "#ffffff"),
        ("#d4d4d4", "#1e1e1e"),
        ("#dedede", "#111111"),
    ],
)
def test_coloured_words_are_legible_on_light_and_dark_pages(style, text, page):
    found = re.search(
        r"color-mix\(in srgb,(#\w{6}) (\d+)%,currentcolor\)", inline(Span("x", style))
    )
    share = int(found[2]) / 100
    pairs = zip(rgb(found[1]), rgb(text), strict=True)
    low, high = sorted(
        [luminance([share * a + (1 - share) * b for a, b in pairs]), luminance(rgb(page))]
    )
    assert (high + 0.05) / (low + 0.05) >= 4.5
