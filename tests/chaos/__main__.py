"""`make chaos`: every fault on files of every kind, the long form. KPI_CHAOS_SEEDS: how often each (default 3)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.chaos.run import Harness, report, states


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="kpi-chaos-") as folder, pytest.MonkeyPatch.context() as patch:
        place = Path(folder)
        harness = Harness(place, patch)
        wanted = states(place, seeds=int(os.environ.get("KPI_CHAOS_SEEDS", "3")))
        wanted = [s for s in wanted if not sys.argv[1:] or s.kind in sys.argv[1:]]
        verdicts = []
        for i, state in enumerate(wanted, start=1):
            verdicts.append(harness.judge(state))
            if not i % 50:
                print(f"{i} of {len(wanted)} states, {sum(len(v.bad) for v in verdicts)} problems", file=sys.stderr)
    print(report(verdicts))
    return 1 if any(v.bad for v in verdicts) else 0


if __name__ == "__main__":
    raise SystemExit(main())
