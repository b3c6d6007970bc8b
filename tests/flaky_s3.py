"""A proxy before an S3-protocol server that fails some requests, or all of them for a while."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How a request fails: before the server has seen it, or after it did what was asked.
FAILURES = [(kind, when) for kind in ("500", "503", "reset") for when in ("before", "after")]
_HOP = {"connection", "transfer-encoding", "keep-alive"}


class FlakyS3:
    """Passes requests on to `port` of this machine, as a block; `rate` of them fail, chosen by
    `seed`, and all of them while `is_down`. `counts` tells how many of which kind."""

    def __init__(self, port: int, rate: float = 0.0, seed: int = 0) -> None:
        self.rate, self.is_down, self.counts = rate, False, Counter[str]()
        self._target, self._rng, self._lock = port, random.Random(seed), threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.flaky = self
        self.port = self._server.server_address[1]

    def __enter__(self) -> FlakyS3:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fate(self) -> tuple[str, str]:
        """What becomes of the next request."""
        with self._lock:
            fails = self.is_down or self._rng.random() < self.rate
            kind, when = self._rng.choice(FAILURES) if fails else ("passed", "")
            if self.is_down:
                kind, when = "reset", "before"
            self.counts[f"{kind} {when}".strip()] += 1
            return kind, when

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content


class _Server(ThreadingHTTPServer):
    flaky: FlakyS3
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of the tests' concern."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:  # every method is passed on
            setattr(self, f"do_{self.command}", self._pass_on)
        return parsed

    def _pass_on(self) -> None:
        kind, when = self.server.flaky.fate()
        body = self._body()
        if (kind, when) == ("reset", "before"):
            self._reset()
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        headers.pop("Expect", None)
        headers["Content-Length"] = str(len(body))
        status, answered, content = 0, list[tuple[str, str]](), b""
        if when != "before":
            status, answered, content = self.server.flaky.forward(
                self.command, self.path, headers, body
            )
        if kind == "reset":
            self._reset()
            return
        if kind != "passed":
            status, answered, content = int(kind), [], b""
        self.send_response_only(status)
        for name, value in answered:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in answered):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: object) -> None:
        """Nothing: what failed is counted."""
