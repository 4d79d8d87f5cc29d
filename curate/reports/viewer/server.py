"""Server: the view of one run for one browser on this machine, with the standard library alone.

It listens on 127.0.0.1 only. Every address begins with a random token, so that neither another user
of the machine nor a page of another site can ask for anything; the Host header is checked, so that
no foreign name can be made to point here, and so is the Origin of what changes something.
"""

from __future__ import annotations

import contextlib
import errno
import http
import importlib.resources
import json
import logging
import secrets
import socket
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curate.errors import (
    CurateError,
    DataError,
    InUseError,
    MismatchError,
    ResourceError,
    UsageError,
)
from curate.reports.viewer.catalogue import Catalogue, open_catalogue
from curate.reports.viewer.marks import save
from curate.runs.marks import KINDS, Marks
from curate.runs.run import Run
from curate.runtime.options import option

log = logging.getLogger("curate")

LOOPBACK = "127.0.0.1"
LONGEST = 1 << 20
"""Bytes of a request at most."""
CONNECTIONS = 32
"""Requests that are answered at once, a thread each; one more waits, or takes the place of the
connection that has been silent longest."""
IMAGES = 4
"""Images in memory at once, encoded; how many are decoded ``decoding.BYTES_IN_HAND`` bounds."""
FILES = {
    "": ("view.html", "text/html; charset=utf-8"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CODES: dict[type[CurateError], http.HTTPStatus] = {
    UsageError: http.HTTPStatus.BAD_REQUEST,
    DataError: http.HTTPStatus.NOT_FOUND,
    InUseError: http.HTTPStatus.CONFLICT,
    MismatchError: http.HTTPStatus.CONFLICT,
    ResourceError: http.HTTPStatus.INSUFFICIENT_STORAGE,
}


class View(ThreadingHTTPServer):
    """Serves one run."""

    daemon_threads = True
    request_queue_size = 128
    """A page of images is that many connections at once, or nearly."""

    def __init__(self, run: Run, port: int) -> None:
        self.run = run
        self.catalogue: Catalogue = open_catalogue(run)
        self.marks = Marks(run.path / "marks.jsonl")
        self.token = secrets.token_urlsafe(16)
        self.images = threading.BoundedSemaphore(IMAGES)
        # Not bounded: a signal that comes when a thread has begun gives its place back twice.
        self._places = threading.Semaphore(CONNECTIONS)
        self._silent: dict[socket.socket, None] = {}
        self._of_silent = threading.Lock()
        super().__init__((LOOPBACK, port), Handler)

    @property
    def url(self) -> str:
        """The address to open."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, when there is a place for it."""
        while not self._places.acquire(timeout=0.02):
            with self._of_silent:
                oldest = next(iter(self._silent), None)
                if oldest is not None:
                    del self._silent[oldest]
                    with contextlib.suppress(OSError):  # its thread reads an end, and ends
                        oldest.shutdown(socket.SHUT_RDWR)
        with self._of_silent:
            self._silent[request] = None
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.spoke(request)
            self._places.release()

    def spoke(self, request: Any) -> None:
        """Note that a connection has asked for something: it is answered to its end."""
        with self._of_silent:
            self._silent.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what broke in a request; a browser that left is no error."""
        log.debug("a request of the view ended early", exc_info=True)


def serve(run: Run, *, port: int = 0, started: Callable[[str], None] | None = None) -> None:
    """Serve a run until its page is closed by its button; see ``curate.view``."""
    try:
        server = View(run, port)
    except OverflowError as error:
        raise UsageError(f"{option(port=port)}: ports go from 0 to 65535.") from error
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
        other = option(port=...)
        raise UsageError(f"port {port} is {why}; choose another {other}, or none.") from error
    try:
        if started is not None:
            started(server.url)
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
        # What is being written is written to its end.
        server.marks.writing.acquire()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: View
    timeout = 30
    server_version = "curate"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request that changes nothing."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a request that changes something."""
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: whoever opened the page knows."""

    def _answer(self, how: Callable[[str, dict[str, str]], None]) -> None:
        url = urllib.parse.urlsplit(self.path)
        here = (f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}")
        _, token, *rest = [*url.path.split("/", 2), ""]
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if self.headers.get("Host") not in here:
            self._json({"error": "this is another host's name."}, http.HTTPStatus.FORBIDDEN)
        elif not known or "/" not in url.path[1:]:
            self._json({"error": "nothing here."}, http.HTTPStatus.NOT_FOUND)
        else:
            self.server.spoke(self.connection)
            try:
                how(rest[0], dict(urllib.parse.parse_qsl(url.query)))
            except CurateError as error:
                code = CODES.get(type(error), http.HTTPStatus.INTERNAL_SERVER_ERROR)
                self._json({"error": str(error)}, code)
            except (ConnectionError, TimeoutError):  # whoever asked has left
                raise
            except Exception as error:
                log.debug("a request of the view failed", exc_info=True)
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                text = f"this cannot be shown: {reason}. 'curate verify' says what is damaged."
                self._json({"error": text}, http.HTTPStatus.INTERNAL_SERVER_ERROR)

    def _get(self, path: str, query: dict[str, str]) -> None:
        server = self.server
        if path in FILES:
            name, kind = FILES[path]
            self._send(importlib.resources.files(__package__).joinpath(name).read_bytes(), kind)
        elif path == "facts":
            self._json({**server.catalogue.facts(), "marks": self._counts()})
        elif path == "samples":
            self._json(server.catalogue.page(query, server.marks.read()))
        elif path.startswith("neighbours/"):
            uid = path.removeprefix("neighbours/")
            self._json(server.catalogue.neighbours(uid, server.marks.read()))
        elif path.startswith("image/"):
            size, _, uid = path.removeprefix("image/").partition("/")
            with server.images:
                data, kind = server.catalogue.image(uid, size)
            self._send(data, kind, cache="private, max-age=3600")
        else:
            self._json({"error": "nothing here."}, http.HTTPStatus.NOT_FOUND)

    def _post(self, path: str, _asked: dict[str, str]) -> None:
        server = self.server
        origins = [f"http://{self.headers.get('Host')}", None]
        if self.headers.get("Origin") not in origins:
            self._json({"error": "this is another page."}, http.HTTPStatus.FORBIDDEN)
            return
        body = self._body()
        if path == "marks":
            uids, mark = body.get("uids"), body.get("mark")
            if not isinstance(uids, list) or not all(server.catalogue.knows(uid) for uid in uids):
                raise UsageError("a mark is of samples of this run.")
            if mark is not None and mark not in KINDS:
                raise UsageError(f"a mark is one of {', '.join(KINDS)}.")
            server.marks.put(uids, mark)
            self._json({"marks": self._counts()})
        elif path == "manifest":
            name, base = body.get("name"), body.get("base") or None
            if not isinstance(name, str) or base not in (None, *server.catalogue.manifests()):
                raise UsageError("give a name, and a manifest of this run or none to start from.")
            with server.marks.writing:
                saved = save(server.run, server.marks.read(), name=name, base=base)
                self._json(saved.to_json())
        elif path == "close":
            self._json({"closed": True})
            threading.Thread(target=server.shutdown).start()
        else:
            self._json({"error": "nothing here."}, http.HTTPStatus.NOT_FOUND)

    def _body(self) -> dict[str, Any]:
        """Return what was posted, a JSON object.

        Raises:
            UsageError: If it is none, or is too long.
        """
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").split(";")[0]
        if not length.isdecimal() or int(length) > LONGEST or kind != "application/json":
            raise UsageError("expected a short JSON object.")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise UsageError("expected a short JSON object.") from error
        if not isinstance(body, dict):
            raise UsageError("expected a short JSON object.")
        return body

    def _counts(self) -> dict[str, int]:
        marks = list(self.server.marks.read().values())
        return {kind: marks.count(kind) for kind in KINDS}

    def _json(self, content: dict[str, Any], code: http.HTTPStatus = http.HTTPStatus.OK) -> None:
        data = json.dumps(content, allow_nan=False).encode()
        self._send(data, "application/json; charset=utf-8", code=code)

    def _send(
        self,
        data: bytes,
        kind: str,
        *,
        code: http.HTTPStatus = http.HTTPStatus.OK,
        cache: str = "no-store",
    ) -> None:
        self.send_response(code)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", cache)
        self.end_headers()
        self.wfile.write(data)
