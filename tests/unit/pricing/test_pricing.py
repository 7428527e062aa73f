"""Prices: genuine models by hand arithmetic, how names are matched, cache semantics, tiers, days, the user's file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from kpi.errors import PriceError
from kpi.pricing import price_file
from kpi.pricing.price_file import table_of
from kpi.pricing.price_table import Price, Rates, Usage

CALL = Usage(input=412, output=31, cached_read=256)
FACTS = table_of(None)


# Nano-dollars a token are 1,000 times USD per million: (412 - 256) x input + 256 x cached + 31 x output.
@pytest.mark.parametrize(
    ("provider", "model", "nusd"),
    [
        ("openai", "gpt-4o-mini", 156 * 150 + 256 * 75 + 31 * 600),
        ("openai", "gpt-4o", 156 * 2_500 + 256 * 1_250 + 31 * 10_000),
        ("openai", "gpt-5", 156 * 1_250 + 256 * 125 + 31 * 10_000),
        ("openai", "o1", 156 * 15_000 + 256 * 7_500 + 31 * 60_000),
        ("openai", "gpt-4.1", 156 * 2_000 + 256 * 500 + 31 * 8_000),
        ("azure", "gpt-4o-mini", 156 * 150 + 256 * 75 + 31 * 600),
        ("anthropic", "claude-sonnet-4-5", 156 * 3_000 + 256 * 300 + 31 * 15_000),
        ("anthropic", "claude-haiku-4-5", 156 * 1_000 + 256 * 100 + 31 * 5_000),
        ("anthropic", "claude-3-5-sonnet-20241022", 156 * 3_000 + 256 * 300 + 31 * 15_000),
        ("gemini", "gemini-2.5-pro", 156 * 1_250 + 256 * 125 + 31 * 10_000),
        ("vertex_ai", "claude-sonnet-4-5", 156 * 3_000 + 256 * 300 + 31 * 15_000),
        ("mistral", "mistral-large-latest", 156 * 500 + 256 * 50 + 31 * 1_500),
        ("deepseek", "deepseek-chat", 156 * 280 + 256 * 28 + 31 * 420),
        ("openai", "gpt-4-turbo", 412 * 10_000 + 31 * 30_000),  # no price for cached tokens: they cost as input does
    ],
)
def test_genuine_models_by_hand(provider: str, model: str, nusd: int) -> None:
    assert FACTS.cost(provider, model, CALL) == nusd


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", ("openai", "gpt-4o-mini-2024-07-18")),  # exact
        ("openai", "gpt-4o-mini-2031-07-18", ("openai", "gpt-4o-mini")),  # a date that is not in the table
        ("litellm", "openai/gpt-4o", ("openai", "gpt-4o")),  # a gateway names the provider before the model
        ("gcp.gemini", "models/gemini-2.5-pro", ("gemini", "gemini-2.5-pro")),
        ("aws.bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
         ("bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0")),
        ("aws.bedrock", "ca.anthropic.claude-3-haiku-20240307-v1:0",
         ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0")),
        ("amazon_bedrock", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
         ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0")),
        ("gcp.vertex_ai", "claude-3-5-sonnet@20240620", ("vertex_ai", "claude-3-5-sonnet@20240620")),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20311231", ("vertex_ai", "claude-sonnet-4-5")),
        ("azure.ai.openai", "gpt-4o", ("azure", "gpt-4o")),
        (None, "GPT-5-Chat-Latest", ("openai", "gpt-5-chat-latest")),  # only one maker sells it
    ],
)  # fmt: skip
def test_names_that_mean_a_row(provider: str | None, model: str, found: tuple[str, str]) -> None:
    rows = FACTS.find(provider, model)
    assert found in [(p.provider, p.model) for p in rows]
    assert len({p.cost(CALL) for p in rows}) == 1


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("azure.ai.openai", "our-deployment"), ("azure.ai.openai", "claude-3-5-sonnet-20241022"),  # deployments
        ("ollama", "deepseek-v3"), ("openai", "gpt-4oo"), ("openai", "gpt"), ("openai", "ft:gpt-4o-mini:org::id"),
        (None, "Qwen/Qwen2.5-7B-Instruct-Turbo"),  # open weights have a price only where it is said who served them
        (None, "text-embedding-3-small"),  # sold by two at different prices
        ("openai", None),
    ],
)  # fmt: skip
def test_no_price_is_never_a_guess(provider: str | None, model: str | None) -> None:
    assert FACTS.cost(provider, model, CALL) is None


def test_makers_that_differ_only_for_large_prompts_agree_on_small_ones() -> None:
    assert FACTS.cost(None, "claude-sonnet-4-5", CALL) == 1_009_800
    assert FACTS.cost(None, "claude-sonnet-4-5", Usage(input=250_000, output=1)) is None


def test_a_large_prompt_is_billed_whole_at_the_price_of_its_tier() -> None:
    small, large = Usage(input=200_000, output=10), Usage(input=200_001, output=10)
    assert FACTS.cost("gemini", "gemini-2.5-pro", small) == 200_000 * 1_250 + 10 * 10_000
    assert FACTS.cost("gemini", "gemini-2.5-pro", large) == 200_001 * 2_500 + 10 * 15_000
    assert FACTS.cost("gemini", "gemini-2.5-pro", large, one_call=False) == 200_001 * 1_250 + 10 * 10_000


def rates(**usd: int) -> Price:
    """A made-up price, in USD per million tokens."""
    return Price(provider="p", model="m", rates=Rates(**{k: v * 10**9 for k, v in usd.items()}))


def test_cache_writes_and_reasoning_have_their_own_price_or_that_of_what_they_are_part_of() -> None:
    usage = Usage(input=100, output=50, cached_read=20, cache_write=30, reasoning=40)
    plain = rates(input=1, output=10)
    assert plain.cost(usage) == 100 * 1_000 + 50 * 10_000
    priced = rates(input=1, output=10, cached_read=0, cache_write=2, reasoning=5)
    assert priced.cost(usage) == 50 * 1_000 + 0 + 30 * 2_000 + 10 * 10_000 + 40 * 5_000
    # More reasoning than output cannot be part of it: the source counts it apart.
    assert plain.cost(Usage(input=0, output=10, reasoning=15)) == 25 * 10_000
    assert plain.cost(Usage(input=100, output=0, cached_read=120)) == 220 * 1_000


def test_unknown_counts_and_missing_rates_have_no_cost() -> None:
    assert rates(input=1, output=10).cost(Usage(input=5)) is None
    assert rates(input=1, output=0).cost(Usage(input=5)) == 5_000  # an embedding has no answer
    assert rates(input=1).cost(Usage(input=5, output=1)) is None
    assert rates(input=1, output=1).cost(Usage()) is None
    assert FACTS.cost("cohere", "rerank-v3.5", Usage()) == 2_000_000  # billed by the call


counts = st.integers(0, 10**7)
usd = st.integers(0, 10**12)


@settings(max_examples=200)
@given(counts, counts, counts, usd, usd, usd)
def test_cost_grows_with_tokens_and_the_cache_never_makes_it_dearer(
    given_in: int, cached: int, out: int, price_in: int, price_cached: int, price_out: int
) -> None:
    cached, price_cached = min(cached, given_in), min(price_cached, price_in)
    price = Price(provider="p", model="m", rates=Rates(input=price_in, output=price_out, cached_read=price_cached))
    cost = price.cost(Usage(given_in, out, cached))
    full = price.cost(Usage(given_in, out))
    assert cost is not None
    assert full is not None
    for more in (price.cost(Usage(given_in + 1, out, cached)), price.cost(Usage(given_in, out + 1, cached))):
        assert more is not None
        assert more >= cost
    assert 0 <= cost <= full
    exact = (given_in - cached) * price_in + cached * price_cached + out * price_out
    assert isinstance(cost, int)
    assert abs(cost * 10**6 - exact) <= 5 * 10**5  # rounded once, to the nearest nano-dollar


OWN = """
[[price]]
model = "gpt-4o"
provider = "openai"
input = 1
output = 2
from = 2026-03-01
until = 2026-06-30
[[price]]
model = "gpt-4o"
provider = "openai"
input = 0.000000001
output = 3
from = 2026-05-01
[[price]]
model = "in-house-7b"
input = 5
output = 5
[units]
retrieval_usd = 0.0004
[units.tool_call]
web_search = 0.01
default = 0
"""


def test_own_rows_win_on_the_days_they_count() -> None:
    table, usage = table_of(OWN), Usage(input=1_000_000, output=0)
    on = [table.cost("openai", "gpt-4o", usage, date(2026, month, 15)) for month in (1, 4, 5, 8)]
    assert on == [2_500_000_000, 1_000_000_000, 1, 1]  # the shipped price, the first row, the newest row twice
    assert table.cost("openai", "gpt-4o", usage) == 1  # without a time the newest
    for provider in (None, "anything", "azure"):
        assert table.cost(provider, "in-house-7b", usage) == 5_000_000_000
    assert (table.units.retrieval, table.units.tool("web_search"), table.units.tool("other")) == (
        400_000,
        10_000_000,
        0,
    )
    assert table.units.review_minute is None
    assert FACTS.units.known is False
    assert table.version != FACTS.version
    assert table_of(OWN).version == table.version


@pytest.mark.parametrize(
    ("text", "says", "row"),
    [
        ("a = 1\nb = = 2", "not valid TOML", 2),
        ("\n[[price]]\nmodel = 'm'\ninput = 'x'", "'input' is no amount", 2),
        ("[[price]]\nmodel = 'm'\ninput = 1\n[[price]]\nmodel = 'n'\ninput = -1", "'input' is no amount", 4),
        ("[[price]]\ninput = 1", "'model' is missing", 1),
        ("[[price]]\nmodel = 'm'", "'input' is missing", 1),
        ("[[price]]\nmodel = 'm'\ninput = 1\ncahced_read = 1", "'cahced_read' is not known", 1),
        ("[[price]]\nmodel = 'm'\ninput = 0.0000000001", "finer than", 1),
        ("[[price]]\nmodel = 'm'\ninput = nan", "'input' is no amount", 1),
        ("[[price]]\nmodel = 'm'\ninput = 1\nfrom = '2026-01-01'", "'from' is no day", 1),
        ("[[price]]\nmodel = 'm'\ninput = 1\nfrom = 2026-02-01\nuntil = 2026-01-01", "'from' lies after until", 1),
        ("[[price]]\nmodel = 'm'\ninput = 1\ntiers = [1]", "'tiers' is no list", 1),
        ("price = 3", "'price' is not a list", None),
        ("[units]\nretreival_usd = 1", "'retreival_usd' is not known", None),
        ("[units.tool_call]\nsearch = true", "'tool_call.search' is no amount", None),
    ],
)
def test_a_bad_file_names_the_line_and_the_remedy(text: str, says: str, row: int | None) -> None:
    with pytest.raises(PriceError) as caught:
        table_of(text)
    assert says in caught.value.message
    assert (caught.value.row, bool(caught.value.hint)) == (row, True)


def test_the_template_is_a_valid_file_also_without_its_comment_signs(tmp_path: Path) -> None:
    path = price_file.init(tmp_path)
    assert table_of(path.read_text(encoding="utf-8")).units.known is False
    lines = path.read_text(encoding="utf-8").splitlines()
    said = "\n".join(
        line.removeprefix("# ") for line in lines if line.startswith("# ") and ("=" in line or "[" in line)
    )
    full = table_of(said)
    assert (full.units.retrieval, full.units.review_minute) == (400_000, 750_000_000)
    assert full.find("azure.ai.openai", "our-gpt4-deployment", date(2026, 4, 1))[0].source == "contract 4711"
    with pytest.raises(PriceError, match="exists already"):
        price_file.init(tmp_path)
