"""What formats make of files, without the guard's child process and without a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kpi.arrow_rows import to_table
from kpi.assembly.requests import assemble_all
from kpi.ingest.context import Context
from kpi.ingest.formats import formats
from kpi.ingest.limits import Limits
from kpi.ingest.readers import otlp, table
from kpi.ingest.readers.detect import OTLP, TABLE, detect
from kpi.ingest.readers.open import open_inputs
from kpi.ingest.readers.vendor import Translation
from kpi.pricing.price_table import NO_PRICES, PriceTable
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt

Row = dict[str, Any]
KEY = b"a key for tests, 32 bytes long.."


def read_all(
    paths: Iterable[Path | str], *, allow: Iterable[str] = (), now_us: int | None = None
) -> tuple[dict[str, list[Row]], Receipt]:
    """(rows by canonical table, receipt) of some files read as one load: nothing merged, nothing assembled."""
    receipt = Receipt()
    context = Context(privacy=Privacy(KEY, allow), receipt=receipt) if allow else Context(Privacy(KEY), receipt)
    context.now_us = context.now_us if now_us is None else now_us
    tables: dict[str, list[Row]] = {}
    translations: dict[str, Translation] = {}
    sources = [(source, detect(source)) for source in open_inputs([Path(p) for p in paths], limits=Limits())]
    if plain := [source for source, slug in sources if slug == TABLE]:
        context.plan = table.plan(iter(plain), context)
    for source, slug in sources:
        if slug in (OTLP, TABLE):
            found = (otlp if slug == OTLP else table).read(source, context)
        else:
            found = translations.setdefault(slug, Translation(formats()[slug], context)).read(source)
        for name, rows in found:
            tables.setdefault(name, []).extend(rows.to_pylist())
    for translation in translations.values():
        for name, rows in translation.finish():
            tables.setdefault(name, []).extend(rows.to_pylist())
    return tables, receipt


def requests_of(tables: dict[str, list[Row]], prices: PriceTable = NO_PRICES) -> dict[str, Row]:
    """Assembled requests by trace id, from what `read_all` gave. Scores that name only their span are joined."""
    owners = {s["span_id"]: s["trace_id"] for s in tables.get("spans", [])}
    parts = {}
    for name in ("spans", "documents", "tool_calls", "scores", "incidents"):
        rows = [dict(r) for r in tables.get(name, [])]
        if name == "scores":
            for row in rows:
                row["trace_id"] = row["trace_id"] or owners.get(row["span_id"])
            rows = list({r["score_id"]: r for r in rows if r["trace_id"]}.values())
        rows.sort(key=lambda r: (r["trace_id"], str(r.get("span_id"))))
        parts[name] = [to_table(name, rows).to_batches()[0]] if rows else []
    return {row["trace_id"]: row for table in assemble_all(**parts, prices=prices) for row in table.to_pylist()}
