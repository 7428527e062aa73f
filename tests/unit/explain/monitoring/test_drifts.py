"""`kpi.drift` without a column: a row for every column, with the numbers of each alone, corrected for how many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import MetricError


@pytest.fixture(scope="module")
def source() -> kpi.Source:
    rng = np.random.default_rng(5)
    n = 6_000
    late = np.arange(n) >= n // 2
    return kpi.from_frame(
        pd.DataFrame(
            {
                "trace_id": [f"t{i}" for i in range(n)],
                "started_at": pd.date_range("2026-09-01", periods=n, freq="13min", tz="UTC"),
                "user_key": [f"u{i}" for i in rng.integers(0, 1500, n)],
                "language": np.where(late & (rng.random(n) < 0.3), "fr", rng.choice(["de", "en"], n)),
                "device": rng.choice(["phone", "desktop"], n),
                "success": rng.random(n) < 0.8,
                "input_tokens": (rng.lognormal(6, 0.5, n) * np.where(late, 1.6, 1.0)).astype(int),
                "output_tokens": rng.lognormal(5, 0.5, n).astype(int),
            }
        )
    )


def test_every_column_has_its_row_the_surest_first(source: kpi.Source) -> None:
    view = kpi.Slice(last="27d")
    found = kpi.drift(source, slice=view)
    assert sorted(found.table["column"]) == sorted(kpi.drift_columns(source))
    q = found.table["q"].to_numpy()
    assert (np.diff(q) >= 0).all()
    changed = found.table.loc[found.table["state"] == "changed", "column"]
    assert set(changed) == {"language", "input_tokens"}
    assert found.sentence == f"2 of 5 columns have changed: {', '.join(c.replace('_', ' ') for c in changed)}."
    for row in found.table.itertuples():
        alone = kpi.drift(source, row.column, view)
        assert row.distance == pytest.approx(alone.distance.value, abs=1e-12)
        assert row.n == alone.distance.n
        assert row.low <= alone.distance.low + 1e-12, "limits for all columns together are no narrower"
        assert row.high >= alone.distance.high - 1e-12
        assert (row.q <= 0.025) == (row.state == "changed")
    language = found.table.set_index("column").loc["language", "sentence"].split("; ")[1]
    assert language.startswith("most in fr, ")
    assert language == kpi.drift(source, "language", view).sentence.split("; ")[1]
    assert found.frame().equals(found.table)
    assert [list(c) for c in found.to_dict()["columns"]] == [list(found.table.columns)] * 5


def test_it_takes_two_statements(source: kpi.Source, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    run = source.run
    kpi.resolve(source, kpi.Slice(last="27d"))  # what is known of the source already is asked for once
    monkeypatch.setattr(source, "run", lambda statement: asked.append(statement) or run(statement))
    kpi.drift(source, slice=kpi.Slice(last="27d"))
    assert len(asked) == 2


def test_nothing_to_compare_with_and_no_column() -> None:
    bare = kpi.from_frame(
        pd.DataFrame({"trace_id": ["a", "b"], "started_at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True)})
    )
    with pytest.raises(MetricError, match="no column whose drift"):
        kpi.drift(bare)
