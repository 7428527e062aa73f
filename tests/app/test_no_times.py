"""Data without times: every page that needs none works and says so; the others say what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import kpi
from tests.app.conftest import _forget, _opener
from tests.app.test_pages import texts

WORKING = ("overview", "versions", "traces", "cost", "segments", "data")
DATA = "undated"
NO_TIMES = "This data has no times: trends, drift and windows are off."


@pytest.fixture(scope="module")
def undated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder with 400 requests that do not say when they began: two models, two languages, forty users."""
    home = tmp_path_factory.mktemp("undated")
    rows = ["request_id,user_id,model,language,success,cost_usd,latency_ms"]
    for i in range(400):
        model, language = ("m-old", "m-new")[i % 2], ("de", "en", "en")[i % 3]
        rows.append(f"r{i},u{i % 40},{model},{language},{(i * 7) % 10 < 6 + 2 * (i % 2)},0.0{i % 9 + 1},{400 + i}")
    table = home / "rows.csv"
    table.write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        receipt = kpi.load(table, dataset=DATA)
    assert (receipt.requests, receipt.first) == (400, None)
    return home


@pytest.fixture
def page(undated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    monkeypatch.setenv("KPI_HOME", str(undated))
    _forget()
    yield lambda name="overview", **query: _opener(name, **{"data": DATA, **query})
    _forget()


@pytest.mark.parametrize("name", WORKING)
def test_pages_that_need_no_times_work(page, name: str) -> None:
    at = page(name)
    assert not at.error
    assert NO_TIMES in texts(at)
    assert "Widen the window" not in texts(at)


def test_numbers_are_of_every_request(page) -> None:
    shown = {m.label: m.value.replace("\\", "") for m in page().metric}
    source = kpi.open(DATA)
    value = kpi.summarise(source, ["task_success"])["value"].iloc[0]
    assert shown["Task success"] == kpi.wording.format_value(value, "share")
    assert len(page("segments", by="language", metric="task_success").get("vega_lite_chart")) == 1
    assert {m.label: m.value for m in page("cost").metric}["Total cost"] != "–"


def test_trends_and_drift_say_what_is_missing(page) -> None:
    assert "There is no trend to show" in texts(page("trends"))
    drift = texts(page("drift"))
    assert "There is nothing to compare with" in drift
    assert "or compare with a version" in drift


def test_why_needs_something_to_compare_with(page) -> None:
    assert "nothing to compare with" in texts(page("why"))
    at = page("why", vs="model:m-old", where=["model:m-new"])
    assert not at.error
    assert at.metric[0].value


def test_the_bar_offers_nothing_that_needs_times(page) -> None:
    at = page()
    assert at.selectbox(key="bar_vs").options == ["Nothing", "A version"]
    assert not any(group.label in ("Window", "Grain") for group in at.get("button_group"))


def test_versions_are_compared_without_times(page) -> None:
    at = page(vs="model:m-old", where=["model:m-new"])
    source = kpi.open(DATA)
    view = kpi.Slice(dataset=DATA, baseline="model:m-old").where(model="m-new")
    card = next(c for c in kpi.scorecard(source, view).cards if c.metric == "task_success")
    now, before = (kpi.summarise(source, ["task_success"], kpi.Slice().where(model=m)) for m in ("m-new", "m-old"))
    assert card.change is not None
    assert card.change.difference == pytest.approx(now["value"].iloc[0] - before["value"].iloc[0])
    assert "compared with model m\\-old" in texts(at)
    assert len(page("drift", vs="model:m-old", where=["model:m-new"], col="language").get("vega_lite_chart")) == 1


def test_steps_without_times_are_listed_in_their_order(home: Path) -> None:
    calls = [{"id": f"c{i}", "function": {"name": f"tool_{i}", "arguments": "{}"}} for i in range(3)]
    trajectory = [{"role": "user", "content": "Help"}]
    for call in calls:
        trajectory += [{"role": "assistant", "content": None, "tool_calls": [call]},
                       {"role": "tool", "tool_call_id": call["id"], "content": "ok"}]  # fmt: skip
    export = home / "run.json"
    home.mkdir(exist_ok=True)
    export.write_text(json.dumps([{"task_id": 1, "trial": 0, "reward": 1.0, "info": {}, "traj": trajectory}]))
    kpi.load(export, dataset=DATA)
    _forget()
    trace = kpi.find_traces(kpi.open(DATA))["trace_id"].iloc[0]
    at = _opener("traces", data=DATA, trace=trace)
    assert "The steps have no times" in texts(at)
    steps = next(d.value for d in at.dataframe if list(d.value.columns) == ["name", "kind", "status"])
    assert [n.strip() for n in steps["name"]] == ["agent", "tool_0", "agent", "tool_1", "agent", "tool_2"]
    assert kpi.trace(kpi.open(DATA), trace).tool_calls["name"].tolist() == ["tool_0", "tool_1", "tool_2"]
    _forget()


def test_the_command_line_says_that_windows_are_off(undated: Path, monkeypatch, capsys) -> None:
    from kpi import cli

    monkeypatch.setenv("KPI_HOME", str(undated))
    assert cli.main(["summarise", "requests", "--last", "7d", "--dataset", DATA]) == cli.CANNOT_TELL
    said = capsys.readouterr()
    assert "400" in said.out
    assert "no times" in said.err
    assert cli.main(["summarise", "requests", "--every", "day", "--dataset", DATA]) == cli.CANNOT_TELL
    assert "no times" in capsys.readouterr().err
    assert cli.main(["traces", "--dataset", DATA]) == cli.FINE
    assert "no times" not in capsys.readouterr().err
    assert os.environ["KPI_HOME"] == str(undated)
