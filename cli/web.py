"""`haaqi-edge web`: the page on this machine, in its browser."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out, print_json_line

_PORT = 8321
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def web(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = _PORT,
    host: Annotated[str, typer.Option(help="Address to listen on; by default this machine alone.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print where the page is as JSON.")] = False,
) -> None:
    """Score music in the browser: a song or the microphone, an audiogram drawn by hand.

    The page computes everything itself; music never leaves the browser. Ctrl-C ends it.
    """
    import webbrowser

    from .pages import PageServer

    with PageServer(host, port) as server:
        if as_json:
            print_json_line({"url": server.url})
        else:
            out.print(f"[bold]{server.url}[/]  (Ctrl-C ends it)", soft_wrap=True)
            if host not in _LOOPBACK:
                out.print("[dim]Other machines' browsers give their microphone over https only.[/]", soft_wrap=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return  # how it is meant to end
