"""Privacy at the door: redaction, keyed pseudonyms of users, allow-list of metadata keys.

Readers pass every text, user id and metadata key through a `Privacy` before anything is written, stage files
included. The key of the pseudonyms never lies in the store. What this room does not promise: names of people, places
and organisations inside running text are not found.
"""

import hmac
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from kpi.errors import IngestError
from kpi.privacy.policy import DEFAULT_ALLOW, Allow, Policy
from kpi.privacy.redact import redact
from kpi.privacy.user_key import KEY_BYTES, KEY_HINT, PSEUDONYM_BYTES, key_id, load_key

__all__ = ["DEFAULT_ALLOW", "Allow", "Privacy", "key_id", "load_key"]

ATTRIBUTE_LENGTH = 1_000  # characters kept of one metadata value
_KEPT_OUT_NAMES = 10_000  # distinct names of keys counted apart; a flood of made-up names shares one counter
_OTHER_KEYS = "(other keys)"

# UUIDs, other hexadecimal ids (`redact` leaves sixteen figures alone as well), and numbers counted upwards, behind a
# short word, zeros or nothing: nothing of a person, and most ids are of these shapes.
_PLAIN_ID = re.compile(
    "^(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9]{0,8}[a-fA-F][0-9a-fA-F]{15,63}|[0-9a-fA-F]{32}"
    "|[0-9]{16}|0{8}[0-9a-fA-F]{8}|[1-9][0-9]{0,8}|[a-z]{1,3}[-_]?[0-9]{1,9}|[a-z]{4,7}[-_]?[0-9]{1,5})$"
)

Value = str | int | float | bool


class Privacy:
    """Everything that a reader needs to keep people out of the store. Picklable; one instance per load.

    key: 32 bytes or more, see `kpi.privacy.user_key`. allow: names or globs of metadata keys, `DEFAULT_ALLOW` and more.
    policy: decides over keys and columns. ids_key: for what becomes part of the id of a row, where that is to outlive a
    rotation of the key. used: whether any pseudonym was made.
    """

    def __init__(self, key: bytes, allow: Collection[str] = DEFAULT_ALLOW, *, ids_key: bytes | None = None) -> None:
        if min(len(key), len(ids_key or key)) < KEY_BYTES:
            raise IngestError("ingest.key", "The key of the user pseudonyms is too short", hint=KEY_HINT)
        self._key, self._ids_key = key, ids_key or key
        self.used = False
        self._allowed = tuple(sorted(allow))
        self.policy = Policy(self._allowed)
        self.kept_out: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Privacy(key_id={key_id(self._key)!r}, allow={len(self._allowed)} keys)"

    def text(self, value: str | None) -> str | None:
        """The text with structured identifiers masked, see `kpi.privacy.redact`. Idempotent; None stays None."""
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
        """An id of anything but a user, as it is; one that holds an e-mail address, a phone or a card: a pseudonym."""
        if value is None or _PLAIN_ID.fullmatch(value):
            return value
        return self._pseudonym(self._ids_key, value) if "@" in value or redact(value) != value else value

    def identities(self, column: pa.ChunkedArray | pa.Array) -> pa.Array:
        """A column of ids of anything but users, see `identity`; hexadecimal ones are not looked at one by one."""
        column = _whole(column)
        odd = pc.invert(pc.match_substring_regex(column, _PLAIN_ID.pattern)).fill_null(False)
        masked = _map_unique(column.filter(odd), self.identity)
        return pc.replace_with_mask(column, odd, masked) if len(masked) else column

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
        if not self.policy.key(key):
            return True
        name = _shown(key)
        if name not in self.kept_out and len(self.kept_out) >= _KEPT_OUT_NAMES:
            name = _OTHER_KEYS
        self.kept_out[name] += 1
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
            if redact(label) == label:
                return value
            masked = redact(str(value))
            return masked if masked != str(value) else "[NUMBER]"
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, str):
            return redact(value)[:ATTRIBUTE_LENGTH]
        try:
            return redact(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode())[:ATTRIBUTE_LENGTH]
        except (TypeError, ValueError, RecursionError):
            return None


@lru_cache(maxsize=4_096)
def _shown(key: str) -> str:
    """A key that is kept out, as receipts name it: exporters repeat few of them on every span."""
    return redact(key[:200])


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


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _map_unique(column: pa.ChunkedArray | pa.Array, function: Callable[[Any], str | None]) -> pa.Array:
    combined = _whole(column)
    if pa.types.is_null(combined.type):
        return pa.nulls(len(combined), pa.string())
    encoded = combined if pa.types.is_dictionary(combined.type) else combined.dictionary_encode()
    values: Iterable[object] = encoded.dictionary.to_pylist()
    mapped = pa.array([None if v is None else function(v) for v in values], pa.string())
    return mapped.take(encoded.indices)
