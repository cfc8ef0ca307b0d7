"""`atrous explore`: the page's server, on the loopback interface and nowhere else."""

from __future__ import annotations

import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

from atrous.draw.needs import drawing_needs
from atrous.errors import ReadError
from atrous.explore.guard import Guard
from atrous.explore.pauses import quiet_collector

__all__ = ["HOST", "USUAL_PORT", "serve"]

HOST = "127.0.0.1"
USUAL_PORT = 8347
_NEAR = 20
MOST_AT_ONCE = 200
"""Connections: a page holds a few; more than that is no person."""


def serve(
    query: str = "",
    *,
    port: int | None = None,
    show: bool = True,
    ready: Callable[[str, int], None] = lambda _, __: None,
) -> None:
    """Serves the page until it is interrupted; `ready` is told its address and its port.

    Without `port` it is `USUAL_PORT`, so that addresses stay, or where that is taken the next free
    one; 0 is any free one. Raises `MissingDependencyError` without the extra `explore`, and
    `ReadError` for a port that cannot be had.
    """
    with drawing_needs("explore", "explore"):
        import uvicorn

        from atrous.explore.app import made_app

    listener = _usual() if port is None else _listener(port)
    port = listener.getsockname()[1]
    address = f"http://{HOST}:{port}/" + (f"?{query}" if query else "")
    app = made_app()
    quiet_collector()
    # An edit does not wait long for a search for fixes that is under way.
    sys.setswitchinterval(0.001)
    config = uvicorn.Config(
        Guard(app, port),
        log_level="critical",
        access_log=False,
        ws="none",
        lifespan="off",
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=1,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)

    def announce() -> None:
        while not server.started and not server.should_exit:
            if stopped.wait(0.05):
                return
        ready(address, port)
        if show:
            webbrowser.open(address)

    stopped = threading.Event()
    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        stopped.set()
        listener.close()


def _usual() -> socket.socket:
    """The usual port, or the first free one after it."""
    for port in range(USUAL_PORT, USUAL_PORT + _NEAR):
        try:
            return _listener(port)
        except ReadError:
            continue
    return _listener(0)


def _listener(port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ReadError(f"--port {port} is no port; give one from 1 to 65535, or 0 for a free one.")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ReadError(
            f"--port {port}: {error.strerror or error}; give another one, or 0 for a free one."
        ) from None
    listener.set_inheritable(True)
    return listener
