"""Redaction on what it was not tuned on: numbers, cards, identifiers and tokens made by generators of the tests."""

from __future__ import annotations

import base64
import json
import random
from itertools import islice

import pytest

from kpi.privacy.redact import redact
from tests.bench import redaction, secret_shapes

EACH = {"phones, everyday spelling": 12, "phones, 60 countries": 12, "cards": 25, "national identifiers": 12,
        "tokens that name themselves": 5, "keys beside a vendor's name": 8, "passwords, cookies, DSN": 6,
        "behind other characters": 20}  # fmt: skip
LEAST = {"phones, everyday spelling": 0.99, "phones, 60 countries": 0.98, "cards": 0.99, "national identifiers": 0.98,
         "tokens that name themselves": 0.99, "keys beside a vendor's name": 0.97, "passwords, cookies, DSN": 0.99,
         "behind other characters": 0.99}  # fmt: skip


@pytest.mark.parametrize("family", redaction.FAMILIES)
def test_what_identifies_is_masked(family: str) -> None:
    cases = redaction.FAMILIES[family](random.Random(20), EACH[family])
    found = redaction.shares(cases)
    total, masked = sum(n for n, _, _ in found.values()), sum(m for _, m, _ in found.values())
    left = {name: example for name, (n, m, example) in found.items() if m < n}
    assert masked >= LEAST[family] * total, left


def test_each_everyday_spelling_and_each_network_is_masked() -> None:
    """No class is carried by the others: each country's spelling and each network by itself."""
    for family, cases in (("phones", redaction.everyday_phones), ("cards", redaction.cards)):
        for name, (n, masked, example) in redaction.shares(cases(random.Random(7), 12)).items():
            assert masked >= 0.9 * n, (family, name, example)


def test_tokens_that_name_themselves_are_found_rule_by_rule() -> None:
    shares = redaction.shares(redaction.secrets(random.Random(8), 6))
    assert len(shares) >= 119
    assert sum(m >= 0.95 * n for n, m, _ in shares.values()) >= 0.95 * len(shares)


@pytest.mark.parametrize("shape", redaction.TECHNICAL)
def test_technical_text_stays(shape: str) -> None:
    texts = redaction.technical(random.Random(9), shape, 600)
    for frame in range(4):
        wrong = [text for text in texts[frame::4] if redact(text) != text]
        assert len(wrong) <= 0.01 * len(texts[frame::4]), wrong[:3]


@pytest.mark.parametrize("family", redaction.FAMILIES)
def test_a_second_redaction_changes_nothing(family: str) -> None:
    for _, (text, _) in islice(redaction.FAMILIES[family](random.Random(10), 2), 0, None, 2):
        once = redact(text)
        assert redact(once) == once


def test_a_second_redaction_of_a_long_text_changes_nothing() -> None:
    dice = random.Random(11)
    families = [redaction.everyday_phones, redaction.cards, redaction.secrets, redaction.passwords, redaction.hidden]
    texts = [text for family in families for _, (text, _) in family(dice, 1)] + redaction.sentences(dice, 200)
    dice.shuffle(texts)
    once = redact(" | ".join(texts))
    assert len(once) > 10_000
    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=Tr0ub4dor&3", "password=[SECRET]"),
        ("my password is Tr0ub4dor&3.", "my password is [SECRET]."),
        ("?user=me&password=Tr0ub4dor3&page=2", "?user=me&password=[SECRET]&page=2"),
        ("Cookie: session=abc; theme=dark", "Cookie: session=[SECRET]; theme=[SECRET]"),
        ("Set-Cookie: sid=31d4d96e; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/; Secure",
         "Set-Cookie: sid=[SECRET]; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/; Secure"),
        ("Server=db;User Id=sa;Password=Xy;Z9!;Database=x", "Server=db;User Id=sa;Password=[SECRET];Database=x"),
        ("AccountKey=abcdefgh1234==;EndpointSuffix=x", "AccountKey=[SECRET];EndpointSuffix=x"),
        ("jdbc:oracle:thin:scott/t1ger@//db:1521/x", "jdbc:oracle:thin:scott/[SECRET]@//db:1521/x"),
        ("mongodb+srv://me:p@ss@cluster/x", "mongodb+srv://[SECRET]@cluster/x"),
        ("Passwort: geheim12", "Passwort: [SECRET]"), ("пароль: секрет12", "пароль: [SECRET]"),
        ("密码：mima123", "密码：[SECRET]"),
        ("jane%40example.org", "[EMAIL]"), ("ｊａｎｅ＠ｅｘａｍｐｌｅ．ｏｒｇ", "[EMAIL]"),
        ("jane&#64;example.org!", "[EMAIL]!"),
        ("card 4111\u00a01111\u00a01111\u00a01111.", "card [CARD]."), ("4111 1111\n1111 1111", "[CARD]"),
        ("ssn 123453363", "ssn [SSN]"), ("SSN: 536-90-4399", "SSN: [SSN]"), ("CPF 529.982.247-25", "CPF [NATIONAL_ID]"),
        ("DNI 12345678Z", "DNI [NATIONAL_ID]"), ("passport no. C01X00T47", "passport no. [PASSPORT]"),
        ("eth0 HWaddr 00:1b:44:11:3a:b7", "eth0 HWaddr [MAC]"), ("MAC address 00-1B-44-11-3A-B7", "MAC address [MAC]"),
        ("手机号是13812345678", "手机号是[PHONE]"), ("Tel:0612345678", "Tel:[PHONE]"), ("(020) 7946 0958", "[PHONE]"),
        ("+33 6 12 34 56 78 or 06.12.34.56.78", "[PHONE] or [PHONE]"), ("602-272-9781x12", "[PHONE]"),
    ],
)  # fmt: skip
def test_exactly_the_identifier_is_replaced(text: str, masked: str) -> None:
    assert redact(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass.getpass()", "api_key = os.environ['API_KEY']", "if token is None:", "max_tokens: 4096",
        "The password is required.", "the key is to listen", "tokens=1234 cost=0.0021", "cookie consent: yes",
        "the SLA is 99.95% over 28 days", "order 9876543210 shipped", "user_id=9876543210", "in 2024 2025 and 2026",
        "12345 67890 11121 31415 16171", "9,876,543,210 bytes", "€ 612 345 678", "cache_key=user_2024_profile",
        "sort key: created_at_2026", "author: jsmith2024xyz", '{"key": "customer-2024-segment"}',
        "monkey: bonobo_1234567",
        "1.2.3.4", "50%20 and AT&amp;T",
    ],
)  # fmt: skip
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redact(text) == text


def test_packed_data_are_replaced_by_type_and_length() -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(200_000)).decode()
    assert redact(f"see data:image/png;base64,{image} there") == "see [BASE64 image/png, 200 kB] there"
    assert redact(f"bare {image}") == "bare [BASE64 image/png, 200 kB]"
    lines = "\n".join(image[i : i + 76] for i in range(0, 760, 76))
    assert redact(f"mail:\n{lines}\nend").startswith("mail:\n[BASE64 image/png, ")
    inside = base64.b64encode(b"write to jane.doe@example.org today").decode()
    assert redact(f"arg {inside}") == "arg [BASE64 text, 35 B]"
    clean = redact(json.dumps({"url": f"data:image/png;base64,{image}", "n": 1}))
    assert json.loads(clean) == {"url": "[BASE64 image/png, 200 kB]", "n": 1}
    assert redact(clean) == clean


def test_hashes_and_paths_are_not_packed_data() -> None:
    dice = random.Random(4)
    for text in (
        "a" * 400,
        f"{dice.getrandbits(1024):0256x}",
        "/usr/local/lib/python3/dist/packages/a_b/" * 8,
        "-" * 300,
    ):
        assert redact(text) == text


def test_long_text_is_masked_like_its_lines() -> None:
    """The shortcuts for long text change nothing: far sentences know nothing of each other."""
    lines = [line + "\n" + "Nothing to see in this part of the text at all, nor in that. " * 6
             for line in redaction.sentences(random.Random(12), 120)]  # fmt: skip
    assert redact("\n".join(lines)) == "\n".join(map(redact, lines))


HOSTILE = [
    "cookie=c=a;", "Cookie: a=b; ", "set-cookie: expires=", "%40", "&#64;", "\u200b", "１", "\\u0040",
    "data:image/png;base64,", "A" * 199 + " ", "abcd1234" * 8 + "\n", "Abcd1234" * 8 + "\n", "passport n", "DATADOG:",
    "=a1", "+1 ", "00 1 ", "0-", "06 12 34 56 78 ", "12:34:", "a-aa-bb-", "A1", "ABCDE1234", "curl -u a:", "thin:a/",
    "[BASE64 ", "пароль: ", "0123456789abcdef-", "1\n", "4111\n", "9 99 ", "secret=\"", "key=(", "key=key:", "//:@",
    "0(0)", "sk-", "eyJ.", "x=1234567890abcd ", "id 9876543210 ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear_on_hostile_text(piece: str) -> None:
    """Twenty times the text takes at most sixty times the CPU time; a quadratic pattern would take four hundred."""
    short = _cpu(piece * (20_000 // len(piece)))
    assert _cpu(piece * (400_000 // len(piece))) <= 60 * max(short, 0.005)


def _cpu(text: str) -> float:
    return len(text.encode()) / 1e6 / redaction.speed(text, rounds=2)


def test_examples_hold_what_they_promise() -> None:
    assert len(secret_shapes.rows(secret_shapes.NAMED)) >= 119
    assert len(redaction.COUNTRIES) >= 40
    token, parts = secret_shapes.drawn("ghp_{an36}", random.Random(1))
    assert token == "ghp_" + parts[0]
    assert len(parts[0]) == 36
