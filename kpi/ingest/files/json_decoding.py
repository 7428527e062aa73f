"""JSON from bytes, with one policy for what strict decoders refuse: not-a-number, broken Unicode, too much nesting.

Not-a-number is null. What is no Unicode becomes U+FFFD. A container nested deeper than the limit is cut out and `MARK`
stands in its place, so that whoever knows what a record is can leave out that record alone.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import orjson

DEPTH = 100  # levels, the outermost container being the first
MARK = "\ue000too deep\ue000"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPE = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)", re.DOTALL)


class Decoded(NamedTuple):
    """value: what the text holds. cut: `MARK` stands for what was too deep. nans: how many numbers were none and are
    null. garbled: characters that are no Unicode became U+FFFD."""

    value: Any
    cut: bool = False
    nans: int = 0
    garbled: bool = False


def decode(text: bytes, *, depth: int = DEPTH) -> Decoded:
    """One JSON text. Raises ValueError for what is no JSON after all that the policy repairs."""
    shallow = text if text.count(b"{") + text.count(b"[") <= depth else _shallow(text, depth)
    cut = shallow is not text
    try:
        return Decoded(orjson.loads(shallow), cut)
    except orjson.JSONDecodeError:
        numeric, nans = _without_nans(shallow)
        repaired = numeric.decode("utf-8", "replace").encode()
        repaired = _ESCAPE.sub(lambda m: b"\\ufffd" if m[1] else m[0], repaired)
        if repaired == shallow:
            raise
        return Decoded(orjson.loads(repaired), cut, nans, repaired != numeric)


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


def without_marks(value: Any) -> Any:
    """A decoded value with null where something was too deep; for readers that know what a null means."""
    if isinstance(value, dict):
        return {k: without_marks(v) for k, v in value.items()}
    if isinstance(value, list):
        return [kept for v in value if (kept := without_marks(v)) is not None or v is None]
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


def _shallow(text: bytes, depth: int) -> bytes:
    """The text without containers nested deeper than `depth`; the same object where there are none.

    Brackets inside strings do not count: escapes are blanked out first, at their length, so that places stay, and then
    a string is what lies behind an odd number of quotes.
    """
    plain = text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ") if b"\\" in text else text
    if _deepest(plain.translate(None, _OTHER)) <= depth:
        return text
    codes = np.frombuffer(plain, dtype=np.uint8)
    outside = np.cumsum(codes == 0x22, dtype=np.uint8) & 1 == 0  # a count that runs over keeps whether it is odd
    opens, closes = ((codes == 0x7B) | (codes == 0x5B)) & outside, ((codes == 0x7D) | (codes == 0x5D)) & outside
    places = np.flatnonzero(opens | closes)
    level = np.cumsum(np.where(opens[places], 1, -1))
    began = places[opens[places] & (level == depth + 1)]
    if not len(began):
        return text
    ended = places[closes[places] & (level == depth)]
    parts, at = [], 0
    for start in began.tolist():
        if start < at:
            continue
        after = ended[np.searchsorted(ended, start) :]
        end = int(after[0]) + 1 if len(after) else len(text)
        parts += [text[at:start], b'"%s"' % MARK.encode()]
        at = end
    return b"".join([*parts, text[at:]])


_OTHER = bytes(set(range(256)) - set(b'{}[]"'))


def _deepest(marks: bytes) -> int:
    """The deepest level of a text of which only brackets and quotes are left."""
    codes = np.frombuffer(marks, dtype=np.uint8)
    outside = np.cumsum(codes == 0x22, dtype=np.uint8) & 1 == 0
    steps = (((codes == 0x7B) | (codes == 0x5B)) & outside).astype(np.int8)
    steps -= ((codes == 0x7D) | (codes == 0x5D)) & outside
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))
