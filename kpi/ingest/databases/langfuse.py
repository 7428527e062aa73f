"""Langfuse: its ClickHouse tables, of version 3 and 4, and the PostgreSQL tables before them.

The rows are those of its exports to blob storage, under the same names. A row that changes is written anew, with a
later `event_ts`; ClickHouse is asked for the last state of each (`FINAL`), without what is marked as deleted.
"""

from kpi.ingest.databases.database import Database, Row
from kpi.ingest.databases.streams import Stream

NAME = "langfuse"
TABLES = ("traces observations scores", "events_full", "events_core scores")


def _rows(database: Database, rows: list[Row]) -> list[Row]:
    database.owned("projects", (row.get("project_id") for row in rows))
    return rows


def _short_events(database: Database, rows: list[Row]) -> list[Row]:
    database.receipt.note("Texts come from events_core, which cuts them short; events_full is not there.")
    return _rows(database, rows)


STREAMS = tuple(
    Stream(
        table=table, grows=("event_ts", "updated_at", "created_at", began), key=key, began=began, records=records,
        unless="events_full" if table == "events_core" else "",
    )
    for table, key, began, records in (
        ("traces", "id", "timestamp", _rows), ("observations", "id", "start_time", _rows),
        ("events_full", "span_id", "start_time", _rows), ("events_core", "span_id", "start_time", _short_events),
        ("scores", "id", "timestamp", _rows),
    ))  # fmt: skip
