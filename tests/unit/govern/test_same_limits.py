"""One question has one answer: card, comparison, Why, `kpi summarise` and the command line give the same limits."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

import kpi
from kpi.cli import main
from kpi.store.engines import DuckSource

METRICS = ("task_success", "cost_per_query", "cost_per_resolved", "latency_p95", "incident_rate", "escalation_rate")
RATIOS = ("task_success", "cost_per_query", "escalation_rate")


def slices(sample: DuckSource, count: int) -> list[kpi.Slice]:
    """Random slices: a window, what it is compared with, and a filter or none."""
    rng = np.random.default_rng(7)
    known = kpi.profile(sample)
    assert known.last is not None
    found = []
    for i in range(count):
        days, back = int(rng.integers(7, 31)), int(rng.integers(0, 20))
        end = known.last - timedelta(days=back)
        view = kpi.Slice(start=end - timedelta(days=days), end=end, baseline=("previous", "weekdays")[i % 2],
                         tz=("UTC", "Asia/Tokyo")[i // 2 % 2])  # fmt: skip
        dimension = ("", "language", "channel", "plan")[i % 4]
        if dimension:
            values = [v for v, n in known.dimensions[dimension] if n > 400]
            view = view.where(**{dimension: str(rng.choice(values))})
        found.append(view)
    return found


@pytest.mark.parametrize("number", range(6))
def test_every_way_gives_the_same_limits(sample: DuckSource, number: int) -> None:
    view = slices(sample, 6)[number]
    cards = {c.metric: c for c in kpi.scorecard(sample, view).cards}
    rows = kpi.compare(sample, metrics=list(METRICS), slice=view).frame().set_index("metric")
    told = kpi.summarise(sample, list(METRICS), view).set_index("metric")
    for name in METRICS:
        card, row, alone = cards[name], rows.loc[name], told.loc[name]
        assert (card.low, card.high) == pytest.approx((alone["low"], alone["high"]), rel=1e-7, nan_ok=True), name
        assert (card.low, card.high) == pytest.approx((row["b_low"], row["b_high"]), rel=1e-9, nan_ok=True), name
        if card.change is not None:
            limits = (row["low"], row["high"])
            assert (card.change.low, card.change.high) == pytest.approx(limits, rel=1e-9, nan_ok=True), name
    for name in RATIOS:
        why = kpi.decompose(sample, name, view, by="intent")[0].change
        row = rows.loc[name]
        assert (why.low, why.high) == pytest.approx((row["low"], row["high"]), rel=1e-9, nan_ok=True), name


def test_the_command_line_has_the_limits_of_a_notebook(
    sample_home: object, sample: DuckSource, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["scorecard", "--dataset", "sample", "--last", "28d", "--json"])
    kpis = {k["metric"]: k for k in json.loads(capsys.readouterr().out)["kpis"]}
    main(["compare", "--dataset", "sample", "--last", "28d", "--json", "--metrics", ",".join(METRICS)])
    compared = {m["metric"]: m for m in json.loads(capsys.readouterr().out)["metrics"]}
    rows = kpi.compare(sample, metrics=list(METRICS), slice=kpi.Slice(last="28d")).frame().set_index("metric")
    for name in METRICS:
        limits = rows.loc[name, ["low", "high"]].tolist()
        for found in (
            (kpis[name]["change_low"], kpis[name]["change_high"]),
            (compared[name]["low"], compared[name]["high"]),
        ):
            assert found == pytest.approx(limits, rel=1e-9), name
