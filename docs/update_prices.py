"""Write kpi/pricing/prices.toml anew from the price file inside the `litellm` package. Nothing of the package is run.

    pip download --no-deps --dest wheels litellm          # the newest: today's prices
    pip download --no-deps --dest wheels litellm==1.74.0  # older ones: models that were withdrawn since
    python docs/update_prices.py wheels/*.whl

The wheels are opened as the archives they are. Where versions differ the newest counts; a model that only an older one
knows keeps the price it had there, and its row names that version. Free rows (trials, local models, seats) are left
out: their tokens have no known price, which is not the same as none.
"""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "kpi" / "pricing" / "prices.toml"
FACTS = "litellm/model_prices_and_context_window_backup.json"
MODES = frozenset({"chat", "responses", "completion", "embedding", "rerank"})
PROVIDERS = {  # the source's name of a provider, without "-…_models" -> ours
    "openai": "openai", "text-completion-openai": "openai", "azure": "azure", "azure_text": "azure",
    "azure_ai": "azure_ai", "bedrock": "bedrock", "bedrock_converse": "bedrock", "vertex_ai": "vertex_ai",
    "gemini": "gemini", "anthropic": "anthropic", "mistral": "mistral", "codestral": "mistral", "cohere": "cohere",
    "cohere_chat": "cohere", "deepseek": "deepseek", "xai": "xai", "groq": "groq", "together_ai": "together_ai",
    "fireworks_ai": "fireworks_ai", "perplexity": "perplexity", "deepinfra": "deepinfra", "cerebras": "cerebras",
    "sambanova": "sambanova", "voyage": "voyage", "jina_ai": "jina_ai", "ai21": "ai21", "moonshot": "moonshot",
    "zai": "zai", "minimax": "minimax", "dashscope": "dashscope", "watsonx": "watsonx", "databricks": "databricks",
}  # fmt: skip
FIELDS = {
    "input": "input_cost_per_token", "cached_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost", "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
}  # fmt: skip
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
# Not text by the token, or not the list price: trained and committed capacity, a host's own routing.
_LEFT_OUT = re.compile(r"\bft:|/container$|-audio-|-realtime|transcribe|-tts|commitment|/routers/")
WITHDRAWN = frozenset({
    "openai", "anthropic", "gemini", "vertex_ai", "bedrock", "azure", "mistral", "cohere", "deepseek",
})  # fmt: skip
REGIONAL = frozenset({"azure", "bedrock"})


def rows(facts: Mapping[str, Any], note: str = "") -> list[dict[str, Any]]:
    """Price rows (USD per million tokens) out of one price file, sorted by provider and model.

    note: for an older version, whose rows carry it as their source and are kept for a few large providers only.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for key, entry in facts.items():
        provider = PROVIDERS.get(re.split(r"-(?=\S*models?$)", str(entry.get("litellm_provider")))[0])
        if provider is None or entry.get("mode") not in MODES or _LEFT_OUT.search(key):
            continue
        if note and provider not in WITHDRAWN:
            continue
        model = _model(key, str(entry["litellm_provider"]), provider)
        if provider in REGIONAL and "/" in model:  # `eu/gpt-4o`: the source's own names, which no trace uses
            continue
        row = {"provider": provider, "model": model, **_rates(entry)}
        call = entry.get("input_cost_per_query") or entry.get("input_cost_per_request")
        if call:
            row["call"] = _number(call)
        tiers = _tiers(entry)
        if tiers:
            row["tiers"] = tiers
        if not any(row.get(name) for name in ("input", "output", "call")) and not tiers:
            continue
        if note:
            row["source"] = note
        found.setdefault((provider, model), row)
    return [found[key] for key in sorted(found)]


def merged(newest_first: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several versions: the first that knows a model counts."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for version in newest_first:
        for row in version:
            found.setdefault((row["provider"], row["model"]), row)
    return [found[key] for key in sorted(found)]


def _model(key: str, stated: str, provider: str) -> str:
    """The model as traces name it: without the source's prefixes for the provider."""
    for prefix in (stated, provider, "fireworks_ai/accounts/fireworks/models"):
        key = key.removeprefix(f"{prefix}/")
    return key


def _rates(entry: Mapping[str, Any], suffix: str = "") -> dict[str, Decimal]:
    found = {name: _million(entry[key + suffix]) for name, key in FIELDS.items() if entry.get(key + suffix) is not None}
    # 0 for a write says "no surcharge": such tokens are billed as input. So does 0 for a cached read here and there.
    kept = {name: v for name, v in found.items() if v or name in ("input", "output")}
    return {name: v for name, v in kept.items() if name != "reasoning" or v != kept.get("output")}


def _tiers(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Prices from a size of the prompt on; they hold for the whole call."""
    bounds = sorted({int(m[1]) for key in entry if (m := _ABOVE.fullmatch(key))})
    tiers = [{"above": bound * 1000, **_rates(entry, f"_above_{bound}k_tokens")} for bound in bounds]
    for step in entry.get("tiered_pricing", []):
        if "range" in step and _rates(step):
            tiers.append({"above": int(step["range"][0]), **_rates(step)})
    return tiers


def _million(per_token: float) -> Decimal:
    return _number(Decimal(repr(per_token)) * 1_000_000)


def _number(value: float | Decimal) -> Decimal:
    """Without the noise of binary fractions, at most nine decimals."""
    return round(Decimal(str(value)), 9).normalize()


def as_toml(found: list[dict[str, Any]], *, source: str, day: date) -> str:
    """The price file, one row a line."""
    lines = [
        "# List prices, USD per million tokens. Made by docs/update_prices.py; do not edit: your own prices go into",
        "# prices.toml of the state folder (`kpi prices --init`), whose rows win over these.",
        f'source = "{source}"',
        f"date = {day.isoformat()}",
        "price = [",
        *(f"  {_inline(row)}," for row in found),
        "]",
    ]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(v) for v in value) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, int) else json.dumps(value)


def _version(wheel: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in wheel.name.split("-")[1].split(".") if part.isdigit())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    wheels = sorted(options.wheels, key=_version, reverse=True)
    versions = []
    for i, wheel in enumerate(wheels):
        with zipfile.ZipFile(wheel) as archive:
            facts = json.loads(archive.read(FACTS))
        versions.append(rows(facts, note=f"litellm {'.'.join(map(str, _version(wheel)))}" if i else ""))
    found = merged(versions)
    source = f"litellm {'.'.join(map(str, _version(wheels[0])))}"
    options.out.write_text(as_toml(found, source=source, day=date.today()))
    print(f"{len(found)} prices from {source} written to {options.out}")


if __name__ == "__main__":
    main()
