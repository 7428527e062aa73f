"""JSON from bytes, with one policy for what strict decoders refuse: not-a-number, broken Unicode, too much nesting.

Not-a-number is null. What is no Unicode becomes U+FFFD. A container nested deeper than the limit is cut out and `MARK`
stands in its place, so that whoever knows what a record is can leave out that record alone.
"""

import re
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

DEPTH = 100  # levels, the outermost container being the first
UNLIMITED = 1_000  # the decoder itself stops at 1,024
MARK = "\ue000too deep\ue000"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPE = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)", re.DOTALL)
_LONG = 2**14  # half a text, from which on counting costs as much as looking


class Decoded(NamedTuple):
    """value: what the text holds. cut: `MARK` stands for what was too deep. nans: how many numbers were none and are
    null. garbled: characters that are no Unicode became U+FFFD."""

    value: Any
    cut: bool = False
    nans: int = 0
    garbled: bool = False


def decode(text: bytes, *, depth: int = DEPTH) -> Decoded:
    """One JSON text. Raises ValueError for what is no JSON after all that the policy repairs.

    depth: from `UNLIMITED` on it is asked only where the decoder itself gives up; the reader looks at what it needs.
    """
    shallow = text if depth >= UNLIMITED or _holds_few(text, depth) else _shallow(text, depth)
    try:
        return Decoded(orjson.loads(shallow), shallow is not text)
    except orjson.JSONDecodeError:
        shallow = _shallow(text, depth)
        numeric, nans = _without_nans(shallow)
        repaired = numeric.decode("utf-8", "replace").encode()
        repaired = _ESCAPE.sub(lambda m: b"\\ufffd" if m[1] else m[0], repaired)
        if repaired == text:
            raise
        return Decoded(orjson.loads(repaired), shallow is not text, nans, repaired != numeric)


def loads(text: bytes, *, depth: int = DEPTH) -> Any:
    """The value of one JSON text, see `decode`."""
    return decode(text, depth=depth).value


def is_cut(value: Any) -> bool:
    """Whether something of a decoded value was too deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif one == MARK:
            return True
    return False


def without_deep(value: Any, depth: int) -> Any:
    """A decoded value with null where something is too deep; for readers that know what a null means."""
    if isinstance(value, dict):
        return {k: without_deep(v, depth - 1) for k, v in value.items()} if depth > 0 else None
    if isinstance(value, list):
        kept = (without_deep(v, depth - 1) for v in value) if depth > 0 else ()
        return [v for v in kept if v is not None] if depth > 0 else None
    return None if value == MARK else value


def _without_nans(text: bytes) -> tuple[bytes, int]:
    count = 0

    def null(found: re.Match[bytes]) -> bytes:
        nonlocal count
        if found[0][:1] == b'"':
            return found[0]
        count += 1
        return b"null"

    return _TOKEN.sub(null, text), count


def _holds_few(text: bytes, depth: int) -> bool:
    """Whether a text has too few brackets to be too deep: every level opens before a place and is closed after it."""
    half = len(text) // 2
    return half <= depth or (
        half < _LONG
        and text.count(b"{", 0, half) + text.count(b"[", 0, half) <= depth
        and text.count(b"}", half) + text.count(b"]", half) <= depth
    )


def _shallow(text: bytes, depth: int) -> bytes:
    """The text without containers nested deeper than `depth`; the same object where there are none."""
    places, steps = _brackets(text)
    level = np.cumsum(steps, dtype=np.int32)
    if level.max(initial=0) <= depth:
        return text
    began = places[(steps > 0) & (level == depth + 1)]
    ended = places[(steps < 0) & (level == depth)]
    parts, at = [], 0
    for start in began.tolist():
        if start < at:
            continue
        after = ended[np.searchsorted(ended, start) :]
        end = int(after[0]) + 1 if len(after) else len(text)
        parts += [text[at:start], b'"%s"' % MARK.encode()]
        at = end
    return b"".join([*parts, text[at:]])


def _brackets(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """(places of brackets and quotes in a text, 1 for each bracket that opens, -1 for one that closes).

    Brackets in strings, which is what lies behind an odd number of quotes, count 0 as quotes do.
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    sort = (codes | 0x20) - 0x7B  # of both brackets that open 0, of those that close 2
    places = np.flatnonzero((sort & 0xFD == 0) | (codes == 0x22))
    found = codes[places]
    quotes = found == 0x22
    escaped = np.flatnonzero(quotes & (codes[places - 1] == 0x5C))
    slashes = places[escaped] - 1
    while len(escaped):  # an escape is itself escaped by one before it
        quotes[escaped] ^= True
        slashes = slashes - 1
        more = codes[slashes] == 0x5C
        escaped, slashes = escaped[more], slashes[more]
    outside = np.cumsum(quotes, dtype=np.uint8) & 1 == 0  # a count that runs over keeps whether it is odd
    return places, np.where(outside & (found != 0x22), 1 - (sort[places] & 2).astype(np.int8), 0)
