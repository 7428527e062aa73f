"""What `make test` prints of its coverage: the total, and the ten files that it covers least.

Lines that run only in the child processes of a load or of the browser tests count as not covered.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from coverage import Coverage

SHOWN = 10


def main() -> int:
    """Print the report of the data file of the last run."""
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        measured.json_report(outfile=os.fspath(path))
        report = json.loads(path.read_text(encoding="utf-8"))
    print(f"Coverage of kpi and app: {report['totals']['percent_covered']:.0f} % of lines. Least covered:")
    for percent, statements, name in least(report):
        print(f"  {percent:3.0f} %  of {statements:4d}  {name}")
    return 0


def least(report: dict) -> list[tuple[float, int, str]]:
    """(percent, statements, file) of the files with the lowest share, those that hold no statement left out."""
    found = [
        (entry["summary"]["percent_covered"], entry["summary"]["num_statements"], name)
        for name, entry in report["files"].items()
        if entry["summary"]["num_statements"]
    ]
    return sorted(found)[:SHOWN]


if __name__ == "__main__":
    sys.exit(main())
