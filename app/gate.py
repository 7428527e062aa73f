"""The door of the served app: who may come in, what stays closed, and what every answer forbids a browser to do.

It stands before the framework, for HTTP and for the WebSocket, however the app is started. A page of another site that
lets its own name point at this machine (DNS rebinding) comes with a foreign Host; a page of another site or port comes
with a foreign Origin: both are turned away before anything of the app runs.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = frozenset(["health", "host-config", "stream", "upload_file"])  # what the front end needs of /_stcore
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_STATIC = Path(st.__file__).with_name("static")
_PACKABLE = {f"/{p.relative_to(_STATIC).as_posix()}": p for p in _STATIC.rglob("*") if p.suffix in (".js", ".css")}
_HEADED = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_SHELL = (_STATIC / "index.html").read_bytes()
# What the framework's page gets beside its own files: copying on a click, and how a page looks on paper.
_ADDED = b'<script src="./ai-index.js" defer></script><link rel="stylesheet" href="./ai-index.css"></head>'
ASSETS = {f"ai-index.{kind}": (Path(__file__).with_name("assets").joinpath(f"ai-index.{kind}").read_text("utf-8"), told)
          for kind, told in (("js", "text/javascript"), ("css", "text/css"))}  # fmt: skip


def _inline_scripts() -> Iterator[str]:
    """Digests of the scripts that stand in the framework's own page: only these run, and those from its files."""
    for script in _INLINE.findall(_SHELL.decode()):
        yield f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


POLICY = "; ".join([
    "default-src 'none'",
    " ".join(["script-src 'self'", *_inline_scripts()]),
    "style-src 'self' 'unsafe-inline'",  # the framework writes its styles at run time and offers no nonce
    "img-src 'self' data:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
])  # fmt: skip
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
           "Referrer-Policy": "no-referrer"}  # fmt: skip
_NAMES = frozenset(name.lower().encode() for name in HEADERS)
_SHELL_SIZE = b"content-length", b"%d" % len(_SHELL)
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Gate:
    """ASGI middleware: turns away, or lets through and adds `HEADERS` to the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] in _HEADED:
                kept = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in _NAMES]
                size = b"%d" % (len(_SHELL) + len(_ADDED) - len(b"</head>"))
                kept = [(k, size if (k, v) == _SHELL_SIZE else v) for k, v in kept]
                message = {**message, "headers": [*kept, *_RAW]}
            elif message.get("body") == _SHELL:
                message = {**message, "body": _SHELL.replace(b"</head>", _ADDED)}
            await send(message)

        refused = refusal(scope, st.get_option("server.allowedHosts") or LOOPBACK)
        asset = ASSETS.get(scope["path"].rsplit("/", 1)[-1]) if scope["type"] == "http" else None
        if refused is None and asset:
            await Response(asset[0], media_type=asset[1])(scope, receive, headed)
        elif refused is None:
            if any(b"text/html" in v for k, v in scope["headers"] if k == b"accept"):  # the page, as it is, to add to
                scope = {**scope, "headers": [h for h in scope["headers"] if h[0] != b"accept-encoding"]}
            await self.app(scope, receive, headed)
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await PlainTextResponse(refused[1], refused[0])(scope, receive, headed)
        else:
            await send({"type": "websocket.close", "code": 1008})


def refusal(scope: Scope, allowed: Any) -> tuple[int, str] | None:
    """Why a request is turned away, as status and sentence; None for one that may pass.

    allowed: names under which the app may be called, without port; "*.example.org" stands for every name below it.
    """
    hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
    name = _hostname(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        return 400, "The request does not say which host it wants."
    if not any(_matches(name, pattern) for pattern in allowed):
        return 403, "This host is not served here. The administrator can add it to server.allowedHosts."
    if not origins and scope["type"] == "websocket":
        return 403, "The connection does not say which page it comes from."
    if any(_netloc(origin) != hosts[0].lower() for origin in origins):
        return 403, "Only pages of this app may ask."
    if is_closed(scope["path"]):
        return 404, "Not found"
    return None


def is_closed(path: str) -> bool:
    """Whether a path belongs to the operator's side of the framework: metrics, agents, script checks, components."""
    parts = [p for p in path.split("/") if p]
    return any(part == "_stcore" and below not in OPEN for part, below in pairwise([*parts, ""]))


async def broken(_request: Request, _error: Exception) -> PlainTextResponse:
    """The answer to a failure of the server itself: no details, the same headers."""
    return PlainTextResponse("Internal error", 500, headers=HEADERS)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _hostname(host: str) -> str | None:
    """The name in a Host header, without port, brackets and final dot; None for what is no host."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower().rstrip(".") if found else None


def _netloc(origin: str) -> str | None:
    """Host and port of an origin, as a Host header has them; None for "null" and whatever is no page's origin."""
    scheme, mark, rest = origin.lower().partition("://")
    return rest if mark and scheme in ("http", "https") else None


def _matches(name: str, pattern: str) -> bool:
    wanted = pattern.strip().lower().strip("[]").rstrip(".")
    return name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted


class Packed:
    """ASGI middleware: scripts and styles of the front end go out compressed, each packed once. The framework leaves
    them as they are, because it would pack them anew for everybody; their names change with their content."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        packs = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in _PACKABLE
        if packs and any("gzip" in value for value in _values(scope, b"accept-encoding")):
            await (await run_in_threadpool(_packed, scope["path"]))(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@cache  # the files of one installation
def _packed(path: str) -> Response:
    kind = "text/css" if path.endswith(".css") else "text/javascript"
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding",
               "Cache-Control": "public, immutable, max-age=31536000"}  # fmt: skip
    return Response(gzip.compress(_PACKABLE[path].read_bytes(), 6), media_type=kind, headers=headers)


MIDDLEWARE = [Middleware(Gate), Middleware(Packed)]
