"""The explorer's addresses, asked in process: a request line, headers, an empty line, a body."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from urllib.parse import quote

import httpx
from starlette.testclient import TestClient

from atrous.explore.app import made_app
from atrous.explore.guard import Guard
from atrous.explore.hosted import replied
from tests.fuzz.stacks import WORDS
from tests.fuzz.values import changed_bytes, changed_json, changed_text

_PORT = 8347
_HOME = f"http://127.0.0.1:{_PORT}"
_PATHS = ("/", "/edit", "/rest", "/open", "/file", "/alive", "/atrous-report/x", "/atrous-static/")
_FIELDS = (
    *("show", "stack", "input", "part", "add", "remove", "move", "convert", "kind", "kernel"),
    *("stride", "dilation", "padding", "channels", "PyTorch", "lenet", "resnet18", *WORDS),
)
_HEADERS = (
    "host: 127.0.0.1:8347",
    "host: evil.example",
    "origin: http://evil.example",
    "origin: http://127.0.0.1:8347",
    "sec-fetch-site: cross-site",
    "sec-fetch-dest: document",
    "content-length: -1",
    "content-length: 999999999999",
    "x-file-name: net.onnx",
    "x-file-name: ..%2f..%2fetc%2fpasswd",
    "range: bytes=0-1,5-2,9-",
    "x-leave: x",
)


@cache
def _client() -> TestClient:
    client = TestClient(Guard(made_app(), _PORT), base_url=_HOME)
    client.__enter__()
    return client


def feed(data: bytes) -> None:
    """Sends a request. An exception in the server raises here; foreign pages must be refused."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, path = first.partition(" ")
    headers = [tuple(line.split(": ", 1)) for line in lines if ": " in line]
    if not method.isalpha() or not path.startswith("/"):
        return
    try:
        address = _HOME + quote(path, "/?&=%")
        request = _client().build_request(method, address, content=body, headers=headers)  # type: ignore[arg-type]
    except (UnicodeError, ValueError, httpx.InvalidURL):
        return  # what no client can send
    answer = _client().send(request)
    foreign = any(
        (name.lower(), value) in (("host", "evil.example"), ("origin", "http://evil.example"))
        for name, value in headers
    )
    assert answer.status_code < 500, answer.text[:300]
    assert not foreign or answer.status_code in (403, 413), "a foreign page was answered"
    assert "cannot be shown: " not in answer.text[:300] or path != "/open", answer.text[:300]
    if method == "POST" and path in ("/edit", "/rest") and answer.status_code == 200:
        told = replied(path, body.decode("utf-8", "replace"))
        assert "cannot be shown: " not in told[:300], told[:300]


def changed(data: bytes, rng: Random) -> bytes:
    """Another request: another path, header, or body, which most often is still JSON."""
    head, _, body = data.partition(b"\n\n")
    how = rng.randrange(12)
    if how == 0:
        return changed_bytes(data, rng)
    if how == 1:
        return head + b"\n" + rng.choice(_HEADERS).encode() + b"\n\n" + body
    if how == 2:
        method = rng.choice(("GET", "POST", "POST", "HEAD", "PUT", "OPTIONS"))
        return f"{method} {rng.choice(_PATHS)}\n\n".encode() + body
    if how == 3:
        line, *rest = head.decode("latin-1").split("\n")
        line = changed_text(line, rng, _FIELDS)
        head = "\n".join([line, *rest]).encode("latin-1", "replace")
        return head + b"\n\n" + body
    try:
        made = changed_json(json.loads(body), rng, lambda text, r: changed_text(text, r, _FIELDS))
        return head + b"\n\n" + json.dumps(made).encode()
    except (ValueError, RecursionError):
        return head + b"\n\n" + changed_bytes(body, rng)
