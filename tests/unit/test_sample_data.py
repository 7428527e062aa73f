"""The planted world: reproducible, whole, consistent with its own traces, and every story is really in the data."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

import sample_data
from kpi.assembly.requests import assemble, assemble_all
from kpi.ingest.sandbox import supervisor
from kpi.schema import COSTS, SEVERITIES, SOURCES, SPAN_KINDS, TABLES
from kpi.store import lake
from sample_data import __main__ as command
from sample_data.exports import COUNT, choose_traces, gather, write_exports
from sample_data.ground_truth import ground_truth
from sample_data.otlp import user_id
from sample_data.stories import (
    JAILBREAK_END,
    JAILBREAK_START,
    MIX_END,
    MIX_START,
    POLICY_DAY,
    QUIET_DAYS,
    STORIES,
    Story,
)
from sample_data.world import END, build

pytestmark = pytest.mark.slow

PACKAGE = Path(sample_data.__file__).parent


@pytest.fixture(scope="module")
def world() -> dict[str, pa.Table]:
    return build()


@pytest.fixture(scope="module")
def frame(world: dict[str, pa.Table]) -> pd.DataFrame:
    """Requests with `number`, the 0-based day of the world, and `jailbreak`, whether such an incident happened."""
    requests = world["requests"].to_pandas()
    requests["number"] = (pd.to_datetime(requests["day"]) - pd.Timestamp(END)).dt.days + 89
    incidents = world["incidents"]
    attacks = incidents.filter(pc.equal(incidents["category"], "jailbreak"))["trace_id"].to_pylist()
    requests["jailbreak"] = requests["trace_id"].isin(attacks)
    return requests


@pytest.fixture(scope="module")
def small() -> dict[str, pa.Table]:
    return build(seed=11, requests=2_000)


def rows(table: pa.Table) -> list[dict]:
    """Canonical rows: times as integer microseconds."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.int64()))
    return table.to_pylist()


def mean(part: pd.DataFrame, metric: str) -> tuple[float, float]:
    """Mean and its cluster-robust standard error with the user as the cluster."""
    known = part[metric].dropna().astype(float)
    residual = (known - known.mean()).groupby(part.loc[known.index, "user_key"]).sum()
    return known.mean(), float(np.sqrt((residual**2).sum()) / len(known))


def p95(part: pd.DataFrame, metric: str) -> tuple[float, float]:
    """95 % quantile and its standard error, from the order statistics two clustered standard errors around it."""
    known = part[metric].dropna().astype(float)
    value = known.quantile(0.95)
    above = ((known > value) - 0.05).groupby(part.loc[known.index, "user_key"]).sum()
    error = float(np.sqrt((above**2).sum()) / len(known))
    return value, (known.quantile(min(0.95 + 2 * error, 1)) - known.quantile(0.95 - 2 * error)) / 4


def measure(part: pd.DataFrame, metric: str) -> tuple[float, float]:
    if metric == "cost_p95":
        return p95(part, "total_nusd")
    if metric == "latency_p95":
        return p95(part, "total_us")
    return mean(part, "jailbreak" if metric == "jailbreak_incidents" else metric)


def within(frame: pd.DataFrame, where, first: int, last: int) -> pd.DataFrame:
    chosen = (frame["number"] >= first) & (frame["number"] < last)
    for column, value in where.items():
        chosen &= frame[column] == value
    return frame[chosen]


def before(frame: pd.DataFrame, story: Story) -> pd.DataFrame:
    """The rows a story is compared with: its contrast, or its segment before the version that brought the change."""
    versions = ("release", "retrieval_version", "prompt_version")
    segment = story.contrast or {k: v for k, v in story.where.items() if k not in versions}
    return within(frame, segment, *story.against)


def change(new: pd.DataFrame, old: pd.DataFrame, metric: str) -> tuple[float, float, float]:
    """(difference, ratio, standard errors of difference)."""
    (now, error), (was, old_error) = measure(new, metric), measure(old, metric)
    return now - was, now / was if was else np.inf, (now - was) / np.hypot(error, old_error)


def test_same_seed_same_world_other_seed_other_world():
    first, again, other = build(requests=600), build(requests=600), build(seed=8, requests=600)
    for name in TABLES:
        assert first[name].equals(again[name]), name
    assert not first["requests"].equals(other["requests"])


def test_end_moves_the_world():
    moved = build(requests=300, end=date(2026, 3, 1))["requests"]["day"]
    assert pc.min(moved).as_py() >= date(2025, 12, 2)
    assert pc.max(moved).as_py() == date(2026, 3, 1)


@pytest.mark.parametrize("wrong", [{"requests": 10}, {"days": 0}])
def test_worlds_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        build(**wrong)


def test_tables_have_the_canonical_schema_and_sizes(world):
    assert list(world) == list(TABLES)
    for name, table in world.items():
        assert table.schema.equals(TABLES[name].arrow_schema()), name
        keys = table.select(list(TABLES[name].key)).to_pandas()
        assert not keys.duplicated().any(), name
        assert not keys.isna().any().any(), name
    assert len(world["requests"]) == 60_000
    assert 7 <= len(world["spans"]) / len(world["requests"]) <= 9
    assert 2_700 <= len(pc.unique(world["requests"]["user_key"])) <= 3_000


def test_cardinalities(frame):
    expected = {
        "language": 5, "region": 4, "plan": 3, "device": 3, "channel": 4, "intent": 8, "model": 3,
        "prompt_version": 6, "retrieval_version": 2, "policy_version": 2, "experiment_arm": 2, "deployment_ring": 3,
        "release": 4,
    }  # fmt: skip
    assert frame[list(expected)].nunique().to_dict() == expected
    assert frame[list(expected)].notna().all().all()
    assert frame["number"].nunique() == 90
    assert set(frame["outcome_source"].dropna()) <= set(SOURCES)
    assert set(frame["worst_severity"].dropna()) == set(SEVERITIES)


def test_every_row_belongs_to_a_trace(world):
    traces = set(world["requests"]["trace_id"].to_pylist())
    spans = set(zip(world["spans"]["trace_id"].to_pylist(), world["spans"]["span_id"].to_pylist(), strict=True))
    assert {t for t, _ in spans} == traces
    for name in ("documents", "tool_calls", "scores"):
        table = world[name]
        assert set(zip(table["trace_id"].to_pylist(), table["span_id"].to_pylist(), strict=True)) <= spans, name
    assert set(world["incidents"]["trace_id"].to_pylist()) <= traces
    parents = world["spans"].filter(pc.is_valid(world["spans"]["parent_id"]))
    links = zip(parents["trace_id"].to_pylist(), parents["parent_id"].to_pylist(), strict=True)
    assert set(links) <= spans
    assert len(world["spans"]) - len(parents) == len(traces)
    assert set(pc.unique(world["spans"]["kind"]).to_pylist()) <= set(SPAN_KINDS)


def test_levels_are_those_of_a_believable_assistant(frame):
    assert 0.77 <= frame["success"].mean() <= 0.83
    assert 0.10 <= frame["escalated"].mean() <= 0.14
    assert 0.03 <= frame["refused"].mean() <= 0.055
    assert 0.005 <= frame["error"].mean() <= 0.02
    assert 5.0e6 <= frame["total_us"].quantile(0.95) <= 7.0e6
    assert 0.007e9 <= frame["total_nusd"].mean() <= 0.011e9
    assert frame["total_nusd"].quantile(0.99) > 5 * frame["total_nusd"].median()
    assert 2 <= (frame["incident_count"] > 0).mean() * 1_000 <= 8


def test_knowledge_is_partial(world, frame):
    scored = {n: set(part["trace_id"]) for n, part in world["scores"].to_pandas().groupby("source")}
    share = {source: len(ids) / len(frame) for source, ids in scored.items()}
    assert 0.35 <= share["judge"] <= 0.45
    assert 0.02 <= share["human"] <= 0.045
    assert 0.09 <= share["user"] <= 0.15
    assert 0.85 <= frame["resolved"].notna().mean() <= 0.97
    assert set(frame.loc[frame["trace_id"].isin(scored["human"]), "outcome_source"]) == {"human"}
    unpriced = (frame["priced"] == False).mean()  # noqa: E712 - nullable column
    assert 0.001 <= unpriced <= 0.02


def test_weekdays_and_hours_have_a_rhythm(frame):
    started = pd.to_datetime(frame["started_at"])
    by_weekday = started.dt.day_of_week.value_counts()
    assert by_weekday[[5, 6]].mean() < 0.8 * by_weekday[[0, 1, 2, 3, 4]].mean()
    european = started[frame["region"] == "eu"].dt.hour.value_counts()
    assert european[range(8, 16)].mean() > 3 * european[range(4)].mean()


def test_cost_parts_sum_to_the_total(frame):
    parts = [c.name for c in COSTS if c.name != "total_nusd"]
    known = frame[frame["total_nusd"].notna()]
    assert len(known) > 0.9 * len(frame)
    assert (known[parts].sum(axis=1) == known["total_nusd"]).all()
    assert (
        not known["priced"].eq(False).any()
    )  # a missing price leaves no total; a request without a model call has one
    assert frame.loc[frame["total_nusd"].isna(), "inference_nusd"].isna().all()


def test_spans_explain_the_latency_of_their_request(world, frame):
    spans = world["spans"].to_pandas()
    spans["end"] = spans["started_at"].astype("int64") + spans["duration_us"]
    root = spans[spans["parent_id"].isna()].set_index("trace_id")
    inside = spans[spans["parent_id"].notna() & (spans["kind"] != "evaluator")]
    assert (inside["started_at"].to_numpy() >= root.loc[inside["trace_id"], "started_at"].to_numpy()).all()
    assert (inside["end"].to_numpy() <= root.loc[inside["trace_id"], "end"].to_numpy()).all()
    sums = inside.pivot_table(index="trace_id", columns="kind", values="duration_us", aggfunc="sum")
    requests = frame.set_index("trace_id")
    for kind, column in {"llm": "model_us", "tool": "tool_us", "retriever": "retrieval_us", "reranker": "rerank_us",
                         "guardrail": "guardrail_us"}.items():  # fmt: skip
        stage = sums[kind].dropna()
        assert (requests.loc[stage.index, column] == stage).all(), kind
        assert requests[column].notna().sum() == len(stage), kind
    stages = requests[["queue_us", "retrieval_us", "rerank_us", "tool_us", "model_us", "guardrail_us"]].sum(axis=1)
    assert (stages <= requests["total_us"]).all()
    assert (requests["ttft_us"].dropna() <= requests["total_us"][requests["ttft_us"].notna()]).all()


def test_requests_equal_their_assembled_traces(world):
    chosen = np.random.default_rng(3).choice(world["requests"]["trace_id"].to_numpy(), 300, replace=False)
    wanted = pa.array(chosen.tolist(), pa.string())
    found: dict[str, dict[str, list[dict]]] = {}
    for name in ("requests", "spans", "documents", "tool_calls", "scores", "incidents"):
        found[name] = {i: [] for i in chosen}
        for row in rows(world[name].filter(pc.is_in(world[name]["trace_id"], wanted))):
            found[name][row["trace_id"]].append(row)
    sides = ("documents", "tool_calls", "scores", "incidents")
    for trace_id in chosen:
        assembled = assemble(found["spans"][trace_id], **{n: found[n][trace_id] for n in sides})
        stated = found["requests"][trace_id][0]
        assert {k: assembled.get(k) for k in stated} == stated
        assert set(assembled) <= set(stated)


def test_users_repeat_with_a_design_effect_near_three(frame):
    known = frame["success"].dropna().astype(float)
    _, clustered = mean(frame, "success")
    effect = clustered**2 / (known.var() / len(known))
    assert 2 <= effect <= 4
    counts = frame["user_key"].value_counts()
    assert 18 <= counts.mean() <= 23
    assert counts.quantile(0.9) > 2.5 * counts.median()


@pytest.mark.parametrize(
    ("story", "metric"),
    [(s, m) for s in STORIES if s.kind != "quiet" for m in (s.metric, *s.also)],
    ids=lambda value: value.id if isinstance(value, Story) else value,
)
def test_story_is_in_the_data(frame, story, metric):
    difference, ratio, errors = change(
        within(frame, story.where, story.day_from, story.day_to), before(frame, story), metric
    )
    main = metric == story.metric
    down = story.direction == "down" or (metric in ("grounded", "success") and story.kind == "retrieval")
    assert (errors < -4) if down else (errors > 4), f"{metric}: {difference:+.4g}, {errors:+.1f} standard errors"
    if main and story.unit == "ratio":
        assert story.size / 1.4 <= ratio <= story.size * 1.4
    elif main:
        assert story.size / 2 <= difference <= story.size * 2 or story.size * 2 <= difference <= story.size / 2


def test_overblocking_has_no_incidents_behind_it(frame):
    german = frame[frame["language"] == "de"].assign(incident=lambda f: f["incident_count"] > 0)
    _, _, errors = change(within(german, {}, POLICY_DAY, 90), within(german, {}, 0, POLICY_DAY), "incident")
    assert abs(errors) < 3
    others = frame[frame["language"] != "de"]
    others = others[~((others["channel"] == "api") & (others["number"] >= JAILBREAK_START))]
    _, _, errors = change(within(others, {}, POLICY_DAY, 90), within(others, {}, 0, POLICY_DAY), "refused")
    assert abs(errors) < 3


def test_mix_shift_changes_no_intent(frame):
    launch, quiet = within(frame, {}, MIX_START, MIX_END), within(frame, {}, 0, QUIET_DAYS)
    assert (launch["intent"] == "technical").mean() > 2.5 * (quiet["intent"] == "technical").mean()
    worst = max(
        abs(change(launch[launch["intent"] == i], quiet[quiet["intent"] == i], "success")[2])
        for i in frame["intent"].unique()
    )
    assert worst < 3


def test_jailbreak_wave_is_grave_and_on_one_channel(world, frame):
    incidents = world["incidents"].to_pandas().merge(frame[["trace_id", "channel", "number"]], on="trace_id")
    wave = incidents[
        (incidents["category"] == "jailbreak") & incidents["number"].between(JAILBREAK_START, JAILBREAK_END - 1)
    ]
    assert len(wave) >= 40
    assert (wave["channel"] == "api").mean() > 0.9
    assert wave["severity"].isin(["major", "critical"]).mean() > 0.6


@pytest.mark.parametrize(
    "metric",
    ["success", "escalated", "refused", "retrieval_hit", "grounded", "resolved", "error", "fallback", "total_nusd",
     "total_us", "latency_p95", "cost_p95", "input_tokens", "jailbreak"],
)  # fmt: skip
def test_quiet_month_is_quiet(frame, metric):
    half = QUIET_DAYS // 2
    _, _, errors = change(within(frame, {}, half, QUIET_DAYS), within(frame, {}, 0, half), metric)
    assert abs(errors) < 3


def test_ground_truth_file_is_current():
    text = (PACKAGE / "ground_truth.toml").read_text(encoding="utf-8")
    assert text == ground_truth(end=END)
    stories = tomllib.loads(text)["story"]
    assert [s["id"] for s in stories] == [s.id for s in STORIES]
    assert all(s["since"] < s["until"] for s in stories)


def test_committed_exports_are_current(world, tmp_path):
    written = write_exports(world, tmp_path)
    committed = sorted((PACKAGE / "exports").iterdir())
    assert sorted(p.name for p in written) == [p.name for p in committed]
    for path in committed:
        if path.suffix != ".parquet":  # its bytes name the version of the writer
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    assert pq.read_table(PACKAGE / "exports" / "requests.parquet").equals(pq.read_table(tmp_path / "requests.parquet"))
    assert sum(p.stat().st_size for p in committed) < 3_000_000


def test_exports_hold_the_same_traces(small, tmp_path):
    write_exports(small, tmp_path, count=40)
    chosen = choose_traces(small, count=40)
    traces = gather(small, chosen)
    spans = {s["span_id"] for t in traces for s in t.spans}
    tokens = sum(s["input_tokens"] or 0 for t in traces for s in t.spans)
    lines = [orjson.loads(line) for line in (tmp_path / "otlp.traces.jsonl").read_bytes().splitlines()]
    listed = [s for d in lines for r in d["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]
    assert {s["spanId"] for s in listed} == spans
    assert {s["traceId"] for s in listed} == set(chosen)
    used = [a["value"]["intValue"] for s in listed for a in s["attributes"] if a["key"] == "gen_ai.usage.input_tokens"]
    assert sum(map(int, used)) == tokens
    message = TracesData.FromString((tmp_path / "otlp.traces.binpb").read_bytes())
    binary = {s.span_id.hex() for r in message.resource_spans for scope in r.scope_spans for s in scope.spans}
    assert binary == spans
    flat = pd.read_csv(tmp_path / "requests.csv", dtype=str)
    assert list(flat["request_id"]) == chosen
    assert list(flat["user_id"]) == [user_id(t.request["user_key"]) for t in traces]
    assert pd.read_json(tmp_path / "requests.jsonl", lines=True)["request_id"].tolist() == chosen
    assert np.allclose(flat["latency_ms"].astype(float) * 1_000, [t.request["total_us"] for t in traces], atol=1e-3)


def test_exports_carry_identifiers_to_redact(small, tmp_path):
    write_exports(small, tmp_path, count=100)
    for name in ("otlp.traces.jsonl", "openinference.json", "requests.csv", "requests.jsonl"):
        content = (tmp_path / name).read_text(encoding="utf-8")
        assert "@example.com" in content, name
        assert "202-555-01" in content, name
        assert "[EMAIL]" not in content, name
    assert not any("@" in (t or "") for t in small["requests"]["input_text"].to_pylist())


def test_stage_writes_canonical_parquet(small, tmp_path):
    command.stage(small, tmp_path)
    for name, table in small.items():
        path = tmp_path / name / "0.parquet"
        assert path.exists() == bool(table.num_rows)
        if table.num_rows:
            assert pq.ParquetFile(path).read().equals(table)
    receipt = command.receipt_of(small)
    assert (receipt.requests, receipt.spans) == (2_000, len(small["spans"]))
    assert receipt.first < receipt.last


NOT_IN_SPANS = {"user_key", "attributes", "turns"}  # pseudonym by another key, kept metadata, not exported


@pytest.mark.parametrize(
    "files",
    [["otlp.traces.jsonl", "otlp.logs.jsonl"], ["otlp.traces.binpb", "otlp.logs.jsonl"], ["openinference.json"]],
    ids="+".join,
)
def test_loaded_exports_give_the_requests_of_the_world(world, tmp_path, files):
    supervisor.read([PACKAGE / "exports" / name for name in files], directory=tmp_path, key=b"k" * 32)
    loaded = {
        name: pa.concat_tables([pq.read_table(p) for p in sorted((tmp_path / name).glob("*.parquet"))])
        for name in ("spans", "documents", "tool_calls", "scores", "incidents")
    }
    batches = {name: table.sort_by("trace_id").to_batches() for name, table in loaded.items()}
    requests = pa.concat_tables(assemble_all(**batches)).sort_by("trace_id")
    known = world["requests"].filter(pc.is_in(world["requests"]["trace_id"], requests["trace_id"].combine_chunks()))
    assert len(requests) == len(known) == COUNT
    for column in set(known.column_names) - NOT_IN_SPANS:
        assert requests[column].to_pylist() == known.sort_by("trace_id")[column].to_pylist(), column
    assert len(pc.unique(requests["user_key"])) == len(pc.unique(known["user_key"]))


@pytest.mark.parametrize("name", ["requests.csv", "requests.parquet", "requests.jsonl"])
def test_loaded_tables_give_the_requests_of_the_world(world, tmp_path, name):
    supervisor.read([PACKAGE / "exports" / name], directory=tmp_path, key=b"k" * 32)
    requests = pa.concat_tables([pq.read_table(p) for p in (tmp_path / "requests").glob("*.parquet")])
    requests = requests.sort_by("trace_id")
    known = world["requests"].filter(pc.is_in(world["requests"]["trace_id"], requests["trace_id"].combine_chunks()))
    assert len(requests) == len(known) == COUNT
    # Without the spans a loader cannot see that a model call stayed unpriced; the totals of such rows may differ.
    for column in set(known.column_names) - {"user_key", "attributes", "priced", "total_nusd", "computed_nusd"}:
        assert requests[column].to_pylist() == known.sort_by("trace_id")[column].to_pylist(), column


def test_command_loads_once_and_keeps_what_is_there(home, capsys):
    assert command.main(["--requests", "300", "--if-absent"]) == 0
    assert command.main(["--requests", "400", "--if-absent"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("sample version 1: 300 requests")
    assert said[1] == "sample: already there, left as it is"
    (stored,) = lake.datasets()
    assert (stored.name, stored.version, stored.requests) == ("sample", 1, 300)
