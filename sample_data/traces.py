"""Span trees: every request becomes an agent span with its stages laid out one after the other.

Stage durations, tokens and costs are drawn per span; the request row is later summed from them, never the other way
round. Stages do not overlap; the judge runs after the answer, outside the agent span's time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sample_data import stories, texts
from sample_data.outcomes import Outcomes
from sample_data.people import hex_ids

MAX_ROUNDS = 2
DOCUMENTS = 4
TIMEOUT_US = 12_000_000
REVIEW_NUSD = 52_000_000  # median cost of one human review; most take seconds, some many minutes

PRICES = {  # nano-dollars a token: fresh input, cached input, cache write, output
    "gpt-5": (1_250, 125, 0, 10_000),
    "claude-haiku-4-5": (1_000, 100, 1_250, 5_000),
    "support-ft-3": (900, 90, 0, 2_600),
}
PROVIDERS = {"gpt-5": "openai", "claude-haiku-4-5": "anthropic", "support-ft-3": "self_hosted"}
SPEED = {"gpt-5": 1.08, "claude-haiku-4-5": 0.92, "support-ft-3": 1.12}
NUMBERS = (
    "duration_us", "input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nusd", "ttft_us", "queue_us",
)  # fmt: skip
STRINGS = (
    "name", "kind", "status", "error_type", "status_message", "model", "provider", "input_text", "output_text",
    "attributes", "context", "span_id", "parent_id",
)  # fmt: skip


@dataclass
class Spans:
    """Columns of spans under construction, block by block; numbers are floats with NaN for unknown."""

    rng: np.random.Generator
    blocks: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, row: np.ndarray, start: np.ndarray, **columns: object) -> np.ndarray:
        """One span for each request index in `row`, starting at `start` (us). Returns the new span ids."""
        n = len(row)
        given = columns.get("span_id")
        ids = given if isinstance(given, np.ndarray) else hex_ids(self.rng, n, 8)
        block: dict[str, np.ndarray] = {"row": row, "start": start, "span_id": ids}
        for name in NUMBERS:
            block[name] = np.broadcast_to(np.asarray(columns.get(name, np.nan), dtype=float), n)
        for name in STRINGS[:-2]:
            value = columns.get(name, "ok" if name == "status" else None)
            block[name] = value if isinstance(value, np.ndarray) else np.full(n, value, dtype=object)
        parent = columns.get("parent_id")
        block["parent_id"] = parent if isinstance(parent, np.ndarray) else np.full(n, None, dtype=object)
        self.blocks.append(block)
        return ids

    def columns(self) -> dict[str, np.ndarray]:
        """All spans, ordered by request, then start, then the order in which they were added."""
        joined = {name: np.concatenate([b[name] for b in self.blocks]) for name in self.blocks[0]}
        order = np.lexsort((joined["start"], joined["row"]))
        return {name: values[order] for name, values in joined.items()}


@dataclass(frozen=True)
class Traces:
    """spans, documents, tool_calls: columns with `row`, the index of the request they belong to."""

    root_id: np.ndarray
    spans: dict[str, np.ndarray]
    documents: dict[str, np.ndarray]
    tool_calls: dict[str, np.ndarray]


@dataclass
class _Walk:
    """State of the layout: where each request's clock stands."""

    rng: np.random.Generator
    facts: dict[str, np.ndarray]
    outcomes: Outcomes
    spans: Spans
    root_id: np.ndarray
    clock: np.ndarray
    tool_blocks: list[dict[str, np.ndarray]] = field(default_factory=list)
    used_tools: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def lognormal(self, rows: np.ndarray, median_us: float | np.ndarray, sigma: float) -> np.ndarray:
        """Durations in us with the user's patience effect (correlated within a user)."""
        noise = sigma * self.rng.standard_normal(len(rows)) + 0.16 * self.facts["patience"][rows]
        return np.maximum(np.round(median_us * np.exp(noise)), 1_000)

    def stage(self, rows: np.ndarray, duration: np.ndarray, **columns: object) -> np.ndarray:
        """A child of the root for `rows`; advances their clocks by its duration."""
        ids = self.spans.add(rows, self.clock[rows], duration_us=duration, parent_id=self.root_id[rows], **columns)
        self.clock[rows] += duration.astype(np.int64)
        return ids


def draw_traces(rng: np.random.Generator, facts: dict[str, np.ndarray], outcomes: Outcomes) -> Traces:
    """Span trees for the requests in `facts` (`at` us, cohorts, versions, texts, `context` JSON for the root)."""
    n = len(facts["at"])
    walk = _Walk(rng, facts, outcomes, Spans(rng), hex_ids(rng, n, 8), facts["at"].copy())
    walk.used_tools = np.zeros(n, dtype=int)
    everyone = np.arange(n)
    queue = np.round(35_000 * np.exp(1.0 * rng.standard_normal(n))).astype(np.int64) + 1_000
    walk.clock += queue
    _guard(walk, everyone, "input", 55_000)
    documents = _retrieve(walk)
    _converse(walk)
    answered = np.flatnonzero(~outcomes.blocked & _missing(outcomes.failure))
    _guard(walk, answered, "output", 45_000)
    walk.clock += rng.integers(2_000, 9_000, n)

    failed = ~_missing(outcomes.failure)
    walk.spans.add(
        everyone, facts["at"], span_id=walk.root_id, duration_us=walk.clock - facts["at"], queue_us=queue,
        name="invoke_agent support-agent", kind="agent", status=np.where(failed, "error", "ok").astype(object),
        error_type=outcomes.failure, input_text=facts["question"], output_text=np.where(failed, None, facts["answer"]),
        context=facts["context"],
    )  # fmt: skip
    _judge(walk, np.flatnonzero(outcomes.judged))
    _review(walk, np.flatnonzero(outcomes.reviewed))
    tools = {k: np.concatenate([b[k] for b in walk.tool_blocks]) for k in walk.tool_blocks[0]}
    return Traces(walk.root_id, walk.spans.columns(), documents, tools)


def _missing(values: np.ndarray) -> np.ndarray:
    return values == None  # noqa: E711 - element-wise on an object array


def _guard(walk: _Walk, rows: np.ndarray, side: str, median_us: int) -> None:
    blocked = walk.outcomes.blocked[rows] & (side == "input")
    verdict = np.where(blocked, "block", "allow").astype(object)
    walk.stage(
        rows, walk.lognormal(rows, median_us, 0.35), name=f"guardrail {side}", kind="guardrail", cost_nusd=60_000,
        output_text=verdict,
    )  # fmt: skip


def _retrieve(walk: _Walk) -> dict[str, np.ndarray]:
    """Embedding, search and (mostly) reranking; returns the documents of the search."""
    rng, facts, outcomes = walk.rng, walk.facts, walk.outcomes
    rows = np.flatnonzero(outcomes.retrieved)
    embed = walk.lognormal(rows, 22_000, 0.3)
    walk.stage(rows, embed, name="embeddings text-embedding-3-small", kind="embedding",
               model="text-embedding-3-small", provider="openai", input_tokens=rng.integers(12, 60, len(rows)),
               cost_nusd=1_000)  # fmt: skip
    search = walk.lognormal(rows, 170_000, 0.45)
    ids = walk.stage(rows, search, name="retrieval help-center", kind="retriever", cost_nusd=250_000,
                     input_text=facts["question"][rows])  # fmt: skip
    reranked = rows[rng.random(len(rows)) < 0.85]
    slow = (facts["region"][reranked] == "ap") & (facts["day"][reranked] >= stories.RERANK_DAY)
    duration = walk.lognormal(reranked, np.where(slow, 150_000 * stories.RERANK_FACTOR, 150_000), 0.45)
    walk.stage(reranked, duration, name="rerank cross-encoder-2", kind="reranker", cost_nusd=300_000)

    m = len(rows) * DOCUMENTS
    rank = np.tile(np.arange(1, DOCUMENTS + 1), len(rows))
    owner = np.repeat(rows, DOCUMENTS)
    relevant = np.repeat(outcomes.hit[rows], DOCUMENTS)
    number = rng.integers(0, 24, m)
    top = np.where(relevant, rng.beta(14, 3, m), rng.beta(6, 8, m))
    score = np.round(top * (1 - 0.09 * (rank - 1)), 4)
    version = facts["retrieval_version"][owner]
    names = [f"{i}-{k + 1:02d}@{v}" for i, k, v in zip(facts["intent"][owner], number.tolist(), version, strict=True)]
    return {
        "row": owner, "span_id": np.repeat(ids, DOCUMENTS), "rank": rank,
        "document_id": np.array(names, dtype=object), "score": score,
        "content": texts.articles(facts["language"][owner], facts["intent"][owner], number),
        "used": (rank <= 2) & relevant,
    }  # fmt: skip


def _converse(walk: _Walk) -> None:
    """Model calls with rounds of tool calls between them; a rate-limited first try where the request was retried."""
    rng, facts, outcomes = walk.rng, walk.facts, walk.outcomes
    n = len(facts["at"])
    rounds = np.where(rng.random(n) < 0.48, 1, 0) + (rng.random(n) < 0.07)
    rounds[outcomes.refused] = 0
    width = np.ones(n, dtype=int) + (rng.random(n) < 0.20)
    fan_out = (
        (facts["release"] == "2.7.0") & (facts["intent"] == "returns") & (facts["channel"] == "web")
        & (rng.random(n) < stories.FANOUT_SHARE) & ~outcomes.refused
    )  # fmt: skip
    rounds[fan_out] = MAX_ROUNDS
    width[fan_out] = rng.integers(7, 13, n)[fan_out]

    retried = np.flatnonzero(outcomes.retried)
    walk.stage(retried, walk.lognormal(retried, 180_000, 0.3), name=_chat_names(facts["model"][retried]), kind="llm",
               status="error", error_type="rate_limit", status_message="rate limit reached, retried",
               model=facts["model"][retried], provider=facts["provider"][retried])  # fmt: skip
    walk.clock[retried] += 250_000
    prompt = 1_500 + np.round(900 * np.exp(0.45 * rng.standard_normal(n) + 0.25 * facts["spending"]))
    prompt += 230 * DOCUMENTS * outcomes.retrieved
    calling = ~outcomes.blocked
    for k in range(MAX_ROUNDS + 1):
        rows = np.flatnonzero(calling & (rounds >= k))
        last = rounds[rows] == k
        _call_model(walk, rows, prompt[rows], last)
        prompt[rows] += 180
        rows = np.flatnonzero(calling & (rounds > k))
        for t in range(int(width[rows].max()) if len(rows) else 0):
            wide = rows[width[rows] > t]
            _call_tool(walk, wide, t)
            prompt[wide] += 160


def _chat_names(models: np.ndarray) -> np.ndarray:
    return np.array([f"chat {m}" for m in models], dtype=object)


def _call_model(walk: _Walk, rows: np.ndarray, prompt: np.ndarray, last: np.ndarray) -> None:
    """One model call for each of `rows`; `last` marks the call that writes the answer (or fails)."""
    rng, facts, outcomes = walk.rng, walk.facts, walk.outcomes
    model = facts["model"][rows]
    refused = outcomes.refused[rows]
    failure = np.where(last, outcomes.failure[rows], None)
    failed = ~_missing(failure)
    size = np.where(last, 150.0, 42.0) * np.where(refused, 0.25, 1.0)
    output = np.maximum(
        np.round(size * np.exp(0.55 * rng.standard_normal(len(rows)) + 0.12 * facts["spending"][rows])), 4
    )
    thinking = np.where(model == "gpt-5", np.round(output * rng.uniform(0.1, 0.5, len(rows))), 0.0)
    output = output + thinking
    cached = np.where(rng.random(len(rows)) < 0.55, np.floor(prompt * 0.5 / 128) * 128, 0.0)
    written = np.where((model == "claude-haiku-4-5") & (cached == 0), 1_024.0, 0.0)
    speed = np.array([SPEED[m] for m in model])
    first = walk.lognormal(rows, 430_000 * speed, 0.42)
    rate = 8_200 * speed * np.exp(0.22 * rng.standard_normal(len(rows)))
    duration = np.round(first + output * rate)
    duration = np.where(failure == "timeout", TIMEOUT_US, np.where(failed, 150_000, duration))
    price = np.array([PRICES[m] for m in model], dtype=float).reshape(-1, 4)
    cost = (
        (prompt - cached - written) * price[:, 0] + cached * price[:, 1] + written * price[:, 2] + output * price[:, 3]
    )
    unknown = failed | facts["unpriced"][rows]
    gone = np.where(failed, np.nan, 1.0)
    walk.stage(
        rows, duration, name=_chat_names(model), kind="llm", model=model, provider=facts["provider"][rows],
        status=np.where(failed, "error", "ok").astype(object), error_type=failure,
        status_message=np.where(failed, "the model call failed", None),
        input_tokens=prompt * gone, output_tokens=output * gone, cached_read_tokens=cached * gone,
        cache_write_tokens=written * gone, reasoning_tokens=thinking * gone,
        cost_nusd=np.where(unknown, np.nan, cost), ttft_us=first * gone,
        input_text=facts["question"][rows], output_text=np.where(last & ~failed, facts["answer"][rows], None),
    )  # fmt: skip


def _call_tool(walk: _Walk, rows: np.ndarray, turn: int) -> None:
    if not len(rows):
        return
    rng, facts = walk.rng, walk.facts
    menu = [texts.TOOLS[i] for i in facts["intent"][rows]]
    name = np.array(
        [m[(turn + u) % len(m)] for m, u in zip(menu, walk.used_tools[rows].tolist(), strict=True)], dtype=object
    )
    broken = rng.random(len(rows)) < 0.03
    error = np.where(broken, "tool_unavailable", None)
    duration = walk.lognormal(rows, 130_000, 0.55)
    start = walk.clock[rows].copy()
    ids = walk.stage(
        rows, duration, name=np.array([f"execute_tool {t}" for t in name], dtype=object), kind="tool",
        status=np.where(broken, "error", "ok").astype(object), error_type=error,
        cost_nusd=np.array([texts.TOOL_PRICE_NUSD[t] for t in name], dtype=float),
    )  # fmt: skip
    walk.used_tools[rows] += 1
    order = rng.integers(10_000_000, 99_999_999, len(rows))
    walk.tool_blocks.append({
        "row": rows, "span_id": ids, "call_id": np.array([f"call_{i}" for i in ids], dtype=object), "name": name,
        "arguments": np.array([f'{{"order_id": "W-{o}"}}' for o in order], dtype=object),
        "result": np.where(broken, None, '{"status": "ok"}'), "error_type": error, "start": start,
        "duration_us": duration,
    })  # fmt: skip


def _judge(walk: _Walk, rows: np.ndarray) -> None:
    """The online judge: an evaluator span that starts seconds after the answer was sent."""
    later = walk.clock[rows] + walk.rng.integers(1_000_000, 9_000_000, len(rows))
    walk.spans.add(
        rows, later, duration_us=walk.lognormal(rows, 900_000, 0.4), parent_id=walk.root_id[rows],
        name="evaluate answer", kind="evaluator", cost_nusd=150_000,
    )  # fmt: skip


def _review(walk: _Walk, rows: np.ndarray) -> None:
    """Human review, hours later: an evaluator span whose cost follows the time it took."""
    later = walk.clock[rows] + walk.rng.integers(600_000_000, 7_200_000_000, len(rows))
    effort = np.exp(0.7 * walk.rng.standard_normal(len(rows)))
    walk.spans.add(
        rows, later, duration_us=np.round(25_000_000 * effort), parent_id=walk.root_id[rows], name="human review",
        kind="evaluator", cost_nusd=np.round(REVIEW_NUSD * effort),
    )  # fmt: skip
