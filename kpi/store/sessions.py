"""How a session with each kind of database is opened: read-only, in UTC, with an end to every statement.

The table of kinds (`sessions.toml`) is the allow-list: a dialect, driver or query key that is not in it is refused.
"""

import importlib.util
import ipaddress
import logging
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from kpi.disk.tables import sets, table_of
from kpi.errors import StoreError

_TABLE = table_of(__file__)
TIMEOUT_S = 30
CONNECT_S = 10
# Where clouds hand out credentials to whoever asks; link-local addresses are refused as such.
_METADATA = frozenset(["fd00:ec2::254", "100.100.100.200", "192.0.0.192"])
_STEPS = 20_000  # SQLite instructions between two looks at the clock
# ClickHouse limits how long a statement may be; one that asks for all metrics at once is longer.
WIDE = {"ch_max_ast_elements": "1000000", "ch_max_expanded_ast_elements": "5000000", "ch_max_query_size": "8000000"}
REFUSED = ("connection.refused", "This connection cannot be used")  # the same for all reasons, which tell what is there
REMEDY = "Ask the administrator: `kpi connections` on the server says why."


class Refused(Exception):
    """Why a connection may not be used; for the administrator."""


@dataclass(frozen=True)
class Kind:
    """One kind of database. spelled: how a URL may begin; the first is what SQLAlchemy is given. keys: allowed in it.

    module, package: the driver, imported as and installed as; "" where Python brings it.
    """

    name: str
    title: str
    spelled: str
    module: str = ""
    package: str = ""
    keys: str = ""

    @property
    def drivername(self) -> str:
        return self.spelled.split()[0]

    @property
    def query(self) -> frozenset[str]:
        return frozenset(self.keys.split())


KINDS = tuple(Kind(**stated) for stated in _TABLE["kinds"])


def installed(kind: Kind) -> bool:
    """Whether the driver of a kind can be imported; nothing is imported but its parent package."""
    try:
        return not kind.module or importlib.util.find_spec(kind.module) is not None
    except ModuleNotFoundError:
        return False


def kind_of(drivername: str) -> Kind:
    """The kind a URL begins with, driver and all. Raises Refused."""
    for kind in KINDS:
        if drivername in kind.spelled.split():
            return kind
    known = ", ".join(sorted(w for k in KINDS for w in k.spelled.split()))
    raise Refused(f"the dialect and driver {drivername[:40]!r} are not allowed (allowed: {known})")


def refuse_address(host: str) -> None:
    """Refuse what a host is or resolves to when it is link-local, a metadata service or no address of one machine.

    A path is the folder of a local socket; a name that does not resolve now is looked at again when connecting.
    Raises Refused.
    """
    if host.startswith("/"):
        return
    if "," in host or "%" in host or "\0" in host:
        raise Refused("the host is no plain name or address")
    for address in _addresses(host):
        plain = getattr(address, "ipv4_mapped", None) or address
        if plain.is_link_local or plain.is_multicast or plain.is_unspecified or str(plain) in _METADATA:
            raise Refused("the host is a link-local or metadata address")


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(str(f[4][0]).split("%")[0]) for f in found))


def redact_url(url: sa.URL | str) -> str:
    """A URL for people: password, user and the values of its query replaced by `***`. What is no URL becomes `***`."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError, TypeError):
        return "***"
    stars = dict.fromkeys(parsed.query, "***")
    user = None if parsed.username is None else "***"
    hidden = parsed.set(query=stars, username=user, password=None if parsed.password is None else "***")
    return hidden.render_as_string(hide_password=False).replace("%2A%2A%2A", "***")


def connect_arguments(kind: Kind, url: sa.URL) -> dict[str, Any]:
    """Keyword arguments of `create_engine` for a kind."""
    if kind.name == "sqlite":
        return {"creator": _sqlite(str(url.database)), "poolclass": sa.QueuePool}
    driver: dict[str, Any] = {}
    if kind.name == "postgresql" and "connect_timeout" not in url.query:
        driver = {"connect_timeout": CONNECT_S}
    elif kind.name in ("mysql", "mariadb"):
        driver = {"connect_timeout": CONNECT_S, "read_timeout": TIMEOUT_S + 5, "local_infile": False}
    elif kind.name == "clickhouse":
        driver = {
            "connect_timeout": CONNECT_S, "send_receive_timeout": TIMEOUT_S + 5, **WIDE,
            "ch_max_execution_time": str(TIMEOUT_S), "ch_readonly": "2",  # reads only; with 1 no setting could go along
        }  # fmt: skip
    return {"connect_args": driver}


def _sqlite(path: str) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        address = f"file:{quote(path)}?mode=ro"
        found = sqlite3.connect(address, uri=True, timeout=CONNECT_S, check_same_thread=False, factory=_ReadingSession)
        found.execute("PRAGMA query_only=ON")
        found.execute("PRAGMA trusted_schema=OFF")
        found.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        found.set_authorizer(_reads_only)
        return found

    return connect


class _ReadingCursor(sqlite3.Cursor):
    """A statement that the authorizer refuses fails as one on a read-only file does, which is what it is."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        try:
            return super().execute(*arguments)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or "authoriz" not in str(error):
                raise
            raise sqlite3.OperationalError("attempt to do more than read") from error


class _ReadingSession(sqlite3.Connection):
    def cursor(self, factory: type[sqlite3.Cursor] = _ReadingCursor) -> sqlite3.Cursor:  # type: ignore[override]
        return super().cursor(factory)


_READING = frozenset([sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION])
_SQLITE = sets(_TABLE["sqlite"])


def _reads_only(action: int, first: str | None, second: str | None, place: str | None, inside: str | None) -> int:
    """What a statement on a SQLite file may do, asked by SQLite while it compiles it: read tables and views."""
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = str(second).lower() not in _SQLITE["denied_functions"]
    elif action == sqlite3.SQLITE_PRAGMA:
        name = str(first).lower()
        allowed = name in _SQLITE["telling"] or (name in _SQLITE["asked"] and second is None)
    elif action == sqlite3.SQLITE_UPDATE:  # SQLite's own, to declare the columns of json_each; no statement may
        allowed = first in ("sqlite_master", "sqlite_schema") and second in _SQLITE["declared"]
    else:
        allowed = action in _READING
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _mysql_limit(cursor: Any) -> str:
    """MariaDB, which often answers to `mysql://` too, has another name and unit for the limit of a statement."""
    cursor.execute("SELECT VERSION()")
    if "mariadb" in str(cursor.fetchone()[0]).lower():
        return f"SET SESSION max_statement_time = {TIMEOUT_S}"
    return f"SET SESSION max_execution_time = {TIMEOUT_S * 1000}"


def prepare(kind: Kind, engine: sa.Engine) -> None:
    """Make every session of an engine read-only, in UTC and bounded in time, and look at the address it goes to."""
    if kind.name == "clickhouse":  # its driver logs addresses
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    settings = [text % {"ms": TIMEOUT_S * 1000} for text in _TABLE["settings"].get(kind.name, ())]

    @sa.event.listens_for(engine, "do_connect")
    def look(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        host = str(options.get("host") or "")
        if not host:
            return
        try:
            refuse_address(host)  # a name may have moved since it was checked
        except Refused:
            raise StoreError(*REFUSED, hint=REMEDY) from None
        if kind.name == "postgresql" and not host.startswith("/") and (found := _addresses(host)):
            # connects to the addresses that were looked at; the name stays, for certificates
            options |= {"host": ",".join([host] * len(found)), "hostaddr": ",".join(str(a) for a in found)}

    @sa.event.listens_for(engine, "connect")
    def settle(connection: Any, record: Any) -> None:
        if settings:
            cursor = connection.cursor()
            for statement in settings:
                cursor.execute(statement)
            if kind.name in ("mysql", "mariadb"):
                cursor.execute(_mysql_limit(cursor))
            cursor.close()
            connection.commit()

    if kind.name == "sqlite":

        @sa.event.listens_for(engine, "before_cursor_execute")
        def start(connection: sa.Connection, *_: Any) -> None:
            limit = time.monotonic() + TIMEOUT_S
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda: time.monotonic() > limit, _STEPS)
