"""What the names of a span's attributes alone decide, worked out once per set of names.

A service writes a handful of sets of names, and most of the many names an exporter may use are absent from each. So
which of them are there, and which questions need no asking, is remembered per set. This room never looks at a value.
"""

from functools import lru_cache
from typing import Any

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.measures import BARE, READ, Measure, measures_in

Keys = tuple[str, ...]
_MEASURES = frozenset(
    {"tokens", "bare_tokens", "usage_objects", "cost", "bare_cost", "first_token", "bare_first_token"}
)
_KINDS = (
    ("openinference.span.kind", names.OPENINFERENCE_KINDS, True),
    ("langfuse.observation.type", names.LANGFUSE_KINDS, True),
    ("traceloop.span.kind", names.TRACELOOP_KINDS, True),
    *((key, kinds, False) for key, kinds in names.OTHER_KINDS),
)
# Counts without a namespace are measures, of which no cohort is made.
_NO_METADATA = frozenset(
    {"metadata", *names.BARE_TOTAL, *names.BARE_COST, *(name for name, _ in names.BARE_FIRST_TOKEN)}
    | names.TOPICS["bare_tokens"]
)
_INDEXED = ("gen_ai.prompt.0.", "gen_ai.completion.0.", "llm.input_messages.0.", "llm.output_messages.0.")


class Shape:
    """One set of attribute names.

    topics: which of the topics it can speak of. metadata: (key, name for the allow-list), the name None where the value
    is an object of metadata. queues: (key, microseconds of its unit). kinds: (key, kinds by word, whether it settles
    the kind even by a word that is not known). telling: the kind that the mere presence of a name tells. measures: what
    looks like a measure and is read by nobody. stated: measures that are read, of any span and of model calls.
    measured: whether it can state any measure at all. kept: what others work out of the set alone.
    """

    __slots__ = (
        "_present", "kept", "keys", "kinds", "measured", "measures", "metadata", "pending", "queues", "stated",
        "telling", "topics")  # fmt: skip

    def __init__(self, keys: Keys) -> None:
        self.keys = frozenset(keys)
        self.topics = frozenset(topic for topic, known in names.TOPICS.items() if not known.isdisjoint(keys))
        if any(key.startswith(_INDEXED) for key in keys):
            self.topics |= {"words"}
        named = [(key, metadata_name(key)) for key in keys]
        self.metadata = tuple((key, name) for key, name in named if name is not None or key == "metadata")
        self.queues = tuple((key, scale) for key in keys if (scale := _queue_scale(key)))
        self.kinds = tuple(found for found in _KINDS if found[0] in self.keys)
        self.telling = next((kind for key, kind in names.TELLING if key in self.keys), None)
        if self.telling is None and any(key.startswith("gen_ai.guardrail.") for key in keys):
            self.telling = "guardrail"
        self.pending = tuple(told for told in names.PENDING if told[0] in self.keys)
        self.measures: tuple[Measure, ...] = measures_in(keys)
        self.stated = tuple(READ & self.keys), tuple((READ | BARE) & self.keys)
        self.measured = bool(self.stated[1] or self.measures) or not self.topics.isdisjoint(_MEASURES)
        self.kept: dict[Any, Any] = {}
        self._present: dict[int, tuple[Keys, Keys]] = {}

    def present(self, keys: Keys) -> Keys:
        """Those of `keys` that are in the set, in the order asked for."""
        asked = self._present.get(id(keys))  # by identity: most are constants, and hashing them takes longer
        if asked is None or asked[0] is not keys:
            asked = self._present[id(keys)] = keys, tuple(key for key in keys if key in self.keys)
        return asked[1]


def shape_of(attributes: dict[str, Any]) -> Shape:
    """The shape of these attributes, which must not gain or lose names afterwards.

    Holding the last attributes keeps their identity from being reused; a tuple is replaced whole, so threads are safe.
    """
    global _last
    held, shape = _last
    if held is attributes:
        return shape
    keys = tuple(attributes)
    if (found := _shapes.get(keys)) is None:
        if len(_shapes) >= _KEPT:
            _shapes.clear()
        found = _shapes[keys] = Shape(keys)
    _last = (attributes, found)
    return found


@lru_cache(maxsize=16_384)
def _queue_scale(key: str) -> int:
    folded = key.lower()
    if "queue_time" not in folded and "time_in_queue" not in folded and "queuetime" not in folded:
        return 0
    if folded.endswith("_us"):
        return 1
    return 1_000 if folded.endswith(("_ms", "ms")) else 1_000_000


@lru_cache(maxsize=16_384)
def metadata_name(key: str) -> str | None:
    """The name under which an attribute may become a cohort (`app.locale`, `metadata.tenant`), None for vocabulary."""
    for prefix in names.METADATA_PREFIXES:
        if key.startswith(prefix):
            rest = key[len(prefix) :]
            return None if rest in ("session_id", "user_id", "sessionId", "userId") else f"metadata.{rest}"
    return None if key in _NO_METADATA or key.startswith(names.VOCABULARY) else key


_KEPT = 2_000
_shapes: dict[Keys, Shape] = {}
_last: tuple[dict[str, Any], Shape] = ({}, Shape(()))
