"""Privacy at the door: redaction, keyed pseudonyms of users, allow-list of metadata keys.

Readers pass every text, user id and metadata key through a `Privacy` before anything is written, stage files
included. The key of the pseudonyms never lies in the store. What this room does not promise: names of people, places
and organisations inside running text are not found.
"""

from __future__ import annotations

import contextlib
import hmac
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from kpi.errors import IngestError, StoreError
from kpi.ingest.policy import DEFAULT_ALLOW, Allow, Policy
from kpi.ingest.redact import redact
from kpi.store import durable
from kpi.store.modes import make_private

__all__ = ["DEFAULT_ALLOW", "Allow", "Privacy", "key_id", "load_key"]

KEY_BYTES = 32
KEY_VARIABLE = "KPI_USER_KEY"
PSEUDONYM_BYTES = 16  # 128 bit: 32 hex characters
ATTRIBUTE_LENGTH = 1_000  # characters kept of one metadata value
_KEPT_OUT_NAMES = 10_000  # distinct names of keys counted apart; a flood of made-up names shares one counter
_OTHER_KEYS = "(other keys)"

# UUIDs, other hexadecimal ids, and numbers counted upwards: nothing of a person, and most ids are of these shapes.
_PLAIN_ID = re.compile(
    "^(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9]{0,8}[a-fA-F][0-9a-fA-F]{15,63}|[0-9a-fA-F]{32}|[1-9][0-9]{0,8})$"
)

Value = str | int | float | bool


class Privacy:
    """Everything that a reader needs to keep people out of the store. Picklable; one instance per load.

    key: 32 bytes or more, see `load_key`. allow: names or globs of metadata keys, `DEFAULT_ALLOW` and more. policy:
    decides over keys and columns.
    """

    def __init__(self, key: bytes, allow: Collection[str] = DEFAULT_ALLOW) -> None:
        if len(key) < KEY_BYTES:
            raise IngestError("ingest.key", "The key of the user pseudonyms is too short", hint=_KEY_HINT)
        self._key = key
        self._allowed = tuple(sorted(allow))
        self.policy = Policy(self._allowed)
        self.kept_out: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Callable[..., Privacy], tuple[bytes, tuple[str, ...], Counter[str]]]:
        return (_rebuild, (self._key, self._allowed, self.kept_out))

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
        text = _identity(value)
        if text is None:
            return None
        return hmac.digest(self._key, b"user\0" + text.encode("utf-8", "surrogatepass"), "sha256")[
            :PSEUDONYM_BYTES
        ].hex()

    def identity(self, value: str | None) -> str | None:
        """An id of anything but a user, as it is; one that holds an e-mail address, a phone or a card: a pseudonym."""
        if value is None or _PLAIN_ID.fullmatch(value):
            return value
        return self.user(value) if "@" in value or redact(value) != value else value

    def identities(self, column: pa.ChunkedArray | pa.Array) -> pa.Array | pa.ChunkedArray:
        """A column of ids of anything but users, see `identity`; hexadecimal ones are not looked at one by one."""
        plain = pc.match_substring_regex(column, _PLAIN_ID.pattern)
        return column if pc.all(plain, min_count=0).as_py() else _map_unique(column, self.identity)

    def users(self, column: pa.ChunkedArray | pa.Array) -> pa.Array:
        """A column of user ids of any scalar type as pseudonyms (string array)."""
        return _map_unique(column, self.user)

    def allowed(self, key: str) -> bool:
        """Whether a metadata key may be stored. A key that may not is counted in `kept_out`."""
        if not self.policy.key(key):
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


def _rebuild(key: bytes, allow: tuple[str, ...], kept_out: Counter[str]) -> Privacy:
    privacy = Privacy(key, allow)
    privacy.kept_out = Counter(kept_out)
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


# ------------------------------------------------------------------------------------------------------------- the key

_KEY_HINT = f"Set {KEY_VARIABLE} to at least {KEY_BYTES} random characters, e.g. 64 hexadecimal digits, or remove it."


def key_id(key: bytes) -> str:
    """A public name of a key (8 hex characters), by which two stores can tell whether their users are comparable."""
    return hmac.digest(key, b"key id", "sha256")[:4].hex()


def load_key(home: Path) -> bytes:
    """The secret key of the user pseudonyms: `KPI_USER_KEY`, else `home/keys/user.key`, created at the first run.

    The file has mode 0600 and lies beside the datasets, never among them. Two processes that start at once get the same
    key. Raises StoreError `store.key` where the key is short, unreadable or cannot be written.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given is not None and given.strip():
        return _parse(given.strip(), "The key in the environment")
    path = home / "keys" / "user.key"
    try:
        if not path.exists():
            _create(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "store.key", f"The key file of the user pseudonyms cannot be used ({type(error).__name__})",
            hint=f"Check the folder 'keys' in the state folder, or set {KEY_VARIABLE}.",
        ) from error  # fmt: skip
    return _parse(text, "The key file")


def _parse(text: str, what: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) >= 2 * KEY_BYTES else text.encode()
    except ValueError:
        key = text.encode()
    if len(key) < KEY_BYTES or len(set(key)) < 8:
        raise StoreError("store.key", f"{what} is too short or too simple", hint=_KEY_HINT)
    return key


def _create(path: Path) -> None:
    """Written whole, then linked: a half-written key is never seen, and the first writer wins."""
    make_private(path.parent)
    with contextlib.suppress(FileExistsError):
        durable.write(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode("ascii"), once=True)
