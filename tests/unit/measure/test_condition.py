"""Conditions: every one printed back reads as the same, what it finds is what a mask of pandas finds, and no text is
anything but a condition or a typed error that says where it goes wrong."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import kpi
from kpi.measure.condition import Joined, Test, parse
from kpi.store.engines import DuckSource, from_frame

Test.__test__ = False  # a class of the product, not a test
T0 = pd.Timestamp("2026-10-01", tz="UTC")
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LIMITS = {"total_nusd": [0, 10_000_000, 50_000_000], "total_us": [0, 1_500_000, 2_000_000], "tool_errors": [0, 1, 3]}
WRITTEN = {  # of the stored value, as people write it
    "total_nusd": lambda v: f"${v / 1e9:g}", "total_us": lambda v: f"{v / 1e6:g} s", "tool_errors": str,
}  # fmt: skip


def frame() -> pd.DataFrame:
    rng, n = np.random.default_rng(7), 240
    pick = lambda values: pd.Series(rng.choice(np.array(values, dtype=object), n))  # noqa: E731
    return pd.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(n)],
            "started_at": [T0 + pd.Timedelta(hours=i) for i in range(n)],
            "language": pick(["es", "de", "en", None]),
            "plan": pick(["new york", "and", "it's", None]),
            "success": pick([True, False, None]),
            "error": pick([True, False, None]),
            "total_nusd": pick([0, 10_000_000, 50_000_000, 70_000_000, None]).astype("Int64"),
            "total_us": pick([0, 1_500_000, 2_000_000, 9_000_000, None]).astype("Int64"),
            "tool_errors": pick([0, 1, 2, 3, None]).astype("Int64"),
            "groundedness": pick([0.2, 0.5, 0.9, None]).astype(float),
            "worst_severity": pick(["nit", "minor", "major", "critical", None]),
            "input_text": pick(["50% Off", "a_b", None]),
        }
    )


FRAME = frame()


@pytest.fixture(scope="module")
def source() -> DuckSource:
    return from_frame(FRAME)


Mask = tuple["pd.Series[bool]", "pd.Series[bool]"]  # where it is true, where it is known


def found(source: kpi.Source, text: str) -> set[str]:
    return set(kpi.rows(source, condition=text)["trace_id"])


def mask(part: Test | Joined) -> Mask:
    """The same by pandas, with unknown as a third value."""
    if isinstance(part, Joined):
        sides = [mask(p) for p in part.parts]
        if part.word == "not":
            ((yes, known),) = sides
            return known & ~yes, known
        yes, known = sides[0]
        for more, told in sides[1:]:
            if part.word == "and":
                known = (known & told) | (known & ~yes) | (told & ~more)
                yes = yes & more
            else:
                known = (known & told) | yes | more
                yes = yes | more
        return yes & known, known
    column = FRAME[part.name]
    known = column.notna()
    every = pd.Series(True, index=FRAME.index)
    if part.test in ("known", "unknown"):
        return (known if part.test == "known" else ~known), every
    if not part.test:
        return column.map(lambda v: v is True), known
    stored = [STORED.get(v, v) for v in part.values]
    told = pd.Series([v in stored if part.test == "in" else SIGNS[part.test](v, stored[0]) if ok else False
                      for v, ok in zip(column, known, strict=True)])  # fmt: skip
    return told, known


STORED: dict[str, Any] = {WRITTEN[c](v): v for c, values in LIMITS.items() for v in values}
numbers = st.sampled_from(list(LIMITS)).flatmap(
    lambda c: st.builds(
        Test, st.just(c), st.sampled_from(list(SIGNS)), st.sampled_from(LIMITS[c]).map(lambda v: (WRITTEN[c](v),))
    )
)
texts = st.builds(
    Test, st.just("language"), st.sampled_from(["=", "!="]), st.sampled_from(["es", "de", "en"]).map(lambda v: (v,))
)
several = st.builds(
    Test, st.just("plan"), st.just("in"), st.lists(st.sampled_from(["new york", "and", "it's"]), min_size=1).map(tuple)
)
flags = st.builds(Test, st.sampled_from(["success", "error"]))
held = st.builds(Test, st.sampled_from(list(FRAME.columns[2:])), st.sampled_from(["known", "unknown"]))


def joins(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (st.builds(Joined, st.sampled_from(["and", "or"]), st.lists(of, min_size=2, max_size=4).map(tuple))
            | st.builds(Joined, st.just("not"), of.map(lambda p: (p,))))  # fmt: skip


@settings(max_examples=120)
@given(st.recursive(numbers | texts | several | flags | held, joins, max_leaves=8))
def test_it_finds_what_a_mask_of_pandas_finds(source: kpi.Source, part: Test | Joined) -> None:
    assert parse(str(part)) == part
    assert found(source, str(part)) == set(FRAME["trace_id"][mask(part)[0]])


wild = st.text(max_size=12).filter(lambda t: "\0" not in t and not any("\ud800" <= c <= "\udfff" for c in t))
anything = (st.builds(Test, wild, st.sampled_from(list(SIGNS)), wild.map(lambda v: (v,)))
            | st.builds(Test, wild, st.just("in"), st.lists(wild, min_size=1, max_size=3).map(tuple))
            | st.builds(Test, wild, st.sampled_from(["", "known", "unknown"])))  # fmt: skip


@settings(max_examples=300)
@given(st.recursive(anything, joins, max_leaves=6))
def test_whatever_names_and_values_are_it_reads_as_it_is_printed(part: Test | Joined) -> None:
    assert parse(str(part)) == part


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "cost",
                "language",
                "=",
                ">",
                "(",
                ")",
                "not",
                "and",
                "in",
                "is",
                "'",
                '"',
                "1",
                "; drop table requests",
                "--",
                ",",
            ]
        )
    ).map(" ".join)
)
def test_any_text_is_a_condition_or_a_typed_error(source: kpi.Source, text: str) -> None:
    try:
        kpi.find_traces(source, condition=text)
    except kpi.errors.SliceError as error:
        told = error.code, bool(error.hint)
    else:
        told = "condition.fine", True
    assert told[0].startswith(("condition.", "slice.time"))
    assert told[1]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cost > 0.05", "total_nusd > $0.05"),
        ("latency > 2 s", "total_us > 2000 ms"),
        ("latency >= 1500", "total_us >= 1.5 s"),
        ("groundedness < 50 %", "groundedness < 0.5"),
        ("NOT success AND plan = New", None),
        ("severity >= major", "worst_severity in (major, critical)"),
        ("language not in (es, de)", "not language in (es, de)"),
        ("tool errors <> 0", "tool_errors != 0"),
        ("success is false", "not success"),
        ("language is not es", "language != es"),
        ("language is not known", "language is unknown"),
        ("plan = new york", 'plan = "new york"'),
        ("error or success and tool_errors > 1", "error or (success and tool_errors > 1)"),
        ("time >= 2026-10-05", "started_at >= 2026-10-05T00:00Z"),
    ],
)
def test_ways_to_write_the_same(source: kpi.Source, text: str, same: str | None) -> None:
    if same is None:
        with pytest.raises(kpi.errors.SliceError, match="no request has plan 'New'"):
            found(source, text)
        return
    assert found(source, text) == found(source, same) != set()


def test_limits_are_exact_and_texts_are_no_pattern(source: kpi.Source) -> None:
    """Exactly $0.05 is not more than that, though the nearest double times 1e9 is no whole number."""
    cost = FRAME["total_nusd"]
    assert found(source, "cost > 0.05") == set(FRAME["trace_id"][(cost > 50_000_000).fillna(False)])
    assert found(source, "cost >= 0.05") == set(FRAME["trace_id"][(cost >= 50_000_000).fillna(False)])
    assert found(source, "question contains '50% off'") == set(FRAME["trace_id"][FRAME["input_text"] == "50% Off"])
    assert found(source, "question contains _") == set(FRAME["trace_id"][FRAME["input_text"] == "a_b"])


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("cots > 1", 1, "Did you mean cost"),
        ("cost > 1 tool_errors > 2", 22, "and, or"),
        ("(cost > 1", 10, "Write )"),
        ("cost >", 7, "value"),
        ("language = xx", 1, "It has en"),
        ("cost > 5 s", 1, "$"),
        ("error and latency p95 > 3", 11, "total_us"),
        ("language > es", 1, "contains"),
        ("'abc", 1, "quotation"),
        ("cost", 1, "= value"),
        ("cost contains 5", 1, "> 0"),
        ("success > 3", 1, "= true"),
        ("(" * 60 + "error" + ")" * 60, 41, "fewer"),
        ("cost > 99999999999999", 1, "smaller"),
        ("cost = $5 usd", 1, "$"),
        ("a ! b", 3, "!="),
    ],
)
def test_errors_say_where_and_what_to_write(source: kpi.Source, text: str, at: int, told: str) -> None:
    with pytest.raises(kpi.errors.SliceError) as caught:
        kpi.find_traces(source, condition=text)
    assert f"character {at}:" in caught.value.message
    assert told in str(caught.value)


def test_matching_counts_what_is_not_listed(source: kpi.Source) -> None:
    listed = kpi.find_traces(source, condition="success", limit=5)
    assert listed.attrs["matching"] == int((FRAME["success"] == True).sum()) > len(listed) == 5  # noqa: E712
    assert kpi.find_traces(source, condition="success and not success").attrs["matching"] == 0


def test_own_columns_and_scores(tmp_path: Any, home: Any) -> None:
    rows = FRAME[["trace_id", "started_at"]].assign(revenue=np.arange(240) / 4, team=["a", "b"] * 120, success=True)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    kpi.load(tmp_path / "rows.csv", dataset="own")
    own = kpi.open("own")
    assert found(own, "revenue >= 59.5 and team = b") == {"t239"}
    with pytest.raises(kpi.errors.SliceError, match="no 'cost'"):
        found(own, "cost > 1")


def test_a_hidden_column_is_none(source: kpi.Source, monkeypatch: pytest.MonkeyPatch) -> None:
    live = from_frame(FRAME.assign(user_key="someone"))
    assert found(live, "user = someone")
    monkeypatch.setattr(type(live), "live", True, raising=False)
    with pytest.raises(kpi.errors.SliceError, match="no 'user'"):
        found(live, "user = someone")
