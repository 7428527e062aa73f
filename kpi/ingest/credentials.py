"""Secrets in text: key blocks, passwords in addresses, tokens by their shape, headers, cookies, and assignments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kpi.ingest.blobs import holds_text
from kpi.ingest.masks import BLANK, SECRET, Match, Span
from kpi.ingest.token_shapes import HARMLESS, PASSWORD_WORDS, SECRET_WORDS, SHAPED, VENDOR_PAIRS, VENDORS

_BLOCK_START = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,60}(?:PRIVATE KEY|SECRET|MESSAGE)[ A-Z0-9_-]{0,20}-----", re.IGNORECASE)
_BLOCK_END = re.compile(r"-----END[ A-Z0-9_-]{0,80}-----", re.IGNORECASE)
_URL_USER = re.compile(r"://([^\s/@:\"'<>\[\]]{0,100}:[^\s/\"'<>]{1,200})@")
_ORACLE_USER = re.compile(r"thin:[\w.$#-]{1,60}/(\S{1,100}?)@")
_COMMAND_USER = re.compile(r"(?:-u|--user|--proxy-user)[ =]{1,3}[\"']?[\w.@$-]{1,80}:([^\s\"']{3,200})")
_COMMAND_PASSWORD = re.compile(
    r"\b(?:mysql(?:dump|admin)?\b[^\n|]{0,200}? -p|sshpass -p ?|redis-cli\b[^\n|]{0,200}? -a )[\"']?([^\s\"']{4,200})"
)
_SCHEME = re.compile(r"(?i:\b(?:bearer|basic|apikey|token)) {1,3}(?=[\w.~+/-]{0,199}[\d_.~+/-])([\w.~+/-]{16,4000}=*)")
_RUN = re.compile(r"[\w.~+/=:%|@$-]{16,}")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{10,4000}\.[\w-]{4,8000}(?:\.[\w-]{0,4000})?")
_PLAIN_RUN = re.compile(r"[0-9A-Fa-f:.+TZ/-]+|[a-z_./:-]+")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/=_-]+")


def find_blocks(text: str) -> Iterator[Span]:
    """Key blocks, by position: a block that was cut off is masked to the end of the text."""
    done = 0
    while (start := _BLOCK_START.search(text, done)) is not None:
        end = _BLOCK_END.search(text, start.end())
        done = end.end() if end else len(text)
        if end is None and text.endswith(('"', '"}', '"]')):
            done = max(text.rindex('"'), start.end())
        yield start.start(), done, SECRET


def find_url_users(text: str) -> Iterator[Span]:
    """User and password in addresses of any scheme: `postgresql://me:secret@host`, `jdbc:oracle:thin:me/secret@`."""
    for match in _URL_USER.finditer(text):
        if BLANK not in match.group(1):
            yield *match.span(1), SECRET


def find_commands(text: str) -> Iterable[Span]:
    """Passwords on a command line, and of Oracle's thin driver."""
    patterns = (_ORACLE_USER, "thin:"), (_COMMAND_USER, "-u"), (_COMMAND_PASSWORD, " -")
    return sorted((*m.span(1), SECRET) for pattern, hint in patterns if hint in text for m in pattern.finditer(text))


def find_tokens(text: str) -> Iterator[Span]:
    """Tokens that name themselves, web tokens, and short base64 of readable text, within runs of their characters."""
    for run in _RUN.finditer(text):
        start, end = run.span()
        if _PLAIN_RUN.fullmatch(text, start, end):
            continue
        yield from _tokens_in(text, start, end)


def _tokens_in(text: str, start: int, end: int) -> Iterator[Span]:
    done = start
    found = [m.span() for m in _JWT.finditer(text, start, end)] if text.find("eyJ", start, end) >= 0 else []
    found += [m.span() for m in SHAPED.finditer(text, start, end)]
    for first, last in sorted(found):
        if first >= done:
            yield first, last, SECRET
            done = last
    if done > start or end - start < 20:
        return
    at = start
    for part in _NO_BASE64.split(text[start:end]):
        at = text.index(part, at)
        if len(part) >= 20 and (mask := holds_text(part)):
            yield at, at + len(part), mask


def find_schemes(text: str) -> Iterator[Span]:
    """What follows `Bearer`, `Basic`, `Token` in a header."""
    return ((*match.span(1), SECRET) for match in _SCHEME.finditer(text))


# --- cookies ---------------------------------------------------------------------------------------------------------
_COOKIE = re.compile(r"(?:set-)?cookies?\d?[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?=[\w.$-]{1,80}=)")
_PAIR = re.compile(r"[ \t]{0,3}([\w.$!%*+^`|~-]{1,80})(?:=(\"[^\"\n]{0,4000}\"|[^;,\s\"'\\]{0,4000}))?(?:;|(?=[\s\"'\\,]|$))")
_COOKIE_ATTRIBUTES = frozenset(
    ["path", "domain", "expires", "max-age", "samesite", "secure", "httponly", "priority", "version", "partitioned", "comment"]
)


def find_cookies(text: str, lower: str) -> Iterator[Span]:
    """The value of every cookie of a `Cookie` or `Set-Cookie` header; attributes such as `Path` stay."""
    for header in _COOKIE.finditer(lower):
        at = header.end()
        while (pair := _PAIR.match(text, at)) is not None and pair.end() > at:
            if pair.group(2) and pair.group(1).lower() not in _COOKIE_ATTRIBUTES:
                yield *pair.span(2), SECRET
            elif pair.group(2) is None and pair.group(1).lower() not in _COOKIE_ATTRIBUTES:
                break
            at = pair.end()
            if pair.group(1).lower() == "expires":  # its date holds a comma and blanks
                at = _to_semicolon(text, at)
            if text[at - 1 : at] != ";":
                break


def _to_semicolon(text: str, at: int) -> int:
    found = text.find(";", at, at + 60)
    return found + 1 if found >= 0 else at


# --- assignments -----------------------------------------------------------------------------------------------------
_SAYS = (
    r"(?:(?:[\w.\-]{0,24}|[ \t][\w.\-]{1,16})\\?[\"'`»]?[)\]]?[ \t]{0,4}(?:=>|:=|\|\||:{1,2}=?|={1,2}|：|,|>)\s{0,4}"
    r"|\s{1,3}(?:is|was|ist|war|lautet|est|es|era|é|è|jest|to|—|-|är|er|on|это|является|is:|là|adalah|olan|je)\s{1,3}"
    r"|\s{0,2}(?:是|为|為|は|が|는|은)\s{0,2}:?：?\s{0,2})"
)
_VALUE = r"(?:(?P<quote>\\?[\"'`«“])(?P<quoted>[^\"'`»”\n]{1,300}?)(?=\\?[\"'`»”])|(?P<bare>[^\s\"'`,<>\\\x00\[\]{}]{4,300}))"
_AFTER_WORD = re.compile(_SAYS + _VALUE)
_NEXT_FIELD = re.compile(r"[&;][\w.\-\[\] ]{1,40}=|[;)]+$")
_PLAIN_WORDS = frozenset([
    "null", "none", "true", "false", "undefined", "required", "optional", "string", "missing", "invalid", "expired",
    "redacted", "hidden", "empty", "unknown", "changed", "incorrect", "wrong", "correct", "reset",
])  # fmt: skip
_NUMBER = re.compile(r"[\d.:+TZ-]+")
_PLACEHOLDER = re.compile(r"[*x.•]+|\$\{?[\w.]+\}?|%[\w]+%|\{\{.*\}\}|<.*>|\(?\w*\(.*", re.IGNORECASE)
_SPOKEN = re.compile(r"\s{0,3}\w")


def find_assigned(text: str, lower: str) -> list[Span]:
    """Values beside words for a password or a secret. Words, short numbers and counts (`tokens: 1234`) stay."""
    found: list[Span] = []
    for word in PASSWORD_WORDS:
        found += _beside(text, lower, word, _is_password)
    for word in SECRET_WORDS:
        found += _beside(text, lower, word, _is_secret)
    return sorted(found)


def _beside(text: str, lower: str, word: str, holds: object) -> Iterator[Span]:
    at = lower.find(word)
    while at >= 0:
        end = at + len(word)
        match = _AFTER_WORD.match(text, end if not word.endswith("=") else end - 1)
        if match is not None and (span := _value(match)) is not None:
            spoken = match.start("quote") < 0 and _is_spoken(match)
            if holds(text[slice(*span)], spoken):  # type: ignore[operator]
                yield *span, SECRET
        at = lower.find(word, end)


def _is_spoken(match: Match) -> bool:
    """Whether a verb, not a sign, stands between the word and its value: prose follows more often than a secret."""
    start = match.start("bare")
    return not any(sign in match.string[match.start() : start] for sign in ":=>|：")


def _value(match: Match) -> tuple[int, int] | None:
    """Where the value lies: a quoted one whole, a bare one up to the next field and without closing punctuation."""
    if match["quoted"] is not None:
        return match.span("quoted")
    start, end = match.span("bare")
    bare = match["bare"]
    following = _NEXT_FIELD.search(bare)
    if following is not None:
        end = start + following.start()
    while end > start and match.string[end - 1] in ".,;:?)":
        end -= 1
    return (start, end) if end - start >= 4 else None


def _is_password(value: str, spoken: bool) -> bool:
    if value.lower().rstrip(".!") in _PLAIN_WORDS or _PLACEHOLDER.fullmatch(value):
        return False
    return not spoken or not value.isalpha()


def _is_secret(value: str, spoken: bool) -> bool:
    digits = sum(map(str.isdigit, value))
    if _PLACEHOLDER.fullmatch(value) or " " in value:
        return False
    if len(value) >= 10 and digits and not _NUMBER.fullmatch(value):
        return not spoken or digits > 1
    return len(value) >= 20 and value.isalnum() and not value.isdigit() and not spoken


# --- vendors ---------------------------------------------------------------------------------------------------------
_KEYLIKE = re.compile(
    r"[=:>,|][\"'`= \t]{0,5}(?=[\w=~+/%:-]{0,40}\d)([\w=~%-]{10,199}|[\w=+/~-]{40,199}|[0-9a-f]{8}:[0-9a-f]{8})(?=[\"'`\s;,)}\]\\]|$)"
)
_NAME = re.compile(r"[\w.\- \t]{2,60}\\?[\"']?[\s]{0,3}[:=|?]{0,2}\Z")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def find_vendor_keys(text: str) -> Iterator[Span]:
    """`DATADOG_API: 3f…`: a long mixed value beside the name of a service whose keys carry no mark."""
    for match in _KEYLIKE.finditer(text):
        if _names_vendor(text, match.start()) and _is_keylike(match.group(1)):
            yield *match.span(1), SECRET


def _names_vendor(text: str, end: int) -> bool:
    name = _NAME.search(text[max(0, end - 64) : end])
    if name is None:
        return False
    parts = [part.lower() for part in _PARTS.findall(name.group())]
    if not parts or parts[-1] in HARMLESS or (parts[-1] == "id" and len(parts) > 1 and parts[-2] in HARMLESS):
        return False
    return not VENDORS.isdisjoint(parts) or any(a + b in VENDORS or a + b in VENDOR_PAIRS for a, b in zip(parts, parts[1:]))


def _is_keylike(value: str) -> bool:
    return len(value) >= 15 if value.isdigit() else not _NUMBER.fullmatch(value)
