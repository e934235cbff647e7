"""`haaqi-edge web`: the page is built from its sources, computes nano's features, and nothing else is served."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr
from command import get_output, run
from haaqi_edge.cli.pages import HEADERS, PAGE, PageServer, page_files
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.audiogram import FREQUENCIES, STANDARD
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.runtime.features.patches import PATCH_LENGTH, PATCH_SHIFT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built() -> ModuleType:
    """`web/build.py`."""
    spec = importlib.util.spec_from_file_location("web_build", ROOT / "web" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with PageServer("127.0.0.1", 0) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=False)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_page_is_built_from_its_sources(built: ModuleType) -> None:
    """If this fails: make web."""
    assert json.loads((PAGE / built.SEAL).read_text(encoding="utf-8")) == built.seal(PAGE)
    assert built.is_current()


def test_another_source_is_another_fingerprint(
    built: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_bytes(b"<p>\n")
    monkeypatch.setattr(built, "ROOT", tmp_path)
    monkeypatch.setattr(built, "sources", lambda: [tmp_path / "index.html"])
    first = built.fingerprint()
    (tmp_path / "index.html").write_bytes(b"<p>\r\n")  # as git may check it out
    assert built.fingerprint() == first
    (tmp_path / "index.html").write_bytes(b"<b>\n")
    assert built.fingerprint() != first


def test_the_constants_are_the_runtimes(built: ModuleType) -> None:
    text = built.CONSTANTS.read_text(encoding="utf-8")
    assert text == built.constants_text()
    read = json.loads(text)
    assert {name: tuple(levels) for name, levels in read["audiograms"].items()} == STANDARD
    assert tuple(read["frequencies"]) == FREQUENCIES


def test_page_scores_as_python_does(built: ModuleType) -> None:
    """The graphs that the page runs, one after the other. If this fails: make web."""
    bundle = Bundle("nano")
    samples, rate = soundfile.read(ROOT / "demo/degraded.flac", dtype="float32", frames=9 * 24_000)
    signal = soxr.resample(samples, rate, 16_000)
    patches = np.stack([signal[start:][:PATCH_LENGTH] for start in range(0, len(signal) - PATCH_LENGTH, PATCH_SHIFT)])
    front_end, encoder, head = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (PAGE / built.front_end_file(), bundle.path("encoder"), bundle.path("head"))
    )
    assert front_end.get_modelmeta().custom_metadata_map["front_end"] == bundle.card.front_end_name
    (features,) = front_end.run(["features"], {"samples": patches})
    (tokens,) = encoder.run(["tokens"], {bundle.card.encoder_input: features})
    levels = np.array([STANDARD[name] for name in ("N2", "S3", "NH")], np.float32)
    scores, frames = head.run(
        ["score", "frame_scores"], {"tokens": tokens.reshape(1, -1, bundle.card.width), "audiogram": levels}
    )
    expected = Scorer(bundle.folder, threads=1).score((signal, 16_000), ["N2", "S3", "NH"])
    np.testing.assert_allclose(scores, [result.score for result in expected], rtol=0, atol=1e-5)
    np.testing.assert_allclose(frames, [result.frame_scores for result in expected], rtol=0, atol=1e-4)


def test_package_holds_each_file_of_the_page_once() -> None:
    files = page_files()
    assert files["model/encoder.onnx"] == Bundle("nano").path("encoder")
    assert {"index.html", "model/card.json", "model/head.onnx", "demo/clean.flac", "demo/degraded.flac"} <= files.keys()
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()]
    assert len(set(contents)) == len(contents)
    own = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
    assert not [name for name in own if name.startswith(("model/", "demo/"))]


@pytest.mark.parametrize(
    ("path", "mime"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?x=1", "text/html; charset=utf-8"),
        ("/ort.wasm.gz", "application/gzip"),
        ("/front-end/texture-2.onnx", "application/octet-stream"),
        ("/model/card.json", "application/json"),
        ("/model/encoder.onnx", "application/octet-stream"),
        ("/demo/clean.flac", "audio/flac"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_comes_as_it_is_and_as_what_it_is(server: PageServer, path: str, mime: str) -> None:
    response, body = ask(server, path)
    assert (response.status, response.headers["Content-Type"]) == (200, mime)
    assert body == page_files()[path.split("?")[0].lstrip("/") or "index.html"].read_bytes()
    assert HEADERS.items() <= dict(response.headers).items()
    head, nothing = ask(server, path, "HEAD")
    assert (head.status, head.headers["Content-Length"], nothing) == (200, str(len(body)), b"")


def test_all_that_the_page_names_is_there_and_scripts_are_scripts(server: PageServer) -> None:
    _, index = ask(server, "/")
    named = re.findall(r'(?:src|href)="\./([^"]+)"', index.decode())
    assert any(name.endswith(".js") for name in named)
    scripts = [path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.js")]
    for name in {*named, *scripts}:
        response, _ = ask(server, f"/{name}")
        assert response.status == 200
        if name.endswith(".js"):
            assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', index.decode())
    assert policy is not None
    assert HEADERS["Content-Security-Policy"] == f"{policy[1]}; frame-ancestors 'none'"
    assert b"http://" not in index
    assert b"https://" not in index


@pytest.mark.parametrize(
    "path",
    [
        "/../main.py",
        "/..%2fmain.py",
        "/%2e%2e/main.py",
        "/model/../../main.py",
        "//etc/passwd",
        "/assets",
        "/assets/",
        "/nothing",
        "/model/README.md",
        "/demo/render.py",
        f"/{PAGE}/index.html",
        "/index.html%00",
        "*",
    ],
)
def test_nothing_else_is_served(server: PageServer, path: str) -> None:
    response, body = ask(server, path)
    assert response.status in (400, 404)
    assert b"haaqi" not in body.lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_taken(server: PageServer, method: str) -> None:
    assert ask(server, "/", method)[0].status == 501


def test_it_listens_to_this_machine_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = run("web", "--port", port, "--no-browser")
    assert outcome.code == 2
    assert isinstance(outcome.errors[0], OptionError)
    assert f"port {port}" in str(outcome.errors[0])
    assert "--port" in str(outcome.errors[0])


def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "haaqi_edge.cli.main", "web", "--port", "0", "--no-browser", "--json"]
    # A shell ignores Ctrl-C on behalf of what it starts in the background; that would be inherited.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}model/card.json", timeout=20) as response:
            content = response.read()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert content == (Bundle("nano").folder / "card.json").read_bytes()


def test_command_writes_a_static_site(tmp_path: Path) -> None:
    (tmp_path / "site" / "demo").mkdir(parents=True)
    (tmp_path / "site" / "CNAME").write_text("example.org")
    (tmp_path / "site" / "demo" / "clean.flac").write_bytes(b"an older one")
    written = json.loads(get_output("web", "--output", tmp_path / "site", "--json"))
    files = {path.relative_to(tmp_path / "site").as_posix(): path for path in (tmp_path / "site").rglob("*.*")}
    expected = {name: path.read_bytes() for name, path in page_files().items()}
    assert {name: path.read_bytes() for name, path in files.items()} == expected
    assert (tmp_path / "site" / "CNAME").read_text() == "example.org"
    size = sum(map(len, expected.values()))
    assert written == {"folder": str(tmp_path / "site"), "files": len(expected), "bytes": size}


def test_site_in_a_place_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    outcome = run("web", "-o", tmp_path / "site")
    assert outcome.code == 2
    assert isinstance(outcome.errors[0], OptionError)
    assert str(tmp_path / "site") in str(outcome.errors[0])
