"""`kpi segments`: keys that scripts rely on, the numbers of the Python call, exit codes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import kpi
from kpi import cli
from kpi.explain.segments.weak_segments import Weak
from tests.unit.cli.conftest import plain

pytestmark = pytest.mark.slow

WEAK = [
    "metric",
    "unit",
    "excess_unit",
    "whole",
    "n",
    "looked",
    "dimensions",
    "adjusted_for",
    "sentence",
    "scope",
    "segments",
]
SEGMENT = ["where", "name", "also", "value", "low", "high", "difference", "difference_low", "difference_high", "n",
           "users", "share", "share_of_failures", "excess", "excess_low", "excess_high", "sliceline", "z", "p", "q",
           "sentence"]  # fmt: skip


def test_segments_as_json(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["segments", "escalation_rate", "--last", "90d", "--dataset", "sample", "--json"])
    found = plain(capsys.readouterr().out)
    direct = kpi.weak_segments(kpi.open("sample"), kpi.Slice(last="90d"), metric="escalation_rate")
    assert code == cli.BREACHED
    assert list(found) == WEAK
    assert [list(s) for s in found["segments"]] == [SEGMENT] * len(direct.segments)
    assert [s["where"] for s in found["segments"]] == list(direct.segments["where"])
    assert [s["excess"] for s in found["segments"]] == pytest.approx(list(direct.segments["excess"]))
    assert found["sentence"] == direct.sentence
    text = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert ", ".join(f"`{k}`" for k in SEGMENT) in text
    assert ", ".join(f"`{k}`" for k in WEAK[:-1]) in text


def test_segments_for_people(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["segments", "cost_per_query", "--last", "90d", "--most", "1", "--dataset", "sample"]) == 1
    text = capsys.readouterr().out
    found = kpi.weak_segments(kpi.open("sample"), kpi.Slice(last="90d"), metric="cost_per_query", most=1)
    assert len(found.segments) == 1
    assert found.excess_unit == "usd"
    assert found.sentence in text
    (row,) = found.segments.itertuples()
    assert ", ".join(f"{d}={v}" for d, v in row.where.items()) in text
    assert kpi.wording.format_value(row.excess, "usd") in text


def test_exit_codes(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dataset", "sample", "--last", "90d"]
    assert cli.main(["segments", "tool_error_rate", "--by", "device", *options]) == cli.FINE
    assert cli.main(["segments", "--last", "1h", "--dataset", "sample"]) == cli.CANNOT_TELL
    assert "large enough" in capsys.readouterr().out
    assert cli.main(["segments", "latency_p95", *options]) == cli.BAD
    assert cli.main(["segments", "--by", "nothing", *options]) == cli.BAD


def test_plain_data_has_no_nan() -> None:
    frame = pd.DataFrame([{"where": {"a": "b"}, "sliceline": float("nan")}])
    weak = Weak(metric="m", unit="share", excess_unit="count", whole=0.5, n=1, looked=1, dimensions=("a",),
                adjusted_for=None, segments=frame, sentence="")  # fmt: skip
    assert weak.to_dict()["segments"] == [{"where": {"a": "b"}, "sliceline": None}]
