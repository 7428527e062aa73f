"""Secrets in text: key blocks, passwords in addresses, tokens by their shape, headers, cookies, and assignments."""

from collections.abc import Iterator
from itertools import pairwise

from kpi.privacy.patterns import DATA, shapes, words
from kpi.privacy.patterns.blobs import blob_in, holds_text
from kpi.privacy.patterns.masking import BLANK, SECRET, Match, Sheet, Span, Words
from kpi.privacy.patterns.national_ids import PAPERS, paper_after
from kpi.privacy.patterns.token_shapes import FOLDED, INNER, SHAPED

_RE = shapes("secrets")
_COMMANDS = (
    (("thin:",), _RE.oracle_user),
    (("curl", "wget", "--user"), _RE.command_user),
    (("mysql", "sshpass", "redis-cli"), _RE.command_password),
)
_SHORTEST_INNER = 20  # characters of the shortest of the shapes that do not tell at their start
_LONGEST_KEY = 400  # characters of a name and its key
SHORTEST = 14  # characters of a run that may be a key
_COOKIE_ATTRIBUTES = words("secrets", "cookie_attributes")
_PLAIN_WORDS = words("secrets", "plain_words")
_SECRETS = frozenset(DATA["secrets"]["secret_words"])
_SCHEMES = frozenset(["bearer ", "basic ", "apikey ", "token "])
_WORDS = Words([*DATA["secrets"]["password_words"], *DATA["secrets"]["secret_words"], *_SCHEMES, "cookie", *PAPERS])
_SHORT_TAIL = 12
_COMMON = frozenset(["key", "auth"])
_KEY_NAMES = tuple(words("secrets", "key_names"))
_VENDORS, _PAIRS, _HARMLESS = (words("secrets", name) for name in ("vendors", "vendor_pairs", "harmless"))


def find_blocks(text: str) -> Iterator[Span]:
    """Key blocks, by position: a block that was cut off is masked to the end of the text."""
    done = 0
    while (start := _RE.block_start.search(text, done)) is not None:
        end = _RE.block_end.search(text, start.end())
        done = end.end() if end else len(text)
        if end is None and text.endswith(('"', '"}', '"]')):
            done = max(text.rindex('"'), start.end())
        yield start.start(), done, SECRET


def find_url_users(text: str) -> Iterator[Span]:
    """User and password in addresses of any scheme: `postgresql://me:secret@host`, `jdbc:oracle:thin:me/secret@`."""
    for match in _RE.url_user.finditer(text):
        if BLANK not in match.group(1):
            yield *match.span(1), SECRET


def find_commands(text: str) -> list[Span]:
    """Passwords on a command line, and of Oracle's thin driver."""
    found: list[Span] = []
    for hints, pattern in _COMMANDS:
        if any(map(text.__contains__, hints)):
            found += ((*match.span(1), SECRET) for match in pattern.finditer(text))
    return sorted(found)


def find_tokens(text: str, runs: list[tuple[int, int]]) -> Iterator[Span]:
    """Within long runs: packed data, tokens that name themselves, web tokens, keys beside the name of a service."""
    done = 0
    for start, end in runs:
        if start < done:
            continue
        plain = _RE.plain_run.fullmatch(text, start, end)
        if plain is not None and not plain.group(1):
            continue
        found = blob_in(text, start, end) if end - start >= 60 else []
        if not found and plain is None:
            found = _tokens_in(text, start, end)
        if not found and end - start < _LONGEST_KEY and _RE.operator.search(text, max(0, start - 6), end) is not None:
            found = _vendor_keys(text, start, end)
        if not found and plain is None and end - start >= 20:
            found = _packed_text(text, start, end)
        for span in sorted(found):
            if span[0] >= done:
                yield span
                done = span[1]


def technical_in(text: str, runs: list[tuple[int, int]]) -> list[Span]:
    """What stays in the text and is to be overlooked."""
    return [(*match.span(), "") for start, end in runs for match in _RE.technical.finditer(text, start, end)]


def _tokens_in(text: str, start: int, end: int) -> list[Span]:
    patterns = [SHAPED]
    if end - start >= _SHORTEST_INNER:
        patterns += [pattern for hint, pattern in INNER if text.find(hint, start, end) >= 0]
    if text.find("eyJ", start, end) >= 0:
        patterns.append(_RE.jwt)
    if end - start > 40 and not text[start:end].islower():
        patterns.append(FOLDED)
    found = sorted((*match.span(), SECRET) for pattern in patterns for match in pattern.finditer(text, start, end))
    # an address that is a secret is masked with its `https://`
    return [(a - 8 if text.startswith("https://", a - 8) and a > 7 else a, b, token) for a, b, token in found]


def _packed_text(text: str, start: int, end: int) -> list[Span]:
    """Short base64 that holds readable text."""
    found = []
    at = start
    for part in _RE.no_base64.split(text[start:end]):
        at = text.index(part, at)
        if len(part) >= 20 and (mask := holds_text(part)):
            found.append((at, at + len(part), mask))
        at += len(part)
    return found


def _after_scheme(text: str, at: int) -> list[Span]:
    """What follows `Bearer`, `Basic`, `Token` in a header."""
    match = _RE.scheme.match(text, at)
    return [] if match is None else [(*match.span(1), SECRET)]


def _cookies(text: str, at: int) -> Iterator[Span]:
    """The value of every cookie of a `Cookie` or `Set-Cookie` header; attributes such as `Path` stay."""
    header = _RE.cookie.match(text, at)
    at = header.end() if header is not None else len(text)
    while (pair := _RE.pair.match(text, at)) is not None and pair.end() > at:
        name, value = pair.group(1).lower(), pair.group(2)
        if name not in _COOKIE_ATTRIBUTES:
            if value is None:
                return
            yield *pair.span(2), SECRET
        at = pair.end()
        if name == "expires":  # its date holds a comma and blanks
            at = max(at, text.find(";", at, at + 60) + 1)
        if text[at - 1 : at] != ";":
            return


def find_beside_words(sheet: Sheet) -> list[Span]:
    """Values beside words for a password, a secret, a cookie or a passport. Counts (`tokens: 1234`) stay."""
    text = sheet.text
    found: list[Span] = []
    done = 0
    tried: tuple[int, bool] = (0, False)
    for place in _WORDS.places(sheet.lower):
        word, end = place.group(), place.end()
        if end <= done:
            continue
        if word == "cookie":
            found += _cookies(text, end)
        elif word in PAPERS:
            found += paper_after(text, end, word)
        elif word in _SCHEMES:
            found += _after_scheme(text, end)
        elif end + _SHORT_TAIL > tried[0] or (word in _SECRETS) is not tried[1]:
            match = _RE.after_word.match(text, end - (word[-1] == "="))
            if match is not None:
                spans = _assigned(match, word)
                found += spans
                if not spans and "(" not in match.group():  # a part of a value that is no secret is none either
                    tried = (match.end(), word in _SECRETS)
        done = found[-1][1] if found else 0
    return found


def names_secret(lower: str) -> bool:
    """Whether any word stands there beside which a secret is looked for."""
    return _WORDS.stand_in(lower)


def _assigned(match: Match, word: str) -> list[Span]:
    span = _value(match)
    if span is None:
        return []
    if _RE.pseudonym.fullmatch(match.string[slice(*span)]) and match.string.endswith("user_key", 0, match.start()):
        return []  # what stands for a user in the canonical tables
    spoken = match.start("quote") < 0 and _is_spoken(match)
    if word in _COMMON and not _is_random(match.string[slice(*span)]) and _is_harmless_name(match, word):
        return []
    holds = _is_secret if word in _SECRETS else _is_password
    return [(*span, SECRET)] if holds(match.string[slice(*span)], spoken) else []


def _is_harmless_name(match: Match, word: str) -> bool:
    """`cache_key`, `sort key`, `author`: names that hold a word for secrets and are none."""
    text = match.string
    if word == "auth":
        return text[match.start() : match.start() + 2].lower() == "or"
    before = text[max(0, match.start() - 24) : match.start() - len(word)]
    return not before.lower().rstrip(" _.-").endswith(_KEY_NAMES)


def _is_random(value: str) -> bool:
    """Whether a value looks drawn by chance: long, with figures, and hexadecimal or of mixed letters."""
    digits = sum(map(str.isdigit, value))
    mixed = not value.islower() and not value.isupper()
    return len(value) >= 16 and digits > 2 and (mixed or _RE.hex.fullmatch(value) is not None)


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
    following = _RE.next_field.search(bare)
    if following is not None:
        end = start + following.start()
    while end > start and match.string[end - 1] in ".,;:?)":
        end -= 1
    return (start, end) if end - start >= 4 else None


def _is_password(value: str, spoken: bool) -> bool:
    if value.lower().rstrip(".!") in _PLAIN_WORDS or _RE.placeholder.fullmatch(value):
        return False
    return not spoken or not value.isalpha()


def _is_secret(value: str, spoken: bool) -> bool:
    digits = sum(map(str.isdigit, value))
    if _RE.placeholder.fullmatch(value) or " " in value:
        return False
    if len(value) >= 10 and digits and not _RE.number.fullmatch(value):
        return not spoken or digits > 1
    return len(value) >= 20 and value.isalnum() and not value.isdigit() and not spoken


def _vendor_keys(text: str, start: int, end: int) -> list[Span]:
    """`DATADOG_API: 3f…`: a long mixed value beside the name of a service whose keys carry no mark."""
    return [
        (*match.span(1), SECRET)
        for match in _RE.keylike.finditer(text, max(0, start - 6), min(len(text), end + 2))
        if (len(match[1]) >= 15 if match[1].isdigit() else not _RE.number.fullmatch(match[1]))
        and _names_vendor(text, match.start())
    ]


def _names_vendor(text: str, end: int) -> bool:
    name = _RE.name_reversed.match(text[max(0, end - 64) : end][::-1])
    if name is None:
        return False
    parts = [part.lower() for part in _RE.parts.findall(name.group(1)[::-1])]
    if not parts or parts[-1] in _HARMLESS or (parts[-1] == "id" and len(parts) > 1 and parts[-2] in _HARMLESS):
        return False
    return not _VENDORS.isdisjoint(parts) or any(a + b in _VENDORS or a + b in _PAIRS for a, b in pairwise(parts))
