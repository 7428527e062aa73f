"""Lost labels: verdicts that they alone could make, and findings of coverage where nothing happens.

python -m tests.bench.unknowns [WORLDS OF EACH KIND]
"""

from __future__ import annotations

import sys

import kpi
from tests.worlds.generate import world
from tests.worlds.losses import LOSSES, allowed, arms, unlabelled

EACH = 60
FIRST = 5_000
COLUMNS = {"task_success": "success", "cost_per_query": "total_nusd"}


def verdicts(seed: int, loss: str) -> list[tuple[str, bool]]:
    """(verdict, whether the loss allows no change) of each metric."""
    frame = arms(seed, loss)
    found = kpi.compare(kpi.from_frame(frame), "a", "b", list(COLUMNS), by="release", adjust=())
    told = []
    for row in found.rows:
        low, high = allowed(frame, COLUMNS[row.metric.name])
        told.append((row.verdict, low <= 0 <= high))
    return told


def quiet(seed: int) -> list[kpi.results.Finding]:
    """Findings of coverage in a quiet world with labels that were never there."""
    frame = unlabelled(world(seed, "quiet").requests.to_pandas(), seed)
    return [f for f in kpi.findings(kpi.from_frame(frame)) if f.kind == "coverage"]


def main(each: int = EACH) -> None:
    """Print the table."""
    print(f"Lost labels, {each} worlds of each kind, seeds from {FIRST}; two releases of which none is better")
    print(f"{'loss':10}{'claims':>9}{'where the loss allows no change':>34}{'cannot tell':>14}   of metrics")
    for loss in LOSSES:
        told = [v for seed in range(FIRST, FIRST + each) for v in verdicts(seed, loss)]
        claims = [free for verdict, free in told if verdict in ("better", "worse")]
        print(f"{loss:10}{len(claims):>9}{sum(claims):>34}{sum(v == 'cannot tell' for v, _ in told):>14}   {len(told)}")
    loud = sum(bool(quiet(seed)) for seed in range(FIRST, FIRST + each))
    print(f"Quiet worlds with a finding of coverage: {loud} of {each}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EACH)
