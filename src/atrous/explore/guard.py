"""What stands before the page's server: only this machine's own pages, and bounded uploads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["MOST_BYTES", "Guard"]

MOST_BYTES = 256 << 20
"""Of one request: more than the graph of any network without its weights, and than most with."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Lets requests through that name this server as their host, from pages of this server.

    A page elsewhere could otherwise reach the server through a visitor's browser, by its address
    (Origin) or by a name that it lets point here (Host: DNS rebinding). Bodies beyond `MOST_BYTES`
    are refused, by what they claim and by what they are.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}".encode() for name in names}
        self._home = f"http://127.0.0.1:{port}/"
        self._origins = {b"http://" + host for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem is not None:
            await _refuse(scope, receive, send, *problem)
            return
        await self._app(scope, _counted(receive), _unframed(send))

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope.get("headers", ()):
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 403, f"atrous explore answers to its own address only: open {self._home}."
        foreign = f"atrous explore answers to its own pages only: open {self._home}."
        if any(origin.lower() not in self._origins for origin in headers.get(b"origin", [])):
            return 403, foreign
        # A link elsewhere may lead here; an image, a frame or a script elsewhere may not.
        arrives = headers.get(b"sec-fetch-dest") == [b"document"] and scope["path"] == "/"
        if b"cross-site" in headers.get(b"sec-fetch-site", []) and not arrives:
            return 403, foreign
        sizes = headers.get(b"content-length", [b"0"])
        if any(not size.isdigit() or len(size) > 12 or int(size) > MOST_BYTES for size in sizes):
            return 413, f"At most {MOST_BYTES >> 20} MiB are taken."
        return None


def _counted(receive: Receive) -> Receive:
    """The request's messages, until there is more in them than is taken."""
    taken = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > MOST_BYTES:
                return {"type": "http.disconnect"}
        return message

    return bounded


def _unframed(send: Send) -> Send:
    """Answers that pages elsewhere may not put into a frame."""

    async def marked(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"x-frame-options", b"SAMEORIGIN")]
            message = {**message, "headers": headers}
        await send(message)

    return marked


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = why.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
