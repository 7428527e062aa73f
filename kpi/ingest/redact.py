"""Masking of structured identifiers in text: e-mail, card, IBAN, national and machine ids, phone number, secrets.

It does not find names, streets or organisations, and must not be described as if it did. Every pattern is bounded,
so that the time is linear in the length of the text, whatever an attacker writes. Technical text (timestamps, ids,
versions, hashes) stays readable: a shape that is ambiguous is masked only where its neighbourhood says what it is.
"""

from __future__ import annotations

import re

import orjson

from kpi.ingest.accounts import find_cards, find_ibans
from kpi.ingest.addresses import find_emails, find_ipv4, find_ipv6, find_macs
from kpi.ingest.blobs import LONGEST, find_blobs, find_runs
from kpi.ingest.credentials import (
    find_assigned, find_blocks, find_commands, find_cookies, find_schemes, find_tokens, find_url_users, find_vendor_keys,
)  # fmt: skip
from kpi.ingest.identities import find_labelled, find_lettered
from kpi.ingest.masks import SECRET, TOKENS, Sheet
from kpi.ingest.normal import Reading
from kpi.ingest.numbers import find_numbers

__all__ = ["TOKENS", "redact"]

MAX_DEPTH = 100  # of JSON inside text, and of JSON inside JSON strings
_PASSES = 8  # a mask can uncover another one; texts settle after one or two passes
_DIGIT = re.compile(r"[0-9]")
_SIX_DIGITS = re.compile(r"[0-9](?:[ ().\-/]{0,3}[0-9]){5}")
_LONG_RUN = re.compile(r"[^ ]{16}")  # of characters that may be a key


def redact(text: str) -> str:
    """The text with structured identifiers replaced by `TOKENS` such as `[EMAIL]`.

    Idempotent; linear in the length of the text. Text that is JSON stays JSON: a masked number becomes a string.
    """
    return _json(text, 0) if _may_be_json(text) else _plain(text)


def _plain(text: str) -> str:
    for _ in range(_PASSES):
        masked = _once(text)
        if masked == text:
            break
        text = masked
    return text


def _once(text: str) -> str:
    """One pass over the text as it reads; what was found there is replaced in the text as it is written."""
    reading = Reading(text)
    sheet = Sheet(reading.text)
    _secrets(sheet)
    _people(sheet)
    if not sheet.spans:
        return text
    parts: list[str] = []
    done = 0
    for first, last, token in sorted(sheet.spans):
        start, end = reading.place(first, last)
        if start >= done:
            parts += (text[done:start], token)
            done = end
    return "".join(parts) + text[done:]


def _secrets(sheet: Sheet) -> None:
    """Each finder runs only where a cheap look says that it may find something."""
    text = sheet.text
    long = _LONG_RUN.search(text) is not None
    if long and len(text) >= 24:
        if "base64," in text or "BASE64," in text:
            sheet.take(find_blobs(text))
        if len(text) >= LONGEST:
            sheet.take(find_runs(sheet.text))
        if "-----" in text:
            sheet.take(find_blocks(sheet.text))
    if "://" in sheet.text:
        sheet.take(find_url_users(sheet.text))
    if " -" in sheet.text or "thin:" in sheet.text:
        sheet.take(find_commands(sheet.text))
    if "ookie" in text or "OOKIE" in text:
        sheet.take(find_cookies(sheet.text, sheet.lower))
    if long:
        sheet.take(find_tokens(sheet.text))
        sheet.take(find_schemes(sheet.text))
    sheet.take(find_assigned(sheet.text, sheet.lower))
    if long:
        sheet.take(find_vendor_keys(sheet.text))


def _people(sheet: Sheet) -> None:
    if "@" in sheet.text:
        sheet.take(find_emails(sheet.text))
    text = sheet.text
    if text.count(":") > 1:
        sheet.take(find_ipv6(text))
    if _DIGIT.search(sheet.text) is None:
        return
    sheet.take(find_ibans(sheet.text))
    sheet.take(find_ipv4(sheet.text))
    number = _SIX_DIGITS.search(sheet.text)
    if number is not None:
        sheet.take(find_cards(sheet.text, sheet.lower, number.start()))
    if text.count(":") > 4 or text.count("-") > 4 or text.count(".") > 1:
        sheet.take(find_macs(sheet.text, sheet.lower))
    if number is not None:
        sheet.take(find_labelled(sheet.text, sheet.lower))
        sheet.take(find_lettered(sheet.text))
        sheet.take(find_numbers(sheet.text, sheet.lower))


def _may_be_json(text: str) -> bool:
    return text[:1] in '{["' or text[:64].lstrip()[:1] in ("{", "[")


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
        return {_plain(k): _walk(v, k, depth + 1) for k, v in value.items()}
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
