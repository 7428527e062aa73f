"""The planted stories as a TOML document, for people and tests: what changed, where, since when, by how much."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from sample_data.stories import STORIES


def ground_truth(*, end: date, days: int = 90) -> str:
    """TOML text of all stories with dates for a world of `days` days that ends at `end`; `until` is exclusive."""
    first = end - timedelta(days=days - 1)
    parts = [
        "# Written by `python -m sample_data --ground-truth FILE` from sample_data/stories.py.",
        f"first = {first.isoformat()}\nlast = {end.isoformat()}\ndays = {days}\n",
    ]
    for story in STORIES:
        before_from, before_to = story.against
        lines = {
            "id": _text(story.id),
            "kind": _text(story.kind),
            "metric": _text(story.metric),
            "also": "[" + ", ".join(_text(m) for m in story.also) + "]",
            "where": _table(story.where),
            "contrast": _table(story.contrast),
            "direction": _text(story.direction),
            "size": repr(story.size),
            "unit": _text(story.unit),
            "since": (first + timedelta(days=story.day_from)).isoformat(),
            "until": (first + timedelta(days=min(story.day_to, days))).isoformat(),
            "against": f"[{(first + timedelta(days=before_from)).isoformat()}, "
            f"{(first + timedelta(days=min(before_to, days))).isoformat()}]",
            "sentence": _text(story.sentence),
        }
        parts.append("[[story]]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items()) + "\n")
    return "\n".join(parts)


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _table(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{k} = {_text(v)}" for k, v in values.items()) + " }" if values else "{}"
