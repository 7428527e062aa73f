"""Databases that an administrator has named. People pick a name; nobody types an address.

A name comes from `[connections.NAME]` in secrets.toml (Streamlit's own convention) or from `KPI_CONNECTION_NAME` in the
environment, whose value is a SQLAlchemy URL. What is named is checked before anything is opened: dialect, driver and
query keys by allow-list, files only below the administrator's data folder, no link-local or metadata address. Every
refusal reads the same, so that a refusal tells nobody what is there; `Connection.problem` tells the administrator.
Sessions are read-only, statements end after `TIMEOUT_S`, and no error holds a password, a host or a driver's text.
"""

import contextlib
import hashlib
import os
import re
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kpi.errors import StoreError
from kpi.store import sessions
from kpi.store.manifest import home
from kpi.store.sessions import Kind, Refused

ENVIRONMENT = "KPI_CONNECTION_"
INSTALL = "pip install 'ai-index[databases]'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_KEYS = frozenset(["url", "dialect", "driver", "username", "password", "host", "port", "database", "query",
                   "table", "type"])  # fmt: skip
_LOCK = threading.Lock()
_ENGINES: dict[str, tuple[str, sa.Engine]] = {}


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One named database. dialect: as in its URL, "" when unreadable. description: for people, without host and user.

    table: where its requests are unless a saved mapping says otherwise. problem: why it cannot be used, "" when it can;
    for the administrator, never for a page.
    """

    name: str
    dialect: str
    description: str
    table: str = "requests"
    problem: str = ""


def connections() -> list[Connection]:
    """All named connections, sorted by name; nothing is opened.

    Returns:
        One `Connection` each; `problem` says why one cannot be used.

    Example:
        >>> [(c.name, c.dialect, c.problem) for c in kpi.connections()]
        [('lab', 'sqlite', '')]
    """
    return [_described(name, given) for name, given in sorted(_configured().items())]


def open_engine(name: str) -> sa.Engine:
    """The checked, read-only engine of a named connection; one a process, shared by threads.

    Raises StoreError as `checked`, and `connection.no_engine` for a DuckDB file, which is read without SQLAlchemy.
    """
    kind, url = checked(name)
    if kind.name == "duckdb":
        raise StoreError.told("connection.no_engine", name=name)
    secret = hashlib.sha256(url.render_as_string(hide_password=False).encode()).hexdigest()
    with _LOCK:
        kept = _ENGINES.get(name)
        if kept is None or kept[0] != secret:  # a changed password takes effect at once
            if kept is not None:
                kept[1].dispose()
            _ENGINES[name] = (secret, _engine(kind, url))
        return _ENGINES[name][1]


def checked(name: str) -> tuple[Kind, sa.URL]:
    """Kind and URL of a connection, allowed to be opened. Raises StoreError, with the same text for all refusals."""
    found = _configured()
    if name not in found:
        raise StoreError.told("connection.unknown", name=name[:60], have=", ".join(sorted(found)) or "none yet")
    with contextlib.suppress(Refused):
        kind, url = _checked(name, found[name])
        if sessions.installed(kind):
            return kind, url
        raise StoreError.told("connection.no_driver", title=kind.title, package=kind.package, install=INSTALL)
    # raised out here: the refusal must not hang on the error as its context
    raise StoreError(*sessions.REFUSED, hint=sessions.REMEDY)


def table_of(name: str) -> str:
    """The table that secrets.toml names for a connection; "requests" where it names none."""
    return str(_configured().get(name, {}).get("table", "requests"))


def data_folder() -> Path:
    """The only folder whose database files may be opened: `KPI_DATA_DIR`, else `databases` in the state folder."""
    given = os.environ.get("KPI_DATA_DIR")
    return (Path(given).expanduser() if given else home() / "databases").resolve()


def forget() -> None:
    """Close the pools of all connections; the next use opens them anew."""
    with _LOCK:
        for _, engine in _ENGINES.values():
            engine.dispose()
        _ENGINES.clear()


# -- where names come from -----------------------------------------------------------------------------------------


def _configured() -> dict[str, dict[str, Any]]:
    """Name -> what the administrator wrote. The environment overrules the file."""
    found = {n: g if isinstance(g, dict) else {} for n, g in _from_secrets().items() if _NAME.fullmatch(n)}
    for key, value in os.environ.items():
        name = key.removeprefix(ENVIRONMENT).lower()
        if key.startswith(ENVIRONMENT) and _NAME.fullmatch(name):
            found[name] = {"url": value}
    return found


def _from_secrets() -> Mapping[str, Any]:
    given = os.environ.get("KPI_SECRETS")
    own = Path(".streamlit") / "secrets.toml"
    places = [Path(given).expanduser()] if given else [Path.cwd() / own, Path(__file__).resolve().parents[2] / own]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        return {}
    with contextlib.suppress(OSError, ValueError):  # the text of the error may quote the file
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("connections", {})
        if isinstance(found, dict):
            return found
    raise StoreError.told("connection.secrets")


def _described(name: str, given: Mapping[str, Any]) -> Connection:
    table = str(given.get("table", "requests"))
    try:
        kind, _ = _checked(name, given)
    except Refused as refusal:
        return Connection(name=name, dialect="", description="not usable", table=table, problem=str(refusal))
    problem = "" if sessions.installed(kind) else f"{kind.package} is not installed: {INSTALL}"
    return Connection(name=name, dialect=kind.name, description=kind.title, table=table, problem=problem)


# -- what is allowed -----------------------------------------------------------------------------------------------


def _checked(name: str, given: Mapping[str, Any]) -> tuple[Kind, sa.URL]:
    """Raises Refused with the reason, which names keys and never values."""
    if unknown := sorted(set(given) - _KEYS):
        raise Refused(f"unknown key {unknown[0][:40]!r}; known are {', '.join(sorted(_KEYS))}")
    url = _url(given)
    kind = sessions.kind_of(url.drivername)
    if extra := sorted(set(url.query) - kind.query):
        allowed = ", ".join(sorted(kind.query)) or "none"
        raise Refused(f"the query key {extra[0][:40]!r} is not allowed for {kind.title} (allowed: {allowed})")
    if any(not isinstance(v, str) for v in url.query.values()):
        raise Refused("a query key is given twice")
    if kind.name in ("sqlite", "duckdb"):
        return kind, url.set(drivername=kind.drivername, database=str(_file(url)), query={})
    if not url.host:
        raise Refused("it names no host")
    sessions.refuse_address(url.host)
    return kind, url.set(drivername=kind.drivername)


def _url(given: Mapping[str, Any]) -> sa.URL:
    with contextlib.suppress(sa.exc.ArgumentError, ValueError, TypeError):
        if "url" in given:
            return sa.make_url(str(given["url"]))
        if "dialect" in given:
            driver = f"+{given['driver']}" if given.get("driver") else ""
            told = {key: given.get(key) for key in ("username", "password", "host", "database")}
            return sa.URL.create(f"{given['dialect']}{driver}", port=int(given["port"]) if given.get("port") else None,
                                 query=dict(given.get("query", {})), **told)  # fmt: skip
    raise Refused("it needs a SQLAlchemy `url`, or `dialect`, `host`, `database`, `username` and `password`")


def _file(url: sa.URL) -> Path:
    if url.host or url.username or url.password or url.port:
        raise Refused("a database file has no host and no user: write three slashes before its name")
    name = url.database or ""
    if not name or name == ":memory:" or name.startswith("file:") or "\0" in name:
        raise Refused("it names no database file")
    folder = data_folder()
    path = (folder / name).resolve()  # follows links: what counts is where the file really is
    if not path.is_relative_to(folder) or not path.is_file():
        raise Refused("there is no such file in the data folder (KPI_DATA_DIR)")
    return path


def _engine(kind: Kind, url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, pool_pre_ping=True, pool_size=4, max_overflow=4, pool_recycle=1800,
                              pool_timeout=sessions.TIMEOUT_S, hide_parameters=True,
                              **sessions.connect_arguments(kind, url))  # fmt: skip
    sessions.prepare(kind, engine)
    return engine
