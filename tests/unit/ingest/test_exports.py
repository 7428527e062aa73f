"""Genuine exports and data sets, loaded without a mapping, counted another way: from raw JSON, protobuf and pandas."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

import kpi
from kpi import cli
from kpi.receipts import Receipt

pytestmark = pytest.mark.slow

TRACES = (
    "otlp/genai_semconv_2026.traces.json",
    "otlp/genai_semconv_2026.traces.jsonl",
    "otlp/genai_semconv_2026.traces.binpb",
    "otlp/traceloop_0.40.traces.json",
    "otlp/traceloop_0.40.traces.jsonl",
    "openinference/openinference_otlp.json",
    "openinference/openinference_otlp.binpb",
)
LOGS = ("otlp/genai_semconv_2026.logs.jsonl", "otlp/genai_semconv_2026.logs.binpb")
USAGE = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
}
WINDOWLESS = kpi.Slice(last="all")
Json = dict[str, Any]
Load = Callable[..., Json]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state folder for all tests here; each file goes into a data set of its own, once."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(folder))
        yield folder


@pytest.fixture
def load(place: Path, capsys: pytest.CaptureFixture[str]) -> Load:
    """`kpi load FILE… --json` in this process: the printed receipt."""

    def run(*files: Path, dataset: str) -> Json:
        code = cli.main(["load", *map(str, files), "--dataset", dataset, "--json"])
        assert code == cli.FINE
        return json.loads(capsys.readouterr().out)

    return run


def slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.rsplit("/", 1)[-1].lower())


def raw(path: Path) -> list[Json]:
    """Spans of an export, walked without the index: trace, span, parent, failed, attributes."""
    if path.suffix == ".binpb":
        return [
            {
                "trace": s.trace_id.hex(), "span": s.span_id.hex(), "parent": s.parent_span_id.hex() or None,
                "failed": s.status.code == 2 or any(a.key == "error.type" for a in s.attributes),
                "attributes": {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in s.attributes},
            }
            for r in TracesData.FromString(path.read_bytes()).resource_spans for g in r.scope_spans for s in g.spans
        ]  # fmt: skip
    return [
        {
            "trace": s["traceId"], "span": s["spanId"], "parent": s.get("parentSpanId") or None,
            "failed": s.get("status", {}).get("code") == 2 or any(a["key"] == "error.type" for a in s["attributes"]),
            "attributes": {a["key"]: next(iter(a["value"].values()), None) for a in s["attributes"]},
        }
        for d in documents(path) for r in d["resourceSpans"] for g in r["scopeSpans"] for s in g["spans"]
    ]  # fmt: skip


def documents(path: Path) -> list[Json]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def leaf_tokens(spans: list[Json], side: str) -> int:
    """Tokens of model calls that hold no other span with tokens; embeddings do not answer anybody."""
    used = {s["span"]: int(s["attributes"][k]) for s in spans for k in USAGE[side] if k in s["attributes"]}
    parents = {s["span"]: s["parent"] for s in spans}
    above: set[str] = set()
    for span in used:
        over = parents[span]
        while over is not None and over in parents and over not in above:
            above.add(over)
            over = parents[over]
    embeddings = {s["span"] for s in spans if s["attributes"].get("openinference.span.kind") == "EMBEDDING"}
    return sum(n for span, n in used.items() if span not in above | embeddings)


@pytest.mark.parametrize("name", TRACES)
def test_trace_exports_give_the_counts_of_the_file(shared: Path, load: Load, name: str) -> None:
    path = shared / "data/exports" / name
    spans = raw(path)
    traces = {s["trace"] for s in spans}
    receipt = load(path, dataset=slug(name))
    assert receipt["requests"] == len(traces)
    assert receipt["spans"] == receipt["loaded"] == len(spans)
    assert (receipt["repeated"], receipt["dropped"], receipt["format"]) == (0, 0, "otlp")

    source = kpi.open(slug(name))
    found = kpi.find_traces(source, WINDOWLESS, limit=500)
    assert set(found["trace_id"]) == traces
    for side in USAGE:
        mean = kpi.summarise(source, side, WINDOWLESS).iloc[0]
        assert round(mean["value"] * mean["n"]) == leaf_tokens(spans, side)
        assert int(found[side].sum()) == leaf_tokens(spans, side)
    assert set(found[found["error"] == True]["trace_id"]) == {  # noqa: E712 - unknown is neither
        s["trace"] for s in spans if s["failed"] and s["parent"] is None
    }
    for trace in traces:
        tree = kpi.trace(source, trace).spans
        mine = [s for s in spans if s["trace"] == trace]
        assert set(tree["span_id"]) == {s["span"] for s in mine}
        assert (tree["status"] == "error").sum() == sum(s["failed"] for s in mine)


@pytest.mark.parametrize("name", LOGS)
def test_logs_alone_wait_for_their_traces(shared: Path, load: Load, name: str) -> None:
    path = shared / "data/exports" / name
    if path.suffix == ".binpb":
        records = [
            (m.trace_id.hex(), m.span_id.hex(), m.event_name)
            for r in LogsData.FromString(path.read_bytes()).resource_logs for g in r.scope_logs for m in g.log_records
        ]  # fmt: skip
    else:
        records = [
            (m["traceId"], m["spanId"], m["eventName"])
            for d in documents(path) for r in d["resourceLogs"] for g in r["scopeLogs"] for m in g["logRecords"]
        ]  # fmt: skip
    receipt = load(path, dataset=slug(name))
    assert receipt["dropped"] == 0
    assert receipt["requests"] == 0
    assert any("logs of spans" in note for note in receipt["notes"])
    operations = {(trace, span) for trace, span, event in records if "operation" in event}
    assert receipt["spans"] == len(operations)
    source = kpi.open(slug(name))
    with pytest.raises(kpi.errors.MetricError) as caught:  # no span has begun yet: a request without a start is none
        kpi.find_traces(source)
    assert caught.value.code == "source.no_table"
    assert "Load traces" in caught.value.hint


def test_logs_complete_the_traces_they_belong_to(shared: Path, load: Load) -> None:
    """Logs first and traces later is the same as both at once; tokens that both carry count once."""
    traces, logs = (shared / "data/exports" / n for n in (TRACES[0], LOGS[0]))
    load(traces, logs, dataset="both")
    load(logs, dataset="late")
    load(traces, dataset="late")
    frames = [
        kpi.find_traces(kpi.open(d), WINDOWLESS).sort_values("trace_id", ignore_index=True) for d in ("both", "late")
    ]
    pd.testing.assert_frame_equal(*frames)
    for side in USAGE:
        assert int(frames[0][side].sum()) == leaf_tokens(raw(traces), side)
    judged = [  # trace ids of the verdicts in the file
        m["traceId"]
        for d in documents(logs) for r in d["resourceLogs"] for g in r["scopeLogs"] for m in g["logRecords"]
        if "evaluation" in m["eventName"]
    ]  # fmt: skip
    for trace, count in Counter(judged).items():
        scores = [kpi.trace(kpi.open(d), trace).scores for d in ("both", "late")]
        assert [len(s) for s in scores] == [count, count]
    again = load(traces, logs, dataset="both")
    assert (again["loaded"], again["version"]) == (0, 1)
    assert again["repeated"] > 0


@pytest.fixture(scope="module")
def bfcl(shared: Path, place: Path) -> tuple[pd.DataFrame, Receipt]:
    path = shared / "data/datasets/bfcl/bfcl_2024-08-11_requests.csv"
    return pd.read_csv(path), kpi.load(path, dataset="bfcl")


def test_bfcl_per_model(bfcl: tuple[pd.DataFrame, Receipt]) -> None:
    rows, receipt = bfcl
    assert receipt.requests == receipt.loaded == len(rows) == 49_300
    assert (receipt.first, receipt.last, receipt.dropped, receipt.repeated) == (None, None, 0, 0)
    assert any("time" in note for note in receipt.notes)

    source = kpi.open("bfcl")
    names = ["requests", "task_success", "latency_p95", "tool_calls", "error_rate"]
    found = kpi.summarise(source, names, by=["model"]).set_index(["metric", "model"])
    groups = rows.groupby("model")
    assert groups.ngroups == 29
    for model, mine in groups:
        assert found.loc[("requests", model), "value"] == len(mine)
        assert found.loc[("task_success", model), "value"] == pytest.approx(mine["success"].mean(), abs=1e-12)
        assert found.loc[("tool_calls", model), "value"] == pytest.approx(mine["n_tool_calls"].mean(), rel=1e-12)
        true = np.quantile(mine["latency_s"] * 1000, 0.95)
        assert found.loc[("latency_p95", model), "value"] == pytest.approx(true, rel=0.005)
        told = found.loc[("task_success", model)]
        assert told["low"] < told["value"] < told["high"]


def test_bfcl_says_what_it_cannot_and_does_the_rest(
    bfcl: tuple[pd.DataFrame, Receipt], capsys: pytest.CaptureFixture[str]
) -> None:
    rows, _ = bfcl
    source = kpi.open("bfcl")
    known = kpi.profile(source)
    assert (known.first, known.last, known.requests) == (None, None, len(rows))
    missing = known.missing()
    assert {"cost_per_resolved", "incident_rate", "escalation_rate"} <= set(missing)
    assert not {"task_success", "latency_p95", "error_rate", "tool_calls"} & set(missing)

    card = kpi.scorecard(source)
    states = {c.metric: c for c in card.cards}
    assert card.resolved.window is None
    assert states["task_success"].value == pytest.approx(rows["success"].mean(), abs=1e-12)
    assert states["task_success"].state != "no_data"
    assert states["latency_p95"].state != "no_data"
    assert states["cost_per_query"].n < len(rows)  # only models with a known price have a cost
    for metric in ("cost_per_resolved", "incident_rate", "escalation_rate", "drift_score"):
        assert states[metric].state == "no_data", metric
        assert states[metric].reason
    assert all(c.change is None for c in card.cards)

    model = rows["model"].iloc[0]
    one = kpi.summarise(source, "requests", kpi.Slice().where(model=model, test_category="simple"))
    wanted = rows[(rows["model"] == model) & (rows["test_category"] == "simple")]
    assert one["value"].iloc[0] == len(wanted) > 0
    slow = kpi.find_traces(source, sort="latency", limit=3)
    assert slow["latency_ms"].tolist() == pytest.approx(sorted(rows["latency_s"] * 1000)[:-4:-1])
    assert kpi.trace(source, slow["trace_id"][0]).spans.empty
    assert kpi.summarise(source, "task_success", every="day").empty
    with pytest.raises(kpi.errors.MetricError) as caught:
        kpi.drift(source, "test_category")
    assert caught.value.code == "drift.no_baseline"
    assert cli.main(["scorecard", "--dataset", "bfcl"]) in (cli.BREACHED, cli.CANNOT_TELL)
    assert "Not enough data" in capsys.readouterr().out
    assert cli.main(["summarise", "task_success", "--every", "day", "--dataset", "bfcl"]) == cli.CANNOT_TELL


def test_azure_without_outcomes(shared: Path, load: Load) -> None:
    path = shared / "data/datasets/azure_llm_inference/AzureLLMInferenceTrace_conv.csv"
    rows = pd.read_csv(path, parse_dates=["TIMESTAMP"])
    receipt = load(path, dataset="azure")
    assert receipt["requests"] == receipt["loaded"] == len(rows) == 19_366
    assert receipt["from"][:19] == rows["TIMESTAMP"].min().isoformat()[:19]
    assert receipt["to"][:19] == rows["TIMESTAMP"].max().isoformat()[:19]

    source = kpi.open("azure")
    view = kpi.Slice(last="all")
    hourly = kpi.summarise(source, "requests", view, every="hour").set_index("bucket")["value"]
    wanted = rows.groupby(rows["TIMESTAMP"].dt.floor("h")).size()
    assert hourly.to_dict() == wanted.to_dict()
    for metric, column in (("input_tokens", "ContextTokens"), ("output_tokens", "GeneratedTokens")):
        mean = kpi.summarise(source, metric, view).iloc[0]
        assert round(mean["value"] * mean["n"]) == rows[column].sum()
        assert mean["n"] == len(rows)

    card = kpi.scorecard(source, view)
    assert {c.state for c in card.cards} == {"no_data"}
    assert card.index.state == "no_data"
    assert not np.isfinite(card.index.value)
    assert card.sentence == "Not enough data to judge any KPI: 19,366 requests."
    assert {"task_success", "latency_p95", "cost_per_query"} <= set(kpi.profile(source).missing())


def test_every_given_file_is_covered(shared: Path) -> None:
    base = shared / "data/exports"
    given = {f"{f.parent.name}/{f.name}" for d in ("otlp", "openinference") for f in (base / d).iterdir()}
    assert given == {*TRACES, *LOGS}


def test_python_and_command_line_load_the_same(shared: Path, load: Load) -> None:
    path = shared / "data/exports" / TRACES[5]
    printed = load(path, dataset="printed")
    receipt = kpi.load(path, dataset="returned")
    for key in (
        "format",
        "files",
        "requests",
        "spans",
        "loaded",
        "repeated",
        "dropped",
        "unmapped",
        "unpriced",
        "notes",
    ):
        assert printed[key] == getattr(receipt, key), key
    one, two = (kpi.find_traces(kpi.open(d), WINDOWLESS) for d in ("printed", "returned"))
    pd.testing.assert_frame_equal(one, two)
