"""The script that writes the shipped price file, on a small made-up input; and the file that it wrote."""

from __future__ import annotations

import importlib.util
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from kpi.pricing.price_file import _own_file, table_of
from kpi.pricing.price_table import Usage

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "update_prices.py"
FACTS = {
    "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.8750000000000002e-06,
              "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 7.5e-08,
              "cache_creation_input_token_cost": 0.0, "output_cost_per_reasoning_token": 1e-05,
              "input_cost_per_token_above_200k_tokens": 4e-06, "output_cost_per_token_above_200k_tokens": 2e-05},
    "vertex_ai/gem-x": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", "input_cost_per_token": 1e-07,
                        "output_cost_per_token": 0.0},
    "dashscope/q": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
        {"range": [0, 1000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {"range": [1000, 9000], "input_cost_per_token": 3e-06, "output_cost_per_token": 4e-06}]},
    "rerank-x": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_token": 0.0,
                 "input_cost_per_query": 0.002},
    "azure/eu/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-06},
    "free": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "picture": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1e-06},
    "elsewhere": {"litellm_provider": "unheard_of", "mode": "chat", "input_cost_per_token": 1e-06},
}  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_prices", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_hold_the_facts_and_leave_out_what_has_no_token_price(script: ModuleType) -> None:
    rows = {row["model"]: row for row in script.rows(FACTS)}
    assert sorted(rows) == ["gem-x", "gpt-x", "q", "rerank-x"]
    assert rows["gpt-x"] == {
        "provider": "openai", "model": "gpt-x", "input": Decimal("1.875"), "output": 10,
        "cached_read": Decimal("0.075"), "tiers": [{"above": 200_000, "input": 4, "output": 20}],
    }  # fmt: skip
    assert (rows["gem-x"]["provider"], rows["rerank-x"]["call"]) == ("vertex_ai", Decimal("0.002"))


def test_the_newest_version_counts_and_withdrawn_models_name_theirs(script: ModuleType) -> None:
    newer = {"gpt-x": {**FACTS["gpt-x"], "input_cost_per_token": 9e-06}}
    merged = script.merged([script.rows(newer), script.rows(FACTS, note="source 1")])
    rows = {row["model"]: row for row in merged}
    assert (rows["gpt-x"]["input"], "source" in rows["gpt-x"]) == (9, False)
    assert rows["gem-x"]["source"] == "source 1"
    assert "q" not in rows  # withdrawn models are kept of the large providers


def test_what_is_written_is_read_back(script: ModuleType) -> None:
    text = script.as_toml(script.rows(FACTS), source="a source", day=date(2026, 11, 24))
    prices, _ = _own_file(text)
    by_name = {p.model: p for p in prices}
    assert by_name["gpt-x"].cost(Usage(input=100, output=1)) == 187_500 + 10_000
    assert by_name["q"].cost(Usage(input=1_001, output=1)) == 3_003_000 + 4_000
    assert by_name["q"].cost(Usage(input=500, output=0)) == 500_000


def test_the_shipped_file_is_dated_small_and_free_of_doubles() -> None:
    facts = table_of(None)
    keys = [(p.provider, p.model.lower(), p.start) for p in facts.prices]
    assert len(set(keys)) == len(keys) > 1_000
    assert date.fromisoformat(facts.day) > date(2026, 1, 1)
    assert all(p.source for p in facts.prices)
    assert (SCRIPT.parents[1] / "kpi" / "pricing" / "prices.toml").stat().st_size < 250_000
    assert all(p.call or p.tiers or p.rates.input or p.rates.output for p in facts.prices)  # none is free
