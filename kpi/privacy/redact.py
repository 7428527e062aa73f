"""Masking of structured identifiers in text: e-mail, card, IBAN, national and machine ids, phone number, secrets.

It does not find names, streets or organisations, and must not be described as if it did. Every pattern is bounded,
so that the time is linear in the length of the text, whatever an attacker writes. Technical text (timestamps, ids,
versions, hashes) stays readable: a shape that is ambiguous is masked only where its neighbourhood says what it is.
"""

import re

import orjson

from kpi.privacy.patterns import secrets
from kpi.privacy.patterns.blobs import find_blobs
from kpi.privacy.patterns.email_and_ip import find_colons, find_emails, find_hyphened, has_colons
from kpi.privacy.patterns.masking import SECRET, TOKENS, Sheet, Span, token_runs
from kpi.privacy.patterns.normal_form import Reading, is_plain
from kpi.privacy.patterns.numbers import Neighbourhood, find_numbers, holds_numbers

__all__ = ["TOKENS", "redact"]

MAX_DEPTH = 100  # of JSON inside text, and of JSON inside JSON strings
_PASSES = 8  # a mask can uncover another one; texts settle after one or two passes
_DIGIT = re.compile(r"[0-9]")
_SIGNED = re.compile(r"[0-9=:>@#$%^&*+~|!_：-]")  # no identifier and no secret but a single word does without
_SHORT = 400  # characters of a text that is looked over for further finds before the whole pass is made again
_LONG = 2_000  # characters of a text of which only the neighbourhoods of masks are looked at again
_NEXT = 64  # characters beside a mask in which anything new would begin or end
_AROUND, _MARGIN = 250, 110  # characters beside a mask that are looked at, and of these, for the sake of the others


def redact(text: str) -> str:
    """The text with structured identifiers replaced by `TOKENS` such as `[EMAIL]`.

    Idempotent; linear in the length of the text. Text that is JSON stays JSON: a masked number becomes a string.
    """
    return _json(text, 0) if text[:1] == '"' or text[:64].lstrip()[:1] in ("{", "[") else _plain(text)


def _plain(text: str) -> str:
    seen: set[Neighbourhood] | None = set() if len(text) > _LONG else None
    masked, places = _replaced(text, _found(text, seen))
    for _ in range(_PASSES):
        if not places or _is_settled(masked):
            break
        masked, places = _replaced(masked, _found_near(masked, places, seen))
    return masked


def _is_settled(text: str) -> bool:
    """Whether a cheap look at a short text with masks shows that nothing else can be in it."""
    if len(text) > _SHORT or "%" in text or "&" in text or "://" in text or "-----" in text or has_colons(text):
        return False
    sheet = Sheet(text)
    return not (
        "@" in sheet.text or "\\" in sheet.text or " -" in sheet.text or holds_numbers(sheet.text)
        or token_runs(sheet.text, secrets.SHORTEST) or secrets.names_secret(sheet.lower))  # fmt: skip


def _found(text: str, seen: set[Neighbourhood] | None) -> list[Span]:
    """One pass over the text as it reads: what is to be masked, placed in the text as it is written."""
    reading = None if is_plain(text) else Reading(text)
    read = text if reading is None else reading.text
    if _SIGNED.search(read) is None:
        return []
    sheet = Sheet(read)
    runs = token_runs(sheet.text, secrets.SHORTEST)
    _secrets(sheet, runs)
    _people(sheet, runs, seen)
    if not sheet.spans:
        return []
    if reading is None:
        return sorted(sheet.spans)
    return [(*reading.place(start, end), token) for start, end, token in sorted(sheet.spans)]


def _found_near(text: str, places: list[tuple[int, int]], seen: set[Neighbourhood] | None) -> list[Span]:
    """A further pass, where the masks of the last one stand: nothing else has new neighbours."""
    if len(text) <= _LONG:
        return _found(text, seen)
    found: list[Span] = []
    windows: list[list[int]] = []
    for start, end in places:
        if _is_settled(text[max(0, start - _NEXT) : end + _NEXT]):
            continue
        if windows and start - _AROUND <= windows[-1][1]:
            windows[-1][1] = end + _AROUND
        else:
            windows.append([max(0, start - _AROUND), end + _AROUND])
    for first, last in windows:
        low, high = first + _MARGIN if first else 0, last - _MARGIN if last < len(text) else last
        spans = ((first + start, first + end, token) for start, end, token in _found(text[first:last], seen))
        found += [span for span in spans if span[0] >= low and span[1] <= high]
    return found


def _replaced(text: str, spans: list[Span]) -> tuple[str, list[tuple[int, int]]]:
    """The text with masks, and where they stand."""
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    done = length = 0
    for start, end, token in spans:
        if start >= done:
            parts += (text[done:start], token)
            length += start - done + len(token)
            places.append((length - len(token), length))
            done = end
    return ("".join(parts) + text[done:], places) if parts else (text, places)


def _secrets(sheet: Sheet, runs: list[tuple[int, int]]) -> None:
    """Each finder runs only where a cheap look says that it may find something."""
    text = sheet.text
    if "base64," in text or "BASE64," in text:
        sheet.take(find_blobs(text))
    if "-----" in text:
        sheet.take(secrets.find_blocks(sheet.text))
    if "://" in text:
        sheet.take(secrets.find_url_users(sheet.text))
    if " -" in text or "thin:" in text:
        sheet.take(secrets.find_commands(sheet.text))
    if runs:
        sheet.take(secrets.find_tokens(sheet.text, runs))
    if named := secrets.find_beside_words(sheet):
        sheet.take(named)


def _people(sheet: Sheet, runs: list[tuple[int, int]], seen: set[Neighbourhood] | None) -> None:
    if "@" in sheet.text:
        sheet.take(find_emails(sheet.text))
    text = sheet.text
    if has_colons(text):
        sheet.take(find_colons(text, sheet.lower))
    if _DIGIT.search(text) is not None:
        if cards := find_hyphened(text, sheet.lower):
            sheet.take(cards)
        if runs and (technical := secrets.technical_in(sheet.text, runs)):
            sheet.take(technical)
        sheet.take(find_numbers(sheet.text, sheet.lower, seen))


def _json(text: str, depth: int) -> str:
    """Masks a text that may be JSON. It is rewritten value by value only where replacing in place would break it."""
    masked = _plain(text)
    if masked == text and "\\" not in text:
        return text
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        return masked
    if "\\" not in text and _is_json(masked):
        return masked
    changed = _walk(value, "", depth)
    if changed == value:
        return text
    return orjson.dumps(changed).decode()


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _walk(value: object, key: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        return SECRET  # too deep to look at: nothing unseen passes
    if isinstance(value, dict):
        masked_keys = {k: _plain(k) for k in value}  # what stands beside a value when it is masked again
        return {masked_keys[k]: _walk(v, masked_keys[k], depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_walk(v, key, depth + 1) for v in value]
    if isinstance(value, str):
        if value[:1] in ("{", "[") and _is_json(value):
            return _json(value, depth + 1)
        return _with_key(value, key)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1_000_000:
        masked = _with_key(str(value), key)
        return value if masked == str(value) else masked
    return value


def _with_key(text: str, key: str) -> str:
    """Masks a value in the light of its key: `"phone": 2025550123`."""
    if not key or len(key) > 64:
        return _plain(text)
    before = f"{key}: "
    masked = _plain(before + text)
    return masked[len(before) :] if masked.startswith(before) else _plain(text)
