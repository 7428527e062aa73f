"""Vendors' databases made of a few made-up traces, by the vendors' own schemas, on whatever engine is given."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

BEGIN = datetime(2026, 11, 1, 8, tzinfo=UTC)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)
NAIVE = sa.DateTime()  # LiteLLM and old Langfuse: a time without zone is UTC


def at(number: int) -> datetime:
    """When the trace of that number begins: one every ten minutes."""
    return BEGIN + timedelta(minutes=10 * number)


def hexed(number: int, size: int) -> str:
    return f"{number + 1:0{2 * size}x}"


def _table(called: str, meta: sa.MetaData, /, **columns: Any) -> sa.Table:
    return sa.Table(called, meta, *(sa.Column(c, kind, quote=True) for c, kind in columns.items()))


def insert(engine: sa.Engine, tables: Mapping[str, sa.Table], rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    with engine.begin() as connection:
        for name, some in rows.items():
            if some := list(some):
                connection.execute(tables[name].insert(), some)


# --- Phoenix ---------------------------------------------------------------------------------------------------------


def phoenix_tables() -> dict[str, sa.Table]:
    meta = sa.MetaData()
    text, number, real = sa.Text(), sa.Integer(), sa.Float()
    judged = {
        "name": text, "label": text, "score": real, "explanation": text, "metadata": JSON, "annotator_kind": text,
        "created_at": TIME, "updated_at": TIME, "user_id": number, "identifier": text, "source": text,
    }  # fmt: skip
    found = [
        _table("projects", meta, id=number, name=text),
        _table("project_sessions", meta, id=number, session_id=text, project_id=number),
        _table("traces", meta, id=number, project_rowid=number, trace_id=text, start_time=TIME, end_time=TIME,
               project_session_rowid=number),
        _table("spans", meta, id=number, trace_rowid=number, span_id=text, parent_id=text, name=text, span_kind=text,
               start_time=TIME, end_time=TIME, attributes=JSON, events=JSON, status_code=text, status_message=text),
        _table("span_costs", meta, id=number, span_rowid=number, trace_rowid=number, span_start_time=TIME,
               total_cost=real, prompt_cost=real, completion_cost=real),
        _table("span_annotations", meta, id=number, span_rowid=number, **judged),
        _table("trace_annotations", meta, id=number, trace_rowid=number, **judged),
        _table("document_annotations", meta, id=number, span_rowid=number, document_position=number, **judged),
    ]  # fmt: skip
    return {t.name: t for t in found}


def phoenix_rows(first: int, last: int, *, costs: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Traces `first` to `last`: an agent and a model call of 100 + n tokens and n + 1 millionths of a dollar."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("project_sessions", "traces", "spans", "span_costs")}
    for n in range(first, last):
        start, end = at(n), at(n) + timedelta(seconds=2, microseconds=n)
        rows["project_sessions"].append({"id": n + 1, "session_id": f"session-{n}", "project_id": 1})
        rows["traces"].append({"id": n + 1, "project_rowid": 1, "trace_id": hexed(n, 16), "start_time": start,
                               "end_time": end, "project_session_rowid": n + 1})  # fmt: skip
        common = {"trace_rowid": n + 1, "start_time": start, "end_time": end, "events": [], "status_code": "OK",
                  "status_message": ""}  # fmt: skip
        root = {"input": {"value": f"Question {n}?"}, "output": {"value": f"Answer {n}."},
                "user": {"id": f"user-{n % 7}"}, "metadata": {"language": "de" if n % 2 else "en"}}  # fmt: skip
        model = {"llm": {"model_name": "m-1", "token_count": {"prompt": 100 + n, "completion": 10}}}
        rows["spans"] += [
            {**common, "id": 2 * n + 1, "span_id": hexed(2 * n, 8), "parent_id": None, "name": "agent",
             "span_kind": "AGENT", "attributes": root},
            {**common, "id": 2 * n + 2, "span_id": hexed(2 * n + 1, 8), "parent_id": hexed(2 * n, 8), "name": "chat",
             "span_kind": "LLM", "attributes": model},
        ]  # fmt: skip
        if costs:
            rows["span_costs"].append(phoenix_cost(n))
    return rows


def phoenix_cost(n: int) -> dict[str, Any]:
    return {"id": n + 1, "span_rowid": 2 * n + 2, "trace_rowid": n + 1, "span_start_time": at(n),
            "total_cost": (n + 1) / 1e6, "prompt_cost": n / 1e6, "completion_cost": 1e-6}  # fmt: skip


def phoenix_annotation(number: int, span_row: int, score: float, when: datetime) -> dict[str, Any]:
    return {
        "id": number, "span_rowid": span_row, "name": "user_feedback", "label": None, "score": score,
        "explanation": None, "metadata": {}, "annotator_kind": "HUMAN", "created_at": when, "updated_at": when,
        "user_id": None, "identifier": "", "source": "APP",
    }  # fmt: skip


# --- MLflow ----------------------------------------------------------------------------------------------------------


def mlflow_tables() -> dict[str, sa.Table]:
    meta = sa.MetaData()
    text, number, real = sa.Text(), sa.BigInteger(), sa.Float()
    short = sa.String(250)
    pairs = {"key": short, "value": text, "request_id": short}
    found = [
        _table("trace_info", meta, request_id=short, experiment_id=number, timestamp_ms=number,
               execution_time_ms=number, status=short, client_request_id=short, request_preview=text,
               response_preview=text),
        _table("trace_tags", meta, **pairs), _table("trace_request_metadata", meta, **pairs),
        sa.Table(
            "spans", meta, *(sa.Column(c, k) for c, k in {
                "trace_id": short, "span_id": short, "start_time_unix_nano": number, "end_time_unix_nano": number,
                "content": sa.Text(),
            }.items()),
            sa.Column("duration_ns", number, sa.Computed("end_time_unix_nano - start_time_unix_nano", persisted=True)),
        ),
        _table("assessments", meta, assessment_id=short, trace_id=short, name=short, assessment_type=short,
               value=text, error=text, created_timestamp=number, last_updated_timestamp=number, source_type=short,
               source_id=short, span_id=short, rationale=text, overrides=short, valid=sa.Boolean(),
               assessment_metadata=text, aggregate_value=real),
    ]  # fmt: skip
    return {t.name: t for t in found}


def mlflow_rows(first: int, last: int, *, status: str = "OK") -> dict[str, list[dict[str, Any]]]:
    """Traces `first` to `last`, one model call each. In progress: without length and spans."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("trace_info", "trace_tags", "trace_request_metadata", "spans")
    }
    for n in range(first, last):
        start = int(at(n).timestamp() * 1000)
        trace, running = f"tr-{hexed(n, 16)}", status == "IN_PROGRESS"
        rows["trace_info"].append({
            "request_id": trace, "experiment_id": 1, "timestamp_ms": start, "status": status,
            "execution_time_ms": None if running else 1500, "client_request_id": None,
            "request_preview": f'"Question {n}?"', "response_preview": None if running else f'"Answer {n}."',
        })  # fmt: skip
        rows["trace_tags"].append({"key": "language", "value": "de" if n % 2 else "en", "request_id": trace})
        rows["trace_request_metadata"].append(
            {"key": "mlflow.trace.session", "value": f"session-{n}", "request_id": trace}
        )
        if not running:
            rows["spans"].append(mlflow_span(n))
    return rows


def mlflow_span(n: int) -> dict[str, Any]:
    start = int(at(n).timestamp()) * 10**9
    attributes = {
        "mlflow.spanType": "LLM", "mlflow.spanInputs": f"Question {n}?", "mlflow.spanOutputs": f"Answer {n}.",
        "mlflow.chat.tokenUsage": {"input_tokens": 100 + n, "output_tokens": 10},
        "mlflow.llm.cost": {"total_cost": (n + 1) / 1e6}, "mlflow.llm.model": "m-1",
    }  # fmt: skip
    content = {
        "trace_id": hexed(n, 16), "span_id": hexed(n, 8), "parent_span_id": None, "name": "chat",
        "start_time_unix_nano": start, "end_time_unix_nano": start + 1_500_000_000, "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {k: json.dumps(v) for k, v in attributes.items()},
    }  # fmt: skip
    return {"trace_id": f"tr-{hexed(n, 16)}", "span_id": hexed(n, 8), "start_time_unix_nano": start,
            "end_time_unix_nano": start + 1_500_000_000, "content": json.dumps(content)}  # fmt: skip


def mlflow_assessment(number: int, n: int, value: Any, when: datetime) -> dict[str, Any]:
    ms = int(when.timestamp() * 1000)
    return {
        "assessment_id": f"a-{number}", "trace_id": f"tr-{hexed(n, 16)}", "name": "thumbs", "value": json.dumps(value),
        "assessment_type": "feedback", "created_timestamp": ms, "last_updated_timestamp": ms, "source_type": "HUMAN",
        "source_id": "someone", "valid": True,
    }  # fmt: skip


# --- LiteLLM ---------------------------------------------------------------------------------------------------------


def litellm_tables() -> dict[str, sa.Table]:
    text, number = sa.Text(), sa.Integer()
    return {"LiteLLM_SpendLogs": _table(
        "LiteLLM_SpendLogs", sa.MetaData(), request_id=text, call_type=text, api_key=text, spend=sa.Float(),
        total_tokens=number, prompt_tokens=number, completion_tokens=number, startTime=NAIVE, endTime=NAIVE,
        completionStartTime=NAIVE, model=text, model_group=text, custom_llm_provider=text, user=text, metadata=JSON,
        cache_hit=text, request_tags=JSON, end_user=text, messages=JSON, response=JSON, session_id=text, status=text,
        proxy_server_request=JSON, created_at=NAIVE, updated_at=NAIVE,
    )}  # fmt: skip


def litellm_rows(first: int, last: int, *, written: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
    """Calls `first` to `last`, each written when it ended, or all of them at `written`."""
    rows = []
    for n in range(first, last):
        start = at(n).replace(tzinfo=None)
        end = start + timedelta(seconds=2, milliseconds=n)
        stored = written.replace(tzinfo=None) if written else end
        rows.append({
            "request_id": f"call-{n}", "call_type": "acompletion", "api_key": "hash", "spend": (n + 1) / 1e6,
            "total_tokens": 110 + n, "prompt_tokens": 100 + n, "completion_tokens": 10, "startTime": start,
            "endTime": end, "completionStartTime": end, "model": "m-1", "model_group": "m", "user": "owner",
            "custom_llm_provider": "openai", "metadata": {"spend_logs_metadata": {"language": "de" if n % 2 else "en"}},
            "cache_hit": "None", "request_tags": [], "end_user": f"user-{n % 7}", "session_id": f"session-{n}",
            "messages": [{"role": "user", "content": f"Question {n}?"}], "status": "success",
            "response": {"choices": [{"message": {"role": "assistant", "content": f"Answer {n}."}}]},
            "proxy_server_request": {"large": "x" * 100}, "created_at": stored, "updated_at": stored,
        })  # fmt: skip
    random.Random(0).shuffle(rows)
    return {"LiteLLM_SpendLogs": rows}


# --- Langfuse --------------------------------------------------------------------------------------------------------


def langfuse_tables() -> dict[str, sa.Table]:
    """The PostgreSQL tables of version 2."""
    meta = sa.MetaData()
    text, number, real, flag = sa.Text(), sa.Integer(), sa.Float(), sa.Boolean()
    stamps = {"created_at": NAIVE, "updated_at": NAIVE}
    found = [
        _table("traces", meta, id=text, timestamp=NAIVE, name=text, project_id=text, metadata=JSON, user_id=text,
               release=text, version=text, public=flag, bookmarked=flag, tags=JSON, input=JSON, output=JSON,
               session_id=text, **stamps),
        _table("observations", meta, id=text, name=text, type=text, start_time=NAIVE, end_time=NAIVE, trace_id=text,
               parent_observation_id=text, metadata=JSON, model=text, modelParameters=JSON, input=JSON, output=JSON,
               level=text, status_message=text, completion_start_time=NAIVE, prompt_tokens=number,
               completion_tokens=number, total_tokens=number, unit=text, calculated_total_cost=real, version=text,
               project_id=text, **stamps),
        _table("scores", meta, id=text, timestamp=NAIVE, name=text, value=real, observation_id=text, trace_id=text,
               comment=text, source=text, data_type=text, string_value=text, project_id=text, **stamps),
    ]  # fmt: skip
    return {t.name: t for t in found}


def langfuse_rows(first: int, last: int, *, ended: bool = True) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {"traces": [], "observations": []}
    for n in range(first, last):
        start = at(n).replace(tzinfo=None)
        end = start + timedelta(seconds=2, milliseconds=n) if ended else None
        stamps = {"created_at": start, "updated_at": end or start, "project_id": "p"}
        rows["traces"].append({
            "id": hexed(n, 16), "timestamp": start, "name": "agent", "metadata": {"language": "de" if n % 2 else "en"},
            "user_id": f"user-{n % 7}", "release": "r1", "version": None, "public": False, "bookmarked": False,
            "tags": [], "input": f"Question {n}?", "output": f"Answer {n}.", "session_id": f"session-{n}", **stamps,
        })  # fmt: skip
        rows["observations"].append({
            "id": hexed(n, 8), "name": "chat", "type": "GENERATION", "start_time": start, "end_time": end,
            "trace_id": hexed(n, 16), "parent_observation_id": None, "metadata": {}, "model": "m-1",
            "input": f"Question {n}?", "output": f"Answer {n}.", "level": "DEFAULT", "prompt_tokens": 100 + n,
            "completion_tokens": 10, "total_tokens": 110 + n, "unit": "TOKENS",
            "calculated_total_cost": (n + 1) / 1e6, **stamps,
        })  # fmt: skip
    return rows


def langfuse_score(n: int, value: float, when: datetime) -> dict[str, Any]:
    moment = when.replace(tzinfo=None)
    return {
        "id": f"score-{n}", "timestamp": moment, "name": "user_feedback", "value": value, "trace_id": hexed(n, 16),
        "source": "ANNOTATION", "data_type": "BOOLEAN", "string_value": "True" if value else "False",
        "project_id": "p", "created_at": moment, "updated_at": moment,
    }  # fmt: skip
