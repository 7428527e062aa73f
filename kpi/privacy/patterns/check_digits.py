"""Check digits and dates inside national identifiers. Each function takes the identifier without separators.

Sources: the issuing authorities' published rules (Receita Federal, BOE, HMRC and NHS data dictionary, UIDAI, GB
11643-1999, Agenzia delle Entrate, Skatteverket, PESEL act and others); weights are facts of those rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from kpi.privacy.patterns.payment_numbers import luhn

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def weighed(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def day_of(month: str, day: str) -> bool:
    """Whether a month and a day exist."""
    return 1 <= int(month) <= 12 and 1 <= int(day) <= _DAYS[int(month) - 1]


def _varied(digits: str) -> bool:
    return len(set(digits)) > 1


def _mod11(rest: int) -> int:
    """The Brazilian way: 10 and 11 become 0."""
    return 0 if rest % 11 < 2 else 11 - rest % 11


def cpf(n: str) -> bool:
    first = _mod11(weighed(n[:9], range(10, 1, -1)))
    return _varied(n) and n[9:] == f"{first}{_mod11(weighed(n[:9] + str(first), range(11, 1, -1)))}"


def cnpj(n: str) -> bool:
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    first = _mod11(weighed(n[:12], weights[1:]))
    return _varied(n) and n[12:] == f"{first}{_mod11(weighed(n[:12] + str(first), weights))}"


def dni(n: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23."""
    number = {"X": "0", "Y": "1", "Z": "2"}.get(n[0], n[0]) + n[1:-1]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == n[-1].upper()


def nhs(n: str) -> bool:
    return (11 - weighed(n, range(10, 1, -1)) % 11) % 11 == int(n[9])


_D5 = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043",
       "8765932104", "9876543210")  # fmt: skip
_P8 = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def verhoeff(n: str) -> bool:
    """Aadhaar (dihedral group of order ten)."""
    check = 0
    for place, digit in enumerate(reversed(n)):
        check = int(_D5[check][int(_P8[place % 8][int(digit)])])
    return check == 0 and _varied(n)


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12,
                 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def codice_fiscale(n: str) -> bool:
    n = n.upper()
    even = sum(int(c) if c.isdigit() else ord(c) - 65 for c in n[1:15:2])
    return chr((sum(_ODD[c] for c in n[:15:2]) + even) % 26 + 65) == n[15]


def resident(n: str) -> bool:
    """Chinese resident identity, 18 characters: date and ISO 7064 mod 11-2."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return (
        n[6:8] in ("18", "19", "20")
        and day_of(n[10:12], n[12:14])
        and "10X98765432"[weighed(n, weights) % 11] == n[17].upper()
    )


def bsn(n: str) -> bool:
    return (weighed(n[:8], range(9, 1, -1)) - int(n[8])) % 11 == 0 and _varied(n)


def pesel(n: str) -> bool:
    return weighed(n, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0 and day_of(str(int(n[2:4]) % 20), n[4:6])


def personnummer(n: str) -> bool:
    n = n[-10:]
    return day_of(n[2:4], str(int(n[4:6]) % 60)) and luhn(n)


def fodselsnummer(n: str) -> bool:
    weights = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)
    return all(weighed(n, w) % 11 == 0 for w in weights) and day_of(str(int(n[2:4]) % 40), str(int(n[:2]) % 40))


def cpr(n: str) -> bool:
    """Danish; numbers given since 2007 may fail its check and need a word beside them."""
    return day_of(n[2:4], n[:2]) and weighed(n, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def hetu(n: str) -> bool:
    digits = n[:6] + n[-4:-1]
    return day_of(n[2:4], n[:2]) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == n[-1].upper()


def rodne_cislo(n: str) -> bool:
    return day_of(str(int(n[2:4]) % 50 % 20), n[4:6]) and (len(n) == 9 or int(n) % 11 == 0 or int(n[:9]) % 11 == 10)


def national_register(n: str) -> bool:
    """Belgian: 97 less the remainder, births from 2000 on with a 2 before."""
    return int(n[9:]) in (97 - int(n[:9]) % 97, 97 - int("2" + n[:9]) % 97)


def nir(n: str) -> bool:
    """French social security, with key; Corsica's departments 2A and 2B."""
    number = n[:13].upper().replace("2A", "19").replace("2B", "18")
    return n[0] in "12" and int(n[3:5]) in range(1, 43) and number.isdigit() and 97 - int(number) % 97 == int(n[13:])


def ahv(n: str) -> bool:
    """Swiss: an EAN-13 number of the country 756."""
    return n.startswith("756") and (weighed(n, (1, 3) * 6) + int(n[12])) % 10 == 0


def snils(n: str) -> bool:
    return weighed(n[:9], range(9, 0, -1)) % 101 % 100 == int(n[9:])


def cuit(n: str) -> bool:
    rest = weighed(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return n[:2] in ("20", "23", "24", "25", "26", "27", "30", "33", "34") and {0: 0, 1: 9}.get(rest, 11 - rest) == int(
        n[10]
    )


def rut(n: str) -> bool:
    rest = 11 - sum(int(d) * (2 + i % 6) for i, d in enumerate(reversed(n[:-1]))) % 11
    return n[-1].upper() == {11: "0", 10: "K"}.get(rest, str(rest))


def curp(n: str) -> bool:
    letters = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(letters.index(c) * (18 - i) for i, c in enumerate(n[:17].upper()))
    return day_of(n[6:8], n[8:10]) and str(-total % 10) == n[17]


def born(n: str) -> bool:
    """A birth date, two digits of each of year, month, day, in front (South Korea, Malaysia)."""
    return day_of(n[2:4], n[4:6]) and (len(n) == 12 or n[6] in "12345678")


def nric(n: str) -> bool:
    """Singapore's NRIC and FIN."""
    first = n[0].upper()
    total = weighed(n[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(first, 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[
        first
    ]
    rest = 10 - total % 11 if first == "M" else total % 11
    return letters[rest] == n[8].upper()


def thai(n: str) -> bool:
    return (11 - weighed(n, range(13, 1, -1)) % 11) % 10 == int(n[12])


def south_african(n: str) -> bool:
    return day_of(n[2:4], n[4:6]) and n[10] in "012" and luhn(n)


def hong_kong(n: str) -> bool:
    letters = n[:-7].upper()
    values = ([36] if len(letters) == 1 else []) + [ord(c) - 55 for c in letters] + [int(d) for d in n[-7:-1]]
    check = (
        sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) + (10 if n[-1] in "Aa" else int(n[-1]))
    ) % 11
    return check == 0


def taiwan(n: str) -> bool:
    area = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(n[0].upper()) + 10
    return (area // 10 + area % 10 * 9 + weighed(n[1:9], range(8, 0, -1)) + int(n[9])) % 10 == 0


def gstin(n: str) -> bool:
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    total = 0
    for i, c in enumerate(n[:14].upper()):
        product = letters.index(c) * (1 + i % 2)
        total += product // 36 + product % 36
    return letters[-total % 36] == n[14].upper()


def cnp(n: str) -> bool:
    """Romania: sex and century, date, county, check modulo 11."""
    rest = weighed(n, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return n[0] != "0" and day_of(n[3:5], n[5:7]) and (1 if rest == 10 else rest) == int(n[12])


def always(_: str) -> bool:
    return True
