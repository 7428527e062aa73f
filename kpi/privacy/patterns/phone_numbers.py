"""Phone numbers in text: by their shape, or by a word beside them that says what they are."""

from __future__ import annotations

import re

from kpi.privacy.patterns.masking import PHONE, Match, mask, starts

_PHONE_END = r"(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?(?![\w@]|[-./:]\d)"
_PHONE = re.compile(
    r"[+(0-9](?:"  # one class first: searched several times faster than alternatives
    r"(?<=\+)\d{1,3}(?:[ .\-]{0,2}\(?\d{1,5}\)?){2,6}"  # international
    r"|(?<=\()(?:\d{3}\) ?\d{3}[-.]\d{4}|0?\d{1,4}\) ?\d{3,4}[ \-]\d{3,4})"  # area code in brackets
    r"|(?<=0)\d{1,4}(?=([ .\-/]))(?:\1\d{2,8}){1,4}"  # trunk zero, one kind of separator
    r"|(?<=1)[ .\-](?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}"  # North American
    r"|(?<=[2-9])\d{2}[-.]\d{3}[-.]\d{4}"
    r")" + _PHONE_END
)
_PHONE_NEAR = re.compile(
    r"(?i)(?:\b(?:tele)?phone\b|\btel\b|\bmobile\b|\bcell(?:phone|ular)?\b|\bfax\b|\bdesk\b|\bwhatsapp\b|\bsms\b|\bhandy\b|"
    r"\btelefon\w*|\bt[ée]l[ée]phone\b|\btel[ée]fono\b|\bmóvil\b|\bdial\b|\bhotline\b|"
    r"\b_?(?:phone|mobile|tel)_?(?:number|no|nr)\b|"
    r"\bcall(?:ed|ing)? (?:me|us|him|her|them|back)\b|\bring me\b|\btext me\b|\breach (?:me|us|him|her|them)\b|"
    r"\bcontact (?:me|us|number|no)\b|\banswering at|\bmessages? to|\bregistered)"
    r"((?:[ \t\"'=:.,(\\]|\bat\b|\bon\b|\bis\b|\bnumber\b|\bno\b|\bnr\b|\bto\b|\bvia\b|\bunder\b|\bmy\b|"
    r"\boffice\b|\bn(?=\d)|\n){1,12})"
    r"(\(?\d(?:[ ().\-/]{0,2}\d){6,14})" + _PHONE_END
)
_LABEL_WORDS = re.compile(r"(?i) ?[-–]? ?[(,]? ?(?:office|fax|mobile|phone|cell|home phone)\b")
_PHONE_LABELLED = re.compile(r"\(?\d(?:[ ().\-]{0,2}\d){6,11}(?= ?[-–(,]? ?[a-zA-Z])")
_DATE = re.compile(r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)|(?:\d{1,3}\.){3}\d{1,3}\Z")
_DIGITS = re.compile(r"\d")
_NEAR_WORDS = (
    "phone", "tel", "mobile", "móvil", "cell", "fax", "desk", "whatsapp", "sms", "handy", "dial", "hotline", "tél",
    "call", "ring me", "text me", "reach", "contact", "answering at", "message", "registered",
)  # fmt: skip
_LABELS = ("office", "fax", "mobile", "phone", "cell")


def _phone(match: Match) -> str:
    found = match.group()
    digits = len(_DIGITS.findall(re.split(r"[x#e]", found)[0]))
    shortest = 8 if found.startswith(("+", "(")) else 9
    return PHONE if shortest <= digits <= 15 and starts(match) and not _DATE.match(found) else found


def _phone_near(match: Match) -> str:
    number = match.group(2)
    if _DATE.match(number) or (number.isdigit() and len(number) > 12):
        return match.group()
    kept = match.start(2) - match.start()
    return match.group()[:kept] + PHONE


def _phone_labelled(match: Match) -> str:
    found = match.group()
    if not _LABEL_WORDS.match(match.string, match.end()):
        return found
    return PHONE if starts(match) and not _DATE.match(found) else found


_NEAR_REACH = 120  # characters that a telling word and what follows it may take


def mask_phones(text: str, start: int = 0) -> str:
    """Phone numbers whose digits begin at `start` or later."""
    text = mask(_PHONE, _phone, text, max(0, start - 2))
    lower = text.lower()
    if _any(_NEAR_WORDS, lower):
        text = mask(_PHONE_NEAR, _phone_near, text, max(0, start - _NEAR_REACH))
    if _any(_LABELS, lower):
        text = mask(_PHONE_LABELLED, _phone_labelled, text, max(0, start - 1))
    return text


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(map(text.__contains__, words))  # a generator takes three times as long
