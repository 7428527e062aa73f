"""Another key for the users of a data set that is stored: each pseudonym becomes one made of it by the new key.

Ids of users are not stored, so the new pseudonym of a user who comes again cannot be foreseen: after a rotation old and
new rows of one person are two users. Within the rows that were there each user stays one user, and a key that leaked
opens none of them. A file that is loaded again changes its traces to the new pseudonyms, and doubles nothing.
Versions from before keep the pseudonyms that they have.
"""

import hmac
from pathlib import Path

import pyarrow as pa

from kpi import schema
from kpi.privacy.user_key import PSEUDONYM_BYTES, UserKey
from kpi.receipts import Receipt
from kpi.store import manifest, merge, sql
from kpi.store.binding import USER, unlinked
from kpi.store.transaction import Transaction

# Of rows `o` of each table: their user, and the column that holds it with the new name of `renamed n`
_USERS = {
    "requests": ("o.user_key", "n.new AS user_key"),
    "spans": (
        USER.replace("context", "o.context"),
        "united(o.context, '{\"user_key\":\"' || n.new || '\"}') AS context",
    ),
}


def renamed(key: bytes, pseudonym: str) -> str:
    """The pseudonym that takes the place of one by another key: HMAC-SHA-256 of it, 128 bit, 32 hex characters."""
    return hmac.digest(key, b"renamed\0" + pseudonym.encode(), "sha256")[:PSEUDONYM_BYTES].hex()


def rekey(load: Transaction, receipt: Receipt, key: UserKey) -> Receipt:
    """Rename all users of the newest version and bind the data set to the key. Rows keep their ids."""
    load.open(receipt)
    before, users = load.bound, _rename(load, key)
    if users:
        load.tell(0.2, "Renaming users")
        for name, (_, changed) in _USERS.items():
            if load.files.get(name):
                load.merge(name, [_staged(load, name, changed)])
        at = manifest.now()
        load.rekeyed = (*load.rekeyed, (at, before or ""))
        receipt.loaded = users
        receipt.note(unlinked(at))
    if users or before is not None:
        load.bound, load.rebound = key.id, True
    if load.files.get("requests"):
        load.look(receipt, None)
    return load.finish(receipt)


def _rename(load: Transaction, key: UserKey) -> int:
    """Make the table `renamed` of old and new pseudonyms; returns how many there are."""
    parts = ["SELECT NULL::VARCHAR AS user_key WHERE false"]
    for name, (user, _) in _USERS.items():
        if files := load.files.get(name):
            parts.append(f"SELECT {user} FROM {merge.scan(files, schema.TABLES[name])} o")
    query = f"SELECT DISTINCT user_key FROM ({' UNION ALL '.join(parts)}) WHERE user_key IS NOT NULL"
    old = [row[0] for row in load.connection.execute(query).fetchall()]
    table = pa.table({"old": pa.array(old, pa.string()), "new": [renamed(key.secret, u) for u in old]})
    load.connection.register("_renamed", table)
    load.connection.execute("CREATE OR REPLACE TABLE renamed AS SELECT * FROM _renamed")
    load.connection.unregister("_renamed")
    return len(old)


def _staged(load: Transaction, name: str, changed: str) -> Path:
    """The rows of a table that hold users, with the new names, as a Parquet file."""
    place = load.work / "renamed"
    place.mkdir(exist_ok=True)
    path = place / f"{name}.parquet"
    rows, user = merge.scan(load.files[name], schema.TABLES[name]), _USERS[name][0]
    query = f"SELECT o.* REPLACE ({changed}) FROM {rows} o JOIN renamed n ON {user} = n.old"
    load.connection.execute(f"COPY ({query}) TO {sql.literal(path)}")
    return path
