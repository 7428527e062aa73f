"""What identifiers are replaced with, and how the patterns of this room are applied to a text.

The patterns themselves lie in `accounts`, `addresses`, `credentials` and `phones`; `redact` puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable

EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET = "[EMAIL]", "[CARD]", "[IBAN]", "[SSN]", "[IP]", "[PHONE]", "[SECRET]"
TOKENS = (EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET)

JOINED = frozenset(".+-/:")
_ESCAPES = frozenset("nrtbf")

Match = re.Match[str]


def starts(match: Match, joined: frozenset[str] = JOINED) -> bool:
    """Whether a match begins a word: no letter, digit or joining character stands before it.

    Text cut out of JSON carries `\\n` as two characters, and its `n` is no letter of a word. Patterns ask this in
    their callbacks, for one that begins with a look-behind is searched five times slower.
    """
    start = match.start()
    if not start:
        return True
    text = match.string
    before = text[start - 1]
    if before in _ESCAPES and start > 1 and text[start - 2] == "\\":
        return True
    return not (before.isalnum() or before == "_" or before in joined)


def mask(pattern: re.Pattern[str], replace: Callable[[Match], str], text: str, start: int = 0) -> str:
    """`pattern.sub(replace, text)` from a position on; the text itself where no replacement changes it."""
    parts: list[str] = []
    done = 0
    for match in pattern.finditer(text, start):
        found = match.group()
        masked = replace(match)
        if masked is not found and masked != found:
            parts += (text[done : match.start()], masked)
            done = match.end()
    return "".join(parts) + text[done:] if parts else text
