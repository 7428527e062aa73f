"""LiteLLM proxy on PostgreSQL: the rows of its spend logs, as they are."""

from __future__ import annotations

from kpi.ingest.databases.database import Database, Row
from kpi.ingest.databases.streams import Stream

NAME = "litellm"
TABLES = ("LiteLLM_SpendLogs",)


def _calls(database: Database, rows: list[Row]) -> list[Row]:
    return rows


STREAMS = (
    Stream(
        table="LiteLLM_SpendLogs", grows=("updated_at", "created_at", "startTime"), key="request_id", began="startTime",
        records=_calls, without=("proxy_server_request",),  # repeats the messages, and is large
    ),
)  # fmt: skip
