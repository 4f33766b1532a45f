"""A local HTTP server that behaves as it is told, one answer after the other, well or badly."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]
LATER = threading.Event()  # what a hanging answer waits for


class Server:
    """Gives `answers` in turn; the last one again and again. `requests` are (path, headers) as they came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("range") for _, headers in self.requests]


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            state.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            self.close_connection = True
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        state = Server(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            LATER.set()
            server.shutdown()
            thread.join(5)
            LATER.clear()


def send(handler: BaseHTTPRequestHandler, code: int, body: bytes, **headers: object) -> None:
    """An answer as given; `Content_Length=None` leaves that header out."""
    handler.send_response(code)
    for key, value in {"Content_Length": len(body), "Connection": "close", **headers}.items():
        if value is not None:
            handler.send_header(key.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def file(
    data: bytes,
    etag: str | None = None,
    *,
    cut: int | None = None,
    ranges: bool = True,
    if_range: bool = True,
    reset: bool = False,
    **headers: object,
) -> Answer:
    """Serves a file as the standards say.

    Args:
        data: the file.
        etag: its ETag.
        cut: the connection ends before this byte of the file.
        ranges: False ignores Range.
        if_range: False ignores If-Range.
        reset: the connection ends with a reset.
        headers: further ones, or others.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ranges else 0
        if if_range and condition not in (None, etag, headers.get("Last_Modified")):
            start = 0
        if start >= len(data) > 0:
            return send(handler, 416, b"", Content_Range=f"bytes */{len(data)}")
        code, more = 200, {"ETag": etag, "Content_Length": len(data) - start, **headers}
        if start:
            code, more = 206, {**more, "Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **headers}
        send(handler, code, data[start:] if cut is None else data[start:cut], **more)
        handler.wfile.flush()
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    return answer


def code(number: int, body: bytes = b"no", **headers: object) -> Answer:
    """A bare status."""
    return lambda handler: send(handler, number, body, **headers)


def page(text: str, number: int = 200, kind: str = "text/html; charset=utf-8") -> Answer:
    """An HTML page."""
    return lambda handler: send(handler, number, text.encode(), Content_Type=kind)


def chunked(data: bytes, etag: str | None = None, *, whole: bool = True) -> Answer:
    """A file in pieces, without its length; the last piece is left out unless `whole`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b"", Content_Length=None, Transfer_Encoding="chunked", ETag=etag)
        for start in range(0, len(data), 50_000):
            piece = data[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


def hanging(data: bytes, after: int) -> Answer:
    """Sends the first bytes of a file and then nothing, for as long as the test lasts."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, data[:after], Content_Length=len(data))
        handler.wfile.flush()
        LATER.wait(5)

    return answer


def hasten(monkeypatch) -> None:
    """Downloads without proxies, and with pauses and limits that suit a test."""
    from dfdlib import downloads

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0.001)
    monkeypatch.setattr(downloads, "ATTEMPTS", 3)
    monkeypatch.setattr(downloads, "TIMEOUT", (2.0, 2.0))
