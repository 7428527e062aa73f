"""JSON from bytes, with one policy for what strict decoders refuse."""

from __future__ import annotations

import re
from typing import Any

import orjson

_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*+"|-?\b(?:NaN|Infinity)\b',
    re.DOTALL,
)


_ESCAPE = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)", re.DOTALL)


def loads(text: bytes) -> Any:
    """JSON, also where a writer broke the rules: not-a-number is null, what is no Unicode becomes U+FFFD.

    Raises orjson.JSONDecodeError (a ValueError) for anything else.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        repaired = _TOKEN.sub(lambda m: m[0] if m[0][:1] == b'"' else b"null", text)
        repaired = repaired.decode("utf-8", "replace").encode()
        repaired = _ESCAPE.sub(lambda m: b"\\ufffd" if m[1] else m[0], repaired)
        if repaired == text:
            raise
        return orjson.loads(repaired)
