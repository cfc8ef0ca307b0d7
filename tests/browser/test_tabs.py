"""The checks of the browser tests notice what is wrong, and a visit finds nothing of another."""

from __future__ import annotations

import pytest

WRONG = """<!doctype html><html lang=en><title>wrong</title><main>
<h1>wrong</h1><img src="data:,"><p style="color: #ccc; background: #fff">pale</p></main>"""


@pytest.fixture
def address(tmp_path):
    (tmp_path / "wrong.html").write_text(WRONG)
    return (tmp_path / "wrong.html").as_uri()


@pytest.mark.parametrize("said", ["console.error('oh')", "console.warn('oh')"])
def test_what_a_page_complains_of_is_noticed(visit, address, said):
    with pytest.raises(AssertionError, match="oh"), visit(address) as page:
        page.evaluate(said)


def test_an_error_in_a_script_is_noticed(visit, address):
    with pytest.raises(AssertionError, match="oh"), visit(address) as page:
        page.evaluate("setTimeout(() => { throw Error('oh') }), new Promise(r => setTimeout(r, 9))")


def test_a_request_to_elsewhere_is_noticed(visit, address):
    with pytest.raises(AssertionError, match=r"http://127\.0\.0\.1:9/x"), visit(address) as page:
        page.evaluate("fetch('http://127.0.0.1:9/x').catch(() => null)")


def test_a_file_that_loads_another_is_noticed(visit, address):
    load = "new Promise(done => { const i = new Image(); i.onerror = done; i.src = 'near.png'; })"
    with pytest.raises(AssertionError, match=r"near\.png"), visit(address) as page:
        page.evaluate(load)


def test_barriers_are_noticed(visit, address, serious):
    with visit(address) as page:
        assert {name for name, _ in serious(page)} == {"image-alt", "color-contrast"}
        assert {name for name, _ in serious(page, "color-contrast")} == {"color-contrast"}


ROWS = "<p class=row><span>1</span><b>dark</b></p>" * 20
AMONG = {
    "all of a kind": "<style>.row b { color: #bbb }</style>",
    "one of a kind": "<style>.row:nth-of-type(17) b { color: #bbb }</style>",
    "one by itself": '<p class=row><b style="color: #bbb">pale</b></p>',
    "in a box of its own": '<div style="background: #444"><p class=row><b>dark</b></p></div>',
    "of another class": "<style>.far b { color: #bbb }</style><p class='row far'><b>pale</b></p>",
    "half seen": "<style>.row:last-child { opacity: .3 }</style>",
    "written in a field": '<input value=pale style="color: #bbb" aria-label=pale>',
    "at this width": "<style>@media (max-width: 500px) { .row b { color: #bbb } }</style>",
    "in the dark": "<style>@media (prefers-color-scheme: dark) { .row b { color: #bbb } }</style>",
}


def test_words_that_are_pale_are_noticed_among_many_that_look_alike(visit, address, serious):
    with visit(address, 390, "dark") as page:
        for name, pale in {"nothing": "", **AMONG}.items():
            page.evaluate(
                "html => { document.querySelector('main').innerHTML = html }",
                f"<h1>rows</h1>{ROWS[: len(ROWS) // 2]}{pale}{ROWS[len(ROWS) // 2 :]}",
            )
            found = [rule for rule, _ in serious(page)]
            assert found == ["color-contrast"] * (name != "nothing"), name
            assert [rule for rule, _ in serious(page, "color-contrast")] == found, name


def test_a_visit_finds_nothing_of_the_one_before(visit, address, spare):
    with visit(address, 390, "dark") as page:
        page.evaluate("localStorage.theme = sessionStorage.theme = 'dark'")
        page.emulate_media(media="print")
    assert spare[-1] == page
    with visit(address) as again:
        assert again == page
        assert again.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        assert again.evaluate("innerWidth") == 1280
        assert again.evaluate("matchMedia('screen').matches")
        assert again.evaluate("matchMedia('(prefers-color-scheme: light)').matches")


def test_two_visits_at_once_share_nothing(visit, address):
    with visit(address) as one, visit(address) as two:
        one.evaluate("localStorage.theme = 'dark'")
        assert two.evaluate("localStorage.length") == 0
