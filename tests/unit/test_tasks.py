"""Ten tasks of a data scientist, each in at most three lines, on four data sets; every number counted a second way.

The lines are what a user types after `import kpi` and after opening: the sample, the team's frame (its own names, words
and units), answers of 29 models to the same items, and an agent's trials. The second way is plain pandas on raw rows.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kpi
from kpi import cli
from tests import team

pytestmark = pytest.mark.slow

MOST_LINES = 3
BFCL = "data/datasets/bfcl/bfcl_2024-08-11_requests.csv"
TAU = "data/datasets/tau_bench/gpt-4o-airline.json"
Check = Callable[[Any, pd.DataFrame], None]
TASKS: list[tuple[str, str, str, Check]] = []


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest) -> Callable[[str], tuple[Any, pd.DataFrame]]:
    """(what is opened, raw rows) of a data set by name, each made once."""
    made: dict[str, tuple[Any, pd.DataFrame]] = {}

    def get(name: str) -> tuple[Any, pd.DataFrame]:
        if name not in made:
            made[name] = globals()[f"_{name}"](request)
        return made[name]

    return get


def _sample(request: pytest.FixtureRequest) -> tuple[Any, pd.DataFrame]:
    tables: dict[str, pa.Table] = request.getfixturevalue("world_tables")
    return request.getfixturevalue("sample"), tables["requests"].to_pandas()


def _team(request: pytest.FixtureRequest) -> tuple[Any, pd.DataFrame]:
    raw = team.frame()
    source = kpi.from_frame(raw, outcomes=["thumbs_up", "human", "judge"])
    flags = {c: raw[c].map({"yes": True, "no": False}) for c in ("ok", "resolved", "thumbs_up")}
    return source, raw.assign(**flags, at=pd.to_datetime(raw["ts"]))


def _bfcl(request: pytest.FixtureRequest) -> tuple[Any, pd.DataFrame]:
    raw = pd.read_csv(request.getfixturevalue("shared") / BFCL)
    return kpi.from_frame(raw, cohorts=["item"]), raw


def _tau(request: pytest.FixtureRequest) -> tuple[Any, pd.DataFrame]:
    place = request.getfixturevalue("shared") / TAU
    raw = pd.read_json(place)
    return kpi.open(place), raw.assign(won=raw["reward"] == 1)


def task(name: str, data: str, lines: str) -> Callable[[Check], Check]:
    """The check of one task on one data set; lines: what the user types, `answer` being what is checked."""

    def keep(check: Check) -> Check:
        TASKS.append((name, data, lines.strip(), check))
        return check

    return keep


def window(raw: pd.DataFrame, days: int = 28, back: int = 0) -> pd.DataFrame:
    """Rows of the last whole days of the sample; back: windows before."""
    end = raw["started_at"].max().normalize() + pd.Timedelta(days=1) - pd.Timedelta(days=days * back)
    return raw[(raw["started_at"] >= end - pd.Timedelta(days=days)) & (raw["started_at"] < end)]


def values(answer: pd.DataFrame, by: list[str], metric: str) -> dict[Any, float]:
    mine = answer[answer["metric"] == metric]
    return mine.set_index(by if len(by) > 1 else by[0])["value"].to_dict()


def rates(raw: pd.DataFrame, by: list[str], column: str) -> dict[Any, float]:
    known = raw[raw[column].notna()]
    return known[column].astype(float).groupby([known[c] for c in by]).mean().to_dict()


def adjusted(raw: pd.DataFrame, arms: tuple[str, str], by: str, stratum: str, column: str) -> tuple[float, float]:
    """(difference, the same with the mix of both arms together on either side)."""
    known = raw[raw[column].notna() & raw[by].isin(arms)].assign(y=lambda d: d[column].astype(float))
    means = known.groupby([by, stratum])["y"].mean().unstack(0)
    weights = known[stratum].value_counts(normalize=True)
    plain = known.groupby(by)["y"].mean()
    return plain[arms[1]] - plain[arms[0]], float(((means[arms[1]] - means[arms[0]]) * weights).sum())


# --- 1: success by version and language ------------------------------------------------------------------------------


@task("success", "sample", 'answer = kpi.summarise(source, "task_success", "28d", by=["prompt_version", "language"])')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    expected = rates(window(raw), ["prompt_version", "language"], "success")
    assert values(answer, ["prompt_version", "language"], "task_success") == pytest.approx(expected)


@task("success", "team", 'answer = kpi.summarise(source, "task_success", by=["prompt_version", "language"])')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    expected = rates(raw, ["prompt_version", "lang"], "ok")
    assert len(expected) == 6
    assert values(answer, ["prompt_version", "language"], "task_success") == pytest.approx(expected)


@task("success", "bfcl", 'answer = kpi.summarise(source, "task_success", by=["model", "test_category"])')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    expected = rates(raw, ["model", "test_category"], "success")
    assert values(answer, ["model", "test_category"], "task_success") == pytest.approx(expected)


@task("success", "tau", 'answer = kpi.summarise(source, "task_success")')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    assert answer["value"].tolist() == pytest.approx([raw["won"].mean()])
    assert answer["n"].tolist() == [200]


# --- 2: B against A, adjusted ----------------------------------------------------------------------------------------


@task("is B better", "sample", 'answer = kpi.compare(source, "p6", "p7", by="prompt_version", adjust="intent")')
def _(answer: kpi.Comparison, raw: pd.DataFrame) -> None:
    row = answer.frame().set_index("metric").loc["task_success"]
    expected = adjusted(window(raw), ("p6", "p7"), "prompt_version", "intent", "success")
    assert (row["difference"], row["adjusted"]) == pytest.approx(expected)
    assert "26 Oct to 22 Nov" in answer.scope


@task("is B better", "team", 'answer = kpi.compare(source, "A", "B", by="prompt_version", adjust="language")')
def _(answer: kpi.Comparison, raw: pd.DataFrame) -> None:
    row = answer.frame().set_index("metric").loc["task_success"]
    expected = adjusted(raw, ("A", "B"), "prompt_version", "lang", "ok")
    assert (row["difference"], row["adjusted"]) == pytest.approx(expected)
    assert row["verdict"] == "worse"
    assert row["n_a"] + row["n_b"] == len(raw)  # a frame without a slice means all of it


@task(
    "is B better",
    "bfcl",
    """
pair = ["gpt-4o-2024-05-13-FC", "gpt-4-0613-FC"]
answer = kpi.compare(source, *pair, ["task_success"], by="model", cluster=["test_category", "item"])
""",
)
def _(answer: kpi.Comparison, raw: pd.DataFrame) -> None:
    solved = raw.pivot_table(index=["test_category", "item"], columns="model", values="success").astype(float)
    change = solved[answer.b] - solved[answer.a]
    reach = 1.96 * change.std(ddof=1) / math.sqrt(len(change))
    row = answer["task_success"].effect
    assert row.difference == pytest.approx(change.mean())
    assert (row.low, row.high) == pytest.approx((change.mean() - reach, change.mean() + reach), abs=1e-3)


# --- 3: what explains the fall ---------------------------------------------------------------------------------------


@task("why did it fall", "sample", 'answer = kpi.decompose(source, "task_success", "28d", by="language")[0]')
def _(answer: kpi.Decomposition, raw: pd.DataFrame) -> None:
    now, before = (window(raw, back=i)["success"].dropna().astype(float).mean() for i in (0, 1))
    assert (answer.now, answer.before) == pytest.approx((now, before))
    assert answer.frame()["effect"].sum() == pytest.approx(now - before)


@task("why did it fall", "team", "answer = kpi.findings(source)")
def _(answer: kpi.Results[kpi.Finding], raw: pd.DataFrame) -> None:
    first = answer[0]
    assert (first.metric, dict(first.where)) == ("task_success", {"language": "de"})
    assert abs((pd.Timestamp(first.since) - team.GERMAN_FALLS).days) <= 2
    german = raw[raw["lang"] == "de"].set_index("at")["ok"].astype(float)
    assert first.value == pytest.approx(german[pd.Timestamp(first.since) :].mean())
    before = pd.Timestamp(first.since) - pd.Timedelta(seconds=1)
    assert first.was == pytest.approx(german["2026-10-19":before].mean())  # the last 14 days and 28 before them
    assert answer.scope == "16 Nov to 29 Nov 2026 against 19 Oct to 15 Nov 2026"


# --- 4: cost per resolved task, p95 and worst by tenant --------------------------------------------------------------


def _costs(answer: pd.DataFrame, cost: pd.Series, resolved: pd.Series, tenant: pd.Series) -> None:
    """cost in USD of each request."""
    known = cost.notna() & resolved.notna()
    per = cost[known].groupby(tenant[known]).sum() / resolved[known].astype(float).groupby(tenant[known]).sum()
    assert values(answer, ["tenant"], "cost_per_resolved") == pytest.approx(per.to_dict())
    assert values(answer, ["tenant"], "cost_worst") == pytest.approx(cost.groupby(tenant).max().to_dict())
    for name, p95 in values(answer, ["tenant"], "cost_p95").items():  # good to 0.5 % of itself
        mine = cost[(tenant == name) & cost.notna()]
        assert (mine < 0.995 * p95).mean() <= 0.95 <= (mine <= 1.005 * p95).mean() + 1 / len(mine)


COSTS = 'answer = kpi.summarise(source, ["cost_per_resolved", "cost_p95", "cost_worst"], by="tenant")'


@task("cost by tenant", "sample", COSTS)
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    raw = window(raw)
    _costs(answer, raw["total_nusd"] / 1e9, raw["resolved"], raw["tenant"])


@task("cost by tenant", "team", COSTS)
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    _costs(answer, raw["cost"], raw["resolved"], raw["tenant"])


# --- 5: which traces to read first -----------------------------------------------------------------------------------


def _reading(answer: pd.DataFrame, wrong: pd.Series) -> None:
    """wrong: by trace id, whether it failed."""
    assert len(answer) == 20
    assert answer["trace_id"].is_unique
    well = answer["why"].str.startswith("Went well")
    assert well.sum() == 2
    assert [bool(wrong[t]) for t in answer["trace_id"]] == (~well).tolist()


@task("read first", "sample", 'answer = kpi.read_first(source, "28d", 20)')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    mine = window(raw).set_index("trace_id")
    _reading(answer, ~mine["success"].fillna(value=False).astype(bool) | mine["error"].fillna(value=False).astype(bool))


@task("read first", "team", "answer = kpi.read_first(source, kpi.findings(source)[0], 20)")
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    _reading(answer, pd.Series((~raw["ok"]).to_numpy(), [str(i + 1) for i in range(len(raw))]))
    assert set(answer["language"]) == {"de"}


@task("read first", "bfcl", "answer = kpi.read_first(source, most=20)")
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    _reading(answer, pd.Series((~raw["success"]).to_numpy(), [str(i + 1) for i in range(len(raw))]))


@task("read first", "tau", "answer = kpi.read_first(source, most=20)")
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    assert Counter(answer["why"].str.startswith("Went well")) == {False: 18, True: 2}
    assert answer.loc[answer["why"].str.startswith("Went well"), "success"].all()


# --- 6: drift of every column ----------------------------------------------------------------------------------------


def _divergence(now: pd.Series, before: pd.Series) -> float:
    """Jensen-Shannon divergence to the base 2 of two samples, unknown values being one of them."""
    p, q = (s.astype(str).value_counts(normalize=True) for s in (now, before))
    both = pd.concat([p, q], axis=1).fillna(0).to_numpy().T
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nansum(both * np.log2(both / both.mean(axis=0)), axis=1).mean())


def _moved(answer: kpi.Drifts, column: str, now: pd.Series, before: pd.Series) -> None:
    """The distance is the root of the divergence less its part of chance, (values - 1) / (8 ln 2) (1/n + 1/m) where no
    user repeats, and a few times that where they do."""
    found = answer.frame().set_index("column").loc[column, "distance"] ** 2
    chance = (now.astype(str).nunique() - 1) / (8 * math.log(2)) * (1 / len(now) + 1 / len(before))
    raw = _divergence(now, before)
    assert max(raw - 4 * chance, 0) <= found <= raw, column


@task("drift", "sample", 'answer = kpi.drift(source, slice="28d")')
def _(answer: kpi.Drifts, raw: pd.DataFrame) -> None:
    now, before = window(raw), window(raw, back=1)
    for column in ("intent", "language", "device", "prompt_version"):
        if column in set(answer.frame()["column"]):
            _moved(answer, column, now[column], before[column])
    found = answer.frame()
    assert ((found["q"] <= 0.05) == (found["state"] == "changed"))[found["q"].notna()].all()


@task("drift", "team", "answer = kpi.drift(source)")
def _(answer: kpi.Drifts, raw: pd.DataFrame) -> None:
    now, before = raw[raw["at"] >= team.PROMPT_B], raw[raw["at"] < team.PROMPT_B]
    _moved(answer, "success", now["ok"], before["ok"])
    _moved(answer, "resolved", now["resolved"], before["resolved"])
    changed = set(answer.frame().query("state == 'changed'")["column"])
    assert changed >= {"success", "resolved"}
    assert not {"language", "device", "tenant"} & changed


# --- 7: fairness, languages by devices -------------------------------------------------------------------------------


def _gap(answer: kpi.Disparity, rate: dict[Any, float]) -> None:
    (row,) = answer.frame().to_dict("records")
    assert row["gap"] == pytest.approx(max(rate.values()) - min(rate.values()))
    assert row["worst"] == " × ".join(min(rate, key=rate.__getitem__))
    assert set(answer.groups["metric"]) == set(answer.whole["metric"]) == {"task_success"}  # no more than was asked


FAIR = 'answer = kpi.disparity(source, by=[("language", "device")], metrics="task_success")'


@task("fairness", "sample", FAIR)
def _(answer: kpi.Disparity, raw: pd.DataFrame) -> None:
    _gap(answer, rates(window(raw), ["language", "device"], "success"))


@task("fairness", "team", FAIR)
def _(answer: kpi.Disparity, raw: pd.DataFrame) -> None:
    _gap(answer, rates(raw, ["lang", "device"], "ok"))


@task("fairness", "tau", FAIR)
def _(answer: kpi.Disparity, raw: pd.DataFrame) -> None:
    assert answer.sentence == "No cohort with two groups that are large enough."  # it has neither


# --- 8: pass^k -------------------------------------------------------------------------------------------------------


@task("pass^k", "tau", "answer = kpi.pass_hat_k(source)")
def _(answer: kpi.Reliability, raw: pd.DataFrame) -> None:
    tries = raw.groupby("task_id")["won"].agg(["size", "sum"])
    for row in answer.frame().itertuples():
        shares = [math.comb(int(t.sum), row.k) / math.comb(int(t.size), row.k) for t in tries.itertuples(name="T")]
        assert row.value == pytest.approx(np.mean(shares), abs=1e-12)
    assert answer.sentence.startswith("Solved in each of 4 tries: 20.0 % of 50 tasks")
    assert answer.sentence.endswith("in a single one 42.0 %.")


# --- 9: a metric of one's own ----------------------------------------------------------------------------------------


@task("own metric", "sample", 'answer = kpi.summarise(source, kpi.mean("output_tokens"), "28d", by="language")')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    expected = rates(window(raw), ["language"], "output_tokens")
    assert values(answer, ["language"], "output_tokens_mean") == pytest.approx(expected)


@task(
    "own metric",
    "team",
    """
mine = [kpi.mean("revenue", per="user", unit="usd"), kpi.share("thumbs_up")]
answer = kpi.summarise(source, mine, by="tenant")
""",
)
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    per_user = raw.groupby(["tenant", "user"])["revenue"].sum().groupby("tenant").mean()
    assert values(answer, ["tenant"], "revenue_per_user") == pytest.approx(per_user.to_dict())
    assert values(answer, ["tenant"], "thumbs_up") == pytest.approx(rates(raw, ["tenant"], "thumbs_up"))


@task("own metric", "bfcl", 'answer = kpi.summarise(source, kpi.share("tool_calls >= 1"), by="test_category")')
def _(answer: pd.DataFrame, raw: pd.DataFrame) -> None:
    called = raw.assign(called=raw["n_tool_calls"] >= 1)
    assert answer.set_index("test_category")["value"].to_dict() == pytest.approx(
        rates(called, ["test_category"], "called")
    )


# --- 10: a table, a plot, saved, and an exit code --------------------------------------------------------------------

SAVED = """
answer = kpi.scorecard(source, metrics=["task_success"])
answer.frame().to_csv(place / "card.csv")
answer.plot().save(place / "card.html")
"""


def _kept(answer: kpi.Scorecard, rate: float) -> None:
    (card,) = answer.cards
    assert card.value == pytest.approx(rate)
    assert pd.read_csv("card.csv")["value"].tolist() == pytest.approx([rate])
    assert "vegaEmbed" in Path("card.html").read_text(encoding="utf-8")


@task("save and end", "team", SAVED)
def _(answer: kpi.Scorecard, raw: pd.DataFrame) -> None:
    _kept(answer, raw.loc[raw["at"] >= team.PROMPT_B, "ok"].mean())
    assert answer.state == "off_target"


@task("save and end", "sample", SAVED)
def _(answer: kpi.Scorecard, raw: pd.DataFrame) -> None:
    _kept(answer, window(raw)["success"].dropna().astype(float).mean())


@task("save and end", "bfcl", SAVED)
def _(answer: kpi.Scorecard, raw: pd.DataFrame) -> None:
    _kept(answer, raw["success"].mean())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("scorecard --dataset {file} --metrics task_success", cli.BREACHED),
        ("findings --dataset {file} --metrics task_success", cli.BREACHED),
        ("scorecard --dataset {file} --metrics task_success --where tenant=absent", cli.BAD),
        ("findings --dataset {file} --where language=xx", cli.BAD),
    ],
)
def test_a_nightly_command_ends_as_the_data_is(command: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command.format(file=team.FILE).split()) == code
    assert capsys.readouterr().err


# --- running them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "lines", "check"), [t[1:] for t in TASKS], ids=[f"{n} of {d}" for n, d, *_ in TASKS])
def test_a_task_takes_three_lines_and_its_numbers_are_right(
    data: str,
    lines: str,
    check: Check,
    opened: Any,
    stored_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(ast.parse(lines).body) == len(lines.splitlines()) <= MOST_LINES
    source, raw = opened(data)
    monkeypatch.setenv("KPI_HOME", str(stored_home))
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"kpi": kpi, "source": source, "place": tmp_path}
    exec(lines, space)
    check(space["answer"], raw)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("bfcl", "kpi.findings(source)"),
        ("bfcl", "kpi.drift(source)"),
        ("bfcl", 'kpi.summarise(source, "cost_per_resolved", by="model")'),
        ("bfcl", 'kpi.decompose(source, "task_success", by="model")'),
        ("bfcl", 'kpi.compare(source, "a", "b", by="model")'),
        ("tau", 'kpi.summarise(source, kpi.mean("revenue"))'),
        ("team", "kpi.pass_hat_k(source)"),
    ],
)
def test_a_task_that_data_cannot_bear_is_refused_with_what_to_do(
    data: str, line: str, opened: Any, stored_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPI_HOME", str(stored_home))
    with pytest.raises(kpi.KpiError) as error:
        eval(line, {"kpi": kpi, "source": opened(data)[0]})
    assert error.value.hint


def test_every_task_is_tried_on_the_frame_of_a_team_and_all_ten_somewhere() -> None:
    tried = {name for name, *_ in TASKS}
    assert len(tried) == 10
    assert {name for name, data, *_ in TASKS if data == "team"} == tried - {"pass^k"}
    assert {data for _, data, *_ in TASKS} == {"sample", "team", "bfcl", "tau"}
