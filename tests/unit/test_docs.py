"""The reference pages in docs/: every metric, column, link key and JSON key is in them, as the code has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kpi
from kpi.schema import TABLES
from tests.unit.cli import test_cli as keys

DOCS = Path(__file__).resolve().parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("metric", kpi.METRICS.values(), ids=lambda m: m.name)
def test_every_metric_is_documented_as_it_is(metric: kpi.Metric) -> None:
    (line,) = (one for one in page("metrics.md").splitlines() if one.startswith(f"| `{metric.name}` |"))
    told = (
        metric.unit,
        metric.direction,
        metric.definition,
        metric.formula,
        metric.null_rule,
        metric.interval,
        metric.min_n,
    )
    for part in told:
        assert f"| {part} |" in line


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_every_column_is_documented(table) -> None:
    text = page("tables.md").split(f"## {table.name}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(table.names)
    for column in table.columns:
        assert f"| `{column.name}` | {column.type} | {column.unit} | {column.privacy} |" in text


def test_every_link_key_is_documented() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    full = kpi.Slice(version=1, fingerprint="f", start=moment).where(language="es").to_query(full=True)
    full |= kpi.Slice(end=moment).to_query(full=True) | kpi.Slice().to_query(full=True)
    text = page("links.md")
    assert {k for k in full if f"| `{k}` |" not in text} == set()


def test_every_json_key_and_exit_code_is_documented() -> None:
    text = page("cli.md")
    listed_keys = (keys.LOAD, keys.DATASETS, keys.VERSIONS, keys.METRICS, keys.CARD, keys.ROW, keys.TRACE)
    for listed in (*listed_keys, keys.CONNECTION, keys.PLACEMENT, keys.FINDING):
        assert ", ".join(f"`{k}`" for k in listed) in text
    for code in range(4):
        assert f"| {code} |" in text


def test_the_product_table_is_worked_through() -> None:
    seen: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page("own-metrics.md"), re.DOTALL):
        exec(block, seen)
    verdicts = seen["answer"].frame().set_index("metric")["verdict"]
    assert verdicts.to_dict() == {
        "retention_7d": "worse", "revenue_mean": "no clear change", "revenue_per_rounds_played": "no clear change",
    }  # fmt: skip


def test_the_register_of_the_docs_is_one(tmp_path: Path) -> None:
    (declared,) = re.findall(r"```toml\n(.*?)```", page("own-metrics.md"), re.DOTALL)
    (tmp_path / "register.toml").write_text(declared, encoding="utf-8")
    found = kpi.load_register(tmp_path / "register.toml")
    assert list(found.metrics) == ["retention_7d", "revenue", "revenue_per_round"]
    assert [e.metric for e in found.entries] == ["retention_7d"]


@pytest.mark.slow
def test_the_notebook_runs_on_the_sample(sample_home: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page("notebook.md"), re.DOTALL)
    assert len(blocks) == 8
    seen: dict[str, object] = {}
    for block in blocks:
        exec(block, seen)
    assert len(seen["daily"]) == 28
    assert len(seen["by_language"]) == 10
