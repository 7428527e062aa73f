"""The gate by itself: names and origins, closed paths, headers on failures of the server."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app import gate


def finished(task: Coroutine[Any, Any, Any]) -> Any:
    """In a thread: a browser test in this process may have left a loop running here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, task).result()


def scope(host: str | None = "index.example", origin: str | None = None, path: str = "/", kind: str = "http") -> dict:
    headers = [(k, v.encode()) for k, v in ((b"host", host), (b"origin", origin)) if v is not None]
    return {"type": kind, "path": path, "headers": headers, "method": "GET", "query_string": b"", "root_path": ""}


@pytest.mark.parametrize(("host", "allowed", "fine"), [
    ("index.example", ["index.example"], True), ("INDEX.example.:8443", ["index.example"], True),
    ("a.index.example", ["*.index.example"], True), ("index.example", ["*.index.example"], False),
    ("evilindex.example", ["*.index.example", "index.example"], False), ("[::1]:80", ["::1"], True),
    ("[::1]", ["[::1]"], True), ("evil.example", ["*"], False), ("evil.example", [], False),
    ("index.example@evil.example", ["index.example"], False), ("index.example:99999999", ["index.example"], False),
    ("", ["index.example"], False), ("index.example evil", ["index.example"], False),
])  # fmt: skip
def test_hosts(host, allowed, fine):
    refused = gate.refusal(scope(host), allowed)
    assert (refused is None) is fine
    assert fine or refused[0] in (400, 403)


def test_a_request_names_one_host():
    twice = scope()
    twice["headers"] = [(b"host", b"index.example"), (b"host", b"evil.example")]
    assert gate.refusal(twice, ["index.example"])[0] == 400
    assert gate.refusal(scope(None), ["index.example"])[0] == 400


@pytest.mark.parametrize(("origin", "fine"), [
    ("https://index.example", True), ("http://index.example", True), ("HTTPS://Index.Example", True),
    ("https://index.example:8443", False), ("https://evil.example", False), ("null", False), ("", False),
    ("index.example", False), ("file://index.example", False), ("https://index.example.evil.example", False),
    ("https://evil.example/index.example", False), ("https://index.example@evil.example", False),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_origins(origin, fine, kind):
    assert (gate.refusal(scope(origin=origin, kind=kind), ["index.example"]) is None) is fine


def test_only_a_websocket_must_name_its_origin():
    assert gate.refusal(scope(), ["index.example"]) is None
    assert gate.refusal(scope(kind="websocket"), ["index.example"])[0] == 403


@pytest.mark.parametrize(
    "path", ["/_stcore/metrics", "/base/_stcore/metrics", "/_stcore//agent/mcp", "/_stcore", "/_stcore/healthy"]
)
def test_closed(path):
    assert gate.is_closed(path)


@pytest.mark.parametrize(
    "path", ["/", "", "/why", "/base/_stcore/health", "/_stcore/upload_file/a/b", "/_stcore/stream"]
)
def test_open(path):
    assert not gate.is_closed(path)


def test_the_policy_allows_no_host_and_knows_the_framework_s_page():
    assert "sha256-" in gate.POLICY
    assert not any(bad in gate.POLICY for bad in ("http", "ws:", "*", "unsafe-eval"))


def answer(app: Any, asked: dict) -> dict:
    """The first message that an ASGI app sends."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate.st, "get_option", lambda _: ["index.example"])
        with suppress(ZeroDivisionError):
            finished(app(asked, receive, send))
    return sent[0]


def fails(_request: Any) -> None:
    raise ZeroDivisionError("the words of this error stay in the log")


def test_headers_are_there_once_and_on_failures_too():
    loose = {"X-Content-Type-Options": "loose", "Content-Security-Policy": "default-src *"}
    routes = [Route("/", lambda _: PlainTextResponse("x", headers=loose)), Route("/fails", fails)]
    app = Starlette(routes=routes, middleware=gate.MIDDLEWARE, exception_handlers={500: gate.broken})
    for path, status in (("/", 200), ("/fails", 500), ("/nothing", 404), ("/_stcore/metrics", 404)):
        found = answer(app, scope(path=path))
        assert found["status"] == status
        names = [k.decode().lower() for k, _ in found["headers"]]
        for name, value in gate.HEADERS.items():
            assert names.count(name.lower()) == 1
            assert (name.lower().encode(), value.encode()) in [(k.lower(), v) for k, v in found["headers"]]


def test_a_server_without_denial_answers_gets_a_close():
    assert answer(gate.Gate(fails), scope(kind="websocket")) == {"type": "websocket.close", "code": 1008}


def test_files_of_the_front_end_are_packed_once_and_nothing_else_is():
    asked = []

    async def inner(scope, receive, send):
        asked.append(scope["path"])
        await PlainTextResponse("plain")(scope, receive, send)

    async def get(path: str, encoding: str, method: str = "GET") -> tuple[dict[bytes, bytes], bytes]:
        sent = []

        async def send(message):
            sent.append(message)

        asked_for = scope(path=path) | {"method": method}
        asked_for["headers"].append((b"accept-encoding", encoding.encode()))
        await gate.Packed(inner)(asked_for, None, send)
        return dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent)

    path, file = max(gate._PACKABLE.items(), key=lambda item: item[1].stat().st_size)
    headers, body = finished(get(path, "gzip, br"))
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-type"].startswith(b"text/javascript")
    assert gzip.decompress(body) == file.read_bytes()
    assert len(body) < 0.5 * file.stat().st_size
    assert gate._packed(path) is gate._packed(path)
    assert not asked
    for other in ((path, "identity"), (path, "gzip", "HEAD"), ("/", "gzip"), ("/static/../secret.js", "gzip")):
        assert finished(get(*other))[1] == b"plain"
    assert len(asked) == 4
