"""Which key the users of a data set have, as a load that holds the writer's lock settles it before it writes a row.

A data set is bound by the first load that brings users. One that an earlier release stored does not know its key. It is
bound to the key at hand where that is proven by a user who comes back with the same pseudonym, or where the key file is
older than the data; where the same traces come with other users, or nothing tells, the load is refused.
"""

from datetime import datetime

from kpi import schema
from kpi.errors import StoreError
from kpi.privacy.user_key import UserKey, other_key, ring_key
from kpi.receipts import Receipt
from kpi.store import manifest, merge, sql
from kpi.store.manifest import home
from kpi.store.transaction import Transaction

USER = "json_extract_string(context, '$.user_key')"  # of the context of a span


def bind(load: Transaction, receipt: Receipt) -> None:
    """Settle `bound`. Raises StoreError `store.other_key`, `store.key_unproven`; nothing is written then."""
    if load.rekeyed:
        receipt.note(unlinked(load.rekeyed[-1][0]))
        fields = {c.field for c in receipt.columns}
        if "user_key" in fields and "trace_id" not in fields and ring_key(home(), load.rekeyed[0][1]) is None:
            receipt.note("Rows without an id of their own are not known again since then: files of before count twice.")
    key = load.user_key
    if key is None or load.bound == key.id:
        return
    if load.bound is not None:  # changed since the load began to read
        raise other_key(load.dataset, load.bound, key.id)
    load.bound, load.rebound = key.id, False
    stored = load.files.get("requests")
    if load.base is None or not stored:
        return
    users = f"SELECT trace_id, user_key FROM {merge.scan(stored, schema.REQUESTS)} WHERE user_key IS NOT NULL"
    if not _any(load, users):
        return
    proof = _proof(load, users, key)
    load.rebound = True
    receipt.note(
        f"The data set did not say which key its users have; it is bound to the key {key.id} from now on, for {proof}."
    )


def adopt(load: Transaction, receipt: Receipt, key: UserKey) -> Receipt:
    """Bind a data set that does not know its key to one, on somebody's word. Raises StoreError `store.other_key`."""
    load.open(receipt)
    if load.bound not in (None, key.id):
        raise other_key(load.dataset, str(load.bound), key.id)
    load.bound, load.rebound = key.id, load.bound is None
    receipt.note(f"The users of the data set have the key {key.id}.")
    if load.files.get("requests"):
        load.look(receipt, None)
    return load.finish(receipt)


def unlinked(at: str) -> str:
    """The sentence about users before and after a change of key."""
    return (
        f"The key of the user pseudonyms was changed on {datetime.fromisoformat(at):%d %b %Y %H:%M} UTC: users of rows "
        "loaded before cannot be linked with users of rows loaded after, and count apart."
    )


def _proof(load: Transaction, users: str, key: UserKey) -> str:
    brought = _brought(load)
    if _any(load, f"SELECT 1 FROM ({users}) o SEMI JOIN ({brought}) s ON o.user_key = s.user_key"):
        return "users came back with the pseudonyms that they had"
    again = f"SELECT 1 FROM ({users}) o SEMI JOIN ({brought}) s ON o.trace_id = s.trace_id"
    made = [m.created_at for m in manifest.readable(load.dataset)]
    begun = datetime.fromisoformat(made[-1]).timestamp() if made else 0.0
    if key.since is not None and int(key.since) <= begun and not _any(load, again):
        return "its file is older than the data"
    raise StoreError.told("store.key_unproven", dataset=load.dataset, id=key.id)


def _brought(load: Transaction) -> str:
    """A query of the traces and users of the staged rows."""
    parts = ["SELECT NULL::VARCHAR AS trace_id, NULL::VARCHAR AS user_key WHERE false"]
    for name, user in (("requests", "user_key"), ("spans", USER)):
        if files := merge.staged_files(load.staged, name):
            parts.append(f"SELECT trace_id, {user} FROM {sql.parquet(files)} WHERE {user} IS NOT NULL")
    return " UNION ALL ".join(parts)


def _any(load: Transaction, query: str) -> bool:
    return load.connection.execute(f"SELECT 1 FROM ({query}) LIMIT 1").fetchone() is not None
