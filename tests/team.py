"""A frame as a team has one: its own names, words and units, eight weeks, two planted faults. The same every time.

German succeeds less from 16 November on, by 24 points; prompt B, which serves half of the users from 2 November on, is
bad in Spanish. `python -m tests.team` writes the files that the notebooks in docs/tasks read.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tasks"
FILE = FOLDER / "requests.csv.gz"
GERMAN_FALLS, PROMPT_B = pd.Timestamp("2026-11-16"), pd.Timestamp("2026-11-02")
FALL, BAD_IN_SPANISH = 0.24, 0.16
_LANGUAGES, _TENANTS, _DEVICES = ["en", "de", "es"], ["north", "south", "west"], ["phone", "web"]


def frame(rows: int = 6000, users: int = 400, seed: int = 5) -> pd.DataFrame:
    """One row a request. A user has one language, tenant and arm; a person and a judge labelled one in five."""
    draw = np.random.default_rng(seed)
    who = draw.integers(0, users, rows)
    lang, tenant = draw.integers(0, 3, users)[who], draw.integers(0, 3, users)[who]
    skill, arm = draw.normal(0, 0.05, users)[who], draw.integers(0, 2, users)[who]
    at = pd.Timestamp("2026-10-05") + pd.to_timedelta(np.sort(draw.integers(0, 56 * 86_400, rows)), unit="s")
    prompt = np.where((arm == 1) & (at >= PROMPT_B), "B", "A")
    intent = draw.choice(["billing", "search", "other"], rows, p=[0.3, 0.5, 0.2])
    chance = 0.80 + skill - 0.08 * (intent == "billing")
    chance = chance - FALL * ((lang == 1) & (at >= GERMAN_FALLS)) - BAD_IN_SPANISH * ((lang == 2) & (prompt == "B"))
    ok = draw.random(rows) < chance
    solved = ok & (draw.random(rows) < 0.9)
    seen = draw.random(rows) < 0.2
    human = np.where(ok ^ (draw.random(rows) < 0.05), "good", "bad")
    judge = np.where((human == "good") ^ (draw.random(rows) < 0.12), "good", "bad")
    return pd.DataFrame({
        "ts": at.strftime("%Y-%m-%d %H:%M:%S"), "user": [f"u{i:03}" for i in who],
        "lang": np.array(_LANGUAGES)[lang], "device": draw.choice(_DEVICES, rows, p=[0.6, 0.4]),
        "tenant": np.array(_TENANTS)[tenant], "prompt_version": prompt, "intent": intent,
        "ok": np.where(ok, "yes", "no"), "resolved": np.where(solved, "yes", "no"),
        "cost": np.round(draw.lognormal(-5, 0.6, rows) * (1 + 0.5 * (tenant == 2)), 6),
        "latency_s": np.round(draw.lognormal(0.5, 0.5, rows), 3),
        "thumbs_up": pd.Series(np.where(draw.random(rows) < 0.3, np.where(ok, "yes", "no"), None), dtype=object),
        "revenue": np.round(np.where(ok, draw.gamma(2, 1.5, rows), 0.0), 2),
        "human": pd.Series(np.where(seen, human, None), dtype=object),
        "judge": pd.Series(np.where(seen, judge, None), dtype=object),
    })  # fmt: skip


def evaluation(items: int = 150, seed: int = 6) -> pd.DataFrame:
    """An evaluation: two models answer the same items three times each; the new one is a little better, for more."""
    draw = np.random.default_rng(seed)
    ease = draw.beta(2.5, 1.2, items)
    arms = [("old", 0.0, 0.004, trial) for trial in (1, 2, 3)] + [("new", 0.22, 0.005, trial) for trial in (1, 2, 3)]
    told = [
        (f"item-{i:03}", model, trial, bool(draw.random() < ease[i] + gain * (1 - ease[i])),
         round(float(price * draw.lognormal(0, 0.2)), 5))
        for i in range(items) for model, gain, price, trial in arms
    ]  # fmt: skip
    return pd.DataFrame(told, columns=["task", "model", "trial", "passed", "cost_usd"])


def packed(rows: pd.DataFrame) -> bytes:
    """A compressed file without a time in it, so that it is the same again."""
    return gzip.compress(rows.to_csv(index=False).encode(), mtime=0)


if __name__ == "__main__":
    FILE.write_bytes(packed(frame()))
    (FOLDER / "evaluation.csv.gz").write_bytes(packed(evaluation()))
