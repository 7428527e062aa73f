"""Looking after the key of the user pseudonyms: which data set has which, backup, bringing back, rotation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kpi.errors import StoreError
from kpi.privacy import user_key
from kpi.privacy.user_key import KEY_VARIABLE, UserKey
from kpi.receipts import Receipt
from kpi.store import lake, manifest
from kpi.store.manifest import home
from kpi.store.transaction import Progress

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class BoundDataset:
    """A data set and the id of the key of its users. key None: it has no users, or an earlier release stored them."""

    name: str
    key: str | None
    at_hand: bool


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """current: id of the key that new data sets get, None before the first load. source: environment, file or none.

    keys: ids of all keys at hand.
    """

    current: str | None
    source: str
    keys: tuple[str, ...]
    datasets: tuple[BoundDataset, ...]


def key_state() -> KeyState:
    """Which keys of user pseudonyms there are. Ids only, no secret.

    Returns:
        A `KeyState`: the key of new data sets, where it comes from, and which data set has which.

    Raises:
        StoreError: `store.key` for a key that cannot be used.

    Example:
        >>> _ = kpi.load("requests.csv", dataset="mine")
        >>> "mine" in [d.name for d in kpi.key_state().datasets]
        True
    """
    place, given = home(), user_key.from_environment()
    current = user_key.default_id(place)
    files = list(user_key.ring(place))
    keys = files if given is None else list(dict.fromkeys([user_key.key_id(given), *files]))
    usable = keys if given is None else keys[:1]  # where the environment holds one, no other is used
    source = "environment" if given is not None else "file" if current else "none"
    bound = user_key.bindings(place)
    found = (BoundDataset(name=n, key=b, at_hand=b is None or b in usable) for n, b in bound.items())
    return KeyState(current=current, source=source, keys=tuple(keys), datasets=tuple(found))


def backup_key(target: Path | str, *, dataset: str | None = None) -> str:
    """Write the key of new data sets, or of one data set, into a new file of mode 0600.

    Args:
        target: The file; it must not be there yet.
        dataset: Whose key; None for that of new data sets.

    Returns:
        The id of the key.

    Raises:
        StoreError: `store.key_backup`, `store.no_key`, or as a load into the data set would.

    Example:
        >>> _ = kpi.load("users.csv", dataset="keyed")
        >>> kpi.backup_key("key.backup") in kpi.key_state().keys
        True
    """
    place = home()
    bound = manifest.read(dataset).user_key if dataset else None
    if bound is None and user_key.default_id(place) is None:
        raise StoreError("store.no_key", "There is no key yet", hint="The first load makes one.")
    key = user_key.key_of(place, dataset or "", bound)
    user_key.back_up(key.secret, Path(target))
    return key.id


def restore_key(source: Path | str) -> str:
    """Bring a key back from its backup. Overwrites none.

    Args:
        source: The file that `backup_key` wrote.

    Returns:
        The id of the key.

    Raises:
        StoreError: `store.key`.

    Example:
        >>> _ = kpi.load("users.csv", dataset="kept")
        >>> kpi.backup_key("other.backup") == kpi.restore_key("other.backup")
        True
    """
    return user_key.bring_back(home(), Path(source)).id


def rotate_key(dataset: str = ALL, *, progress: Progress | None = None) -> list[Receipt]:
    """Re-key a data set, or all, on purpose: users who are stored cannot be linked with those who come later.

    The new key is the one of `KPI_USER_KEY` where that is set, the one of new data sets where it is not the data set's
    own, else a new one, which new data sets get as well; data sets that are not named keep theirs. A rotation that
    broke off is completed by the next.

    Args:
        dataset: Its name, or "all".
        progress: Called with a fraction in 0-1 and a short text.

    Returns:
        A receipt for each data set that was re-keyed.

    Raises:
        StoreError: Where a data set or a key cannot be used.

    Example:
        >>> _ = kpi.load("users.csv", dataset="turned")
        >>> [r.dataset for r in kpi.rotate_key("turned")]
        ['turned']
    """
    place = home()
    with manifest.lock("keys"):
        chosen = manifest.names() if dataset == ALL else [dataset]
        bound = {name: manifest.read(name).user_key for name in chosen}
        given = user_key.from_environment()
        key = UserKey(given) if given is not None else _next(place, bound.values())
        left = [name for name in chosen if bound[name] != key.id]
        if chosen and not left:
            raise StoreError.told("store.key_same", variable=KEY_VARIABLE, id=key.id)
        return [lake.rekey(name, key, progress=progress) for name in left]


def adopt_key(dataset: str) -> Receipt:
    """Say that the key at hand is the one of a data set which an earlier release stored.

    Args:
        dataset: Its name.

    Returns:
        The receipt of the version that says so.

    Raises:
        StoreError: Where there is no such data set or no key, or where it has one already.

    Example:
        >>> kpi.adopt_key("nowhere")
        Traceback (most recent call last):
        kpi.errors.StoreError: ...
    """
    bound = manifest.read(dataset).user_key
    return lake.adopt(dataset, user_key.key_of(home(), dataset, bound))


def forget_key(id: str) -> None:
    """Delete a key that no data set has any more: nobody can then tell which users of before and after are the same.

    Args:
        id: Of the key, as `key_state` gives it.

    Raises:
        StoreError: `store.no_key`, `store.key_needed`.

    Example:
        >>> _ = kpi.load("users.csv", dataset="last")
        >>> kpi.forget_key(kpi.key_state().current)
        Traceback (most recent call last):
        kpi.errors.StoreError: ...
    """
    with manifest.lock("keys"):
        user_key.forget(home(), id)


def _next(place: Path, bound: Collection[str | None]) -> UserKey:
    current = user_key.default_id(place)
    if current is None or not bound or None in bound or current in bound:
        return user_key.make_default(place)
    return user_key.key_of(place, "", current)
