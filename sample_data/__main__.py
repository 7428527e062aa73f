"""Command line of the planted world: load it as a data set, write small exports, or write the ground truth."""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sample_data import world
from sample_data.exports import COUNT, write_exports
from sample_data.ground_truth import ground_truth


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sample_data", description=__doc__)
    parser.add_argument("--dataset", default="sample", help="name of the data set to load into (default: sample)")
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--end", type=date.fromisoformat, help="last day of the world (default: yesterday, UTC)")
    parser.add_argument("--if-absent", action="store_true", help="do nothing where the data set exists")
    parser.add_argument("--exports", type=Path, metavar="DIR", help="write small exports instead of loading")
    parser.add_argument("--traces", type=int, default=COUNT, help="traces in each export")
    parser.add_argument("--ground-truth", type=Path, metavar="FILE", help="write the planted stories as TOML")
    options = parser.parse_args(arguments)
    if options.exports or options.ground_truth:
        end = options.end or world.END  # what is committed must not depend on the day it was written
        if options.ground_truth:
            options.ground_truth.write_text(ground_truth(end=end), encoding="utf-8")
        if options.exports:
            tables = world.build(seed=options.seed, requests=options.requests, end=end)
            for path in write_exports(tables, options.exports, count=options.traces):
                print(f"{path.name}: {path.stat().st_size:,} bytes")
        return 0
    return _load(options)


def _load(options: argparse.Namespace) -> int:
    from kpi.store import lake

    if options.if_absent and any(d.name == options.dataset for d in lake.datasets()):
        print(f"{options.dataset}: already there, left as it is")
        return 0
    end = options.end or datetime.now(UTC).date() - timedelta(days=1)
    tables = world.build(seed=options.seed, requests=options.requests, end=end)
    with tempfile.TemporaryDirectory(prefix="sample-") as folder:
        stage(tables, Path(folder))
        receipt = lake.commit(options.dataset, Path(folder), receipt_of(tables))
    print(f"{receipt.dataset} version {receipt.version}: {receipt.requests:,} requests, {receipt.spans:,} spans")
    return 0


def stage(tables: dict[str, pa.Table], directory: Path) -> None:
    """Write `tables` as staged canonical Parquet: `directory/<table>/0.parquet`; empty tables are left out."""
    for name, table in tables.items():
        if table.num_rows:
            (directory / name).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, directory / name / "0.parquet", compression="zstd")


def receipt_of(tables: dict[str, pa.Table]):
    """The receipt of a load of the world."""
    from kpi.receipts import Receipt

    requests = tables["requests"]
    times = pc.min_max(requests["started_at"].cast(pa.int64())).as_py()
    empty = [c for c in requests.column_names if requests[c].null_count == len(requests)]
    receipt = Receipt(
        format="sample",
        files=["sample_data"],
        rows_read=tables["spans"].num_rows,
        requests=requests.num_rows,
        spans=tables["spans"].num_rows,
        unpriced=pc.sum(pc.invert(requests["priced"])).as_py() or 0,
        first=times["min"],
        last=times["max"],
        missing=empty,
    )
    receipt.note("This is the planted sample world: synthetic people, requests and incidents.")
    return receipt


if __name__ == "__main__":
    raise SystemExit(main())
