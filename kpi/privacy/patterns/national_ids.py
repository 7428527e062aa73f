"""National identifiers in text: by their written form and check digits, or by a word beside them; passports by a word.

A bare run of digits with one check digit is right by chance once in ten: it is masked only where a word names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kpi.privacy.patterns import check_digits
from kpi.privacy.patterns.masking import NATIONAL_ID, PASSPORT, SSN, Span, ends, starts

_Check = Callable[[str], bool]

# Written forms, 9 for a digit: as printed on the papers. Hyphens of the form must be there.
_FORMS: dict[str, tuple[_Check, ...]] = {
    "999.999.999-99": (check_digits.cpf,),
    "999999999-99": (check_digits.cpf,),
    "99.999.999/9999-99": (check_digits.cnpj,),
    "99999999/9999-99": (check_digits.cnpj,),
    "99.99.99-999.99": (check_digits.national_register,),
    "999.9999.9999.99": (check_digits.ahv,),
    "999 9999 9999 99": (check_digits.ahv,),
    "9999999999999": (check_digits.ahv, check_digits.south_african),
    "999999-9999": (check_digits.personnummer, check_digits.cpr, check_digits.hetu),
    "99999999-9999": (check_digits.personnummer,),
    "999999/9999": (check_digits.rodne_cislo,),
    "999999/999": (check_digits.rodne_cislo,),
    "999-999-999 99": (check_digits.snils,),
    "999-999-999-99": (check_digits.snils,),
    "99-99999999-9": (check_digits.cuit,),
    "99.999.999-9": (check_digits.rut,),
    "9.999.999-9": (check_digits.rut,),
    "9999 9999 9999": (check_digits.verhoeff,),
    "999999-9999999": (check_digits.born,),
    "999999-99-9999": (check_digits.born,),
    "9-9999-99999-99-9": (check_digits.thai,),
    "9 9999 99999 99 9": (check_digits.thai,),
    "99999-9999999-9": (check_digits.always,),
    "9 99 99 99 999 999 99": (check_digits.nir,),
    "999999999999999": (check_digits.nir,),
    "999999 99999": (check_digits.fodselsnummer,),
    "99999999999": (check_digits.fodselsnummer,),
    "999999999999999999": (check_digits.resident,),
}
_NINES = str.maketrans("0123456789", "9999999999")
_GAPS = str.maketrans("", "", " .-/")
_NO_LEADING = frozenset("01")  # of Aadhaar
WEAK = frozenset([14])  # lengths of forms that rows of numbers have as well: Aadhaar, South Korea

# Forms with letters. Capital letters, but for those that name no word of prose.
_LETTERED: tuple[tuple[str, _Check], ...] = (
    (r"[0-9]{8}-?[A-HJ-NP-TV-Z]", check_digits.dni),
    (r"[XYZ]-?[0-9]{7}-?[A-HJ-NP-TV-Z]", check_digits.dni),
    (
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]",
        check_digits.always,
    ),
    (r"[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]", check_digits.always),
    (r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][0-9A-Z]Z[0-9A-Z]", check_digits.gstin),
    (r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", check_digits.codice_fiscale),
    (r"[0-9]{17}[Xx]", check_digits.resident),
    (r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", check_digits.hetu),
    (r"[0-9]{1,2}\.?[0-9]{3}\.?[0-9]{3}-[Kk]", check_digits.rut),
    (r"[A-Z]{4}[0-9]{6}[HM][A-Z]{5}[0-9A-Z][0-9]", check_digits.curp),
    (r"[STFGM][0-9]{7}[A-Z]", check_digits.nric),
    (r"[A-Z]{1,2}[0-9]{6} ?\([0-9A]\)", check_digits.hong_kong),
    (r"[A-Z][12][0-9]{8}", check_digits.taiwan),
    (r"[12] ?[0-9]{2} ?[0-9]{2} ?2[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", check_digits.nir),
)
_LETTERED_PATTERNS = tuple((re.compile(pattern), check) for pattern, check in _LETTERED)
# Where such a form may begin: after no letter or digit, capitals before a digit, or digits before a letter.
_MIXED = re.compile(
    r"[A-Z](?<![0-9A-Za-z_][A-Z])(?=[A-Z]{0,5}[ -]?[0-9])"
    r"|[0-9](?<![0-9A-Za-z_][0-9])(?=[0-9.+-]{5,18}[A-Za-z]|[0-9][A-Z]{5}[0-9]|[0-9 ]{5,8}[AB])"
)

# Words beside which an identifier may have letters; those of digits alone are found by `numbers`.
_PASSPORTS = (
    "passport",
    "sepass",
    "passeport",
    "pasaporte",
    "passaporto",
    "passaporte",
    "paspoort",
    "paszport",
    "pasaport",
    "паспорт",
    "护照",
    "護照",
    "パスポート",
    "旅券",
    "여권",
    "पासपोर्ट",
    "جواز",
    "διαβατηρίου",
    "passnummer",
    "passinumero",
)
_OTHERS = (
    "personalausweis", "ausweisnummer", "carte d'identité", "carta d'identità",
    "steuer-id", "codice fiscale",
)  # fmt: skip
PAPERS = dict.fromkeys(_PASSPORTS, PASSPORT) | dict.fromkeys(_OTHERS, NATIONAL_ID)
_LABELLED = re.compile(
    r"[^\W\d]{0,12}(?:[\s\"'=:#(,\\.]|\b(?:no|nr|number|numbers|número|numero|numéro|nummer|numer|номер|is|ist|est|es|é|è|id|card|"
    r"was|my|серия|the|mon|mi)\b|号码?|號碼?|番号|[是为為は：№º°]|n°){0,14}"
    r"([A-Za-z]{0,3}[0-9](?:[ \-]?[0-9A-Z]){5,18})"
)
_SSN = re.compile(r"(?!000|666)\d\d\d([- .])(?!00)\d{2}\1(?!0000)\d{4}")
_DATE = re.compile(r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)")


def paper_after(text: str, at: int, word: str) -> list[Span]:
    """The number of a passport or another paper, with letters or without, after the word for it."""
    match = _LABELLED.match(text, at)
    if match is None or not _is_paper(text, *match.span(1)):
        return []
    return [(*match.span(1), PAPERS[word])]


_FIVE = re.compile(r"(?:[0-9][^0-9]*){5}")


def _is_paper(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return bool(
        not _DATE.match(value)
        and ends(text, end)
        and starts(text, start, frozenset("@/"))
        and len(value) < 24
        and _FIVE.search(value)
    )


def lettered_in(text: str, start: int, end: int) -> list[Span]:
    """Identifiers with letters in them, among characters that stand close together."""
    found = []
    for near in _MIXED.finditer(text, start, end):
        first = near.start()
        if not starts(text, first):
            continue
        for pattern, check in _LETTERED_PATTERNS:
            match = pattern.match(text, first)
            if (
                match is not None
                and ends(text, match.end())
                and check(re.sub(r"[ .()]|(?<![0-9]{6})-", "", match.group()))
            ):
                found.append((first, match.end(), NATIONAL_ID))
                break
    return found


def identity_in(text: str, start: int, end: int) -> Span | None:
    """A national identifier that a run of digits and separators is, by form and check digits."""
    run = text[start:end]
    checkers = _FORMS.get(run.translate(_NINES))
    if checkers is not None:
        digits = run.translate(_GAPS)
        if any(
            check(digits) and not (check is check_digits.verhoeff and digits[0] in _NO_LEADING) for check in checkers
        ):
            return start, end, NATIONAL_ID
    if len(run) == 11 and _SSN.fullmatch(run):
        return start, end, SSN
    return None
