"""Frames in memory: what a load of the same rows gives, a refusal, or a word. Numbers are worked out by hand."""

from __future__ import annotations

import warnings
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow.dataset import dataset

import kpi
from kpi.errors import KpiError, MetricError
from kpi.mapping.mapping import ColumnMapping, Mapping
from tests.twins import exports, frames
from tests.twins.judge import CRASHED, SILENT

N = 60
ALL = kpi.Slice(last="all")
pytestmark = pytest.mark.usefixtures("home")


def team(**changed: Any) -> pd.DataFrame:
    """A frame with a team's own names: 45 of 60 fine, cost $0.012 to $0.071, 1.5 to 2.09 s."""
    columns = {
        "ts": pd.date_range("2026-10-01", "2026-10-20", periods=N, tz="UTC"),
        "user": [f"u{i % 7}" for i in range(N)], "lang": ["de", "en", "es"] * 20, "ok": [i % 4 > 0 for i in range(N)],
        "cost": [0.012 + i / 1000 for i in range(N)], "latency_s": [1.5 + i / 100 for i in range(N)],
    }  # fmt: skip
    return pd.DataFrame(columns | changed)


def numbers(frame: Any, **options: Any) -> dict[str, tuple[float, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = kpi.from_frame(frame, **options)
    found = kpi.summarise(source, ["task_success", "cost_per_query", "latency_worst"], ALL).set_index("metric")
    return {m: (pytest.approx(row["value"], nan_ok=True), row["n"]) for m, row in found.iterrows()}


RIGHT = {"task_success": (0.75, 60), "cost_per_query": (0.0415, 60), "latency_worst": (2_090.0, 60)}


def test_a_team_s_names_units_and_types_are_read() -> None:
    frame = team()
    before = frame.copy(deep=True)
    assert numbers(frame) == RIGHT
    pd.testing.assert_frame_equal(frame, before)
    source = kpi.from_frame(frame)
    assert set(kpi.summarise(source, "requests", ALL, by=["language"])["value"]) == {20.0}
    assert any("guessed USD" in note for note in source.notes)
    assert {c.source: c.field for c in source.receipt.columns}["ok"] == "success"


@pytest.mark.parametrize(
    "change",
    [
        {"ok": ["yes" if i % 4 else "no" for i in range(N)]},
        {"ok": pd.Categorical([i % 4 > 0 for i in range(N)])},
        {"ok": np.array([float(i % 4 > 0) for i in range(N)])},
        {"ts": pd.date_range("2026-10-01", periods=N, tz="UTC", unit="ns") + pd.Timedelta(7, "ns")},
        {"ts": range(1_790_000_000, 1_790_000_000 + N)},
        {"latency_s": [f"{1.5 + i / 100:.2f} s" for i in range(N)]},
        {"extra": [{"a": [i]} for i in range(N)], "mixed": [1, "a", None] * 20, "odd": [object()] * N},
    ],
)  # fmt: skip
def test_other_types_give_the_same(change: dict[str, Any]) -> None:
    assert numbers(team(**change)) == RIGHT


@pytest.mark.parametrize(
    "convert",
    [pl.from_pandas, pa.Table.from_pandas, pd.DataFrame.convert_dtypes,
     lambda f: f.convert_dtypes(dtype_backend="pyarrow"), lambda f: f.astype(object)],
)  # fmt: skip
def test_other_libraries_give_the_same(convert) -> None:
    assert numbers(convert(team())) == RIGHT


def test_float_costs_and_lengths_are_never_cut() -> None:
    for name in ("total_nusd", "total_us"):
        with pytest.raises(MetricError, match="fractions") as caught:
            kpi.from_frame(pd.DataFrame({name: [0.012, 0.5], "success": [True, False]}))
        assert caught.value.code == "frame.wrong_type"
    whole = kpi.from_frame(pd.DataFrame({"total_us": [1_000_000.0, np.nan], "success": [True, False]}))
    assert kpi.summarise(whole, "latency_worst", ALL)["value"].tolist() == [1_000.0]


def test_infinities_and_negatives_leave_their_row_with_a_warning() -> None:
    frame = team()
    frame.loc[3, "latency_s"] = np.inf
    frame.loc[4, "cost"] = -1
    with pytest.warns(UserWarning, match="1 rows were left out: column 'latency_s' holds no number"):
        source = kpi.from_frame(frame)
    assert kpi.summarise(source, "requests", ALL)["value"].tolist() == [58]
    canonical = pd.DataFrame({"total_us": [-5, 10, 20], "success": [True, True, False]})
    with pytest.warns(UserWarning, match="negative"):
        assert kpi.summarise(kpi.from_frame(canonical), "task_success", ALL)["n"].tolist() == [2]


def test_whole_numbers_in_a_canonical_time_are_no_microseconds_of_1970() -> None:
    frame = pd.DataFrame({"started_at": range(1_790_000_000, 1_790_000_003), "success": [True, False, True]})
    assert kpi.profile(kpi.from_frame(frame)).first.year == 2026


def test_a_slip_of_a_name_is_told() -> None:
    with pytest.warns(UserWarning, match="did you mean 'success'"):
        kpi.from_frame(team().rename(columns={"ok": "sucess"}))
    with pytest.raises(MetricError) as caught:
        kpi.from_frame(pd.DataFrame({"sucess": [True, False], "zz": [1.5, 2.5]}))
    assert "'success'" in caught.value.hint


def test_what_is_no_frame_is_said() -> None:
    with pytest.raises(MetricError) as caught:
        kpi.from_frame([{"success": True}])
    assert caught.value.code == "frame.unknown_type"
    assert caught.value.hint


def test_rows_are_told_apart_by_their_place_or_their_id() -> None:
    plain = pd.DataFrame({"ok": [True, False, True, True], "lang": ["a"] * 4})
    assert kpi.summarise(kpi.from_frame(plain), "task_success", ALL)["n"].tolist() == [4]
    twice = pd.concat([team(id=range(N))] * 2)
    assert kpi.summarise(kpi.from_frame(twice), "task_success", ALL)["n"].tolist() == [60]
    calls = team(trace_id=[f"t{i // 2}" for i in range(N)])
    with pytest.raises(KpiError) as caught:
        kpi.from_frame(calls)
    assert caught.value.code == "frame.calls"


def test_a_mapping_says_what_columns_mean() -> None:
    frame = team().rename(columns={"ok": "zz", "latency_s": "yy"})
    mapping = Mapping((ColumnMapping("zz", "success"), ColumnMapping("yy", "total_us", "s")))
    assert numbers(frame, mapping=mapping) == RIGHT


OTHER = {"ok": "zz", "user": "uid", "latency_s": "dauer"}


@pytest.mark.parametrize(
    "said",
    [{"latency": "dauer"}, {"total_us": "dauer"}, {"latency_s": "dauer", "user": "uid"},
     {"latency": "dauer", "ignore": "lang", "cohorts": ["uid"]}],
)  # fmt: skip
def test_keywords_say_what_columns_are(said: dict[str, Any]) -> None:
    """Seconds stay seconds, whatever the keyword is called: a unit that it does not tell is read off the values."""
    assert numbers(team().rename(columns=OTHER), success="zz", **said) == RIGHT


def test_a_keyword_that_fits_nothing_is_refused_with_the_nearest_names() -> None:
    frame = team().rename(columns=OTHER)
    wrong: dict[str, Any] = {"sucess": "success", "success": "zz", "ignore": "lang", "cost": "number"}
    given: list[dict[str, Any]] = [{"sucess": "zz"}, {"success": "zzz"}, {"ignore": ["lagn"]}, {"success": ["zz"]},
                                   {"success": "lang"}, {"cost": "ts"}, {"user": None}]  # fmt: skip
    for said in given:
        with pytest.raises(KpiError) as caught:
            kpi.from_frame(frame, **said)
        assert caught.value.hint
        (name,) = said
        if caught.value.code in ("frame.no_field", "frame.no_column"):
            assert wrong.get(name, "") in str(caught.value)


def test_results_are_no_reasons_and_columns_are_listed() -> None:
    frame = team(human=["good", "bad"] * 30, reference=range(N), sucess=[True] * N)
    with pytest.warns(UserWarning, match="success"):
        source = kpi.from_frame(frame, outcomes=["human"])
    assert source.outcomes == {"human"}
    assert "human" not in kpi.story(source).dimensions
    assert kpi.summarise(source, "requests", ALL, by="human")["value"].tolist() == [30, 30]
    taken = source.columns.set_index("column")
    assert taken.loc["ok", "taken_as"] == "success"
    assert taken.loc["latency_s", "unit"] == "s"
    assert taken.loc["sucess", "nearest"] == "success"
    assert taken["filled"].tolist() == [1.0] * len(taken)
    plain = kpi.from_frame(frame[["ok", "lang"]].rename(columns={"ok": "success", "lang": "language"}))
    assert plain.columns["taken_as"].tolist() == ["success", "language"]


def test_the_table_of_columns_is_shown_to_a_person_alone(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    kpi.from_frame(team())
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    kpi.from_frame(team())
    assert "started_at" in capsys.readouterr().out


@pytest.mark.parametrize(
    "convert",
    [lambda f: pl.from_pandas(f).lazy(), lambda f: pa.Table.from_pandas(f).to_reader(),
     lambda f: pa.Table.from_pandas(f).combine_chunks().to_batches()[0],
     lambda f: dataset(pa.Table.from_pandas(f)), duckdb.from_df],
)  # fmt: skip
def test_whatever_gives_rows_is_a_frame(convert) -> None:
    assert numbers(convert(team())) == RIGHT


def test_a_frame_needs_no_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "file" / "home"))
    source = kpi.from_frame(team())
    kpi.findings(source)
    assert not kpi.scorecard(source).frame().empty


def test_no_frame_and_no_table_of_a_database_differs_without_a_word(record_property) -> None:
    """The short form; `python -m tests.twins` tries every table at hand."""
    export = next(e for e in exports.made() if e.file.endswith(".csv"))
    found = list(frames.verdicts(export.name, export.data))
    record_property("count", len(found))
    assert {v.form for v in found} == {*frames.FRAMES, *frames.SQLITE}
    assert [str(v) for v in found if v.verdict in (SILENT, CRASHED)] == []
