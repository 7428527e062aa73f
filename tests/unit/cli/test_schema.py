"""docs/cli-schema.json: what every command prints with --json, as JSON Schema, held against what it prints.

KPI_WRITE_SCHEMA=1 writes it anew. A key that goes or changes its meaning needs another `SCHEMA` in kpi/cli/output.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi.cli import exits
from kpi.cli.output import SCHEMA
from tests.unit.cli.conftest import Run, plain
from tests.unit.cli.test_exits import ASKED, SLICED

pytestmark = pytest.mark.slow

FILE = Path(__file__).resolve().parents[3] / "docs" / "cli-schema.json"
FREE = ("where", "by", "not_searched", "mix", "tree")  # objects whose keys are those of the data
OTHERS = {"metrics": [], "datasets": [], "versions": ["sample"], "doctor": ["sample"], "connections": []}
MORE = {"drift COLUMN": ["drift", "intent"], "decompose total_cost": ["decompose", "total_cost"],
        "decompose latency": ["decompose", "latency"]}  # fmt: skip
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string"}


def shape(value: Any, key: str = "") -> dict[str, Any]:
    """The schema of a value; leaves may always be null."""
    if isinstance(value, dict):
        if key in FREE:
            return {"type": ["object", "null"]}
        return {
            "type": ["object", "null"],
            "required": list(value),
            "properties": {k: shape(v, k) for k, v in value.items()},
        }
    if isinstance(value, list):
        items: dict[str, Any] = {}
        for one in value:
            items = both(items, shape(one, key))
        return {"type": ["array", "null"], "items": items}
    return {} if value is None else {"type": [_TYPES[type(value)], "null"]}


def both(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The schema of what is either: keys that both have are required."""
    if not a or not b:
        return a or b
    if a["type"] != b["type"]:
        return {}
    found = dict(a)
    if "properties" in a and "properties" in b:
        found["required"] = [k for k in a["required"] if k in b["required"]]
        known = [*a["properties"], *(k for k in b["properties"] if k not in a["properties"])]
        found["properties"] = {k: both(a["properties"].get(k, {}), b["properties"].get(k, {})) for k in known}
    if "items" in a and "items" in b:
        found["items"] = both(a["items"], b["items"])
    return found


def test_the_schema_is_what_every_command_prints(run: Run, sample_home: Path) -> None:
    calls = {name: [name, *ASKED.get(name, []), "--dataset", "sample"] for name in SLICED}
    calls |= {name: [*words, "--dataset", "sample"] for name, words in MORE.items()}
    calls |= {name: [name, *words] for name, words in OTHERS.items()}
    trace = kpi.find_traces(kpi.open("sample"), limit=1)["trace_id"][0]
    calls["trace"] = ["trace", trace, "--dataset", "sample"]
    calls["error"] = ["trace", "absent", "--dataset", "sample"]
    found = {name: shape(plain(run(*words, "--json")[1])) for name, words in calls.items()}
    full = json.loads(run("scorecard", "--dataset", "sample", "--least", "1000000", "--json")[1])
    shared = shape({k: full[k] for k in ("schema", "window", "doubts")})
    shared["properties"]["schema"] = {"const": SCHEMA}
    shared["properties"]["doubts"]["items"]["properties"]["reason"] = {"enum": list(exits.REASONS)}
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "shared": shared, "commands": found}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
    text = f'{{"$schema": "{whole["$schema"]}",\n"shared": {json.dumps(shared)},\n"commands": {{\n{lines}\n}}}}\n'
    if os.environ.get("KPI_WRITE_SCHEMA"):
        FILE.write_text(text, encoding="utf-8")
    assert json.loads(FILE.read_text(encoding="utf-8")) == whole


def test_shapes_of_two_answers_are_joined() -> None:
    a, b = shape([{"x": 1, "y": None}, {"x": None, "z": "t"}])["items"], shape({"x": 2})
    assert a["required"] == ["x"]
    assert a["properties"]["x"] == {"type": ["number", "null"]}
    assert both(a, b)["properties"]["z"] == {"type": ["string", "null"]}
    assert both(shape(1), shape("t")) == {}
