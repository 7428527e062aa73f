"""Planted worlds: how often the first finding names the right metric, segment and day, beside the obvious ways; how
many of several causes are told, each once; what is said of a holiday week, and of the stories of the sample data.

python -m tests.bench.worlds [WORLDS OF EACH KIND]
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from datetime import timedelta

import numpy as np
from scipy import special

import kpi
from kpi.govern.findings import findings
from kpi.measure.estimate import wilson
from sample_data.world import END
from tests.worlds.generate import world
from tests.worlds.score import BASELINES, STRONG, each_told, of_world, right, strength
from tests.worlds.stories import sample, stories_told

EACH = 60  # worlds of each kind; four kinds
FIRST = 1_000  # seeds below are those the search was tuned on


def main(each: int = EACH) -> None:
    """Print the table: shares with 95 % intervals, each over the worlds with a cause of at least STRONG errors."""
    print(f"Planted worlds, {each} of each kind, seeds from {FIRST}: the first finding names metric, segment and day")
    hits: dict[tuple[str, str], list[float]] = defaultdict(list)
    told: dict[str, list[int]] = defaultdict(list)
    for kind in ("one", "two", "mix", "quiet"):
        for seed in range(FIRST, FIRST + each):
            made = world(seed, kind)
            found = of_world(made)
            causes = [*made.causes, *([made.mix] if made.mix else [])]
            strong = [c for c in causes if c.kind == "mix" or strength(found, c) >= STRONG]
            for name, way in BASELINES.items():
                named = way(made, found)
                if kind == "quiet":
                    told[name].append(named.count)
                elif strong:
                    hits[name, kind].append(max(right(named, c) for c in strong))
    print(f"{'':16}" + "".join(f"{h:>26}" for h in ("one cause", "two causes", "mix alone", "false in a quiet world")))
    for name in BASELINES:
        cells = [_share(hits[name, kind]) for kind in ("one", "two", "mix")]
        print(f"{name:16}" + "".join(f"{c:>26}" for c in cells) + f"{_mean(told[name]):>26}")
    _several(each)
    _holidays(each)
    _stories(each // 2)
    print()


def _several(each: int) -> None:
    """Shares of all causes that are told, and findings beside them."""
    for kind, requests in (("three", 30_000), ("four", 30_000), ("three", 200_000), ("four", 200_000)):
        scores, others = [], []
        for seed in range(FIRST, FIRST + each):
            made = world(seed, kind, requests)
            told, beside = each_told(made, of_world(made))
            scores += told
            others.append(beside)
        print(f"{kind} causes in {requests:,} requests: told {_share(scores)}, other findings a world {_mean(others)}")


def _holidays(each: int) -> None:
    kinds = [{f.kind for f in findings(kpi.from_frame(world(seed, "holiday").requests))}
             for seed in range(FIRST, FIRST + each)]  # fmt: skip
    mix, worse = ([float(bool(k & names)) for k in kinds] for names in ({"mix"}, {"regression", "hidden_regression"}))
    print(f"holiday weeks: told as mix {_share(mix)}, as a regression {_share(worse)}")


def _stories(each: int) -> None:
    counts, others = Counter(), []
    for i in range(each):
        end = END + timedelta(days=i % 9 - 4)
        told, beside = stories_told(sample(end, seed=7 + 5 * (i // 9)), end)
        counts.update({name: float(found) for name, found in told.items()})
        others.append(len(beside))
    shares = ", ".join(f"{name} {count / each:.0%}" for name, count in counts.items())
    print(f"stories of the sample over {each} ends and seeds: {shares}; other findings {_mean(others)}")


def _mean(counts: list[int]) -> str:
    """Findings a world, with the exact Poisson interval (Garwood 1936)."""
    total = sum(counts)
    low, high = (special.gammaincinv(k, q) if k else 0.0 for k, q in ((total, 0.025), (total + 1, 0.975)))
    return f"{total / len(counts):.3f} ({low / len(counts):.3f} to {high / len(counts):.3f})"


def _share(scores: list[float]) -> str:
    if not scores:
        return "-"
    low, high = wilson(sum(scores), len(scores))
    return f"{np.mean(scores):.0%} ({float(low):.0%} to {float(high):.0%}) of {len(scores)}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EACH)
