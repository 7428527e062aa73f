"""`make bench`: loading, pages beside plain pandas, memory, and the browser, on one million requests; a crowd; twins;
whether intervals and claims hold in unfriendly worlds.

Environment: KPI_BENCH_REQUESTS (default 1,000,000), KPI_BENCH_TRACES (OTLP traces to load, default 100,000),
KPI_BENCH_WORLDS (planted worlds, and worlds of lost labels, of each kind, default 60), KPI_BENCH_TEXTS (texts of each
kind that redaction is measured on, default 2,000), KPI_BENCH_PEOPLE (visitors at once, default 30), KPI_BENCH_REPS
(replications of a coverage, default 1,000; of cards, index and drift three tenths of them).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd
import pyarrow.parquet as pq

from tests.bench import claims, coverage, crowd, fairness, redaction, twins, unknowns, world, worlds

ROUNDS = 5


def main() -> int:
    rows = int(os.environ.get("KPI_BENCH_REQUESTS", "1000000"))
    traces = int(os.environ.get("KPI_BENCH_TRACES", "100000"))
    with tempfile.TemporaryDirectory(prefix="kpi-bench-") as folder:
        os.environ["KPI_HOME"] = str(Path(folder) / "home")
        table = world.requests(rows)
        path = Path(folder) / "requests.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=131_072)
        export = Path(folder) / "traces.jsonl"
        spans = world.otlp_lines(traces, export)
        print(
            f"{rows:,} requests in Parquet ({path.stat().st_size / 1e6:.0f} MB), "
            f"{traces:,} traces with {spans:,} spans "
            f"in OTLP JSONL ({export.stat().st_size / 1e6:.0f} MB), {os.cpu_count()} cores\n"
        )
        _loading(rows, path, traces, spans, export)
        _pages(path)
        fairness.main(rows)
        worlds.main(int(os.environ.get("KPI_BENCH_WORLDS", worlds.EACH)))
        unknowns.main(int(os.environ.get("KPI_BENCH_WORLDS", unknowns.EACH)))
        reps = int(os.environ.get("KPI_BENCH_REPS", coverage.REPS))
        coverage.main(reps)
        claims.main(reps * claims.REPS // coverage.REPS)
        redaction.main(int(os.environ.get("KPI_BENCH_TEXTS", redaction.EACH)))
        twins.main()
        _browser()
        crowd.main()
    return 0


def _loading(rows: int, path: Path, traces: int, spans: int, export: Path) -> None:
    print("Loading (files to a committed version, all processes)")
    for name, file, count in (
        ("otlp", export, traces),
        ("million", path, rows),
    ):  # by peak: the kernel keeps the largest
        wall, peak = _load(file, name)
        extra = f", {spans / wall:,.0f} spans/s" if name == "otlp" else ""
        speed = f"{wall:7.1f} s  {count / wall:10,.0f} requests/s{extra}"
        print(f"  {file.suffix[1:]:8} {speed}, peak {peak:.0f} MB in one process")
    print()


def _load(file: Path, dataset: str) -> tuple[float, float]:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "kpi.cli", "load", str(file), "--dataset", dataset],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - start
    return wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _pages(path: Path) -> None:
    """Each side in a process of its own, so that peaks of memory are its own."""
    print("Pages: seconds of server time, medians; pandas has the frame in memory and prepared")
    ours, plain = (json.loads(_side(side, path)) for side in ("ours", "plain"))
    print(f"  {'page':32} {'ours':>7} {'pandas':>8} {'pandas / ours':>14}")
    for name in ours["pages"]:
        a, b = ours["pages"][name], plain["pages"][name]
        print(f"  {name:32} {a:7.2f} {b:8.2f} {b / a:14.1f}")
    print(
        f"  peak memory {ours['peak']:.0f} MB, pandas {plain['peak']:.0f} MB; "
        f"opening the data set, cache built, {ours['open']:.2f} s, "
        f"reading the frame {plain['open']:.2f} s\n"
    )


def _side(side: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", side, str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout


def measure_side(side: str, path: str) -> None:
    """Runs in the child: prints JSON with seconds per page, seconds to open and peak memory in MB."""
    from tests.bench.pages import pages, prepare

    start = time.perf_counter()
    if side == "ours":
        import kpi

        held = kpi.open("million")
        kpi.profile(held)
        if (building := kpi.warm(held)) is not None:
            building.join()
    else:
        held = prepare(pd.read_parquet(path))
    opened = time.perf_counter() - start
    found = {}
    for page in pages():
        ask = page.ours if side == "ours" else page.plain
        found[page.name] = median(_timed(ask, held) for _ in range(ROUNDS if side == "ours" else 3))
    print(json.dumps({"pages": found, "open": opened, "peak": _peak()}))


def _peak() -> float:
    """Largest resident size of this process in MB. getrusage would count the parent that started it as well."""
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    found = next((line.split()[1] for line in lines if line.startswith("VmHWM")), None)
    return float(found) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(ask, held) -> float:
    start = time.perf_counter()
    ask(held)
    return time.perf_counter() - start


def _browser() -> None:
    from tests.bench import browser

    print("Browser: seconds to the complete Overview from opening a link (fresh tab), and from a slice change")
    subprocess.run([sys.executable, "-m", "sample_data", "--if-absent"], check=True, stdout=subprocess.DEVNULL)
    for dataset in ("sample", "million"):
        opened, changed = browser.overview(dataset)
        print(f"  {dataset:8} open {opened:5.2f} s, slice change {changed:5.2f} s (medians)")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure_side(sys.argv[1], sys.argv[2])
        raise SystemExit(0)
    raise SystemExit(main())
