"""Masking of structured identifiers in text: e-mail, card, IBAN, US SSN, IP address, phone number, secrets.

It does not find names, streets or organisations, and must not be described as if it did. Every pattern is bounded,
so that the time is linear in the length of the text, whatever an attacker writes. Technical text (timestamps, ids,
versions, hashes) stays readable: a shape that is ambiguous is masked only where its neighbourhood says what it is.
"""

from __future__ import annotations

import re

import orjson

from kpi.privacy.patterns.email_and_ip import mask_emails, mask_machines
from kpi.privacy.patterns.masking import SECRET, TOKENS
from kpi.privacy.patterns.payment_numbers import mask_cards, mask_ibans
from kpi.privacy.patterns.phone_numbers import mask_phones
from kpi.privacy.patterns.secrets import mask_secrets, may_hold_secret

__all__ = ["TOKENS", "redact"]

MAX_DEPTH = 100  # of JSON inside text, and of JSON inside JSON strings
_PASSES = 8  # a mask can uncover another one; texts settle after one or two passes
_DIGIT = re.compile(r"\d")
_SEVEN_DIGITS = re.compile(r"\d(?:[ ().\-/]{0,2}\d){6}")


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
    """One pass. Each family of patterns runs only where a cheap look says that it may find something."""
    if may_hold_secret(text, text.lower()):
        text = mask_secrets(text)
    if "@" in text:
        text = mask_emails(text)
    digit = _DIGIT.search(text)
    if digit is None:
        return mask_machines(text) if "::" in text else text
    text = mask_machines(mask_ibans(text))
    number = _SEVEN_DIGITS.search(text)
    if number is None:
        return text
    return mask_phones(mask_cards(text, number.start()), number.start())


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
