"""Parsers of hostile values: round trips, and the answers that were once silently wrong elsewhere."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from kpi.mapping import parse_times, parse_values

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2001, 1, 2), datetime(2199, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


SHAPES = {
    "iso zulu": lambda d: d.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    "iso naive": lambda d: d.strftime("%Y-%m-%d %H:%M:%S.%f"),
    "iso 7 digits": lambda d: d.strftime("%Y-%m-%d %H:%M:%S.%f") + "0",
    "iso ns": lambda d: d.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z",
    "offset": lambda d: d.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
    "offset without colon": lambda d: d.astimezone(timezone(-timedelta(hours=8))).strftime("%Y-%m-%d %H:%M:%S.%f%z"),
    "us": lambda d: str(us(d)),
    "ns": lambda d: str(us(d) * 1000),
    "slashes": lambda d: d.strftime("%Y/%m/%d %H:%M:%S.%f"),
    "dots": lambda d: d.strftime("%d.%m.%Y %H:%M:%S.%f"),
}
COARSE = {
    "s": lambda d: str(us(d) // 1_000_000),
    "s as float": lambda d: f"{us(d) // 1_000_000}.0",
    "ms": lambda d: str(us(d) // 1000),
    "mail": lambda d: d.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    "named month": lambda d: d.strftime("%b %d, %Y %I:%M:%S %p"),
    "log": lambda d: d.strftime("%d/%b/%Y:%H:%M:%S +0000"),
}


@given(MOMENTS, st.sampled_from(sorted(SHAPES)))
def test_a_time_comes_back_from_every_shape(moment, shape):
    if shape == "us" and us(moment) < 1e14:
        return
    assert parse_times.time_us(SHAPES[shape](moment))[0] == us(moment)


@given(MOMENTS.map(whole), st.sampled_from(sorted(COARSE)))
def test_a_time_in_seconds_comes_back_from_every_shape(moment, shape):
    assert parse_times.time_us(COARSE[shape](moment))[0] == us(moment)


@given(MOMENTS.map(whole), st.booleans())
def test_day_before_month_is_decided_by_the_column_not_guessed(moment, dayfirst):
    text = moment.strftime("%d/%m/%Y %H:%M:%S" if dayfirst else "%m/%d/%Y %H:%M:%S")
    assert parse_times.time_us(text, dayfirst=dayfirst)[0] == us(moment)
    if moment.day <= 12 and moment.day != moment.month:
        with pytest.raises(ValueError, match="told apart"):
            parse_times.time_us(text)


@given(st.lists(MOMENTS, min_size=1, max_size=20), st.data())
def test_mixed_shapes_in_one_column_lose_nothing(moments, data):
    shapes = [data.draw(st.sampled_from(sorted(set(SHAPES) - {"us"}))) for _ in moments]
    column = pa.array([SHAPES[s](m) for s, m in zip(shapes, moments, strict=True)])
    found = parse_times.times(column)
    assert found.parsed.bad_count == 0
    assert found.parsed.values.to_pylist() == [us(m) for m in moments]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-30T23:59:60Z", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-10-25T02:30:00 Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("45992.5", datetime(2025, 12, 1, 12, tzinfo=UTC)),
        ("13/02/2026 3:04 PM", datetime(2026, 2, 13, 15, 4, tzinfo=UTC)),
        ("7/22/2026, 6:17:48.114 PM", datetime(2026, 7, 22, 18, 17, 48, 114_000, tzinfo=UTC)),
        ("2026-07-22 06:17:48.114 +0200 CEST", datetime(2026, 7, 22, 4, 17, 48, 114_000, tzinfo=UTC)),
        ("2026-07-22 06:17:48 +0000 UTC", datetime(2026, 7, 22, 6, 17, 48, tzinfo=UTC)),
    ],
)
def test_times_of_unusual_shape(text, expected):
    assert parse_times.time_us(text)[0] == us(expected)


def test_a_length_as_dotnet_writes_it_may_have_days():
    assert parse_values.length("1.02:03:04.5") == ((24 + 2) * 3_600 + 3 * 60 + 4.5) * 1e6


@pytest.mark.parametrize("text", ["now", "0000-00-00", "2026-13-01", "5", "-1793527200", "9" * 200, "2026-02-30", "x"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_times.time_us(text)


def test_epochs_are_classified_by_magnitude_in_typed_columns_too():
    second = 1_793_527_200
    column = pa.array([second, second * 1000, second * 10**6, second * 10**9, 5, None])
    found = parse_times.times(column).parsed
    assert found.values.to_pylist() == [second * 10**6] * 4 + [None, None]
    assert found.bad.tolist() == [False, False, False, False, True, False]
    assert parse_times.times(pa.array([float(second)])).parsed.values.to_pylist() == [second * 10**6]


NUMBERS = st.decimals(min_value=-(10**9), max_value=10**9, places=2).map(float)


@given(NUMBERS)
def test_a_number_comes_back_from_every_way_to_print_it(number):
    english = f"{number:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    spaced = english.replace(",", "\u00a0")
    for text in (
        english,
        german,
        spaced,
        f"{number:.2f}",
        f"{number:.2f}".replace(".", ","),
        f"${english}",
        repr(number),
    ):
        assert parse_values.number(text) == pytest.approx(number, abs=1e-9), text
    assert parse_values.number(german, decimal=",") == pytest.approx(number, abs=1e-9)
    assert parse_values.number(f"{number:.2f} %") == pytest.approx(number / 100)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_comes_back_exactly(number):
    assert parse_values.number(repr(number)) == number
    assert parse_values.numbers(pa.array([repr(number), None])).values.to_pylist() == [number, None]


def test_one_comma_with_three_digits_is_the_columns_decision():
    assert parse_values.number("1,234") == 1234
    assert parse_values.number("1,234", decimal=",") == 1.234
    assert parse_values.number("1.234", decimal=",") == 1234
    assert parse_values.number("0,123") == 0.123


@pytest.mark.parametrize(
    "text", ["inf", "nan", "1e999", "abc", "1,2,3", "", ".", "1.2.3", "0x10", "1_0", "True", "[1]"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_values.number(text)


@given(st.text(max_size=40))
def test_parsers_only_ever_raise_value_errors(text):
    kinds = {
        parse_values.number: float,
        parse_values.boolean: bool,
        parse_values.failed: bool,
        parse_times.time_us: tuple,
    }
    for parse, kind in kinds.items():
        with contextlib.suppress(ValueError, OverflowError):
            assert isinstance(parse(text), kind)


def test_infinity_is_bad_and_a_typed_nan_is_unknown():
    found = parse_values.numbers(pa.array([1.0, float("nan"), float("inf"), None]))
    assert found.values.to_pylist() == [1.0, None, None, None]
    assert found.bad.tolist() == [False, False, True, False]


def test_words_for_nothing_become_null_in_words_but_not_in_content():
    column = pa.array([" None ", "NaN", "-", "", "undefined", "x", None, "undefinedX"])
    assert parse_values.texts(column).to_pylist() == [None] * 5 + ["x", None, "undefinedX"]
    assert parse_values.contents(column).to_pylist() == [
        " None ",
        "NaN",
        "-",
        None,
        "undefined",
        "x",
        None,
        "undefinedX",
    ]
    assert parse_values.texts(column.dictionary_encode()).to_pylist() == parse_values.texts(column).to_pylist()


def test_booleans_statuses_and_lists():
    assert parse_values.booleans(pa.array(["True", "no", "1", "0", "👍", None])).values.to_pylist() == [
        True,
        False,
        True,
        False,
        True,
        None,
    ]
    assert parse_values.booleans(pa.array(["maybe"])).bad.tolist() == [True]
    found = parse_values.failures(
        pa.array(["200", "429", "500", "ok", "ERROR", "RateLimitError", "STATUS_CODE_OK", "purple"])
    )
    assert found.values.to_pylist() == [False, True, True, False, True, True, False, None]
    assert found.bad.tolist() == [False] * 7 + [True]
    assert parse_values.counts(pa.array(["2", "[1, 2, 3]", "a|b", "[]", None])).values.to_pylist() == [2, 3, 2, 0, None]
    assert parse_values.counts(pa.array([[1, 2], []])).values.to_pylist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "proves"),
    [("0,5", True), ("12,5", True), ("4645,441", True), ("1.234,5", True), ("542,135", False), ("1,234", False),
     ("1,234,567", False), ("12.5", False)],
)  # fmt: skip
def test_what_proves_a_decimal_comma_of_a_column(text: str, proves: bool) -> None:
    """Three digits behind a comma may be thousands, unless more than three stand before it."""
    assert bool(re.match(parse_values.COMMA_DECIMAL, text)) is proves
