"""A model call that two exports tell of would count twice: an agent's spans, its log events and its session files.

Readers settle this for what lies in one load as far as they can. Here the staged spans are compared with each other and
with those that are stored: calls of one session, that ended at the same time with the same tokens, in two traces, of
which at least one was made of an agent's own words.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpi import schema
from kpi.errors import IngestError
from kpi.ingest.agents.names import AGENT_COLUMN, MODEL_CALL
from kpi.store import lake, manifest, merge, sql

_SLACK_US = 1_500_000  # by which the same end may differ: each export has a clock, and milliseconds of its own


def refuse_twice(dataset: str, stage: Path) -> None:
    """Raise IngestError `ingest.told_twice` where this load tells of calls that it, or an earlier one, tells of too."""
    staged = merge.staged_files(stage, "spans")
    if not staged:
        return
    stored: list[Path] = []
    agents = False
    if manifest.numbers(dataset):
        version = lake.read_version(dataset)
        agents = AGENT_COLUMN in version.extra.get("requests", ())
        stored = version.files.get("spans", [])
    if not agents and not any(map(_of_agents, staged)):
        return
    with merge.workspace(stage / "told_twice") as connection:
        new = f"SELECT {_COLUMNS} FROM {sql.parquet(staged)} WHERE kind = 'llm'"
        old = f"SELECT {_COLUMNS} FROM {merge.scan(stored, schema.SPANS)} WHERE kind = 'llm'" if stored else ""
        every = f"{new} UNION ALL {old}" if stored else new
        connection.execute(f"CREATE TABLE new AS {_calls(new)}")
        connection.execute(f"CREATE TABLE every AS SELECT e.* FROM ({_calls(every)}) e SEMI JOIN new USING (session)")
        found = connection.execute(_TWICE).fetchone()
    if found and found[0]:
        raise IngestError.told("ingest.told_twice", count=found[0])


_COLUMNS = "trace_id, span_id, name, status, context, started_at, duration_us, input_tokens, output_tokens"
_TWICE = f"""
SELECT count(DISTINCT (a.trace_id, a.span_id)) FROM new a JOIN every b USING (session)
WHERE a.trace_id <> b.trace_id AND (a.ours OR b.ours) AND abs(a.ended - b.ended) <= {_SLACK_US}
  AND (a.output_tokens = b.output_tokens AND coalesce(a.input_tokens = b.input_tokens, true)
       OR (a.output_tokens IS NULL) <> (b.output_tokens IS NULL))"""


def _calls(query: str) -> str:
    return (
        "SELECT trace_id, span_id, json_extract_string(context, '$.session_id') AS session, "
        f"ends_with(name, '{MODEL_CALL}') AS ours, epoch_us(started_at) + coalesce(duration_us, 0) AS ended, "
        f"input_tokens, output_tokens FROM ({query}) WHERE session IS NOT NULL AND status IS DISTINCT FROM 'error'"
    )


def _of_agents(path: Path) -> bool:
    """Whether a staged file holds calls that were made of an agent's own words."""
    return bool(pc.any(pc.ends_with(pq.read_table(path, columns=["name"])["name"], MODEL_CALL)).as_py())
