"""Small exports of the world in the formats people have: OTLP (three encodings), OpenInference, and flat tables.

Every file holds the same traces with the same ids and numbers as the world; only user ids are raw and texts carry
synthetic identifiers, as a real export would before it is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from sample_data import otlp

COUNT = 130
RENAMED = {"trace_id": "request_id", "user_key": "user_id", "started_at": "timestamp", "input_text": "question",
           "output_text": "answer"}  # fmt: skip
# Not part of an export: a load works them out.
DERIVED = ("day", "attributes", "priced", "cost_source", "unpriced_model", "computed_nusd")


def choose_traces(tables: dict[str, pa.Table], *, count: int = COUNT) -> list[str]:
    """Trace ids spread evenly over time, the first incidents among them; at most `count`, in order of time."""
    ids = tables["requests"]["trace_id"].to_numpy()
    picks = set(ids[np.linspace(0, len(ids) - 1, count - min(count // 20, 10)).astype(int)])
    for trace_id in tables["incidents"]["trace_id"].to_pylist():
        if len(picks) >= min(count, len(ids)):
            break
        picks.add(trace_id)
    return [i for i in ids if i in picks]


def gather(tables: dict[str, pa.Table], trace_ids: list[str]) -> list[otlp.Trace]:
    """The chosen requests with their spans, documents, calls, scores and incidents, in the order given."""
    wanted = pa.array(trace_ids, pa.string())
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in ("requests", "spans", "documents", "tool_calls", "scores", "incidents"):
        by_trace: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in _plain(tables[name].filter(pc.is_in(tables[name]["trace_id"], wanted))).to_pylist():
            by_trace[row["trace_id"]].append(row)
        found[name] = by_trace
    related = ("documents", "tool_calls", "scores", "incidents")
    return [
        otlp.Trace(found["requests"][i][0], found["spans"][i], {n: found[n][i] for n in related}, number)
        for number, i in enumerate(trace_ids)
    ]


def _plain(table: pa.Table) -> pa.Table:
    """Times as integer microseconds."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.int64()))
    return table


def write_exports(tables: dict[str, pa.Table], directory: Path, *, count: int = COUNT) -> list[Path]:
    """Write every export of `count` traces into `directory`; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    chosen = choose_traces(tables, count=count)
    traces = gather(tables, chosen)
    lines = [orjson.dumps(d) for d in otlp.traces_data(traces, otlp.genai)]
    whole = {"resourceSpans": [r for line in lines for r in orjson.loads(line)["resourceSpans"]]}
    message = ParseDict(otlp.with_base64_ids(whole), TracesData())
    inference = {"resourceSpans": [r for d in otlp.traces_data(traces, otlp.openinference) for r in d["resourceSpans"]]}
    flat = request_frame(tables["requests"], chosen)
    contents = {
        "otlp.traces.jsonl": b"\n".join(lines) + b"\n",
        "otlp.logs.jsonl": orjson.dumps(otlp.logs_data(traces)) + b"\n",
        "otlp.traces.binpb": message.SerializeToString(deterministic=True),
        "openinference.json": orjson.dumps(inference) + b"\n",
        "requests.csv": flat.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ").encode(),
        "requests.jsonl": flat.to_json(orient="records", lines=True, date_format="iso", date_unit="us",
                                       force_ascii=False, double_precision=15).encode(),
    }  # fmt: skip
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    pq.write_table(pa.Table.from_pandas(flat, preserve_index=False), directory / "requests.parquet", compression="zstd")
    return [directory / name for name in (*contents, "requests.parquet")]


def _latency_name(column: str) -> str:
    """`total_us` -> `latency_ms`, `ttft_us` -> `ttft_ms`, stages -> `model_latency_ms`."""
    stage = column.removesuffix("_us")
    return {"total": "latency_ms", "ttft": "ttft_ms", "queue": "queue_time_ms"}.get(stage, f"{stage}_latency_ms")


def request_frame(requests: pa.Table, trace_ids: list[str]) -> pd.DataFrame:
    """One row a request as an application would log it: ms and USD, raw user ids, no column that is empty."""
    chosen = requests.filter(pc.is_in(requests["trace_id"], pa.array(trace_ids, pa.string())))
    columns: dict[str, Any] = {}
    for name in chosen.column_names:
        values = chosen[name]
        if name in DERIVED or values.null_count == len(values):
            continue
        if name.endswith("_us"):
            columns[_latency_name(name)] = values.to_pandas() / 1_000
        elif name.endswith("_nusd"):
            columns[f"{name.removesuffix('_nusd')}_cost_usd"] = values.to_pandas() / 1e9
        elif pa.types.is_integer(values.type):
            columns[name] = values.to_pandas().astype("Int64")
        elif pa.types.is_boolean(values.type):
            columns[name] = values.to_pandas().astype("boolean")
        else:
            columns[RENAMED.get(name, name)] = values.to_pandas()
    frame = pd.DataFrame(columns)
    frame["user_id"] = [otlp.user_id(key) for key in frame["user_id"]]
    for text in ("question", "answer"):
        frame[text] = [otlp.spoken(v, n) if isinstance(v, str) else None for n, v in enumerate(frame[text])]
    return frame
