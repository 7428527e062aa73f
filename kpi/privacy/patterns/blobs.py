"""Base64 in text: data URLs, long runs and wrapped lines, and short runs that hold readable text. Replaced by length.

Nothing inside is looked at further: what is packed is not stored, whatever it is.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from kpi.privacy.patterns import DATA, shapes
from kpi.privacy.patterns.masking import Span
from kpi.privacy.patterns.token_shapes import SHAPED

_RE = shapes("blobs")
LONGEST = 200  # characters of a run from which on it is a blob even where nothing readable lies in it
_MAGIC = [(mark.encode("latin-1"), name) for name, mark in DATA["blobs"].items()]
_UNITS = ((10**6, "MB"), (10**3, "kB"))
_SHORTEST_TEXT = 20
_SAMPLE = 4_096  # characters of a run that are decoded to see what it holds
_STANDARD = str.maketrans("-_", "+/")


def find_blobs(text: str) -> Iterator[Span]:
    """Data URLs."""
    for match in _RE.data_url.finditer(text):
        data = match["data"]
        if len(data) >= _SHORTEST_TEXT:
            yield match.start(), match.end(), _token(match["type"] or "text/plain", data)


def blob_in(text: str, start: int, end: int) -> list[Span]:
    """Long base64 in a run of the characters of tokens, or the lines of a wrapped one that begins with it."""
    if end - start <= 76:
        lines = _RE.wrapped.match(text, start) if is_packed(text[start:end]) else None
        data = "" if lines is None else re.sub(r"\\r|\\n|\s", "", lines.group())
        return [] if lines is None else [(*lines.span(), _token(_type(data), data))]
    found = []
    for match in _RE.packed.finditer(text, start, end) if end - start >= LONGEST else ():
        data = match.group()
        if text[match.end() : match.end() + 1] != "." and is_packed(data) and not SHAPED.match(text, match.start()):
            found.append((*match.span(), _token(_type(data), data)))
    return found


def is_packed(run: str) -> bool:
    """Whether a long run is base64 rather than a hash, a rule of dashes, a path or a very long name."""
    sample = run[:_SAMPLE]
    kinds = (any(map(str.isdigit, sample)), any(map(str.isupper, sample)), any(map(str.islower, sample)))
    return (
        all(kinds)
        and len(set(sample)) > 16
        and sample.count("/") + sample.count("-") + sample.count("_") < len(sample) / 8
    )


def holds_text(run: str) -> str | None:
    """The mask of a short run that is base64 of readable text, else None."""
    data = run.rstrip("=")
    if len(data) < _SHORTEST_TEXT or len(data) % 4 == 1:
        return None
    raw = _decoded(data)
    return _token("text", run) if raw is not None and _readable(raw) else None


def _readable(raw: bytes) -> bool:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\r\n\t" for c in text) and sum(c.isascii() for c in text) > len(text) / 2


def _decoded(data: str) -> bytes | None:
    data = data.translate(_STANDARD)
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _type(data: str) -> str:
    raw = _decoded(data[:_SAMPLE].rstrip("=")[: len(data[:_SAMPLE].rstrip("=")) // 4 * 4]) or b""
    if raw[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(raw[8:12], "binary")
    found = next((name for mark, name in _MAGIC if raw.startswith(mark)), None)
    if found:
        return found
    return "text" if raw and _readable(raw[: len(raw) // 2]) else "binary"


def _token(kind: str, data: str) -> str:
    size = len(data.rstrip("=")) * 3 // 4
    unit, name = next(((u, n) for u, n in _UNITS if size >= u), (1, "B"))
    return f"[BASE64 {kind.lower()}, {round(size / unit)} {name}]"
