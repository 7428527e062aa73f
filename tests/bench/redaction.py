"""Redaction on text that it was not tuned on: one table of class, n, masked share, false masks, and speed.

The generators are written apart from the recogniser: phone numbers by the `phonenumbers` library (valid numbers of 60
countries in the forms that it writes) and by everyday spellings; national identifiers with the check digits of
`python-stdnum`; tokens from published shapes; technical text of the kinds that fill logs and telemetry.

    python -m tests.bench.redaction [N]      N of each kind, 2,000 if not said
"""

from __future__ import annotations

import json
import random
import string
import sys
import time
import uuid
from collections.abc import Callable, Iterator

from kpi.privacy.redact import redact
from tests.bench import secret_shapes

EACH = 2_000  # texts of each technical shape

Case = tuple[str, list[str]]  # a text, and what must not be left in it
Maker = Callable[[random.Random], str]

_COUNTRIES = (
    "US GB FR DE ES IT PT NL BE CH AT IE DK NO SE FI PL CZ SK HU RO BG GR TR RU UA KZ IL SA AE EG MA ZA NG KE GH IN PK "
    "BD LK CN JP KR TW HK SG MY TH VN ID PH AU NZ BR AR MX CL CO PE VE EC UY"
)
COUNTRIES = _COUNTRIES.split()
SENTENCES = (
    "{}",
    "Bonjour, c'est le {}.",
    "Ich bin unter {} zu finden",
    "puedes escribirme al {} mañana",
    "и вот {}",
    "你好 {} 谢谢",
)

# X: any digit, N: 1 to 9; as people of the country write their numbers.
EVERYDAY = {
    "FR": ["06 XX XX XX XX", "06XXXXXXXX", "07.XX.XX.XX.XX", "01-XX-XX-XX-XX", "+33 6 XX XX XX XX",
           "+33 (0)6 XX XX XX XX"],
    "ES": ["6NX XXX XXX", "6NXXXXXXX", "6NX XX XX XX", "+34 6NX XXX XXX"],
    "IT": ["34X XXX XXXX", "34X XXXXXXX", "34XXXXXXXX", "06 XXXX XXXX", "+39 34X XXX XXXX"],
    "PT": ["91X XXX XXX", "+351 91X XXX XXX"],
    "BR": ["(11) 9XXXX-XXXX", "11 9XXXX-XXXX", "(21) 2XXX-XXXX", "+55 11 9XXXX-XXXX", "(11) 9 XXXX-XXXX"],
    "IN": ["98XXX XXXXX", "98XXXXXXXX", "+91 98XXX XXXXX", "098XXX XXXXX", "+91-98XXXXXXXX"],
    "JP": ["090-XXXX-XXXX", "090XXXXXXXX", "03-XXXX-XXXX", "080 XXXX XXXX", "03(XXXX)XXXX", "+81 90-XXXX-XXXX"],
    "CN": ["138XXXXXXXX", "138 XXXX XXXX", "138-XXXX-XXXX", "+86 138 XXXX XXXX", "010-XXXXXXXX", "(010) XXXXXXXX"],
    "RU": ["8 (912) XXX-XX-XX", "8-912-XXX-XX-XX", "8912XXXXXXX", "+7 912 XXX-XX-XX", "+7 (912) XXX XX XX",
           "8 912 XXX XX XX"],
    "AR": ["11 4XXX-XXXX", "(011) 4XXX-XXXX", "11 15-4XXX-XXXX", "+54 9 11 4XXX-XXXX", "011 15-4XXX-XXXX"],
    "PL": ["512 XXX XXX", "512-XXX-XXX", "+48 512 XXX XXX", "22 NXX XX XX"],
    "SE": ["070-NXX XX XX", "0701-XX XX XX", "070 NXX XX XX", "08-NXX XXX XX", "+46 70 NXX XX XX"],
    "DE": ["0151 XXXXXXXX", "0151/XXXXXXXX", "030 XXXXXXXX", "030/XXX XXXX", "+49 151 XXXXXXXX",
           "+49 (0)30 XXXXXXX", "0151XXXXXXXX"],
    "GB": ["07NXX XXXXXX", "07NXX XXX XXX", "020 7XXX XXXX", "07NXXXXXXXX", "+44 7NXX XXXXXX", "(020) 7XXX XXXX"],
    "US": ["(602) 2XX-XXXX", "602-2XX-XXXX", "602.2XX.XXXX", "602 2XX XXXX", "+1 602 2XX XXXX", "1-602-2XX-XXXX"],
    "NL": ["06-XXXXXXXX", "06 XXXXXXXX", "06XXXXXXXX", "020-XXX XXXX", "+31 6 XXXXXXXX"],
    "TR": ["0532 XXX XX XX", "0532XXXXXXX", "0 (532) XXX XX XX", "+90 532 XXX XX XX"],
    "KR": ["010-XXXX-XXXX", "010 XXXX XXXX", "02-XXX-XXXX", "+82 10-XXXX-XXXX"],
    "AU": ["0412 XXX XXX", "04 1XXX XXXX", "(02) 9XXX XXXX", "+61 412 XXX XXX"],
    "MX": ["55 NXXX XXXX", "(55) NXXX XXXX", "+52 55 NXXX XXXX", "+52 1 55 NXXX XXXX"],
    "CH": ["079 XXX XX XX", "+41 79 XXX XX XX"],
    "DK": ["2X XX XX XX", "+45 2X XX XX XX"],
    "IL": ["052-XXX-XXXX", "052-XXXXXXX", "+972 52-XXX-XXXX"],
    "ID": ["0812-XXXX-XXXX", "0812 XXXX XXXX", "+62 812-XXXX-XXXX"],
    "NG": ["0803 XXX XXXX", "0803XXXXXXX", "+234 803 XXX XXXX"],
}  # fmt: skip


def filled(pattern: str, dice: random.Random) -> str:
    """A pattern with X and N filled in."""
    return "".join(
        dice.choice("0123456789") if c == "X" else dice.choice("123456789") if c == "N" else c for c in pattern
    )


def everyday_phones(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Everyday spellings; the country is the class."""
    for country, patterns in EVERYDAY.items():
        for pattern in patterns:
            for _ in range(each):
                number = filled(pattern, dice)
                yield f"{country} {pattern}", (dice.choice(SENTENCES).format(number), [number])


def library_phones(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Valid numbers of 60 countries in the library's national, international and E.164 form. Needs `phonenumbers`."""
    import phonenumbers as library

    forms = [
        library.PhoneNumberFormat.NATIONAL,
        library.PhoneNumberFormat.INTERNATIONAL,
        library.PhoneNumberFormat.E164,
    ]
    kinds = [library.PhoneNumberType.MOBILE, library.PhoneNumberType.FIXED_LINE]
    for country in COUNTRIES:
        for _ in range(each):
            example = library.example_number_for_type(country, dice.choice(kinds))
            number = str(example.national_number)
            for _ in range(200):
                cut = dice.randint(2, 6)
                drawn = library.PhoneNumber(
                    example.country_code, int(number[:-cut] + "".join(dice.choices(string.digits, k=cut))),
                    italian_leading_zero=example.italian_leading_zero,
                )  # fmt: skip
                if library.is_valid_number(drawn):
                    break
            written = library.format_number(drawn, dice.choice(forms))
            yield country, (dice.choice(SENTENCES).format(written), [written])


NETWORKS = {
    "Visa": ("4", (16, 13, 19)), "Mastercard": ("53", (16,)), "Mastercard 2": ("2300", (16,)), "Amex": ("37", (15,)),
    "Discover": ("6011", (16, 19)), "Diners": ("36", (14,)), "JCB": ("3530", (16,)),
    "UnionPay": ("622", (16, 17, 18, 19)),
    "Maestro": ("6759", (12, 13, 16, 18, 19)), "Maestro 50": ("5018", (12, 16)), "Mir": ("2200", (16,)),
    "RuPay": ("6521", (16,)), "RuPay 8": ("8172", (16,)), "Elo": ("636297", (16,)), "Troy": ("9792", (16,)),
    "Verve": ("506100", (16, 19)),
}  # fmt: skip
SEPARATORS = (" ", "-", "\u00a0", "\u2009", "\u202f", "\u2011", "\u2013", ".", "\n", "  ")
CARD_FRAMES = ("{}", "card {}", "please charge {} today", "meine Karte ist {}", "tarjeta {} por favor", "карта {}")


def luhn_digit(digits: str) -> str:
    """The check digit that completes a card number."""
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)


def cards(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Cards of every network and length, in groups; and bare beside a word."""
    for network, (prefix, lengths) in NETWORKS.items():
        for length in lengths:
            for _ in range(each):
                body = prefix + "".join(dice.choices(string.digits, k=length - len(prefix) - 1))
                digits = body + luhn_digit(body)
                separator = dice.choice((*SEPARATORS, ""))
                sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(length, (4,) * 5)
                parts, at = [], 0
                for size in sizes:
                    parts.append(digits[at : at + size])
                    at += size
                number = separator.join(part for part in parts if part)
                frames = CARD_FRAMES if separator else CARD_FRAMES[1:]
                yield f"{network} {length}", (dice.choice(frames).format(number), [number])


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) <= 0x7E else c for c in text)


def hidden(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Identifiers behind other characters: full-width, zero-width, percent and HTML codes, other scripts' digits."""
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    for _ in range(each):
        mail = f"{dice.choice(['jane', 'a.b', 'x_y'])}{dice.randint(1, 999)}@mail{dice.randint(1, 99)}.example.org"
        phone = filled("+33 6 XX XX XX XX", dice)
        card = "4" + filled("XXXXXXXXXXXXXX", dice)
        card += luhn_digit(card)
        card = " ".join(card[i : i + 4] for i in range(0, 16, 4))
        token = secret_shapes.draw("ghp_{an36}", dice)
        for name, change in (
            ("full width", full_width),
            ("zero width", lambda s: "\u200b".join(s)),
            ("percent", lambda s: "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in s)),
            ("html", lambda s: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in s)),
            ("json code", lambda s: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in s)),
        ):
            for value in (mail, phone, card, token):
                yield name, (f"see {change(value)} ok", [change(value)])
        yield "arabic digits", (f"see {phone.translate(arabic)} ok", [phone.translate(arabic)])


def identities(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """National identifiers whose check digits `python-stdnum` accepts. Needs that library."""
    from importlib import import_module

    shapes = {
        "br.cpf": ("XXX.XXX.XXX-XX", ""), "br.cnpj": ("XX.XXX.XXX/0001-XX", ""), "es.dni": ("XXXXXXXXL", ""),
        "es.nie": ("YXXXXXXXL", ""), "gb.nhs": ("XXX XXX XXXX", "NHS number "), "in_.aadhaar": ("NXXX XXXX XXXX", ""),
        "in_.pan": ("LLLPLXXXXL", ""), "be.nn": ("8X.0N.1X-XXX.XX", ""),
        "ch.ssn": ("756.XXXX.XXXX.XX", ""), "nl.bsn": ("XXXXXXXXX", "BSN "), "pl.pesel": ("8X0N1XXXXXX", "PESEL: "),
        "se.personnummer": ("8X0N1X-XXXX", ""), "no.fodselsnummer": ("1X0N8XXXXXX", ""),
        "dk.cpr": ("1X0N8X-XXXX", "CPR "),
        "fi.hetu": ("1X0N8X-XXXA", ""), "ca.sin": ("NXX-XXX-XXX", "SIN "), "au.tfn": ("XXX XXX XXX", "TFN "),
        "cl.rut": ("NX.XXX.XXX-X", ""), "ar.cuit": ("20-XXXXXXXX-X", ""), "cz.rc": ("8X0N1X/XXXX", ""),
        "za.idnr": ("8X0N1XXXXX08X", "ID number "), "tr.tckimlik": ("NXXXXXXXXXX", "TC kimlik no "),
        "th.pin": ("N-XXXX-XXXXX-XX-X", ""), "cn.ric": ("1101011980N11XXXXX", ""), "us.ssn": ("2XX-4X-XXXX", ""),
        "kr.rrn": ("8X0N1X-1XXXXXX", ""), "it.codicefiscale": ("LLLLLL8XA1XLXXXL", ""),
        "ro.cnp": ("18X0N1X40XXXX", "CNP "),
    }  # fmt: skip
    for name, (shape, label) in shapes.items():
        module = import_module(f"stdnum.{name}")
        for _ in range(each):
            number = next((n for _ in range(50_000) if module.is_valid(n := _drawn(shape, dice))), "")
            if number:
                yield name, (f"{label}{number} noted", [number])
    for _ in range(each):
        digits = filled("1XX45XXXX", dice)
        yield "ssn, no dashes", (f"my SSN is {digits}", [digits])
        passport = secret_shapes.draw(dice.choice(["{UP1}{digit8}", "{digit9}", "C{digit2}X{digit2}T{digit2}"]), dice)
        word = dice.choice(
            ["passport", "passport no.", "Reisepass", "passeport n°", "pasaporte", "паспорт", "护照号码"]
        )
        yield "passport", (f"{word} {passport}", [passport])
        card = ":".join(f"{dice.getrandbits(8):02x}" for _ in range(6))
        yield "mac, named", (f"device MAC {card}", [card])


def _drawn(shape: str, dice: random.Random) -> str:
    fills = {"L": string.ascii_uppercase, "Y": "XYZ", "A": "0123456789ABCDEFHJKLMNPRSTUVWXY"}
    return filled("".join(dice.choice(fills[c]) if c in fills and c != "X" else c for c in shape), dice)


def secrets(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Tokens that name themselves."""
    for name, shape in secret_shapes.rows(secret_shapes.NAMED).items():
        for _ in range(each):
            token, drawn = secret_shapes.drawn(shape, dice)
            frame = dice.choice(["{}", "use {} here", 'key = "{}"', "export X={}\n", '{{"v": "{}"}}'])
            yield name, (frame.format(token), [part for part in drawn if len(part) > 7])


def assigned(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Keys without a mark beside the name of their service."""
    for name, slot in secret_shapes.pairs():
        for _ in range(each):
            value = secret_shapes.draw(slot, dice)
            frame = dice.choice(["{}={}", "{}: {}", '"{}": "{}"', "{} = '{}'", "{} => '{}'"])
            yield name, (frame.format(name, value), [value])


PASSWORD_FRAMES = (
    "password={}", "password: {}", "my password is {}", "Passwort: {}", "das Kennwort lautet {}", "mot de passe : {}",
    "contraseña: {}", "la clave es {}", "senha: {}", "wachtwoord: {}", "hasło: {}", "пароль: {}",
    "密码：{}", "密码是{}",
    "パスワード: {}", "비밀번호: {}", "şifre: {}", "lösenord: {}", "salasana: {}", "parola: {}", '"password": "{}"',
    "DB_PASSWORD={}", "PGPASSWORD={} psql", "Server=db;Uid=sa;Pwd={};Database=x", "postgresql://me:{}@db/x",
    "amqp://u:{}@q:5672", "host=db user=me password={} dbname=x", "mysql -u root -p{} db", "curl -u me:{} https://x",
    "Cookie: session={}", "Set-Cookie: sid={}; Path=/; HttpOnly", "Cookie: theme=dark; token={}", "redis://:{}@cache:6379/0",
    "https://x.example/?user=me&password={}&x=1", "-H 'Cookie: sid={}'", "jdbc:mysql://h/db?user=me&password={}",
)  # fmt: skip


def passwords(dice: random.Random, each: int) -> Iterator[tuple[str, Case]]:
    """Passwords beside words of many languages, in headers, cookies and connection strings."""
    for frame in PASSWORD_FRAMES:
        for _ in range(each):
            value = dice.choice(["Tr0ub4dor&3", "hunter2!x", "P4ssw0rd#7", "s3cr3t_Value9", "q1w2e3r4t5$", "x9!kL2m"])
            if "://" in frame or "Cookie" in frame or "?" in frame:
                value = value.replace("#", "").replace("&", "")
            yield frame, (frame.format(value), [value, value[:-2]])


def _clock(dice: random.Random) -> str:
    return f"{dice.randint(0, 23):02}:{dice.randint(0, 59):02}:{dice.randint(0, 59):02}"


def _day(dice: random.Random, sign: str = "-") -> str:
    return sign.join([str(dice.randint(1990, 2035)), f"{dice.randint(1, 12):02}", f"{dice.randint(1, 28):02}"])


def _isbn(dice: random.Random) -> str:
    body = "978" + filled("XXXXXXXXX", dice)
    body += str(-sum(int(d) * (1 + 2 * (i % 2)) for i, d in enumerate(body)) % 10)
    return dice.choice(
        [body, f"ISBN {body}", f"978-{body[3]}-{body[4:6]}-{body[6:12]}-{body[12]}", f"ISBN 0{body[4:12]}X"]
    )


def _log(dice: random.Random) -> str:
    return dice.choice([
        f"{_day(dice)} {_clock(dice)},{dice.randint(0, 999):03} INFO [worker-{dice.randint(1, 99)}] "
        f"job {dice.randint(1, 10**9)} done in {dice.randint(1, 10**5)} ms",
        f"[{_clock(dice)}.{dice.randint(0, 10**6)}] pid={dice.randint(100, 99999)} "
        f"rss={dice.randint(10**6, 10**10)} ok",
        f"E{_day(dice, '')[4:]} {_clock(dice)}.{dice.randint(0, 999999):06} {dice.randint(1, 10**7)} "
        f"server.go:{dice.randint(1, 999)}] x",
        f"GET /v1/items/{dice.randint(1, 10**9)}?page={dice.randint(1, 99)} 200 "
        f"{dice.randint(100, 10**7)} {dice.random():.6f}",
    ])  # fmt: skip


def _code(dice: random.Random) -> str:
    return dice.choice([
        f"x = numpy.zeros(({dice.randint(1, 9999)}, {dice.randint(1, 9999)}))",
        f"for i in range({dice.randint(10**6, 10**9)}):",
        f"const MASK = 0x{dice.getrandbits(32):08x};", f"#define SIZE {dice.randint(10**6, 10**9)}",
        f"token = tokenizer.encode(text)[{dice.randint(0, 9999)}]", f"key = row['key_{dice.randint(0, 9999)}']",
        f"self.assertEqual(len(tokens), {dice.randint(10**6, 10**8)})", "password = getpass.getpass()",
        "if token is None: raise KeyError(token)", "api_key = os.environ['API_KEY']",
    ])  # fmt: skip


TECHNICAL: dict[str, Maker] = {
    "timestamp": lambda d: f"{_day(d)} {_clock(d)}",
    "iso timestamp": lambda d: f"{_day(d)}T{_clock(d)}.{d.randint(0, 999_999):06}Z",
    "zoned timestamp": lambda d: f"{_day(d)}T{_clock(d)}+02:00",
    "compact timestamp": lambda d: f"{_day(d, '')}T{_clock(d).replace(':', '')}Z",
    "written date": lambda d: f"{d.randint(1, 28):02}/{d.randint(1, 12):02}/{d.randint(1990, 2035)} {_clock(d)[:5]}",
    "epoch s": lambda d: str(d.randint(15 * 10**8, 19 * 10**8)),
    "epoch s, parts": lambda d: f"{d.randint(15 * 10**8, 19 * 10**8)}.{d.randint(0, 999_999):06}",
    "epoch ms": lambda d: str(d.randint(15 * 10**11, 19 * 10**11)),
    "epoch us": lambda d: str(d.randint(15 * 10**14, 19 * 10**14)),
    "epoch ns": lambda d: str(d.randint(15 * 10**17, 19 * 10**17)),
    "order": lambda d: f"ORD-{d.randint(0, 10**8 - 1):08}",
    "order in words": lambda d: f"order {d.randint(10**8, 10**10)}",
    "ticket": lambda d: f"#{d.randint(10**5, 10**9)}",
    "four-part version": lambda d: ".".join(str(d.randint(0, 40)) for _ in range(4)),
    "version": lambda d: f"v{d.randint(0, 30)}.{d.randint(0, 400)}.{d.randint(0, 400)}",
    "browser": lambda d: f"Chrome/{d.randint(80, 140)}.0.{d.randint(1000, 9999)}.{d.randint(1, 255)}",
    "git url": lambda d: f"git@github.com:org{d.randint(1, 99)}/repo{d.randint(1, 999)}.git",
    "git https": lambda d: f"https://github.com/org{d.randint(1, 99)}/repo/commit/{d.getrandbits(160):040x}",
    "uuid": lambda d: str(uuid.UUID(int=d.getrandbits(128))),
    "16-digit id": lambda d: str(d.randint(10**15, 10**16 - 1)),
    "trace id": lambda d: f"{d.getrandbits(128):032x}",
    "span id": lambda d: f"{d.getrandbits(64):016x}",
    "sha1": lambda d: f"{d.getrandbits(160):040x}",
    "sha256": lambda d: f"sha256:{d.getrandbits(256):064x}",
    "sha512": lambda d: f"{d.getrandbits(512):0128x}",
    "ulid": lambda d: "01" + secret_shapes.draw("{UP24}", d),
    "float": lambda d: repr(d.random() * 10 ** d.randint(-5, 10)),
    "mac": lambda d: ":".join(f"{d.getrandbits(8):02x}" for _ in range(6)),
    "model": lambda d: f"gpt-4o-{_day(d)}",
    "traceparent": lambda d: f"00-{d.getrandbits(128):032x}-{d.getrandbits(64):016x}-01",
    "usage": lambda d: f'{{"prompt_tokens": {d.randint(1, 10**6)}, "total_tokens": {d.randint(1, 10**6)}}}',
    "coordinates": lambda d: f"{d.uniform(-90, 90):.6f}, {d.uniform(-180, 180):.6f}",
    "path": lambda d: (
        f"/var/log/app/{_day(d, '/')}/part-{d.randint(0, 99999):05}-{uuid.UUID(int=d.getrandbits(128))}.parquet"
    ),
    "windows path": lambda d: f"C:\\Users\\build\\2024\\{d.randint(10**6, 10**9)}\\out.txt",
    "log line": _log,
    "code": _code,
    "price": lambda d: d.choice(["${:,.2f}", "{:,.2f} EUR", "€ {:.2f}", "{:,} USD"]).format(d.randint(1, 10**7)),
    "table row": lambda d: d.choice([" ", "\t", " | ", ", "]).join(
        str(d.randint(0, 10 ** d.randint(1, 6))) for _ in range(8)
    ),
    "isbn": _isbn,
    "resolution": lambda d: f"{d.randint(1, 9999)}x{d.randint(1, 9999)} @ {d.randint(1, 240)} Hz",
    "hex dump": lambda d: " ".join(f"{d.getrandbits(16):04x}" for _ in range(8)),
    "cron": lambda d: f"{d.randint(0, 59)} {d.randint(0, 23)} * * {d.randint(0, 6)}",
    "docker": lambda d: f"registry.local:5000/team/app:{_day(d, '.')}-{d.getrandbits(28):07x}",
    "query": lambda d: (
        f"SELECT * FROM t WHERE id IN ({d.randint(10**6, 10**7)}, {d.randint(10**6, 10**7)}) LIMIT {d.randint(1, 999)}"
    ),
}
TECHNICAL_FRAMES = ("{}", "id {} done", "error at {} in worker", "request {}: ok")


def technical(dice: random.Random, shape: str, n: int) -> list[str]:
    """Texts of one technical shape; none holds an identifier."""
    return [TECHNICAL_FRAMES[i % 4].format(TECHNICAL[shape](dice)) for i in range(n)]


def is_left(case: Case) -> bool:
    """Whether anything that had to be masked is left."""
    text, values = case
    masked = redact(text)
    return any(value in masked for value in values)


def shares(cases: Iterator[tuple[str, Case]]) -> dict[str, tuple[int, int, str]]:
    """For each class: n, how many were masked, and one text that was not."""
    found: dict[str, tuple[int, int, str]] = {}
    for name, case in cases:
        n, masked, example = found.get(name, (0, 0, ""))
        left = is_left(case)
        found[name] = n + 1, masked + (not left), case[0] if left else example
    return found


FAMILIES: dict[str, Callable[[random.Random, int], Iterator[tuple[str, Case]]]] = {
    "phones, everyday spelling": everyday_phones,
    "phones, 60 countries": library_phones,
    "cards": cards,
    "national identifiers": identities,
    "tokens that name themselves": secrets,
    "keys beside a vendor's name": assigned,
    "passwords, cookies, DSN": passwords,
    "behind other characters": hidden,
}


def speed(text: str | list[str], rounds: int = 3) -> float:
    """Megabytes of UTF-8 a second of CPU time, the best of some rounds."""
    texts = [text] if isinstance(text, str) else text
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for one in texts:
            redact(one)
        best = min(best, time.process_time() - begin)
    return sum(len(one.encode()) for one in texts) / 1e6 / best


_PROSE = "the order was late and my friend asked about a refund so please send news to our office when it is ready"


def sentences(dice: random.Random, n: int) -> list[str]:
    """Prose of which one sentence in three holds an identifier or a number."""
    words = _PROSE.split()
    found = []
    for _ in range(n):
        said = " ".join(dice.choices(words, k=dice.randint(8, 20))).capitalize()
        extra = dice.choice(
            [
                "",
                "",
                "",
                "",
                " on 2026-11-02",
                " for 20 euros",
                " at jane@example.org",
                f" {filled('06 XX XX XX XX', dice)}",
            ]
        )
        found.append(f"{said}{extra}.")
    return found


def main(n: int = EACH) -> None:
    """Prints the table."""
    dice = random.Random(2026)
    print(f"{'class':36} {'n':>8} {'masked':>8}  weakest")
    for family, cases in FAMILIES.items():
        each = max(5, n // 40)
        found = shares(cases(dice, each))
        total, masked = sum(f[0] for f in found.values()), sum(f[1] for f in found.values())
        weak = sorted(((m / k, name, example) for name, (k, m, example) in found.items() if m < k))[:4]
        weakest = "; ".join(f"{name} {share:.2f} {text[:50]!r}" for share, name, text in weak)
        print(f"{family:36} {total:8,} {masked / total:8.4f}  {weakest}")
    print(f"\n{'technical shape':36} {'n':>8} {'false':>8}")
    for shape in TECHNICAL:
        texts = technical(dice, shape, n)
        wrong = [text for text in texts if redact(text) != text]
        print(f"{shape:36} {n:8,} {len(wrong) / n:8.4f}  {wrong[:2] or ''}")
    said = sentences(dice, 5_000)
    logs = "\n".join(_log(dice) for _ in range(12_000))[:1_000_000]
    usage = json.dumps(
        [{"trace_id": TECHNICAL["trace id"](dice), "ns": int(TECHNICAL["epoch ns"](dice))} for _ in range(9_000)]
    )
    print(f"\n{'speed':36} {'MB/s':>8}")
    for name, text in {
        "sentences": said,
        "one text of 1 MB": "\n".join(said * 3)[:1_000_000],
        "logs": logs,
        "JSON": usage,
    }.items():
        print(f"{name:36} {speed(text):8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EACH)
