"""Numbers of accounts in text: payment cards, IBAN, US social security numbers. Their check digits must be right."""

from __future__ import annotations

import re

from kpi.privacy.patterns.masking import CARD, IBAN, SSN, Match, mask, starts

# A pattern whose first item is a single character class is searched several times faster than one that repeats it.
_CARD_GROUPED = re.compile(r"\d\d{3}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5})(?![\w]|[.-]\d)")
_CARD_PLAIN = re.compile(r"\d\d{11,18}(?!\w|\.\d)")
_CARD_WORDS = re.compile(
    r"(?i)card|credit|debit|visa|amex|american express|maestro|discover|diners|\bjcb\b|\bpan\b|\bcvv|\bcvc|payment|"
    r"\bpay\b|\bpaid\b|charge|billing|karte|carte|tarjeta|carta|cartão|\bcc\b|expir|bank|account|limit|transaction|purchase"
)
_CARD_NAMED = re.compile(r"(?i)credit|debit|\bcards?\b|\bcc\b")
_CARD_PREFIX = re.compile(
    r"4|5[0-8]|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)|6(?:011|4[4-9]|5|2|0|[37-9])|3[47]|35(?:2[89]|[3-8])|"
    r"1800|2131|30[0-5]|3[689]"
)
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice a digit, its own digits added


def luhn(digits: str) -> bool:
    """Whether the check digit of a payment card number is right (ISO/IEC 7812-1, annex B)."""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, doubled))) % 10 == 0


def _is_card(digits: str) -> bool:
    return 12 <= len(digits) <= 19 and digits.isascii() and luhn(digits)


def _card_grouped(match: Match) -> str:
    digits = re.sub(r"\D", "", match.group())
    return CARD if starts(match) and _CARD_PREFIX.match(digits) and _is_card(digits) else match.group()


def _card_plain(match: Match) -> str:
    """A bare run of digits is a card only near a word of payment: one random 16-digit id in forty passes Luhn."""
    if not (starts(match, frozenset()) and _is_card(match.group())):
        return match.group()
    text = match.string
    near = text[max(0, match.start() - 100) : match.start()] + " " + text[match.end() : match.end() + 60]
    words = _CARD_NAMED if _CARD_PREFIX.match(match.group()) is None else _CARD_WORDS
    return CARD if words.search(near) else match.group()


_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{1,4}){3,8}")
_IBAN_LENGTHS = {
    pair[:2]: int(pair[2:])
    for pair in [
        "AD24", "AE23", "AL28", "AT20", "AZ28", "BA20", "BE16", "BG22", "BH22", "BI27", "BR29", "BY28", "CH21", "CR22",
        "CY28", "CZ24", "DE22", "DJ27", "DK18", "DO28", "EE20", "EG29", "ES24", "FI18", "FK18", "FO18", "FR27", "GB22",
        "GE22", "GI23", "GL18", "GR27", "GT28", "HN28", "HR21", "HU28", "IE22", "IL23", "IQ23", "IS26", "IT27", "JO30",
        "KW30", "KZ20", "LB28", "LC32", "LI21", "LT20", "LU20", "LV21", "LY25", "MC27", "MD24", "ME22", "MK19", "MN20",
        "MR27", "MT31", "MU30", "NI28", "NL18", "NO15", "OM23", "PK24", "PL28", "PS29", "PT25", "QA29", "RO24", "RS22",
        "RU33", "SA24", "SC31", "SD18", "SE24", "SI19", "SK24", "SM27", "SO23", "ST25", "SV28", "TL23", "TN24", "TR26",
        "UA29", "VA22", "VG24", "XK20", "YE30",
    ]
}  # fmt: skip


def _iban(match: Match) -> str:
    """Masks exactly the length that the country prescribes, where its check digits (mod 97) are right."""
    found = match.group()
    length = _IBAN_LENGTHS.get(found[:2].upper())
    if length is None or not starts(match, frozenset()):
        return found
    end = seen = 0
    while end < len(found) and seen < length:
        seen += found[end] != " "
        end += 1
    if seen != length or (end < len(found) and found[end] != " "):
        return found
    if end == len(found) and match.end() < len(match.string) and match.string[match.end()].isalnum():
        return found
    account = found[:end].replace(" ", "").upper()
    number = "".join(str(int(c, 36)) for c in account[4:] + account[:4])
    return IBAN + found[end:] if int(number) % 97 == 1 else found


_SSN = re.compile(r"\d\d\d([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w]|[-.]\d)")


def _ssn(match: Match) -> str:
    found = match.group()
    return SSN if starts(match) and not found.startswith(("000", "666")) else found


_IBAN_HINT = re.compile(r"\d\d ?[A-Za-z0-9]{4} ?[A-Za-z0-9]{4} ?[A-Za-z0-9]{3}|\d\d(?: ?[A-Za-z0-9]){11}")


def mask_ibans(text: str) -> str:
    """Account numbers of banks. The text should hold a digit: nothing else is looked for first."""
    hint = _IBAN_HINT.search(text)
    return text if hint is None else mask(_IBAN, _iban, text, max(0, hint.start() - 2))


def mask_cards(text: str, start: int = 0) -> str:
    """Payment cards and social security numbers that begin at `start` or later."""
    text = mask(_CARD_GROUPED, _card_grouped, text, start)
    text = mask(_CARD_PLAIN, _card_plain, text, start)
    return mask(_SSN, _ssn, text, start)
