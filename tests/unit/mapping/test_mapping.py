"""Mappings: guessed from names and values, edited by people, kept as TOML or JSON."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kpi.errors import MappingError
from kpi.mapping.column_names import FIELDS, known, slug
from kpi.mapping.guess import guess
from kpi.mapping.mapping import ColumnMapping, ColumnProfile, Mapping


def profile(name: str, **facts) -> ColumnProfile:
    return ColumnProfile(name, **{"count": 100, "rows": 100, **facts})


@pytest.mark.parametrize(
    ("name", "field", "unit"),
    [
        ("latency_ms", "total_us", "ms"), ("Elapsed time", "total_us", ""), ("latencyMs", "total_us", "ms"),
        ("ContextTokens", "input_tokens", ""), ("GeneratedTokens", "output_tokens", ""),
        ("TIMESTAMP", "started_at", ""),
        ("n_tool_calls", "tool_calls", ""), ("cost_usd", "total_nusd", "usd"), ("spend_cents", "total_nusd", "cents"),
        ("metadata.language", "language", ""), ("conversation-id", "session_id", ""), ("http_status", "status", ""),
        ("ttft_s", "ttft_us", "s"), ("faithfulness", "groundedness", ""), ("thumbs", "user_rating", ""),
    ],
)  # fmt: skip
def test_names_in_the_wild(name, field, unit):
    assert known(name)[:2] == (field, unit)


@pytest.mark.parametrize("name", ["foo", "tokens_of_gratitude", "costume", "x", "", "test_category", "item"])
def test_unknown_names(name):
    assert known(name) is None


def test_every_alias_leads_to_a_field_that_exists():
    assert all(known(name)[0] in FIELDS for name in ("id", "user", "cost", "score", "status", "flagged"))


@pytest.mark.parametrize(
    ("facts", "unit"),
    [
        ({"median": 812.0, "whole": True}, "ms"), ({"median": 2.4, "whole": False}, "s"),
        ({"median": 812.5, "whole": False}, "ms"),
    ],
)  # fmt: skip
def test_the_unit_of_a_latency_is_guessed_from_its_median(facts, unit):
    column = guess([profile("latency", **facts)])["latency"]
    assert (column.field, column.unit, column.how) == ("total_us", unit, "guessed")
    assert "median" in column.why


@pytest.mark.parametrize(
    ("low", "high", "unit"), [(0, 1, "0-1"), (1, 5, "1-5"), (0, 10, "0-10"), (0, 87, "0-100"), (-1, 1, "-1-1")]
)
def test_the_scale_of_a_rating_is_guessed_from_its_range(low, high, unit):
    assert guess([profile("rating", low=low, high=high)])["rating"].unit == unit


def test_the_most_telling_name_wins_and_the_other_is_left_out():
    mapping = guess([profile("id", distinct=None), profile("trace_id", distinct=None)])
    assert mapping["trace_id"].field == "trace_id"
    assert mapping["id"].field is None


def test_low_cardinality_becomes_a_cohort_and_identifiers_do_not():
    few = {"distinct": 3, "values": ("a", "b", "c"), "longest": 1}
    mapping = guess([profile("Test Category", **few), profile("shop id", **few), profile("note", distinct=None)])
    assert mapping["Test Category"].field == "x_test_category"
    assert mapping["shop id"].field is None
    assert mapping["note"].field is None
    assert mapping["note"].how == "unmapped"


def test_values_that_are_not_what_the_name_promises_are_not_mapped():
    assert guess([profile("time", readable=0.0, distinct=2, values=("day", "night"))])["time"].field == "x_time"
    assert guess([profile("error", readable=0.0, distinct=2, values=("E1", "E2"))])["error"].field == "error_type"
    assert guess([profile("error", readable=0.0, distinct=None)])["error"].field == "error_message"


def test_what_a_person_says_overrules_guesses():
    given_mapping = Mapping((ColumnMapping("latency", "ttft_us", "s"),))
    mapping = guess([profile("latency", median=3.0), profile("duration", median=9.0)], given_mapping)
    assert mapping["latency"].field == "ttft_us"
    assert mapping["duration"].field == "total_us"
    assert mapping.replace("duration", field=None)["duration"].field is None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([("a", "no_such_field", "")], "'a'.*no_such_field"),
        ([("a", "total_us", "parsec")], "'a'.*parsec"),
        ([("a", "total_us", "ms"), ("b", "total_us", "s")], "'a' and 'b'.*total_us"),
    ],
)
def test_errors_name_the_column_and_what_was_expected(columns, words):
    with pytest.raises(MappingError, match=words) as caught:
        Mapping(tuple(ColumnMapping(*c) for c in columns))
    assert caught.value.hint
    with pytest.raises(MappingError, match="nope"):
        Mapping((ColumnMapping("nope", "model"),)).check_columns(["a", "b"])


NAMES = st.text(min_size=1, max_size=30).filter(lambda t: t.encode("utf-8", "ignore").decode() == t)


@given(st.dictionaries(NAMES, st.sampled_from(sorted(FIELDS)), max_size=8))
def test_toml_and_json_round_trip(tmp_path_factory, fields):
    unique = {f: n for n, f in fields.items()}
    mapping = Mapping(tuple(ColumnMapping(n, f, "", ",", "exact", 'a "why"\n') for f, n in unique.items()))
    folder = tmp_path_factory.mktemp("mapping")
    for name in ("m.toml", "m.json"):
        mapping.save(folder / name)
        assert Mapping.load(folder / name) == mapping


def test_a_mapping_as_a_person_writes_it(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text('[columns]\n"My Latency" = {field = "total_us", unit = "s"}\nother = "model"\nskip = ""\n')
    mapping = Mapping.load(path)
    assert mapping["My Latency"].unit == "s"
    assert mapping["other"].field == "model"
    assert mapping["skip"].field is None
    path.write_text("not toml at all")
    with pytest.raises(MappingError):
        Mapping.load(path)


def test_slugs():
    assert slug("Test Category!") == "test_category"
    assert slug("***") == "column"
