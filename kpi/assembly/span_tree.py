"""The spans of one trace: merging the versions of a span, and the tree above and below each.

Works on canonical `spans` rows as dicts; knows nothing of requests. Trees in real exports have holes, several roots
and, rarely, circles: every walk here ends.
"""

from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson

from kpi.schema import WHOLE

Row = dict[str, Any]


@lru_cache(maxsize=4096)
def parsed(text: str) -> dict[str, Any]:
    """A context or attributes object. Spans of a trace mostly repeat the same text; never change the result."""
    found = orjson.loads(text)
    return found if isinstance(found, dict) else {}


def merge_spans(rows: Sequence[Row]) -> Row:
    """Versions of one span -> one: value by value from the fullest version that has it, contexts united.

    The fullest is the one with an end, then the later end, then the most values, then a total order of content.
    """
    ordered = sorted(rows, key=_fullness)
    merged = dict(ordered[0])
    for row in ordered[1:]:
        for name, value in row.items():
            if merged.get(name) is None:
                merged[name] = value
    for name in ("context", "attributes"):
        texts = [row[name] for row in ordered if row.get(name)]
        if len(set(texts)) > 1:
            united: Row = {}
            for text in texts:
                united = {**parsed(text), **united}
            merged[name] = orjson.dumps(united, option=orjson.OPT_SORT_KEYS).decode()
    return merged


def _fullness(row: Row) -> tuple[Any, ...]:
    duration = row.get("duration_us")
    known = sum(value is not None for value in row.values())
    end = (row.get("started_at") or 0) + duration if duration is not None else -1
    content = sorted((name, str(value)) for name, value in row.items() if value is not None)
    return (duration is None, -end, -known, content)


class SpanTree:
    """The spans of one trace as a tree; spans sorted by (start, id) so that every later choice is the same.

    whole: what an export says of the trace itself, or None. It stands outside the tree.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        spans = {row["span_id"]: row for row in rows}
        if len(spans) < len(rows):
            versions: dict[str, list[Row]] = {}
            for row in rows:
                versions.setdefault(row["span_id"], []).append(row)
            spans = {i: found[0] if len(found) == 1 else merge_spans(found) for i, found in versions.items()}
        self.whole = next((s for s in spans.values() if s["kind"] == WHOLE), None)
        spans = {i: _settled(span) for i, span in spans.items() if span["kind"] != WHOLE}
        self.by_id = spans
        self.spans = sorted(spans.values(), key=lambda s: (s["started_at"] is None, s["started_at"] or 0, s["span_id"]))
        dated = [s for s in self.spans if s["started_at"] is not None] or [s for s in self.spans if s["kind"]]
        self.roots = [s for s in dated if s["parent_id"] is None]
        tops = [s for s in dated if s["parent_id"] not in spans]
        self.root = self.roots[0] if len(self.roots) == 1 else None
        self.tops = self.roots or tops
        self.first = [self.root] if self.root else self.tops
        self.speaking = [*([self.whole] if self.whole else []), *self.first]  # who speaks for the request
        self.model_spans = [s for s in self.spans if s["kind"] == "llm"]
        self.above = {s["span_id"]: {self.by_id[i]["kind"] for i in self.ancestors(s)} for s in self.model_spans}
        if any("llm" in kinds for kinds in self.above.values()):
            self._complete_calls()
        self.judged = [s for s in self.model_spans if "evaluator" in self.above[s["span_id"]]]
        self.calls = [s for s in self.model_spans if "evaluator" not in self.above[s["span_id"]]]

    def _complete_calls(self) -> None:
        """Give a model call the parts of its counts that only the span around it states.

        Frameworks wrap the span of a call in one of their own, which may know more: the reasoning tokens, the cached
        ones. Both are one call where there is no other below the wrapper and the counts agree.
        """
        below: dict[str, list[str]] = {}
        for leaf in self.leaves(self.model_spans):
            for span_id in self.ancestors(leaf):
                if self.by_id[span_id]["kind"] == "llm":
                    below.setdefault(span_id, []).append(leaf["span_id"])
        found: dict[str, Row] = {}
        for span_id, calls in below.items():
            if len(calls) == 1:
                call = found.get(calls[0], self.by_id[calls[0]])
                if (fuller := _with_parts(call, self.by_id[span_id])) is not call:
                    found[calls[0]] = fuller
        if found:
            self.by_id = {**self.by_id, **found}
            self.spans = [found.get(s["span_id"], s) for s in self.spans]
            self.model_spans = [found.get(s["span_id"], s) for s in self.model_spans]

    def ancestors(self, span: Row) -> Iterator[str]:
        """Ids of the spans above, the nearest first; each once, for spans may point at each other in a circle."""
        visited, parent = {span["span_id"]}, span["parent_id"]
        while parent in self.by_id and parent not in visited:
            visited.add(parent)
            yield parent
            parent = self.by_id[parent]["parent_id"]

    def is_below(self, span: Row, ids: Container[str]) -> bool:
        """Whether one of these spans is above it."""
        return any(above in ids for above in self.ancestors(span))

    def leaves(self, spans: Sequence[Row]) -> list[Row]:
        """Those of `spans` that are above no other of them."""
        if len(spans) < 2:
            return list(spans)
        above: set[str] = set()
        for span in spans:
            for span_id in self.ancestors(span):
                if span_id in above:
                    break
                above.add(span_id)
        return [span for span in spans if span["span_id"] not in above]

    def outermost(self, spans: Sequence[Row]) -> list[Row]:
        """Those of `spans` that are below no other of them."""
        chosen = {span["span_id"] for span in spans}
        return [span for span in spans if not self.is_below(span, chosen)]


_SIDES = (("input_tokens", ("cached_read_tokens", "cache_write_tokens")), ("output_tokens", ("reasoning_tokens",)))


def _with_parts(call: Row, wrapper: Row) -> Row:
    """The call with the counts of its wrapper, side by side of the bill, where only the wrapper states the parts.

    The two agree where they differ by nothing, or by just the parts, which the call then leaves out.
    """
    for whole, parts in _SIDES:
        known = sum(wrapper[part] or 0 for part in parts)
        if not known or wrapper[whole] is None or any(call[part] is not None for part in parts):
            continue
        if call[whole] is None or wrapper[whole] - call[whole] in (0, known):
            call = {**call, **{name: wrapper[name] for name in (whole, *parts)}}
    return call


def _settled(span: Row) -> Row:
    """A span with a length has ended, though a merge column by column may have kept the status of its first export."""
    if span["status"] != "running" or span["duration_us"] is None:
        return span
    failed = span["error_type"] is not None or span.get("status_message") is not None
    return {**span, "status": "error" if failed else "ok"}
