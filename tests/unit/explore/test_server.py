"""The explorer's server: this machine only, its own pages only, bounded, and hard to upset."""

from __future__ import annotations

import http.client
import io
import json
import random
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from atrous.errors import AtrousError, ReadError, UnsupportedError
from atrous.explore.answers import beginning, followed
from atrous.explore.better import better_than
from atrous.explore.draft import MOST_LAYERS, Draft, shape_of
from atrous.explore.files import MOST_PAGES, Pages, file_report
from atrous.explore.fixes import fix_for
from atrous.explore.guard import MOST_BYTES
from atrous.explore.server import USUAL_PORT, serve
from atrous.explore.sliding import sliding
from atrous.explore.tables import footprint_picture
from tests.command import atrous
from tests.processes import ROOT, environment, run_python, run_shell
from tests.servers import explorer


@pytest.fixture(scope="module")
def port():
    with explorer("--port", "0") as address:
        yield int(address.rpartition(":")[2])


def answer(port, method="GET", path="/", headers=(), body=b"", host=None):
    """Status and body of one request, with exactly these headers."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    if host != "":
        link.putheader("Host", host or f"127.0.0.1:{port}")
    for name, value in headers:
        link.putheader(name, value)
    link.endheaders(body or None)
    found = link.getresponse()
    text = found.read()
    link.close()
    return found.status, text


def test_its_own_page_is_served(port):
    status, text = answer(port)
    assert status == 200
    assert b"atrous explore" in text
    assert answer(port, host=f"localhost:{port}")[0] == 200
    assert answer(port, headers=[("Origin", f"http://127.0.0.1:{port}")])[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example", "[::1]", "x" * 300],
)
def test_a_host_that_is_not_this_server_is_refused(port, host):
    assert answer(port, host=host)[0] in (400, 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://"]
)
def test_a_page_from_elsewhere_is_refused(port, origin):
    assert answer(port, headers=[("Origin", origin)])[0] == 403
    for path in ("/edit", "/rest", "/open", "/file"):
        assert answer(port, "POST", path, headers=[("Origin", origin)])[0] == 403
    upgrade = [
        ("Origin", origin),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    assert answer(port, path="/edit", headers=upgrade)[0] == 403


def test_a_link_from_elsewhere_leads_here_and_nothing_else_does(port):
    site = ("Sec-Fetch-Site", "cross-site")
    link = [site, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    assert answer(port, headers=link)[0] == 200
    for kind in ("image", "iframe", "script", "empty"):
        assert answer(port, headers=[site, ("Sec-Fetch-Dest", kind)])[0] == 403
    assert answer(port, path="/atrous-report/x", headers=link)[0] == 403


def test_what_is_refused_says_where_to_go(port):
    home = f"open http://127.0.0.1:{port}/.".encode()
    assert answer(port, host="evil.example")[1].endswith(home)
    assert answer(port, headers=[("Origin", "http://evil.example")])[1].endswith(home)
    status, text = answer(port, path="/elsewhere")
    assert status == 404
    assert f"http://127.0.0.1:{port}/".encode() in text


def edit(port, path="/edit", **asked):
    status, text = answer(
        port,
        "POST",
        path,
        headers=[("Content-Length", str(len(json.dumps(asked))))],
        body=json.dumps(asked).encode(),
    )
    assert status == 200
    return json.loads(text)


def test_an_edit_is_answered_with_what_it_changed(port):
    asked = {"stack": "k3 k3", "input": "1,8,64,64", "place": 1}
    first = edit(port, **asked, do={"what": "show"})
    assert first["stack"] == "k3 k3"
    assert set(first["parts"]) == set(first["have"])
    same = edit(port, **asked, do={"what": "show"}, have=first["have"])
    assert same["parts"] == {}
    other = edit(port, **asked | {"place": 0}, do={"what": "show"}, have=first["have"])
    assert set(other["parts"]) == {"footprint", "slide"}
    rate = {"what": "part", "part": "dilation", "text": "2"}
    changed = edit(port, **asked, do=rate, have=first["have"])
    assert changed["stack"] == "k3 k3d2"
    wanted = Draft.of("k3 k3d2", (1, 8, 64, 64)).dots()
    made = changed["parts"]["dots"]
    reads = [made["reads"][row["reads"]] for row in made["rows"]]
    assert reads == [[list(one) for one in row.reads] for row in wanted.rows]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stack": 3, "input": "1,8,64"}, "stack is no text"),
        ({"stack": "k3", "input": "1,8,64", "do": "x"}, "do is no table"),
        ({"stack": "k3", "input": "1,8,64", "place": "x"}, "place is no whole number"),
        ({"stack": "k3", "input": "1,8,64", "do": {"what": "fly"}}, "'fly' is no edit"),
        (
            {"stack": "k3 [k3|k5]", "input": "1,8,64"},
            "a stack with branches or `global` is not edited here",
        ),
        ({"stack": "k3 global", "input": "1,8,64"}, "`global` is not edited here"),
        ({"stack": "k3", "input": "1,8,64", "do": {"what": "remove"}}, "at least one layer"),
    ],
)
def test_an_edit_that_cannot_be_says_why(port, asked, said):
    found = edit(port, **asked)
    assert said in found["problem"]
    assert found.get("branches", False) == ("is not edited here" in said)


def test_what_follows_an_edit_stops_for_the_next():
    asked = {"stack": "k3d2 k3d2 k3d2", "input": "1,8,64,64", "beside": "k9", "code": "Keras"}
    whole = followed(asked)
    assert whole["whole"]
    assert whole["findings"][0]["mend"]["stack"] == "k3 k3d2 k3d3"
    assert [row[0] for row in whole["schemes"]][:2] == ["this stack", "beside"]
    assert whole["code"].startswith("import keras")
    assert not followed(asked, lambda: True)["whole"]


def test_better_changes_the_fewest_rates_and_says_what_is_gained(port):
    found = edit(port, "/better", stack="k3d2 k3d2 k3d2", input="1,8,64,64")
    assert found["stack"] == "k3d2 k3d2 k3d2"
    assert found["offers"][0] == {
        "what": "2 rates changed, no holes, no sub-grids",
        "stack": "k3d2 k3d3 k3",
        "input": "1,8,64,64",
    }
    assert len(found["offers"]) <= 3
    assert found["said"].startswith("37 sets of its rates tried. 399 schedules of the same kernels")
    fine = edit(port, "/better", stack="k3d9 k3d3 k3", input="1,8,64,64")
    assert fine["offers"] == []
    assert fine["said"].endswith("none of them beats this one.")
    assert "no text" in edit(port, "/better", stack=3, input="1,8,64")["problem"]


@pytest.mark.parametrize(
    "text",
    ["k3d2p2 k3d2p2 k3d2", "k3s2 k3d4 k3d4 maxk2", "k(1,3)d4 k(3,1)d4 k3", "dwk3d2 k3d3 k3d9"],
)
def test_what_is_better_has_the_field_no_holes_and_no_more_products(text):
    draft = Draft.of(text, (1, 8, 96, 96))
    before = draft.report()
    found = better_than(draft)
    assert found.offers or "the nearest is" in found.said
    for offer in found.offers:
        after = offer.draft.report()
        assert after.outputs[0].output_shape == before.outputs[0].output_shape
        assert all(axis.coverage == 1 for axis in after.outputs[0].field)
        assert after.macs <= before.macs
        assert after.outputs[0].field[0].size >= before.outputs[0].field[0].size


def test_fewer_layers_that_see_as_far_are_better():
    found = better_than(Draft.of("k3*8", (1, 8, 64, 64)))
    assert [(one.draft.text, one.what) for one in found.offers] == [
        ("k3d5 k3d2 k3", "5 layers fewer, 62% fewer MACs")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k3d2 maxk2s2", "only chains of convolutions"),
        ("k3x8 k3x16", "changes within one"),
        (" ".join(["k3"] * 17), "17 layers with a field of 35 are too many"),
    ],
)
def test_stacks_whose_schedules_are_not_searched_say_why(text, said):
    assert said in better_than(Draft.of(text, (1, 8, 64, 64))).said


def test_holes_that_no_rate_closes_are_said(port):
    found = edit(port, "/better", stack="k1s2 k3d2 k3d2", input="1,8,64,64")
    assert found["offers"] == []
    assert "conv1 reads with kernel 1 and stride 2" in found["said"]


def test_a_link_of_very_many_parts_says_so():
    assert "more than 20 parts" in beginning("&".join(["a=1"] * 30))["problem"]


def test_text_in_an_address_ends_no_script(port):
    text = answer(port, path="/?stack=%3C/script%3E%3Cb%3E&input=1,1,9")[1].decode()
    assert "</script><b>" not in text


def test_the_usual_port_stays_and_the_next_free_one_is_said():
    with explorer() as first:
        assert int(first.rpartition(":")[2]) >= USUAL_PORT
        with subprocess.Popen(
            [sys.executable, "-m", "atrous", "explore", "--no-open"],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            address = process.stdout.readline().split()[2]
            assert address != f"{first}/"
            assert process.stdout.readline().startswith(f"Port {USUAL_PORT} is taken, so this one")
            # Ctrl-C is how it is stopped: nothing more is said.
            process.send_signal(signal.SIGINT)
            rest, said = process.communicate(timeout=20)
            assert (rest, said, process.returncode) == ("", "", 0)


def test_it_listens_on_the_loopback_interface_only(port):
    found = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    # Addresses in hexadecimal, the loopback one with its bytes turned round; 0A is listening.
    listening = [row[1] for row in found if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]


def test_too_large_a_body_is_refused_by_what_it_claims(port):
    for size in (str(MOST_BYTES + 1), "9" * 40, "-1", "many"):
        assert answer(port, "POST", headers=[("Content-Length", size)])[0] in (400, 413)


def test_a_body_that_claims_nothing_is_cut_off(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        head = f"POST /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        link.sendall(head.encode())
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(8):
                link.sendall(chunk)
        except OSError:
            pass
    assert answer(port)[0] == 200


def test_ten_thousand_malformed_requests_change_nothing(port):
    rng = random.Random(0)
    host = f"127.0.0.1:{port}"
    paths = [
        "/",
        "/?stack=",
        "/atrous-report/",
        "/edit",
        "/rest",
        "/open",
        "/file",
        "/%00",
        "/atrous-static/../../etc/passwd",
    ]
    methods = ["GET", "POST", "PUT", "DELETE", "G\x00T", "", "OPTIONS", "PATCH", "HEAD"]

    def junk(most):
        return bytes(rng.randrange(256) for _ in range(rng.randrange(most)))

    def request():
        kind = rng.randrange(4)
        if kind == 0:
            return junk(200) + b"\r\n\r\n"
        path = rng.choice(paths).encode() + junk(40)
        if kind == 1:
            return b"GET " + path + b" HTTP/1.1\r\n" + junk(80) + b"\r\n\r\n"
        body = junk(60)
        head = f"{rng.choice(methods)} ".encode() + path.replace(b" ", b"") + b" HTTP/1.1\r\n"
        head += f"Host: {host}\r\nContent-Length: {len(body) + rng.randrange(-1, 2)}\r\n".encode()
        if kind == 3:
            head += b"Cookie: " + junk(30).replace(b"\n", b"") + b"\r\n"
        return head + b"Connection: close\r\n\r\n" + body

    for turn in range(10_000):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            try:
                link.sendall(request())
                if turn % 50 == 0:
                    link.settimeout(1)
                    link.recv(100)
            except OSError:
                pass
    status, text = answer(port)
    assert status == 200
    assert b"atrous explore" in text
    assert answer(port, path="/atrous-report/nothing")[0] == 404
    assert answer(port, path="/atrous-static/../../../../etc/passwd")[0] in (400, 404)


def test_a_file_runs_nothing_and_is_named_by_its_own_name(tmp_path):
    with pytest.raises(ReadError, match=r"^evil\.onnx"):
        file_report("../../evil.onnx", b"import os; os.system('touch /tmp/ran')")
    with pytest.raises(ReadError, match=r"give an \.onnx file"):
        file_report("model.pt", b"")


def test_pages_are_kept_for_a_while_and_no_more():
    import atrous

    pages = Pages()
    report = atrous.inspect("stack:k3", (1, 1, 9))
    names = [pages.add(lambda: report) for _ in range(3)]
    assert len(set(names)) == 3
    assert pages.get(names[0]).startswith("<!doctype html>")
    pages.drop(names[0])
    assert pages.get(names[0]) is None
    assert pages.get("anything") is None
    assert MOST_PAGES < 100


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("k3 " * (MOST_LAYERS + 1), (1, 1, 64)),
        ("k3", (1, 1, 1 << 21)),
        ("k3", (1, 1 << 20, 64, 64)),
        ("k3", (1, 3)),
        ("k" + "9" * 30_000, (1, 1, 64)),
        ("ups4096 ups4096", (1, 1, 64)),
    ],
)
def test_a_draft_is_bounded_before_memory_is_taken(text, shape):
    with pytest.raises(AtrousError):
        Draft.of(text, shape)


@pytest.mark.parametrize(
    ("text", "shape", "said"),
    [
        ("tconvk65536valid", (1, 1, 64), "a map of 65,568 positions is too long for dots"),
        ("k60000d4valid", (1, 1, 1 << 20), "needs more than 160 positions along t"),
    ],
)
def test_what_cannot_be_drawn_as_dots_says_why(text, shape, said):
    draft = Draft.of(text, shape)
    with pytest.raises(UnsupportedError, match=said):
        draft.dots()
    with pytest.raises(UnsupportedError):
        sliding(draft, 0)


@pytest.mark.parametrize("text", ["k3d100", "k3d500", "k65536", "k255s2"])
def test_a_window_that_is_too_wide_to_slide_says_so(text):
    with pytest.raises(UnsupportedError, match=r"too wide to be shown|too many outputs"):
        sliding(Draft.of(text, (1, 8, 64, 64)), 0)


@pytest.mark.parametrize(
    ("text", "shape", "offered"),
    [
        ("avgk5d3p2", (1, 4, 16), 1),
        ("k(3,4)d2p5", (1, 4, 33, 33), 1),
        ("k4d2 avgk3s3d2 dwk1p2", (1, 4, 48), 3),
        ("k1s3d2x12causal dwk1s2p0", (1, 4, 16), 0),  # any edit brings a warning
        ("k5d2x8p2 maxk(4,3)s2d2 ups2", (1, 4, 33, 33), 0),
        ("k3 k3 k3 k3 k3 k3", (1, 8, 9, 9), 1),
    ],
)
def test_a_fix_brings_no_new_warning_and_says_where_it_changes_the_output(text, shape, offered):
    draft = Draft.of(text, shape)
    report = draft.report()
    assert report.findings
    warned = {f.code for f in report.findings if f.severity != "info"}
    fixes = [fix for f in report.findings if (fix := fix_for(draft, f)) is not None]
    assert len(fixes) == offered
    for fix in fixes:
        after = fix.draft.report()
        new = {f.code for f in after.findings if f.severity != "info"} - warned
        assert new <= ({"gridding", "subgrids"} if warned & {"gridding", "subgrids"} else set())
        moved = after.outputs[0].output_shape != report.outputs[0].output_shape
        assert moved == ("(output " in fix.what)


def test_numbers_too_many_are_refused():
    draft = Draft.of("k3", (1, 8, 64, 64))
    for part, text in (("channels", "8,9"), ("padding", "1,2,3")):
        with pytest.raises(ReadError, match=part):
            draft.with_text(0, part, text)


def test_looking_for_fixes_stops_when_asked():
    draft = Draft.of("k3d2 k3d2 k3d2", (1, 8, 64, 64))
    assert fix_for(draft, draft.report().findings[0], stop=lambda: True) is None


def test_a_footprint_that_would_take_long_is_not_counted():
    draft = Draft.of("k3 " * 400, (1, 1, 1024, 1024))
    picture = footprint_picture(draft.report(), "conv400")
    assert picture["cuts"] == []
    assert "reads too much to be counted while you wait" in picture["text"]
    picture = footprint_picture(draft.report(), "conv10")
    assert "reads 441 of 21x21 positions" in picture["text"]


def test_the_picture_of_a_footprint_is_dark_where_paths_are():
    [cut] = footprint_picture(Draft.of("k3d2 k3d2", (1, 1, 33)).report(), "conv2")["cuts"]
    assert cut["bars"] == [1 / 3, 0, 2 / 3, 0, 1, 0, 2 / 3, 0, 1 / 3]
    [cut] = footprint_picture(Draft.of("k3d2", (1, 1, 9, 9)).report(), "conv1")["cuts"]
    image = Image.open(io.BytesIO(b64decode(cut["image"].partition(",")[2])))
    assert image.size == (5, 5)
    read = [[image.getpixel((x, y)) > 0 for x in range(5)] for y in range(5)]
    assert read == [[y % 2 == 0 and x % 2 == 0 for x in range(5)] for y in range(5)]


def test_shapes_are_read_as_they_are_typed():
    assert shape_of("1x3x64x64") == shape_of(" 1, 3,64,64") == (1, 3, 64, 64)
    for wrong in ("", "1,3", "a,b,c", "1,3,0", "1,3,-4,4", "1,2,3,4,5,6", "1,3," + "9" * 50):
        with pytest.raises(ReadError, match="is no shape"):
            shape_of(wrong)


@pytest.mark.parametrize(
    ("text", "shape", "code"),
    [
        ("k3d2 k3d2 k3d2", (1, 8, 64, 64), "gridding"),
        ("k3d4 k3d4", (1, 8, 64), "subgrids"),
        ("k3 tconvk3s2", (1, 8, 32, 32), "checkerboard"),
        ("k3d36", (1, 8, 33, 33), "aspp-center"),
        ("k1s2 k3", (1, 8, 64, 64), "narrow-window"),
        ("k3 k3 k3 k3 k3 k3", (1, 8, 9, 9), "field-exceeds-input"),
        ("k4p(0,3) k3", (1, 8, 64, 64), "half-cell-shift"),
    ],
)
def test_an_offered_fix_mends_its_finding(text, shape, code):
    draft = Draft.of(text, shape)
    finding = next(f for f in draft.report().findings if f.code == code)
    fix = fix_for(draft, finding)
    assert fix is not None
    same = [f for f in fix.draft.report().findings if f.code == code and f.layer == finding.layer]
    assert not same


def test_the_command_says_what_is_wrong_in_one_line():
    for arguments, complaint in (
        ("k3q9", "'q' is not known"),
        ("k3 --input 1,3", "is no shape"),
        ("--port 70000", "--port: give 65535 or less"),
    ):
        result = atrous("explore", *arguments.split())
        assert (result.returncode, result.stdout) == (2, "")
        assert complaint in result.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run_shell(f"atrous explore --no-open --port {taken.getsockname()[1]}")
        assert result.returncode == 2
        assert "give another one" in result.stdout


def test_without_the_library_one_line_says_how_to_get_it():
    script = """
import sys
sys.modules["starlette"] = None
from atrous.cli import main
sys.argv = ["atrous", "explore", "--no-open"]
main()
"""
    result = run_python(script)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "pip install 'atrous[explore]'" in result.stderr
    assert serve.__doc__


@pytest.mark.parametrize(
    ("stack", "shape"),
    [("k3d4 k33d4 k3d4", "1,4,122208"), ("ups4096 k3s7", "1,1,1048576"), ("k65535", "1,65536,99")],
)
def test_what_follows_an_edit_takes_no_more_than_the_page_waits_for(stack, shape):
    began = time.process_time()
    answer = followed({"stack": stack, "input": shape, "beside": "k3", "code": "PyTorch"})
    assert time.process_time() - began < 5
    assert answer["whole"]
    assert answer["schemes"][0][0] == "this stack"
