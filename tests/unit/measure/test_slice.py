"""The slice: lossless links, windows that respect local days, baselines, and errors for what cannot be understood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from kpi.errors import SliceError
from kpi.measure.slice import GRAINS, NONE_VALUE, Slice, Window, parse_filters, read_time

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]
names = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
values = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20) | st.just(NONE_VALUE)
moments = st.datetimes(
    datetime(2001, 1, 1),
    datetime(2090, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
lasts = st.just("all") | st.builds("{}{}".format, st.integers(1, 9999), st.sampled_from("hdw"))
days = st.dates(datetime(2001, 1, 1).date(), datetime(2090, 1, 1).date())
spans = st.builds(lambda d, n: f"{d}..{d + timedelta(days=n)}", days, st.integers(1, 400))
versions = st.builds("{}:{}".format, names, values.filter(lambda v: ".." not in v))
baselines = st.sampled_from(["previous", "weekdays", "none"]) | spans | versions
filters = st.dictionaries(names, st.lists(values, min_size=1, max_size=3).map(tuple), max_size=3)


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    window: dict = {"last": draw(lasts)}
    if draw(st.booleans()):
        start, end = sorted([draw(moments), draw(moments)])
        choice = draw(st.sampled_from(["both", "from", "to"] if start < end else ["from", "to"]))
        window = {"start": start if choice != "to" else None, "end": end if choice != "from" else None}
    return Slice(
        dataset=draw(names), version=draw(st.none() | st.integers(0, 10**6)),
        fingerprint=draw(st.just("") | st.from_regex(r"[0-9a-f]{16}", fullmatch=True)), baseline=draw(baselines),
        filters=tuple(draw(filters).items()), tz=draw(st.sampled_from(ZONES)),
        grain=draw(st.sampled_from(GRAINS)), **window,
    )  # fmt: skip


@given(slices(), st.booleans())
def test_round_trip(slice: Slice, full: bool) -> None:
    assert Slice.from_query(slice.to_query(full=full)) == slice


@given(slices())
def test_round_trip_through_a_url(slice: Slice) -> None:
    url = urlencode(slice.to_query(full=True), doseq=True)
    assert Slice.from_query(parse_qs(url, keep_blank_values=True, strict_parsing=True)) == slice


@given(slices())
def test_equal_slices_have_equal_links(slice: Slice) -> None:
    assert Slice.from_query(slice.to_query()).to_query(full=True) == slice.to_query(full=True)


def test_full_link_names_every_default() -> None:
    assert Slice().to_query(full=True) == {
        "v": ["1"], "data": ["default"], "last": ["28d"], "vs": ["previous"], "tz": ["UTC"], "grain": ["day"],
    }  # fmt: skip
    assert Slice().to_query() == {}
    assert Slice.from_query({}) == Slice()


def test_keys_of_pages_are_left_alone() -> None:
    assert Slice.from_query({"metric": ["latency_p95"], "last": ["7d"]}) == Slice(last="7d")


def test_filters_are_a_set() -> None:
    one = Slice(filters=(("language", ("es", "de", "es")), ("device", ("web",)), ("plan", ())))
    assert one.filters == (("device", ("web",)), ("language", ("de", "es")))
    assert one.where(language=None).filters == (("device", ("web",)),)
    assert one.where(language="fr").filter_on("language") == ("fr",)
    assert one.filter_on("region") == ()


BAD = [
    ({"last": ["yesterday"]}, "slice.last"),
    ({"last": ["0d"]}, "slice.last"),
    ({"last": ["28d\n"]}, "slice.last"),
    ({"grain": ["minute"]}, "slice.grain"),
    ({"tz": ["Europe/Atlantis"]}, "slice.zone"),
    ({"tz": ["../../etc/passwd"]}, "slice.zone"),
    ({"tz": [""]}, "slice.zone"),
    ({"vs": ["whatever"]}, "slice.baseline"),
    ({"vs": ["2026-02-01..2026-01-01"]}, "slice.baseline"),
    ({"vs": ["soon..later"]}, "slice.time"),
    ({"from": ["2026-13-01"]}, "slice.time"),
    ({"from": ["0001-01-01"], "tz": ["Asia/Kolkata"]}, "slice.time"),
    ({"to": ["9999-12-31T23:59-12:00"]}, "slice.time"),
    ({"vs": ["0001-01-01..0001-01-02"]}, "slice.time"),
    ({"at": ["9" * 5000]}, "slice.version"),
    ({"from": ["2026-02-01"], "to": ["2026-01-01"]}, "slice.empty_window"),
    ({"where": ["language"]}, "slice.filter"),
    ({"where": [":es"]}, "slice.filter"),
    ({"at": ["newest"]}, "slice.version"),
    ({"at": ["-1"]}, "slice.version"),
    ({"at": ["²"]}, "slice.version"),
    ({"v": ["2"]}, "slice.link_version"),
]


@pytest.mark.parametrize(("query", "code"), BAD)
def test_bad_values_are_named(query: dict[str, list[str]], code: str) -> None:
    with pytest.raises(SliceError) as caught:
        Slice.from_query(query)
    assert caught.value.code == code
    assert caught.value.hint


@given(st.dictionaries(st.sampled_from(["v", "data", "at", "fp", "last", "from", "to", "vs", "tz", "grain", "where"]),
                       st.lists(st.text(max_size=30), max_size=2)))  # fmt: skip
def test_a_link_is_read_or_refused(query: dict[str, list[str]]) -> None:
    """Whatever somebody types into the address bar ends in a slice or a SliceError, never in another exception."""
    try:
        slice = Slice.from_query(query)
        slice.resolve(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    except SliceError:
        return
    assert Slice.from_query(slice.to_query(full=True)) == slice


def test_naive_times_are_refused() -> None:
    with pytest.raises(SliceError, match="zone"):
        Slice(start=datetime(2026, 1, 1))


def local(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "last", "start", "end"),
    [  # clocks go forward on 29 March 2026 in Berlin, back on 25 October; New York 8 March and 1 November
        ("Europe/Berlin", "2026-03-30T10:00", "2026-03-24", "2026-03-31"),
        ("Europe/Berlin", "2026-10-26T10:00", "2026-10-20", "2026-10-27"),
        ("America/New_York", "2026-03-10T10:00", "2026-03-04", "2026-03-11"),
        ("America/New_York", "2026-11-02T00:30", "2026-10-27", "2026-11-03"),
        ("UTC", "2026-03-30T23:59", "2026-03-24", "2026-03-31"),
    ],
)
def test_last_days_are_local_days(zone: str, last: str, start: str, end: str) -> None:
    resolved = Slice(last="7d", tz=zone).resolve(local("2026-01-01", zone), local(last, zone))
    assert resolved.window == Window(start=local(start, zone), end=local(end, zone))


def test_a_window_over_the_clock_change_is_an_hour_short() -> None:
    resolved = Slice(last="7d", tz="Europe/Berlin").resolve(*[local("2026-03-30T10:00", "Europe/Berlin")] * 2)
    assert resolved.window is not None
    assert resolved.window.end - resolved.window.start == timedelta(days=7, hours=-1)


@given(moments, lasts, st.sampled_from(ZONES))
def test_windows_end_after_the_last_request(moment: datetime, last: str, zone: str) -> None:
    window = Slice(last=last, tz=zone).resolve(moment, moment).window
    assert window is not None
    assert window.start <= moment < window.end
    begin = window.start.astimezone(ZoneInfo(zone))
    assert last.endswith("h") or (begin.hour, begin.minute) == (0, 0) or zone == "Pacific/Apia"


def test_hours_end_with_the_hour_of_the_last_request() -> None:
    moment = datetime(2026, 3, 5, 13, 20, tzinfo=UTC)
    window = Slice(last="24h").resolve(moment - timedelta(days=9), moment).window
    assert window == Window(start=datetime(2026, 3, 4, 14, tzinfo=UTC), end=datetime(2026, 3, 5, 14, tzinfo=UTC))


def test_all_is_everything() -> None:
    first, last = datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 2, 3, 7, tzinfo=UTC)
    window = Slice(last="all").resolve(first, last).window
    assert window == Window(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 2, 4, tzinfo=UTC))


def test_half_open_ends_are_filled_from_the_data() -> None:
    first, last = datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 2, 3, 7, tzinfo=UTC)
    middle = datetime(2026, 1, 15, tzinfo=UTC)
    assert Slice(start=middle).resolve(first, last).window == Window(start=middle, end=datetime(2026, 2, 4, tzinfo=UTC))
    assert Slice(end=middle).resolve(first, last).window == Window(start=datetime(2026, 1, 1, tzinfo=UTC), end=middle)


def test_a_window_outside_of_the_data_is_empty_but_valid() -> None:
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    for slice in (Slice(start=datetime(2027, 1, 1, tzinfo=UTC)), Slice(end=datetime(2025, 1, 1, tzinfo=UTC))):
        window = slice.resolve(first, last).window
        assert window is not None
        assert window.start < window.end
        assert window.end <= first or window.start > last
    assert Slice().resolve(None, None).window is None


def resolved(baseline: str, **other) -> tuple[Window, Window | None, tuple | None]:
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 31, 12, tzinfo=UTC)
    found = Slice(baseline=baseline, **other).resolve(first, last)
    assert found.window is not None
    return found.window, found.baseline, found.baseline_filters


def test_baseline_previous_touches_the_window() -> None:
    window, before, filters = resolved("previous", last="7d", filters=(("language", ("es",)),))
    assert before == Window(start=window.start - timedelta(days=7), end=window.start)
    assert filters == (("language", ("es",)),)


def test_baseline_previous_is_local_days_over_the_clock_change() -> None:
    window, before, _ = resolved("previous", last="3d", tz="Europe/Berlin")
    assert (window.start, window.end) == (local("2026-03-29", "Europe/Berlin"), local("2026-04-01", "Europe/Berlin"))
    assert before == Window(start=local("2026-03-26", "Europe/Berlin"), end=window.start)


@pytest.mark.parametrize(("last", "weeks"), [("3d", 1), ("7d", 1), ("8d", 2), ("28d", 4), ("30d", 5)])
def test_baseline_weekdays(last: str, weeks: int) -> None:
    for zone in ("UTC", "Europe/Berlin"):  # in Berlin, the clock changes in between
        window, before, _ = resolved("weekdays", last=last, tz=zone)
        assert before is not None
        assert before.end <= window.start
        for now, then in ((window.start, before.start), (window.end, before.end)):
            apart = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - then.astimezone(ZoneInfo(zone)).replace(
                tzinfo=None
            )
            assert apart == timedelta(weeks=weeks)


def test_baseline_none_dates_and_version() -> None:
    assert resolved("none")[1:] == (None, None)
    assert resolved("2026-01-01..2026-02-01", tz="Asia/Kolkata")[1] == Window(
        start=local("2026-01-01", "Asia/Kolkata"), end=local("2026-02-01", "Asia/Kolkata")
    )
    window, before, filters = resolved("prompt_version:p6", filters=(("prompt_version", ("p7",)), ("plan", ("pro",))))
    assert before == window
    assert filters == (("plan", ("pro",)), ("prompt_version", ("p6",)))


def test_texts_of_filters_and_times() -> None:
    assert parse_filters(["a=1", "b=x=y", "a=2"]) == (("a", ("1", "2")), ("b", ("x=y",)))
    assert read_time("2026-07-01", "Europe/Berlin") == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert read_time("2026-07-01T12:00Z", "Europe/Berlin") == datetime(2026, 7, 1, 12, tzinfo=UTC)
