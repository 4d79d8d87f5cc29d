"""Servers of the tests' own, which give parts of files and cut connections when they are told."""

import contextlib
import http.server
import re
import socket
import socketserver
import threading
from functools import partial
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, as Apache gives them: parts, tags, lists of folders."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send_head(self):
        self.server.asked.append((self.command, self.path, self.headers.get("Range")))
        if self.server.refuse:
            self.send_error(self.server.refuse)
            return None
        return super().send_head()

    def do_GET(self):
        path = self.translate_path(self.path)
        try:
            data = Path(path).read_bytes()
        except OSError:
            return super().do_GET()
        self.server.asked.append((self.command, self.path, self.headers.get("Range")))
        if self.server.refuse:
            return self.send_error(self.server.refuse)
        start, end = 0, len(data)
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if bounds and self.server.ranges:
            start, end = int(bounds[1]), min(int(bounds[2]) + 1, len(data))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{hash(data)}"')
        self.end_headers()
        if self.server.cuts and end - start > 1000:
            self.server.cuts -= 1
            self.wfile.write(data[start : start + 700])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        self.wfile.write(data[start:end])
        return None


@contextlib.contextmanager
def served(folder, **options):
    """Yield a server of a folder's files; ``cuts``: how many connections it cuts in the middle."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    server.asked, server.cuts, server.refuse, server.ranges = [], 0, 0, True
    vars(server).update(options)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Cutter(socketserver.BaseRequestHandler):
    """Hands on what a client and a server say, and hangs up in the middle of a long answer."""

    def handle(self):
        with socket.create_connection(self.server.behind) as behind:
            asking = threading.Thread(target=self.hand_on, args=(self.request, behind))
            asking.start()
            told = 0
            while data := self.receive(behind):
                told += len(data)
                if self.server.cuts and told > self.server.after:
                    self.server.cuts -= 1
                    self.request.sendall(data[: len(data) // 2])
                    break
                self.request.sendall(data)
            for end in (self.request, behind):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            asking.join()

    def hand_on(self, near, behind):
        with contextlib.suppress(OSError):
            while data := self.receive(near):
                behind.sendall(data)

    def receive(self, end):
        try:
            return end.recv(2**16)
        except OSError:
            return b""


@contextlib.contextmanager
def cutting(port, *, after):
    """Yield a server before another that cuts ``cuts`` answers that are longer than ``after``."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Cutter)
    server.behind, server.after, server.cuts = ("127.0.0.1", port), after, 0
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
