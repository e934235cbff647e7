"""The web page's files over HTTP, to this machine's browser: what is in the package, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ..runtime.errors import OptionError

PAGE: Final = Path(__file__).parent / "page"
"""what `web/build.py` built"""
MIME: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".gz": "application/gzip",
    ".onnx": "application/octet-stream",
    ".flac": "audio/flac",
}
"""the system's own table is not asked: on some it takes scripts for plain text, which browsers refuse to run"""
HEADERS: Final[Mapping[str, str]] = {
    # Nothing but this server may be reached, and it takes nothing.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class PageServer(ThreadingHTTPServer):
    """Serves a folder's files; which they are is settled at the start, so that no path leads out of it.

    Args:
        host, port: to listen on; port 0 takes a free one.

    Raises:
        OptionError: nothing can listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, folder: Path = PAGE) -> None:
        self.files = {f"/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
        self.files["/"] = self.files["/index.html"]
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"cannot listen on {host}, port {port} ({error}): give another --port (0 takes a free one) or --host"
            ) from error

    def server_bind(self) -> None:
        """As the base, which looks the host's name up though: that may take seconds."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{self.server_name}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; every other method is answered with 501."""

    server: PageServer
    server_version = "haaqi-edge"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The file that the path names exactly, or 404."""
        path = self.server.files.get(unquote(urlsplit(self.path).path))
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", MIME.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are of no interest to who looks at the page."""
