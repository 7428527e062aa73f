"""LiteLLM proxy on PostgreSQL: the rows of its spend logs, as they are."""

from kpi.ingest.databases.streams import Stream

NAME = "litellm"
TABLES = ("LiteLLM_SpendLogs",)

STREAMS = (
    Stream(
        table="LiteLLM_SpendLogs", grows=("updated_at", "created_at", "startTime"), key="request_id", began="startTime",
        records=lambda database, rows: rows, without=("proxy_server_request",),  # repeats the messages, and is large
    ),
)  # fmt: skip
