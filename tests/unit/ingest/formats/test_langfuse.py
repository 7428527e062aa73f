"""Langfuse: genuine trace downloads counted a second time by hand, and equal numbers from every layout."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

BASE = "data/exports/langfuse"
DOWNLOADS = f"{BASE}/framework_traces"
BLOB, UI = f"{BASE}/derived/blob", f"{BASE}/derived/ui_batch"
STAMP = "2026-03-10T00-00-00"
LAYOUTS = {
    "blob": (f"{BLOB}/observations/{STAMP}.jsonl", f"{BLOB}/traces/{STAMP}.jsonl", f"{BLOB}/scores/{STAMP}.jsonl"),
    "blob, newer": (f"{BLOB}/observations_v2/{STAMP}.jsonl", f"{BLOB}/traces/{STAMP}.json",
                    f"{BLOB}/scores/{STAMP}.csv"),
    "UI, CSV": (f"{UI}/observations.csv", f"{UI}/traces.csv", f"{UI}/scores.csv"),
    "UI, JSON": (f"{UI}/observations.jsonl", f"{UI}/traces.json", f"{UI}/scores.csv"),
}  # fmt: skip
BY_SCORES = {
    "success", "correct", "grounded", "groundedness", "correctness", "user_rating", "outcome_source",
    "incident_count", "worst_severity",
}  # fmt: skip


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def innermost(observations: list[Row]) -> list[Row]:
    """Generations with no other generation below them, found by walking up from each."""
    by_id = {o["id"]: o for o in observations}
    wrappers = set()
    for observation in observations:
        above = by_id.get(observation["parentObservationId"]) if observation["type"] == "GENERATION" else None
        while above:
            wrappers.add(above["id"])
            above = by_id.get(above["parentObservationId"])
    return [o for o in observations if o["type"] == "GENERATION" and o["id"] not in wrappers]


def is_tool(observation: Row) -> bool:
    """By its type, or by what the instrumentation said of a span that Langfuse did not type."""
    behind = json.dumps(observation["metadata"]).replace("\\", "").replace(" ", "")
    return observation["type"] == "TOOL" or (
        observation["type"] == "SPAN" and '"openinference.span.kind":"TOOL"' in behind
    )


def nano(dollars: Any) -> int:
    return round(Decimal(str(dollars)) * 10**9)


def test_trace_downloads_are_counted_exactly(shared: Path) -> None:
    raw = [json.loads(path.read_text()) for path in sorted((shared / DOWNLOADS).glob("*.json"))]
    tables, receipt = read_all([shared / DOWNLOADS])
    requests = requests_of(tables)
    assert len(requests) == len(raw) == 10
    assert receipt.spans == sum(len(r["observations"]) for r in raw) == 88
    assert len(tables["tool_calls"]) == sum(is_tool(o) for r in raw for o in r["observations"]) == 10
    assert len(tables["scores"]) == sum(len(r["trace"]["scores"]) for r in raw) == 13
    assert "documents" not in tables
    assert "incidents" not in tables
    assert (receipt.dropped, receipt.repeated) == (0, 0)
    assert not any(request["error"] for request in requests.values())
    assert sum(o["level"] == "ERROR" for r in raw for o in r["observations"]) == 0
    for one in raw:
        request, calls = requests[one["trace"]["id"]], innermost(one["observations"])
        for column, bucket in (("input_tokens", "input"), ("output_tokens", "output")):
            usages = [o["usageDetails"] for o in calls]
            told = [sum(n for key, n in u.items() if bucket in key) for u in usages if any(bucket in k for k in u)]
            assert request[column] == (sum(told) if told else None), one["trace"]["name"]
        assert request["total_nusd"] == sum(nano(o["totalCost"]) for o in calls), one["trace"]["name"]
        assert request["llm_calls"] == len(calls)
    assert sum(r["total_nusd"] for r in requests.values()) == 5_833_800


def test_a_download_says_what_people_asked_and_got(shared: Path) -> None:
    """Ten frameworks, ten shapes of input and output, some of them JSON in JSON in JSON."""
    requests = requests_of(read_all([shared / DOWNLOADS])[0]).values()
    asked = {r["input_text"].strip().split("\n")[0][:24] for r in requests}
    assert asked == {
        "What is currently trendi", "I'm planning a trip to B", "hi", "programming", "Current Task: Define the",
        "Search the web for 'exam", "What's the weather in To", "What is Langfuse?", "What is the weather like",
        "Greet and say goodbye to",
    }  # fmt: skip
    answers = [r["output_text"] for r in requests]
    assert sum(a is None for a in answers) == 1  # ai.generateText ended with a call of a tool: nobody was answered
    assert not any(a.startswith(("{", "[", '"', "'")) for a in answers if a)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_numbers_of_the_download(shared: Path, layout: str) -> None:
    downloads = requests_of(read_all([shared / DOWNLOADS])[0])
    tables, receipt = read_all(shared / path for path in LAYOUTS[layout])
    requests = requests_of(tables)
    assert receipt.dropped == 0
    assert len(requests) == 19
    assert downloads.keys() <= requests.keys()
    for trace_id, request in downloads.items():  # the scores of the derived layouts are other ones
        other = requests[trace_id]
        assert {k: v for k, v in request.items() if k not in BY_SCORES} == {
            k: v for k, v in other.items() if k not in BY_SCORES
        }


def test_layouts_agree_to_the_last_digit(shared: Path) -> None:
    found = [requests_of(read_all(shared / path for path in paths)[0]) for paths in LAYOUTS.values()]
    assert all(other == found[0] for other in found[1:])


def test_the_derived_layouts_are_counted_exactly(shared: Path) -> None:
    raw = lines(shared / LAYOUTS["UI, JSON"][0])
    scores = lines(shared / LAYOUTS["blob"][2])
    tables, receipt = read_all(shared / path for path in LAYOUTS["blob"])
    assert receipt.spans == len(raw) == 138
    # One trace was downloaded twice: 3 observations and the trace itself stand there two times.
    repeats = len(raw) - len({o["id"] for o in raw})
    assert receipt.repeated == repeats + 1 == 4
    assert {t["span_id"] for t in tables["tool_calls"]} == {o["id"] for o in raw if is_tool(o)}
    assert len(tables["scores"]) == len(scores) == 60
    sources = {"API": "user", "EVAL": "judge", "ANNOTATION": "human"}
    assert Counter(s["source"] for s in tables["scores"]) == Counter(sources[s["source"]] for s in scores)
    once = {o["id"]: o for o in raw}
    cost = sum(
        nano(o["totalCost"])
        for trace in {o["traceId"] for o in raw}
        for o in innermost([o for o in once.values() if o["traceId"] == trace])
    )
    assert sum(r["total_nusd"] or 0 for r in requests_of(tables).values()) == cost


def test_newer_observations_alone_name_users_and_sessions(shared: Path) -> None:
    path = shared / LAYOUTS["blob, newer"][0]
    requests = requests_of(read_all([path])[0])
    sessions = {row["trace_id"]: row["session_id"] for row in lines(path) if row["session_id"]}
    users = {row["trace_id"] for row in lines(path) if row["user_id"]}
    assert {i: r["session_id"] for i, r in requests.items() if r["session_id"]} == sessions
    assert {i for i, r in requests.items() if r["user_key"]} == users


@pytest.mark.slow
def test_any_order_of_files_gives_the_same_rows(shared: Path) -> None:
    paths = [shared / path for path in (*LAYOUTS["UI, CSV"], f"{BLOB}/manifests/{STAMP}.json")]
    seen = set()
    for order in itertools.permutations(paths):
        tables, receipt = read_all(order)
        rows = {name: sorted(map(repr, found)) for name, found in tables.items()}
        seen.add(repr((sorted(rows.items()), sorted(receipt.notes), requests_of(tables))))
    assert len(seen) == 1


def test_everything_at_once_doubles_nothing(shared: Path) -> None:
    tables, receipt = read_all([shared / BASE / "derived"])
    assert receipt.spans == 4 * 138
    alone = requests_of(read_all(shared / path for path in LAYOUTS["blob"])[0])
    assert requests_of(tables) == alone
    assert len({s["score_id"] for s in tables["scores"]}) == 60


@pytest.mark.slow
def test_a_folder_loads_and_a_second_load_adds_nothing(shared: Path, home: Path, tmp_path: Path) -> None:
    packed = tmp_path / "export.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((shared / BLOB).rglob("*.jsonl")):
            archive.write(path, f"p/{path.parent.name}/{path.name}")
    first = kpi.load([shared / BLOB], dataset="langfuse")
    assert first.requests == 19
    assert first.format == "langfuse"
    assert first.dropped == 0
    again = kpi.load([packed], dataset="langfuse")
    assert (again.loaded, again.dropped) == (0, 0)


def test_compressed_files_parquet_and_csv_give_the_same(shared: Path, tmp_path: Path) -> None:
    """Parquet has maps, times and decimals of its own, and is what new integrations write."""
    observations, traces, scores = (shared / path for path in LAYOUTS["blob"])
    expected = requests_of(read_all([observations, traces, scores])[0])
    zipped = tmp_path / f"{STAMP}.jsonl.gz"
    zipped.write_bytes(gzip.compress(observations.read_bytes()))
    rows = lines(observations)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    text, moment = pa.map_(pa.string(), pa.string()), pa.timestamp("ms", tz="UTC")
    types = {"metadata": text, "usage_details": pa.map_(pa.string(), pa.uint64()),
             "cost_details": pa.map_(pa.string(), pa.decimal128(38, 12)), "tool_definitions": text}  # fmt: skip
    arrays = {}
    for name, values in columns.items():
        if name in types:
            pairs = [
                [(k, Decimal(str(v)) if name == "cost_details" else v) for k, v in (o or {}).items()] for o in values
            ]
            arrays[name] = pa.array(pairs, types[name])
        elif name in ("start_time", "end_time", "created_at", "updated_at"):
            arrays[name] = pa.array(values, pa.string()).cast(pa.timestamp("ms")).cast(moment)
        else:
            arrays[name] = pa.array(values)
    parquet = tmp_path / f"{STAMP}.parquet"
    pq.write_table(pa.table(arrays), parquet)
    table = tmp_path / f"{STAMP}.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(rows[0])
        writer.writerows(
            [json.dumps(v) if isinstance(v, (dict, list)) else v for v in row.values()] for row in rows
        )  # fmt: skip
    for other in (zipped, parquet, table):
        assert requests_of(read_all([other, traces, scores])[0]) == expected


def test_pages_of_the_api_give_the_same(shared: Path, tmp_path: Path) -> None:
    """Lists in envelopes, traces whole with their parts, deprecated fields beside the new ones."""
    raw = json.loads((shared / DOWNLOADS / "microsoft-agent-2025-12-17.trace.json").read_text())
    expected = requests_of(read_all([shared / DOWNLOADS / "microsoft-agent-2025-12-17.trace.json"])[0])
    trace = {**raw["trace"], "htmlPath": "/x", "totalCost": 9.5, "latency": raw["trace"]["latency"]}
    listed = {
        **trace,
        "observations": [o["id"] for o in raw["observations"]],
        "scores": [s["id"] for s in trace["scores"]],
    }
    observations = [
        {**o, "usage": {"input": 1, "output": 1, "total": 2, "unit": "TOKENS"}, "calculatedTotalCost": o["totalCost"]}
        for o in raw["observations"]
    ]
    meta = {"page": 1, "limit": 50, "totalItems": 1, "totalPages": 1}
    pages = {"observations": observations, "traces": [listed], "scores": trace["scores"]}
    for name, rows in pages.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": rows, "meta": meta}))
    whole = tmp_path / "trace.json"
    whole.write_text(json.dumps({**trace, "observations": observations}))
    assert requests_of(read_all(tmp_path / f"{name}.json" for name in pages)[0]) == expected
    assert requests_of(read_all([whole])[0]) == expected


def test_what_the_sdk_sends_equals_what_the_api_answers(shared: Path, tmp_path: Path) -> None:
    """The spans of the SDK's OTLP, written as the rows that the API would give for them."""
    path = shared / BASE / "sdk_otlp_export.jsonl"
    spans = [s for line in lines(path) for r in line["resourceSpans"] for sc in r["scopeSpans"] for s in sc["spans"]]
    rows = []
    for raw in spans:
        found = {a["key"]: next(iter(a["value"].values())) for a in raw["attributes"]}
        kept = {k.removeprefix("langfuse.observation."): v for k, v in found.items()}
        first = kept.get("completion_start_time")
        rows.append({
            "id": raw["spanId"], "traceId": raw["traceId"], "parentObservationId": raw.get("parentSpanId"),
            "name": raw["name"], "startTime": int(raw["startTimeUnixNano"]), "endTime": int(raw["endTimeUnixNano"]),
            "type": kept["type"].upper(), "level": kept.get("level", "DEFAULT"),
            "statusMessage": kept.get("status_message"),
            "input": kept.get("input"), "output": kept.get("output"), "model": kept.get("model.name"),
            "modelParameters": kept.get("model.parameters"), "usageDetails": kept.get("usage_details"),
            "costDetails": kept.get("cost_details"), "completionStartTime": json.loads(first) if first else None,
            "userId": found["user.id"], "sessionId": found["session.id"], "release": found["langfuse.release"],
            "version": found["langfuse.version"], "environment": found["langfuse.environment"],
            "metadata": {k.removeprefix("langfuse.trace.metadata."): json.loads(v)
                         for k, v in found.items() if k.startswith("langfuse.trace.metadata.")},
        })  # fmt: skip
    api = tmp_path / "observations.jsonl"
    api.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sent, sent_receipt = read_all([path])
    answered, receipt = read_all([api])
    assert receipt.spans == sent_receipt.spans == 8
    assert requests_of(answered) == requests_of(sent)
    assert answered["documents"] == sent["documents"]


def test_a_manifest_counts_what_was_read(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for name in ("traces", "observations", "scores"):
        rows = (shared / BLOB / name / f"{STAMP}.jsonl").read_text().splitlines(keepends=True)
        target = folder / name / f"{STAMP}.jsonl.gz"
        target.parent.mkdir(parents=True)
        target.write_bytes(gzip.compress("".join(rows[: -3 if name == "scores" else None]).encode()))
    manifest = folder / "manifests" / f"{STAMP}.json"
    manifest.parent.mkdir()
    manifest.write_bytes((shared / BLOB / "manifests" / f"{STAMP}.json").read_bytes())
    packed = tmp_path / "p.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*.*"):
            plain = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            archive.writestr(str(path.relative_to(folder)).removesuffix(".gz"), plain)
    for source in (folder, packed):
        _, receipt = read_all([source])
        assert receipt.notes == [
            f"observations_v2/{STAMP}.jsonl is missing: a manifest names it with 138 rows.",
            f"scores/{STAMP}.jsonl: 57 rows were read, its manifest counts 60.",
        ]
    _, receipt = read_all([manifest])
    assert not receipt.dropped
    assert any("counts the rows of an export and holds none" in note for note in receipt.notes)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_download_that_is_cut_off_loads_its_good_part(shared: Path, tmp_path: Path, share: float) -> None:
    whole = (shared / DOWNLOADS / "agno-2025-06-11.trace.json").read_bytes()
    raw = json.loads(whole)
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: int(len(whole) * share)])
    tables, receipt = read_all([cut])
    assert {s["span_id"] for s in tables["spans"]} <= {o["id"] for o in raw["observations"]} | {"trace"}
    assert {s["trace_id"] for s in tables["spans"]} == {raw["trace"]["id"]}
    assert receipt.drop_reasons == {"the document is cut off or broken inside": 1}
    assert any("what comes after that place is missing" in note for note in receipt.notes)


@pytest.mark.parametrize("seed", range(6))
def test_lines_and_cells_that_are_cut_or_broken_lose_themselves_only(shared: Path, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    source = shared / LAYOUTS["blob"][0]
    rows = source.read_bytes().splitlines(keepends=True)
    broken = draw.randrange(1, len(rows) - 1)
    rows[broken] = rows[broken][: draw.randrange(5, 200)] + b"\n"
    rows[-1] = rows[-1][: len(rows[-1]) // 2]
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"".join(rows))
    tables, receipt = read_all([damaged])
    assert receipt.spans == len(rows) - 2
    assert receipt.drop_reasons == {"the line is not valid JSON": 2}
    kept = {json.loads(line)["id"] for i, line in enumerate(rows[:-1]) if i != broken}
    assert {s["span_id"] for s in tables["spans"]} == kept


def test_a_csv_that_is_cut_off_loads_its_whole_rows(shared: Path, tmp_path: Path) -> None:
    whole = (shared / UI / "observations.csv").read_text()
    cut = tmp_path / "cut.csv"
    cut.write_text(whole[: len(whole) // 2])
    tables, receipt = read_all([cut])
    known = {row["id"] for row in csv.DictReader(whole.splitlines(keepends=True))}
    assert 20 < receipt.spans < 138
    assert {s["span_id"] for s in tables["spans"]} <= known
