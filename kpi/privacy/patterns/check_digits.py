"""Check digits and dates inside national identifiers: what `python-stdnum` does not know, or knows more narrowly.

Each function takes the identifier without separators. Sources: the issuing authorities' published rules; weights are
facts of those rules.
"""

from collections.abc import Sequence

from kpi.privacy.patterns.payment_numbers import luhn

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _weighed(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _day_of(month: str, day: str) -> bool:
    """Whether a month and a day exist."""
    return 1 <= int(month) <= 12 and 1 <= int(day) <= _DAYS[int(month) - 1]


def resident(n: str) -> bool:
    """Chinese resident identity, 18 characters: date and ISO 7064 mod 11-2; the library fails on some places."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    dated = n[6:8] in ("18", "19", "20") and _day_of(n[10:12], n[12:14])
    return dated and "10X98765432"[_weighed(n, weights) % 11] == n[17].upper()


def personnummer(n: str) -> bool:
    """Swedish, with the coordination numbers (day + 60) that the library refuses."""
    n = n[-10:]
    return _day_of(n[2:4], str(int(n[4:6]) % 60)) and luhn(n)


def cpr(n: str) -> bool:
    """Danish; numbers given since 2007 may fail its check and need a word beside them."""
    return _day_of(n[2:4], n[:2]) and _weighed(n, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def nir(n: str) -> bool:
    """French social security, with key; Corsica's departments 2A and 2B. The library takes any first digit."""
    number = n[:13].upper().replace("2A", "19").replace("2B", "18")
    return n[0] in "12" and int(n[3:5]) in range(1, 43) and number.isdigit() and 97 - int(number) % 97 == int(n[13:])


def snils(n: str) -> bool:
    return _weighed(n[:9], range(9, 0, -1)) % 101 % 100 == int(n[9:])


def cuit(n: str) -> bool:
    rest = _weighed(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    known = n[:2] in ("20", "23", "24", "25", "26", "27", "30", "33", "34")
    return known and {0: 0, 1: 9}.get(rest, 11 - rest) == int(n[10])


def born(n: str) -> bool:
    """A birth date, two digits of each of year, month, day, in front (South Korea, Malaysia)."""
    return _day_of(n[2:4], n[4:6]) and (len(n) == 12 or n[6] in "12345678")


def nric(n: str) -> bool:
    """Singapore's NRIC and FIN."""
    first = n[0].upper()
    total = _weighed(n[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(first, 0)
    rest = 10 - total % 11 if first == "M" else total % 11
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(first, "XWUTRQPNMLK")
    return letters[rest] == n[8].upper()


def hong_kong(n: str) -> bool:
    letters = n[:-7].upper()
    values = ([36] if len(letters) == 1 else []) + [ord(c) - 55 for c in letters] + [int(d) for d in n[-7:-1]]
    check = 10 if n[-1] in "Aa" else int(n[-1])
    return (sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) + check) % 11 == 0


def taiwan(n: str) -> bool:
    area = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(n[0].upper()) + 10
    return (area // 10 + area % 10 * 9 + _weighed(n[1:9], range(8, 0, -1)) + int(n[9])) % 10 == 0
