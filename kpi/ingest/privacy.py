"""Privacy at the door: redaction, keyed pseudonyms of users, allow-list of metadata keys.

Readers pass every text, user id and metadata key through a `Privacy` before anything is written, stage files
included. The key of the pseudonyms never lies in the store. What this room does not promise: names of people, places
and organisations inside running text are not found.
"""

from __future__ import annotations

import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import orjson
import pyarrow as pa

from kpi.errors import IngestError
from kpi.ingest.redact import redact
from kpi.ingest.user_key import KEY_BYTES, KEY_HINT, key_id
from kpi.ingest.user_key import load_key as load_key  # who loads rows looks for it here

PSEUDONYM_BYTES = 16  # 128 bit: 32 hex characters
ATTRIBUTE_LENGTH = 1_000  # characters kept of one metadata value
_KEPT_OUT_NAMES = 10_000  # distinct names of keys counted apart; a flood of made-up names shares one counter
_OTHER_KEYS = "(other keys)"

_PREFIXES = (
    "", "app.", "metadata.", "attributes.", "context.", "request.", "session.", "user.", "service.", "custom.",
    "langfuse.trace.metadata.", "langfuse.observation.metadata.", "traceloop.association.properties.", "mlflow.tag.",
)  # fmt: skip
_NAMES = [
    "language",
    "lang",
    "locale",
    "region",
    "country",
    "country_code",
    "market",
    "timezone",
    "device",
    "device_type",
    "device_class",
    "platform",
    "os",
    "browser",
    "app_version",
    "client",
    "client_version",
    "plan",
    "tier",
    "edition",
    "subscription",
    "customer_tier",
    "segment",
    "cohort",
    "channel",
    "use_case",
    "usecase",
    "intent",
    "topic",
    "task",
    "task_type",
    "category",
    "product",
    "product_area",
    "feature",
    "team",
    "department",
    "tenant",
    "environment",
    "env",
    "release",
    "version",
    "prompt_version",
    "retrieval_version",
    "index_version",
    "corpus_version",
    "policy_version",
    "guardrail_version",
    "model_version",
    "variant",
    "experiment",
    "experiment_arm",
    "experiment_id",
    "arm",
    "ab_arm",
    "ab_group",
    "ring",
    "deployment_ring",
    "priority",
    "queue",
    "workflow",
    "stage",
    "surface",
    "domain",
    "industry",
    "difficulty",
    "split",
    "dataset",
    "scenario",
    "temperature",
    "top_p",
    "top_k",
]
DEFAULT_ALLOW: frozenset[str] = frozenset(prefix + name for prefix in _PREFIXES for name in _NAMES) | {
    "deployment.environment", "deployment.environment.name", "service.name", "service.version", "service.namespace",
    "telemetry.sdk.language", "cloud.region", "cloud.provider", "device.type", "os.type",
    "user_agent.name", "geo.country.iso_code",
    "gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.top_k", "gen_ai.request.max_tokens",
    "gen_ai.operation.name", "gen_ai.response.finish_reasons", "feature_flag.key", "feature_flag.variant",
}  # fmt: skip

# A glob is a broad gesture: it never lets these through. Who wants one of them names it in full.
_IDENTIFYING = re.compile(
    r"(?:^|[._\-\s])(?:e?mail|phone|mobile|address|street|birth\w*|dob|ssn|iban|passport|pass(?:word|wd|phrase)?|pwd|secret|token|"
    r"api[_-]?key|authorization|auth|cookie|credential\w*|user[._-]?(?:id|name|email)?|username|full[_-]?name|first[_-]?name|"
    r"last[_-]?name|ip|client[_-]?ip|prompt|completion|input|output|message|messages|content|text|body|query|answer|question)s?$"
)
_GLOB = re.compile(r"[*?]")

Value = str | int | float | bool


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as an anchored pattern: `*` any characters, `?` one. Runs of `*` are one, so that matching stays fast."""
    parts = re.split(r"(\*+|\?)", text)
    return re.compile("".join(".*" if p.startswith("*") else "." if p == "?" else re.escape(p) for p in parts) + r"\Z")


class Allow:
    """Which metadata keys may be stored. Fails closed: an empty list lets nothing through. Letters match in any case.

    Raises IngestError `ingest.allow` for a pattern that would let everything through, or has more than three `*`.
    """

    def __init__(self, names: Collection[str]) -> None:
        cleaned = {name.strip().casefold() for name in names if name.strip()}
        self._exact = frozenset(name for name in cleaned if not _GLOB.search(name))
        globs = sorted(name for name in cleaned if _GLOB.search(name))
        for glob in globs:
            if not re.search(r"\w{2}", glob) or len(re.findall(r"\*+", glob)) > 3:
                raise IngestError(
                    "ingest.allow",
                    f"The pattern {glob[:40]!r} is too broad for the list of allowed keys",
                    hint="Name the keys, or use a pattern with a prefix such as 'app.*'.",
                )
        self._globs = tuple(_pattern(glob) for glob in globs)
        self._known: dict[str, bool] = {}

    def __contains__(self, key: str) -> bool:
        known = self._known.get(key)
        if known is None:
            known = self._decide(key.casefold())
            if len(self._known) < _KEPT_OUT_NAMES:
                self._known[key] = known
        return known

    def _decide(self, key: str) -> bool:
        if key in self._exact:
            return True
        if not self._globs or len(key) > 200 or _IDENTIFYING.search(key):
            return False
        return any(glob.match(key) for glob in self._globs)


class Privacy:
    """Everything that a reader needs to keep people out of the store. Picklable; one instance per load.

    key: 32 bytes or more, see `kpi.ingest.user_key`. allow: names or globs of metadata keys, `DEFAULT_ALLOW` and more.
    ids_key: for what becomes part of the id of a row, where that is to outlive a rotation of the key. used: whether any
    pseudonym was made.
    """

    def __init__(self, key: bytes, allow: Collection[str] = DEFAULT_ALLOW, *, ids_key: bytes | None = None) -> None:
        if min(len(key), len(ids_key or key)) < KEY_BYTES:
            raise IngestError("ingest.key", "The key of the user pseudonyms is too short", hint=KEY_HINT)
        self._key, self._ids_key = key, ids_key or key
        self.used = False
        self._allowed = tuple(sorted(allow))
        self._allow = Allow(self._allowed)
        self.kept_out: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Callable[..., Privacy], tuple[bytes, bytes, tuple[str, ...], Counter[str], bool]]:
        return (_rebuild, (self._key, self._ids_key, self._allowed, self.kept_out, self.used))

    def __repr__(self) -> str:
        return f"Privacy(key_id={key_id(self._key)!r}, allow={len(self._allowed)} keys)"

    def text(self, value: str | None) -> str | None:
        """The text with structured identifiers masked, see `kpi.ingest.redact`. Idempotent; None stays None."""
        return None if value is None else redact(value)

    def texts(self, column: pa.ChunkedArray | pa.Array) -> pa.Array:
        """A column of strings, masked; each distinct text is looked at once. Returns a plain string array."""
        return _map_unique(column, self.text)

    def user(self, value: object) -> str | None:
        """The pseudonym of a user id: HMAC-SHA-256, cut to 128 bit, 32 hex characters.

        None, NaN and blank stay None. A number and its text are the same user (`7`, `7.0`, `"7"`).
        """
        return self._pseudonym(self._key, value)

    def identity(self, value: str | None) -> str | None:
        """An id of anything but a user, as it is; one that holds an e-mail address names a person: a pseudonym."""
        return self._pseudonym(self._ids_key, value) if value is not None and "@" in value else value

    def users(self, column: pa.ChunkedArray | pa.Array) -> pa.Array:
        """A column of user ids of any scalar type as pseudonyms (string array)."""
        return _map_unique(column, self.user)

    def users_in_ids(self, column: pa.ChunkedArray | pa.Array, users: pa.Array) -> pa.Array:
        """`users`, the pseudonyms of a column, as they go into ids made from the content of rows."""
        if self._ids_key == self._key:
            return users
        return _map_unique(column, lambda user: self._pseudonym(self._ids_key, user))

    def _pseudonym(self, key: bytes, value: object) -> str | None:
        text = _identity(value)
        if text is None:
            return None
        self.used = True
        return hmac.digest(key, b"user\0" + text.encode("utf-8", "surrogatepass"), "sha256")[:PSEUDONYM_BYTES].hex()

    def allowed(self, key: str) -> bool:
        """Whether a metadata key may be stored. A key that may not is counted in `kept_out`."""
        if key in self._allow:
            return True
        self._keep_out(key)
        return False

    def attributes(self, mapping: dict[str, object]) -> dict[str, Value]:
        """The allow-listed part of a span's metadata, strings masked, nested values as JSON text, nulls left out."""
        kept: dict[str, Value] = {}
        for key, value in mapping.items():
            if value is not None and self.allowed(key):
                clean = self._value(key, value)
                if clean is not None:
                    kept[key] = clean
        return kept

    def _value(self, key: str, value: object) -> Value | None:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            if abs(value) < 1_000_000:
                return value
            label = f"{key}: {value}"
            return (
                value
                if redact(label) == label
                else redact(str(value))
                if redact(str(value)) != str(value)
                else "[NUMBER]"
            )
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, str):
            return redact(value)[:ATTRIBUTE_LENGTH]
        try:
            return redact(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode())[:ATTRIBUTE_LENGTH]
        except (TypeError, ValueError, RecursionError):
            return None

    def _keep_out(self, key: str) -> None:
        name = redact(key[:200])
        if name not in self.kept_out and len(self.kept_out) >= _KEPT_OUT_NAMES:
            name = _OTHER_KEYS
        self.kept_out[name] += 1


def _rebuild(key: bytes, ids_key: bytes, allow: tuple[str, ...], kept_out: Counter[str], used: bool) -> Privacy:
    privacy = Privacy(key, allow, ids_key=ids_key)
    privacy.kept_out, privacy.used = Counter(kept_out), used
    return privacy


def _identity(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value).strip() or None


def _map_unique(column: pa.ChunkedArray | pa.Array, function: Callable[[Any], str | None]) -> pa.Array:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    combined = pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
    if pa.types.is_null(combined.type):
        return pa.nulls(len(combined), pa.string())
    encoded = combined if pa.types.is_dictionary(combined.type) else combined.dictionary_encode()
    values: Iterable[object] = encoded.dictionary.to_pylist()
    mapped = pa.array([None if v is None else function(v) for v in values], pa.string())
    return mapped.take(encoded.indices)
