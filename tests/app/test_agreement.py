"""Pages, command line and Python say the same of the same rows: numbers, intervals and words, on odd data too.

KPI_PAIRS=200 tries as many pairs of data set and slice; `make test` tries twenty.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import kpi
from kpi import cli
from tests.app.conftest import _forget, _opener
from tests.app.test_pages import texts

PAIRS = int(os.environ.get("KPI_PAIRS", "20"))
OTHERS = ("versions", "segments", "drift", "cost", "traces", "data")  # of which each pair opens one, in turn
LONG = "a name that is so long that nobody would ever write it, and yet somebody has done so " * 3


def world(n: int, days: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = rng.integers(0, days, n)
    prompt = np.where(day >= days * 3 // 4, "p2", "p1")
    return pd.DataFrame({
        "request_id": [f"r{i}" for i in range(n)],
        "timestamp": pd.Timestamp("2026-09-01", tz="UTC") + pd.to_timedelta(1440 * day + rng.integers(0, 1440, n), "m"),
        "user_id": [f"u{u}" for u in rng.integers(0, n // 6 + 1, n)], "language": rng.choice(["en", "es", "de"], n),
        "intent": rng.choice(["refund", "order"], n), "prompt_version": prompt, "model": rng.choice(["m1", "m2"], n),
        "success": rng.random(n) < np.where(prompt == "p2", 0.7, 0.82), "latency_ms": rng.lognormal(7, 0.4, n),
        "cost_usd": rng.lognormal(-5, 0.5, n), "escalated": rng.random(n) < 0.1,
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home, plain = tmp_path_factory.mktemp("agreement"), world(1500, 80, 1)
    rng = np.random.default_rng(3)
    frames = {
        "plain": plain, "silent": plain.drop(columns=["success", "escalated"]), 
        "timeless": plain.drop(columns="timestamp"),
        "onerow": plain.head(1), "oneday": world(300, 1, 2),
        "wide": plain.assign(intent=[f"value {i}" for i in rng.integers(0, 300, len(plain))]),
        "long": plain.assign(intent=[LONG + str(i) for i in rng.integers(0, 3, len(plain))], prompt_version=LONG),
        "failing": plain.assign(success=False), "costly": plain[["request_id", "timestamp", "cost_usd"]],
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        for name, frame in frames.items():
            frame.to_csv(home / f"{name}.csv", index=False)
            kpi.load(home / f"{name}.csv", dataset=name)
        _forget()
        yield home
    _forget()


DATA = ("plain", "silent", "timeless", "onerow", "oneday", "wide", "long", "failing", "costly")
SLICES = [
    dict(q) for q in itertools.product(
        (("last", "28d"), ("last", "7d"), ("last", "90d"), ("last", "all"), ("last", "36h")),
        (("vs", "previous"), ("vs", "weekdays"), ("vs", "none"), ("vs", "prompt_version:p1"),
         ("vs", "2026-09-01..2026-09-20")),
        (("tz", "UTC"), ("tz", "Asia/Kolkata")), (("where", ""), ("where", "language:es")),
    )
]  # fmt: skip


def pairs() -> list[tuple[str, dict[str, str]]]:
    """Every data set in turn, each time with another slice."""
    order = random.Random(5).sample(range(len(SLICES)), len(SLICES))
    return [(DATA[i % len(DATA)], SLICES[order[(i + i // len(SLICES)) % len(SLICES)]]) for i in range(PAIRS)]


def page(name: str, query: dict[str, str]) -> AppTest:
    at = _opener(name, **{k: [v] if k == "where" else v for k, v in query.items()})
    assert not at.exception, at.exception[0].message
    return at


def shown(at: AppTest) -> dict[str, tuple[str, str]]:
    """Label -> value and change of the numbers on a page."""
    return {m.label.replace("\\", ""): (m.value.replace("\\", ""), m.delta.replace("\\", "")) for m in at.metric}


def said(at: AppTest) -> str:
    return texts(at).replace("\\", "")


def printed(capsys: pytest.CaptureFixture[str], command: str, query: dict[str, str]) -> dict[str, Any]:
    view = kpi.Slice.from_query({k: [v] for k, v in query.items()})
    told = [f"--where={d}={v}" for d, values in view.filters for v in values]
    capsys.readouterr()
    cli.main([command, f"--dataset={view.dataset}", f"--last={view.last}", f"--vs={view.baseline}", f"--tz={view.tz}",
              *told, "--json"])  # fmt: skip
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def close(a: Any, b: Any) -> bool:
    unknown = [v is None or v != v for v in (a, b)]
    return unknown[0] == unknown[1] and (unknown[0] or a == pytest.approx(b, rel=1e-12, abs=1e-15))


@pytest.mark.parametrize(("number", "dataset", "asked"), [(i, d, q) for i, (d, q) in enumerate(pairs())])
def test_they_agree(
    folder: Path, capsys: pytest.CaptureFixture[str], number: int, dataset: str, asked: dict[str, str]
) -> None:
    query = {"data": dataset, **{k: v for k, v in asked.items() if v}}
    source = kpi.open(dataset)
    known = kpi.profile(source)
    if query.get("where", "").partition(":")[0] not in known.dimensions or dataset == "onerow":
        query.pop("where", None)
    if ":" in query["vs"] and "p1" not in dict(known.dimensions.get("prompt_version", ())):
        query["vs"] = "previous"
    view = kpi.Slice.from_query({k: [v] for k, v in query.items()})
    at, words = page("overview", query), kpi.wording
    page(OTHERS[number % len(OTHERS)], query)
    card, told = kpi.scorecard(source, view), kpi.story(source, view)
    if not card.requests:
        assert "No requests match" in said(at)
        return
    cards = shown(at)
    assert card.sentence in said(at)
    for c in card.cards:
        assert cards[c.label][0] == words.format_value(c.value, c.unit)
        clear = c.change is not None and c.change.clear and not c.change.bounds
        assert (cards[c.label][1] == words.format_change(c.change.difference, c.unit)) == clear if c.change else True
    for f in told.findings:
        assert f.sentence in said(at)
    own = printed(capsys, "scorecard", query)
    assert own["sentence"] == card.sentence
    for c, row in zip(card.cards, own["kpis"], strict=True):
        assert (row["metric"], row["state"]) == (c.metric, c.state)
        assert all(close(row[k], getattr(c, k)) for k in ("value", "low", "high", "n"))
    if told.compared:
        assert [f["sentence"] for f in printed(capsys, "findings", query)["findings"]] == [
            f.sentence for f in told.findings
        ]
    measured = [c for c in card.cards if c.metric in kpi.METRICS and known.supports(kpi.METRICS[c.metric])]
    frame = kpi.summarise(source, [c.metric for c in measured], view).set_index("metric")
    for c in measured:
        assert all(close(frame.loc[c.metric, k], getattr(c, k)) for k in ("value", "low", "high", "n"))
    for c in [measured[number % len(measured)]] if measured else []:
        trend = shown(page("trends", {**query, "metric": c.metric}))
        assert [v for v, _ in trend.values()] in ([cards[c.label][0]], [])  # none where there are no times
        why = page("why", {**query, "metric": c.metric})
        same = "Nothing lies before" not in said(why) and "was not there before" not in said(why)
        if why.metric and same:
            assert shown(why)[c.label] == cards[c.label]
            if c.change:
                interval = words.format_change_interval(c.change.low, c.change.high, c.unit)
                assert f"change, 95 %: {interval}" in said(why)
        if view.baseline == "none":
            assert not why.metric
