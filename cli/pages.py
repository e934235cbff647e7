"""The files of the web page: serve them to this machine's browser, or copy them into a static site.

The package holds each file once. The page's own files are in `cli/page`, the model's in the shipped bundle, and the
demo's recordings in `demo`. `page_files` puts them together under the paths that the page fetches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ..runtime.bundle import CARD, Bundle
from ..runtime.errors import OptionError
from ..runtime.writing import write_group

PAGE: Final = Path(__file__).parent / "page"
"""what `web/build.py` built"""
DEMO: Final = Path(__file__).parents[1] / "demo"
MODEL: Final = "nano"
"""the shipped model whose front end is in the page"""
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
"""MIME types by suffix. The system's table is not used: on some systems it says that scripts are plain text, which
browsers refuse to run."""
HEADERS: Final[Mapping[str, str]] = {
    # The page may reach this server only.
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


def page_files() -> dict[str, Path]:
    """Return the path of each file of the page, by its path on the server, such as `index.html` or `model/card.json`.

    Raises:
        BundleError: the shipped model is damaged.
    """
    bundle = Bundle(MODEL)
    model = [bundle.folder / CARD, *(bundle.path(role) for role in bundle.card.files)]
    return {
        **{path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.is_file()},
        **{f"model/{path.name}": path for path in model},
        **{f"demo/{path.name}": path for path in sorted(DEMO.glob("*.flac"))},
    }


def write_site(folder: Path) -> list[Path]:
    """Copy the page into a folder that any web server can serve. Other files in the folder stay.

    Args:
        folder: created if necessary.

    Returns:
        The files written.

    Raises:
        OptionError: the folder cannot be written.
    """
    contents: defaultdict[Path, dict[str, bytes]] = defaultdict(dict)
    for name, path in page_files().items():
        target = folder / name
        contents[target.parent][target.name] = path.read_bytes()
    for parent, files in contents.items():
        write_group(files, parent)
    return [parent / name for parent, files in contents.items() for name in files]


class PageServer(ThreadingHTTPServer):
    """Serve the page's files, and nothing else: a path of the URL is looked up in a table and never joined to a folder.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.

    Raises:
        BundleError: the shipped model is damaged.
        OptionError: the address cannot be listened on.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int) -> None:
        self.files = {f"/{name}": path for name, path in page_files().items()}
        self.files["/"] = self.files["/index.html"]
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"cannot listen on {host}, port {port} ({error}): give another --port (0 takes a free one) or --host"
            ) from error

    def server_bind(self) -> None:
        """Bind the socket. The base class also looks up the host's name, which may take seconds."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self.server_name}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD; other methods get the status 501."""

    server: PageServer
    server_version = "haaqi-edge"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the file with exactly this path, or the status 404."""
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
        """Log nothing."""
