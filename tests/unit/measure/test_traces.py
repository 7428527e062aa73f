"""One trace: depth, offsets and the critical path on hand-made trees; finding by text, which is no pattern; sorting."""

from __future__ import annotations

import pandas as pd
import pytest

import kpi
from kpi.measure.traces import _tree
from kpi.store.engines import DuckSource, from_frame

T0 = pd.Timestamp("2026-10-01", tz="UTC")
Span = tuple[str, str | None, float | None, float | None]


def tree(*spans: Span) -> pd.DataFrame:
    """Spans as (id, parent, start, duration) in milliseconds; None is unknown. Indexed by id, in the order shown."""
    starts = [None if s[2] is None else T0 + pd.Timedelta(milliseconds=s[2]) for s in spans]
    lengths = [None if s[3] is None else int(s[3] * 1000) for s in spans]
    frame = pd.DataFrame(
        {
            "span_id": [s[0] for s in spans], "parent_id": pd.Series([s[1] for s in spans], dtype=object),
            "started_at": pd.to_datetime(starts, utc=True),
            "duration_us": pd.array(lengths, dtype="Float64").astype(float),
        }
    )  # fmt: skip
    return _tree(frame).set_index("span_id")


def critical(found: pd.DataFrame) -> set[str]:
    return set(found.index[found["critical"]])


def test_depth_first_by_start_with_offsets() -> None:
    found = tree(
        ("c", "a", 60, 30), ("root", None, 0, 100), ("b", "a", 20, 30), ("a", "root", 10, 85), ("d", "root", 96, 2)
    )
    assert list(found.index) == ["root", "a", "b", "c", "d"]
    assert found["depth"].tolist() == [0, 1, 2, 2, 1]
    assert found["offset_ms"].tolist() == [0, 10, 20, 60, 96]
    assert found["duration_ms"].tolist() == [100, 85, 30, 30, 2]
    assert critical(found) == {"root", "a", "b", "c", "d"}


def test_of_parallel_children_the_slow_one_decides() -> None:
    found = tree(("root", None, 0, 100), ("fast", "root", 10, 20), ("slow", "root", 10, 80), ("last", "root", 92, 5))
    assert critical(found) == {"root", "slow", "last"}


def test_a_missing_parent_makes_a_root() -> None:
    found = tree(("root", None, 0, 100), ("orphan", "lost", 10, 20), ("child", "orphan", 12, 5))
    assert found["depth"].to_dict() == {"root": 0, "orphan": 0, "child": 1}


def test_cycles_and_own_parents_end() -> None:
    found = tree(("root", None, 0, 100), ("a", "b", 10, 5), ("b", "a", 11, 5), ("self", "self", 20, 5))
    assert set(found.index) == {"root", "a", "b", "self"}
    assert len(found) == 4
    assert set(found["depth"]) == {0}


def test_unknown_times_stay_unknown() -> None:
    found = tree(("root", None, 0, 100), ("dark", "root", None, None), ("open", "root", 10, None))
    assert pd.isna(found.loc["dark", "offset_ms"])
    assert pd.isna(found.loc["open", "duration_ms"])
    assert len(tree(("dark", None, None, None))) == 1
    assert len(tree()) == 0


def rows() -> DuckSource:
    texts = ["100% sure", "1000 sure", "a_b", "axb", "back\\slash", "ÜBER", None]
    return from_frame(
        pd.DataFrame(
            {
                "trace_id": [f"t{i}" for i in range(7)], "input_text": texts,
                "started_at": [T0 + pd.Timedelta(hours=i) for i in range(7)],
                "total_us": [5, 9, 1, 7, 3, 2, None], "total_nusd": [1, 2, 3, 9, 5, 6, None],
                "success": [True, True, False, True, None, True, True],
                "error": [False, False, False, True, False, False, False],
            }
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [("100%", {"t0"}), ("a_b", {"t2"}), ("_", {"t2"}), ("%", {"t0"}), ("\\", {"t4"}), ("SURE", {"t0", "t1"}),
     ("T6", {"t6"}),
     ("' or 1=1 --", set()), ("  ", {f"t{i}" for i in range(7)})],
)  # fmt: skip
def test_text_is_no_pattern(text: str, found: set[str]) -> None:
    assert set(kpi.find_traces(rows(), text=text)["trace_id"]) == found


@pytest.mark.parametrize(
    ("sort", "first"),
    [("recent", ["t6", "t5", "t4"]), ("cost", ["t3", "t5", "t4"]), ("latency", ["t1", "t3", "t0"]),
     ("failed", ["t3", "t2", "t6"])],
)  # fmt: skip
def test_sorts(sort: str, first: list[str]) -> None:
    assert kpi.find_traces(rows(), sort=sort, limit=3)["trace_id"].tolist() == first


def test_the_worst_incident_first_and_the_evidence_of_metrics() -> None:
    source = from_frame(
        pd.DataFrame(
            {
                "trace_id": [f"t{i}" for i in range(6)], "started_at": [T0 + pd.Timedelta(hours=i) for i in range(6)],
                "worst_severity": ["nit", "critical", None, "major", None, "critical"],
                "incident_count": [1, 2, 0, 1, 3, 1], "success": [True, False, None, False, True, True],
                "escalated": [True, False, True, None, False, False], "total_us": [1, 2, 3, 4, 5, 6],
            }
        )
    )  # fmt: skip
    assert kpi.find_traces(source, sort="incident")["trace_id"].tolist() == ["t5", "t1", "t3", "t0", "t4", "t2"]

    def ids(metric: str) -> list[str]:
        condition, sort = kpi.evidence(kpi.METRICS[metric])
        return kpi.find_traces(source, condition=condition, sort=sort)["trace_id"].tolist()

    assert ids("critical_incidents") == ["t5", "t1"]
    assert ids("incident_rate") == ["t5", "t1", "t3", "t0", "t4"]
    assert ids("task_success") == ["t3", "t1"]
    assert ids("escalation_rate") == ["t2", "t0"]
    assert ids("latency_p95")[0] == "t5"
    assert kpi.evidence(kpi.METRICS["cost_per_query"]) == ("", "cost")


def test_pages_follow_each_other_and_wrong_questions_are_typed() -> None:
    pages = [kpi.find_traces(rows(), limit=3, offset=o)["trace_id"].tolist() for o in (0, 3, 6)]
    assert pages == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]
    for wrong, code in (
        ({"limit": 0}, "traces.limit"),
        ({"offset": -1}, "traces.limit"),
        ({"sort": "x"}, "traces.sort"),
    ):
        with pytest.raises(kpi.errors.MetricError) as caught:
            kpi.find_traces(rows(), **wrong)
        assert caught.value.code == code
    with pytest.raises(kpi.errors.MetricError) as caught:
        kpi.trace(rows(), "absent")
    assert caught.value.code == "trace.unknown"
