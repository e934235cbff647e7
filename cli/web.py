"""`haaqi-edge web`: serve the page to this machine's browser, or write it as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out, print_json_line

_PORT = 8321
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def web(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = _PORT,
    host: Annotated[str, typer.Option(help="Address to listen on. Default: this machine only.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's address, or the site, as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the page into this folder, as a static site."),
    ] = None,
) -> None:
    """Score music in the browser: a song or the microphone, with an audiogram drawn by hand.

    The page computes everything itself. Music never leaves the browser. Ctrl-C stops the server.
    """
    from .pages import PageServer, write_site

    if output is not None:
        files = write_site(output)
        size = sum(path.stat().st_size for path in files)
        if as_json:
            print_json_line({"folder": str(output), "files": len(files), "bytes": size})
        else:
            out.print(f"{output}: {len(files)} files, {size / 1e6:.1f} MB", soft_wrap=True, highlight=False)
        return
    import webbrowser

    with PageServer(host, port) as server:
        if as_json:
            print_json_line({"url": server.url})
        else:
            out.print(f"[bold]{server.url}[/]  (Ctrl-C stops the server)", soft_wrap=True)
            if host not in _LOOPBACK:
                out.print("[dim]Browsers on other machines allow the microphone over https only.[/]", soft_wrap=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
