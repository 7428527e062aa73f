"""Words beside a number that say what it is, in the languages that people use, out of `patterns.toml`."""

from __future__ import annotations

import re

from kpi.privacy.patterns import DATA

A_PHONE, AN_SSN, IDENTITY, A_PASSPORT, TECHNICAL = "phone", "ssn", "identity", "passport", "technical"

_DATA = DATA["words_nearby"]
_KIND: dict[str, str] = {word: kind for kind, words in reversed(_DATA["kinds"].items()) for word in words.split()}
_PAIRS: dict[tuple[str, ...], str] = {
    tuple(pair.split()): kind for kind, pairs in _DATA["pairs"].items() for pair in pairs
}
_PROSE = frozenset(["sin", "nie", "nip", "tin", "nik", "taj", "nir", "pan", "rfc"])  # identifiers only in capitals
_SECOND = frozenset(second for _, second in _PAIRS)
_UNSPACED = re.compile(
    r"(?P<identity>身份证|身分證|身份證|マイナンバー|個人番号|주민등록번호|รหัสประชาชน|מספר זהות|תעודת זהות|رقم الهوية)|"
    r"(?P<passport>护照|護照|パスポート|旅券|여권|पासपोर्ट|جواز)|(?P<technical>订单|訂單|注文|주문|编号|編號)|"
    r"(?P<phone>电话|手机|號碼|号码|電話|携帯|전화|번호|휴대폰|연락처|联系|聯絡|连絡|連絡|โทร|เบอร์|打给|微信)"
)
_WORD = re.compile(r"[^\W\d_]+")
_BEFORE = 48
_AFTER = re.compile(
    r" ?[-–]? ?[(,]? ?(?:office|fax|mobile|phone|cell|home phone|whatsapp|work|mobil|handy|móvil|portable)\b"
)


def kind_before(text: str, lower: str, start: int) -> str | None:
    """What the words before a number say it is; the nearest word that says anything decides."""
    near = lower[max(0, start - _BEFORE) : start]
    if not near.isascii() and (found := list(_UNSPACED.finditer(near))):
        return found[-1].lastgroup
    words = _WORD.findall(near)[-7:]
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if at and word in _SECOND and (kind := _PAIRS.get((words[at - 1], word))):
            return kind
        kind = _KIND.get(word)
        if kind is not None:
            return _KIND.get(words[at - 1], kind) if at and word in _VAGUE else kind
        if word in _PROSE and word.upper() in text[max(0, start - _BEFORE) : start]:
            return IDENTITY
    return None


# A phone where nothing else is said: what stands before them decides.
_VAGUE = frozenset(["number", "numbers", "numero", "número", "numéro", "nummer", "номер", "line"])


def phone_after(lower: str, end: int) -> bool:
    """Whether a label such as `(mobile)` or `office` follows."""
    return _AFTER.match(lower, end) is not None
