"""Words on the page: the one escape for untrusted text, sentences about the slice, and the Python behind a page.

Whatever comes from data (names of models, cohorts, columns, files, errors) passes through `safe()` on its way into a
Markdown sink: most Streamlit sinks would otherwise fetch a host that the text names. Nothing here draws.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import kpi

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # every ASCII punctuation mark: CommonMark lets each be escaped
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_ADDRESS = re.compile(r"(?i)(?<=\w)(?=://)|(?<=www)(?=\.)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)|(?=@)")
_JOINER = "\u2060"  # invisible, and enough to keep an address from becoming a link
_NAME = re.compile(r"[a-z][a-z0-9_]*")
LONGEST = 300
WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
VERDICTS = kpi.charts.VERDICTS  # the role of a verdict's colour
TOLD: dict[str, str] = WORDS["told"]


def safe(value: object, *, longest: int = LONGEST) -> str:
    """Untrusted text as literal Markdown: no image, link, directive, formula or line break survives."""
    text = _CONTROL.sub(" ", str(value))
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return _PUNCTUATION.sub(r"\\\1", _ADDRESS.sub(_JOINER, text))


def plain(value: object) -> str:
    """Untrusted text for a chat, where escapes would show: without what makes links, images, code or mentions."""
    return _CONTROL.sub(" ", str(value)).translate(str.maketrans("[]<>`@", "()‹›'＠")).replace("://", ":/ /")


def icon(name: str) -> str:
    """A Material icon in Markdown; "" for what is no name of one."""
    return f":material/{name}:" if _NAME.fullmatch(name) else ""


def badge(word: str, name: str, colour: str) -> str:
    """A coloured badge in Markdown: icon and word."""
    shown = f"{icon(name)} {safe(word)}".strip()
    return f":{colour}-badge[{shown}]" if _NAME.fullmatch(colour) else shown


def dimension(name: str) -> str:
    """A dimension as people read it: "prompt_version" -> "Prompt version"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


values, changes = kpi.wording.values, kpi.wording.changes
intervals, change_intervals = kpi.wording.intervals, kpi.wording.change_intervals


def moment(value: datetime, tz: str = "UTC") -> str:
    """ "3 Nov 2026, 14:05 UTC"."""
    local = value.astimezone(ZoneInfo(tz))
    return f"{kpi.wording.day_words(value, tz, year=True)}, {local:%H:%M} {local.tzname()}"


def versus(view: kpi.Slice) -> str:
    """A short word for the comparison, beside a change; the sentence under the title has the dates. Plain text."""
    if ":" in view.baseline and ".." not in view.baseline:
        return f"vs. {view.baseline.partition(':')[2]}"
    return {"previous": "vs. before", "weekdays": "vs. weekdays before"}.get(view.baseline, "vs. chosen dates")


def python(view: kpi.Slice, calls: Iterable[str]) -> str:
    """Runnable Python of a page: open the version, name the slice, make the calls."""
    opened = f"kpi.open({view.dataset!r}" + (f", version={view.version}" if view.version is not None else "") + ")"
    lines = ["import kpi", "", f"source = {opened}", f"view = {_constructor(view)}"]
    if view.start or view.end:
        lines.insert(1, "from datetime import datetime")
    return "\n".join([*lines, *calls]) + "\n"


def notebook(view: kpi.Slice, calls: Iterable[str]) -> str:
    """The same as a notebook: a cell that opens the slice, a cell a call, whose last name is shown."""
    opened = python(view, ())
    cells = [opened, *(f"{call}\n{call.partition(' = ')[0]}" if re.match(r"\w+ = ", call) else call for call in calls)]
    listed: list[Any] = [{"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": cell, "outputs": [],
               "execution_count": None} for i, cell in enumerate(cells)]  # fmt: skip
    return json.dumps({"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def _constructor(view: kpi.Slice) -> str:
    plain: dict[str, Any] = vars(kpi.Slice(dataset=view.dataset))
    skipped = {"version", "fingerprint"}  # both are settled by the source
    chosen = {k: v for k, v in vars(view).items() if v != plain[k] and k not in skipped}
    if view.start or view.end:
        chosen.pop("last", None)
    named = {"dataset": view.dataset, **chosen}
    return "kpi.Slice(" + ", ".join(f"{k}={_literal(v)}" for k, v in named.items()) + ")"


def _literal(value: object) -> str:
    return f"datetime.fromisoformat({value.isoformat()!r})" if isinstance(value, datetime) else repr(value)
