"""Scores that name only the span they judge: joined to its trace as soon as the span is known.

Some exports of annotations leave the trace out. Such a score waits without a trace, through any number of loads; files
may come in any order.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from kpi import schema
from kpi.store import merge, sql

_COLUMNS = ", ".join(f"o.{sql.name(c)}" for c in schema.SCORE_ROWS.names if c != "trace_id")


def adopted(
    connection: duckdb.DuckDBPyConnection, *, scores: Sequence[Path], spans: Sequence[Path], target: Path
) -> Path | None:
    """Write the scores without a trace whose span is among `spans`, with its trace; None where there is none.

    scores: staged and stored files. A span id that stands in several traces belongs to none for certain: left alone.
    """
    if not scores or not spans:
        return None
    waiting = f"SELECT * FROM {merge.scan(scores, schema.SCORE_ROWS)} WHERE trace_id IS NULL AND span_id IS NOT NULL"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE orphans AS {waiting}")
    if not merge.number(connection, "SELECT count(*) FROM orphans"):
        return None
    owners = (f"SELECT span_id, min(trace_id) AS trace_id FROM {merge.scan(spans, schema.SPANS)} "
              "SEMI JOIN orphans USING (span_id) GROUP BY span_id HAVING count(DISTINCT trace_id) = 1")  # fmt: skip
    found = f"SELECT DISTINCT s.trace_id, {_COLUMNS} FROM orphans o JOIN ({owners}) s ON o.span_id = s.span_id"
    target.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(f"COPY ({found}) TO {sql.literal(target)} (FORMAT parquet)")
    connection.execute("DROP TABLE orphans")
    return target if merge.number(connection, f"SELECT count(*) FROM read_parquet({sql.literal(target)})") else None
