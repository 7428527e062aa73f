"""The command line: keys that scripts rely on, exit codes, tables for people, the numbers of the Python calls."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kpi
from kpi import cli
from tests.unit.cli.conftest import Run, plain

pytestmark = pytest.mark.slow

Json = dict[str, Any]
HOSTILE = "\x1b[31mred\x1b[0m\r\nline\u202eright\x07\u200b%s{0}"

LOAD = [
    "dataset",
    "version",
    "format",
    "files",
    "requests",
    "spans",
    "loaded",
    "repeated",
    "dropped",
    "unmapped",
    "unpriced",
    "unpriced_models",
    "prices",
    "from",
    "to",
    "notes",
    "columns",
    "drops",
    "kept_out",
    "missing",
]
DATASETS = ["name", "version", "requests", "spans", "from", "to", "loaded_at", "bytes"]
VERSIONS = ["number", "created_at", "fingerprint", "requests", "spans", "loaded", "origin"]
METRICS = ["name", "label", "unit", "direction", "definition", "formula", "null_rule", "interval", "min_n"]
CARD = [
    "metric", "value", "low", "high", "n", "unit", "state", "target", "change", "change_low", "change_high", "reason",
    "owner", "action", "clustered_by", "effective_users", "caution",
]  # fmt: skip
ROW = ["metric", "by", "bucket", "value", "low", "high", "n", "unit"]
FINDING = ("kind", "metric", "where", "version", "version_of", "since", "change", "low",
           "high", "q", "n", "state", "owner", "action", "link", "sentence", "unit",
           "value", "was", "also", "mix", "bound_low", "bound_high")  # fmt: skip
CONNECTION = ["name", "dialect", "description", "table", "problem"]
PLACEMENT = ["dataset", "table", "columns"]
TRACE = ["request", "why", "spans", "documents", "tool_calls", "scores", "incidents"]


def table(tmp_path: Path, frame: pd.DataFrame, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return path


def requests(n: int, *, success: float = 1.0, **more: Any) -> pd.DataFrame:
    times = pd.date_range("2026-10-01", periods=n, freq="1h", tz="UTC")
    return pd.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(n)], "timestamp": [t.isoformat() for t in times],
            "user_id": [f"u{i % 40}" for i in range(n)], "success": [37 * i % 100 < 100 * success for i in range(n)],
            "latency_ms": [900 + i % 200 for i in range(n)], **more,
        }
    )  # fmt: skip


def register(tmp_path: Path, *, off: float) -> Path:
    path = tmp_path / "register.toml"
    path.write_text(
        f'[[kpi]]\nmetric = "task_success"\ntarget = 0.9\nwatch = 0.9\noff = {off}\nowner = "Me"\nmin_n = 100\n'
    )
    return path


def test_load_and_datasets_print_stable_keys(run: Run, home: Path, tmp_path: Path) -> None:
    path = table(tmp_path, requests(60).assign(mystery=[{"a": i} for i in range(60)]))
    code, out, _ = run("load", path, "--dataset", "mine", "--json")
    printed = plain(out)
    assert code == cli.FINE
    assert list(printed) == LOAD
    assert (printed["dataset"], printed["version"], printed["requests"]) == ("mine", 1, 60)
    assert (printed["loaded"], printed["repeated"], printed["dropped"]) == (60, 0, 0)
    assert (printed["from"], printed["to"]) == ("2026-10-01T00:00:00Z", "2026-10-03T11:00:00Z")
    assert printed["unmapped"] == ["mystery"]
    assert {tuple(c) for c in printed["columns"]} == {("source", "field", "how", "unit")}

    code, out, _ = run("datasets", "--json")
    (listed,) = json.loads(out)["datasets"]
    assert list(listed) == DATASETS
    assert (listed["name"], listed["requests"], listed["from"]) == ("mine", 60, "2026-10-01T00:00:00Z")
    code, out, _ = run("versions", "--dataset", "mine", "--json")
    assert [list(v) for v in json.loads(out)["versions"]] == [VERSIONS]
    for command in (("datasets",), ("versions", "--dataset", "mine")):
        code, out, _ = run(*command)
        assert code == cli.FINE
        assert "60" in out

    code, out, _ = run("load", path, "--dataset", "mine")
    assert code == cli.FINE
    assert "stored already" in out
    assert "latency_ms" in out
    assert "total_us" in out


def test_no_data_set_says_how_to_load_one(run: Run, home: Path) -> None:
    code, out, _ = run("datasets")
    assert code == cli.FINE
    assert "kpi load" in out
    assert plain(run("datasets", "--json")[1]) == {"datasets": []}


def test_scorecard_keys_and_exit_codes(run: Run, home: Path, tmp_path: Path) -> None:
    run("load", table(tmp_path, requests(400, success=0.8)), "--dataset", "mine")
    breached, good, silent = (register(tmp_path / n, off=o) for n, o in made(tmp_path, a=0.88, b=0.7, c=0.88))
    good.write_text(good.read_text().replace("0.9", "0.75"))
    silent.write_text(silent.read_text().replace("min_n = 100", "min_n = 100000"))
    for path, code, state in ((breached, 1, "off_target"), (good, 0, "on_target"), (silent, 2, "no_data")):
        found, out, _ = run("scorecard", "--dataset", "mine", "--register", path, "--json")
        printed = plain(out)
        assert list(printed) == ["kpis", "index", "sentence", "requests", "scope"]
        assert [list(k) for k in printed["kpis"]] == [CARD]
        assert (found, printed["kpis"][0]["state"]) == (code, state)
        assert run("scorecard", "--dataset", "mine", "--register", path)[0] == code


def made(tmp_path: Path, **folders: float) -> list[tuple[str, float]]:
    for name in folders:
        (tmp_path / name).mkdir()
    return list(folders.items())


def test_summarise_keys_and_numbers_are_those_of_python(run: Run, sample_home: Path) -> None:
    arguments = ("task_success", "latency_p95", "--dataset", "sample", "--by", "language,plan", "--every", "week")
    code, out, _ = run("summarise", *arguments, "--json")
    rows = json.loads(out)["rows"]
    wanted = kpi.summarise(
        kpi.open("sample"), ["task_success", "latency_p95"], kpi.Slice(), by=["language", "plan"], every="week"
    )  # fmt: skip
    assert code == cli.FINE
    assert len(rows) == len(wanted) > 50
    for row, truth in zip(rows, wanted.itertuples(), strict=True):
        assert list(row) == [*ROW, "start", "complete"]
        assert pd.Timestamp(row["start"]) == truth.start
        assert row["complete"] is truth.complete
        assert row["by"] == {"language": truth.language, "plan": truth.plan}
        assert row["bucket"] == truth.bucket.isoformat()
        assert (row["metric"], row["n"], row["unit"]) == (truth.metric, truth.n, truth.unit)
        for name in ("value", "low", "high"):
            same(row[name], getattr(truth, name))


def same(printed: float | None, number: float) -> None:
    """JSON has no NaN: unknown is null."""
    if math.isnan(number):
        assert printed is None
    else:
        assert printed == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "view"),
    [
        (("--last", "7d"), kpi.Slice(last="7d")),
        (("--last", "all"), kpi.Slice(last="all")),
        (("--from", "2026-10-01", "--to", "2026-11-01"),
         kpi.Slice(start=datetime(2026, 10, 1, tzinfo=UTC), end=datetime(2026, 11, 1, tzinfo=UTC))),
        (("--from", "2026-10-01", "--to", "2026-10-02", "--tz", "America/New_York"),
         kpi.Slice(start=datetime(2026, 10, 1, 4, tzinfo=UTC), end=datetime(2026, 10, 2, 4, tzinfo=UTC))),
        (("--where", "language=es", "--where", "language=de", "--where", "channel=web"),
         kpi.Slice(filters=(("language", ("es", "de")), ("channel", ("web",))))),
        (("--where", "language=(none)"), kpi.Slice().where(language="(none)")),
    ],
)  # fmt: skip
def test_slice_options_are_those_of_python(
    run: Run, sample_home: Path, options: tuple[str, ...], view: kpi.Slice
) -> None:
    code, out, _ = run("summarise", "requests", "cost_per_query", "--dataset", "sample", "--json", *options)
    rows = json.loads(out)["rows"]
    wanted = kpi.summarise(kpi.open("sample"), ["requests", "cost_per_query"], view).to_dict("records")
    assert code == (cli.FINE if wanted and wanted[0]["value"] else cli.CANNOT_TELL)
    assert [r["n"] for r in rows] == [w["n"] for w in wanted]
    for row, truth in zip(rows, wanted, strict=True):
        same(row["value"], truth["value"])


@pytest.mark.parametrize("vs", ["previous", "weekdays", "2026-09-01..2026-09-29", "prompt_version:p6", "none"])
def test_baselines_are_those_of_python(run: Run, sample_home: Path, vs: str) -> None:
    _, out, _ = run("scorecard", "--dataset", "sample", "--vs", vs, "--json")
    card = kpi.scorecard(kpi.open("sample"), kpi.Slice(dataset="sample", baseline=vs))
    printed = {k["metric"]: k["change"] for k in json.loads(out)["kpis"]}
    assert json.loads(out)["sentence"] == card.sentence
    for c in card.cards:
        assert printed[c.metric] == (pytest.approx(c.change.difference) if c.change else None)
    assert (printed["task_success"] is None) == (vs == "none")


def test_traces_and_trace(run: Run, sample_home: Path) -> None:
    code, out, _ = run(
        "traces", "--dataset", "sample", "--sort", "cost", "--limit", "5", "--where", "channel=api", "--json"
    )
    found = json.loads(out)["traces"]
    assert code == cli.FINE
    assert len(found) == 5
    assert {"trace_id", "started_at", "latency_ms", "cost_usd", "success", "error", "model", "input_text"} <= set(
        found[0]
    )
    assert [f["cost_usd"] for f in found] == sorted((f["cost_usd"] for f in found), reverse=True)
    assert {f["channel"] for f in found} == {"api"}

    code, out, _ = run("trace", found[0]["trace_id"], "--dataset", "sample", "--json")
    one = plain(out)
    assert code == cli.FINE
    assert list(one) == TRACE
    assert one["request"]["trace_id"] == found[0]["trace_id"]
    assert {"span_id", "parent_id", "depth", "kind", "name", "offset_ms", "duration_ms", "status", "critical"} <= set(
        one["spans"][0]
    )
    code, out, _ = run("trace", found[0]["trace_id"], "--dataset", "sample")
    assert code == cli.FINE
    assert one["why"] in out
    assert " s" in out
    assert "$" in out
    code, out, _ = run("traces", "--dataset", "sample", "--limit", "3")
    assert code == cli.FINE
    assert out.count("\n") == 6


def test_tables_for_people_carry_units(run: Run, sample_home: Path) -> None:
    _, out, _ = run("scorecard", "--dataset", "sample")
    for unit in (" %", "$0.0", " s", " per 1,000", " pp"):
        assert unit in out, unit
    assert "Owner" in out
    _, out, _ = run(
        "summarise", "task_success", "input_tokens", "cost_per_query", "--dataset", "sample", "--by", "plan"
    )
    assert " %" in out
    assert " tokens" in out
    assert "$" in out
    assert "enterprise" in out
    code, out, _ = run("metrics")
    assert code == cli.FINE
    assert all(name in out for name in kpi.METRICS)
    listed = json.loads(run("metrics", "--json")[1])["metrics"]
    assert [m["name"] for m in listed] == list(kpi.METRICS)
    assert {tuple(m) for m in listed} == {tuple(METRICS)}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("summarise", "task_sucess", "--dataset", "sample"), "metric.unknown"),
        (("summarise", "task_success", "--by", "nothing", "--dataset", "sample"), "dimension.unknown"),
        (("summarise", "task_success", "--by", "user_key", "--dataset", "sample"), "dimension.unknown"),
        (("summarise", "task_success", "--where", "nothing=1", "--dataset", "sample"), "dimension.unknown"),
        (("summarise", "task_success", "--where", "language", "--dataset", "sample"), "slice.filter"),
        (("summarise", "task_success", "--where", "language=xx", "--dataset", "sample"), "slice.value"),
        (("scorecard", "--vs", "prompt_version:p0", "--dataset", "sample"), "slice.value"),
        (("scorecard", "--metrics", "task_sucess", "--dataset", "sample"), "register.unknown"),
        (("summarise", "task_success", "--from", "2026-13-01", "--dataset", "sample"), "slice.time"),
        (("traces", "--from", "2026-11-02", "--to", "2026-11-01", "--dataset", "sample"), "slice.empty_window"),
        (("summarise", "task_success", "--last", "soon", "--dataset", "sample"), "slice.last"),
        (("summarise", "task_success", "--tz", "Mars/Base", "--dataset", "sample"), "slice.zone"),
        (("scorecard", "--vs", "yesterday", "--dataset", "sample"), "slice.baseline"),
        (("scorecard", "--dataset", "absent"), "store.no_dataset"),
        (("scorecard", "--dataset", "sample", "--register", "absent.toml"), "register.unreadable"),
        (("trace", "0" * 32, "--dataset", "sample"), "trace.unknown"),
        (("traces", "--limit", "0", "--dataset", "sample"), "traces.limit"),
        (("traces", "--limit", "-3", "--dataset", "sample"), "traces.limit"),
        (("load", "absent.json"), "ingest.not_found"),
    ],
)  # fmt: skip
def test_bad_usage_leaves_with_three_and_says_what_to_do(
    run: Run, sample_home: Path, arguments: tuple[str, ...], code: str
) -> None:
    left, out, err = run(*arguments, "--json")
    assert left == cli.BAD
    error = json.loads(out)["error"]
    assert list(error) == ["code", "message", "hint", "row"]
    assert error["code"] == code
    assert error["message"]
    assert error["hint"]
    assert err.startswith("kpi: ")
    left, out, err = run(*arguments)
    assert (left, out) == (cli.BAD, "")
    assert error["hint"] in err


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("summarise",), ("traces", "--sort", "size"), ("traces", "--limit", "few")]
)
def test_words_the_parser_does_not_know_are_bad_usage(run: Run, arguments: tuple[str, ...]) -> None:
    left, out, err = run(*arguments)
    assert (left, out) == (cli.BAD, "")
    assert "kpi: " in err
    left, out, told = run(*arguments, "--json")
    error = json.loads(out)["error"]
    assert (left, list(error), error["code"]) == (cli.BAD, ["code", "message", "hint", "row"], "cli.usage")
    assert error["message"]
    assert "--help" in error["hint"]
    assert error["hint"] in told


def test_a_near_miss_is_named(run: Run, sample_home: Path) -> None:
    assert "task_success" in run("summarise", "task_sucess", "--dataset", "sample")[2]


def test_an_empty_slice_cannot_tell(run: Run, sample_home: Path) -> None:
    nobody = ("--dataset", "sample", "--where", "language=(none)")
    assert run("summarise", "task_success", *nobody)[0] == cli.CANNOT_TELL
    code, out, _ = run("scorecard", *nobody)
    assert code == cli.CANNOT_TELL
    assert "No requests match" in out


def test_hostile_text_never_reaches_the_terminal(run: Run, home: Path, tmp_path: Path) -> None:
    rows = requests(120, model=HOSTILE, intent=HOSTILE, error_type=HOSTILE, prompt=HOSTILE, **{f"col{HOSTILE}": "x"})
    path = tmp_path / "rows.parquet"
    rows.to_parquet(path)
    outputs = [run("load", path, "--dataset", "mine")]
    assert outputs[0][0] == cli.FINE, outputs[0]
    (found,) = json.loads(run("traces", "--dataset", "mine", "--limit", "1", "--json")[1])["traces"]
    outputs += [
        run("traces", "--dataset", "mine", "--text", HOSTILE),
        run("traces", "--dataset", "mine"),
        run("trace", found["trace_id"], "--dataset", "mine"),
        run("trace", HOSTILE, "--dataset", "mine"),
        run("summarise", "task_success", "--by", "model,intent", "--dataset", "mine"),
        run("summarise", HOSTILE, "--dataset", "mine"),
        run("summarise", "requests", "--by", HOSTILE, "--dataset", "mine"),
        run("scorecard", "--dataset", "mine"),
        run("scorecard", "--dataset", "mine", "--vs", f"model:{HOSTILE}"),
    ]
    for code, out, err in outputs:
        assert code in (0, 1, 2, 3)
        bad = {c for c in out + err if not c.isprintable() and c != "\n"}
        assert not bad
        assert "\nline" not in out + err


def test_the_installed_script(sample_home: Path) -> None:
    script = Path(sys.executable).with_name("kpi")
    done = subprocess.run(
        [script, "summarise", "requests", "--dataset", "sample", "--last", "all", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == cli.FINE, done.stderr
    assert json.loads(done.stdout)["rows"][0]["value"] == 12_000
    assert subprocess.run([script, "nonsense"], capture_output=True).returncode == cli.BAD


def test_connections_and_connect(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named database is listed, a table of it is checked and saved, and then read in place."""
    folder = home / "databases"
    folder.mkdir(parents=True)
    frame = requests(24).rename(columns={"success": "worked"})
    with sqlite3.connect(folder / "shop.db") as made:
        frame.to_sql("calls", made, index=False)
    made.close()
    monkeypatch.setenv("KPI_SECRETS", str(home / "absent.toml"))
    code, out, _ = run("connections", "--json")
    assert (code, plain(out)) == (0, {"connections": []})
    monkeypatch.setenv("KPI_CONNECTION_SHOP", "sqlite:///shop.db")
    monkeypatch.setenv("KPI_CONNECTION_LOST", "postgresql://me:hunter2@169.254.169.254/x")
    code, out, _ = run("connections")
    assert code == 0
    assert "db:shop" in out
    assert "hunter2" not in out
    listed = json.loads(run("connections", "--json")[1])["connections"]
    assert [list(c) for c in listed] == [CONNECTION] * 2
    assert [bool(c["problem"]) for c in listed] == [True, False]

    mapping = home / "mapping.toml"
    mapping.write_text('[columns.request_id]\nfield = "trace_id"\n[columns.timestamp]\nfield = "started_at"\n'
                       '[columns.worked]\nfield = "total_us"\nunit = "min"\n')  # fmt: skip
    code, _, said = run("connect", "shop", "--table", "absent")
    assert (code, "has no table 'absent'" in said) == (3, True)
    assert run("connect", "nobody", "--table", "calls")[0] == 3
    mapping.write_text(mapping.read_text().replace("total_us", "success").replace('unit = "min"', ""))
    code, out, _ = run("connect", "shop", "--table", "calls", "--mapping", mapping, "--json")
    assert (code, list(plain(out)), json.loads(out)["dataset"]) == (0, PLACEMENT, "db:shop")
    code, out, _ = run("summarise", "task_success", "--dataset", "db:shop", "--last", "all", "--json")
    assert (code, json.loads(out)["rows"][0]["n"]) == (0, 24)
    assert run("versions", "--dataset", "db:shop")[0] == 3
    assert run("scorecard", "--dataset", "db:lost")[2].startswith("kpi: This connection cannot be used")
