"""The tables of the database of people, and how it is opened.

SQLite in the home folder by default, PostgreSQL by URL; one schema for both. A new database is made from the tables
below, an old one is brought here by the migrations beside this file, and only then is Alembic imported: it costs more
than every query of a command together.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from personalrm.errors import BadInput, CorruptFile, MissingExtra, NewerVersion, StoreError
from personalrm.whole_files import open_private, private_folder
from personalrm.wording import install_hint

REVISION = "0001"
"""The newest of the migrations; a database of another one is brought here or refused."""
LOCK_WAIT_S = 60.0
"""How long a command waits for another process to finish writing; each write takes milliseconds, a vacuum seconds."""

SIGNS_OF_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "UndefinedTable")
"""In what SQLite and PostgreSQL say."""

METADATA = MetaData()

PEOPLE = Table(
    "people",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
)
PAIRS = Table(
    "pairs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("hash", Text, nullable=False),  # identity by content, `PreferencePair.hash`
    Column("pair_id", Text, nullable=False),  # the caller's name; empty where there is none
    Column("is_hidden", Boolean, nullable=False, default=False),  # learned from, never quoted
    Column("date", Text, nullable=False),
    Column("reason", Text),  # why the person chose so, in their words
    Column("content", Text, nullable=False),  # JSON of `pair_to_dict`
    UniqueConstraint("person_id", "hash"),
)
PROMPTS = Table(
    "prompts",
    METADATA,
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("date", Text, nullable=False),
    Column("n_pairs", Integer, nullable=False),
    Column("n_sentences", Integer, nullable=False),
    Column("engine", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON of `prompt_to_json`, without its white space
    # All that a list of people says, so that it reads no prompt: 100,000 prompts are half a gigabyte.
    Index("prompts_listed", "person_id", "number", "date", "n_pairs", "n_sentences", "engine"),
)
EDITS = Table(
    "edits",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("number", Integer, nullable=False),  # the version that the edit made
    Column("kind", Text, nullable=False),  # added, removed
    Column("sentence", Text, nullable=False),
)
HIDDEN_WORDS = Table(
    "hidden_words",
    METADATA,
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("word", Text, primary_key=True),
)
TOMBSTONES = Table(
    "tombstones",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("hash", Text, nullable=False, index=True),  # keyed hash of who or what was erased, never an id
    Column("date", Text, nullable=False),
    sqlite_autoincrement=True,  # numbers only rise, so that a running fit can ask what was erased since it began
)
FACTS = Table("facts", METADATA, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
REVISIONS = Table("alembic_version", MetaData(), Column("version_num", Text, primary_key=True))
"""Alembic's own table; outside of `METADATA`, which migrations are compared with."""

TOMBSTONE_KEY = "tombstone_key"


class Database:
    """The database of people; the constructor touches nothing.

    Args:
        home: The home folder, where SQLite keeps `people.db`; made at the first write.
        url: A PostgreSQL database instead, such as `postgresql+psycopg://user@host/name`.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home, self.path = home, home / "people.db"
        self.url = url
        self._engine: Engine | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """A connection for reading, or None where nothing was ever written.

        Raises:
            StoreError: If the database cannot be read; CorruptFile if it is damaged, NewerVersion if a later
                personalrm made it.
        """
        self._refuse_old_home()
        if self.url is None and not self._is_file():
            yield None
            return
        with self._translated("read"):
            engine = self._opened()
            with engine.connect() as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is on disk when the block ends, and undone when it raises.

        Nobody else writes meanwhile.

        Raises:
            StoreError: If the database cannot be written.
        """
        self._refuse_old_home()
        with self._translated("written"):
            engine = self._opened(make=True)
            with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
                yield connection

    def vacuum(self) -> None:
        """Rewrite the file, so that nothing of erased rows is left in the slack of its pages; SQLite only.

        Erased cells are overwritten with zeros already (`secure_delete`), but SQLite leaves copies of cells that it
        once moved from page to page.
        """
        if self.url is None and self._is_file():
            # By the driver, since SQLAlchemy would begin a transaction, in which SQLite does not vacuum.
            with self._translated("written"), closing(self._opened().raw_connection()) as connection:
                connection.cursor().execute("VACUUM")

    def close(self) -> None:
        """Let go of the file or the server; the next use opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _is_file(self) -> bool:
        try:
            return self.path.stat().st_size > 0
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._refused("read", error.strerror or type(error).__name__) from None

    def _refuse_old_home(self) -> None:
        if (self.home / "index.jsonl").exists() and not self.path.exists():
            raise StoreError(
                f"home folder {str(self.home)!r} was made by an earlier personalrm, which kept people in users/ and "
                "index.jsonl; move both away and fit the files again, or pass another --home"
            )

    def _opened(self, *, make: bool = False) -> Engine:
        if self._engine is None:
            if self.url is None:
                if make:
                    self._make_file()
                engine = create_engine(f"sqlite:///{self.path}", connect_args={"timeout": LOCK_WAIT_S})
                _prepare_sqlite(engine)
            else:
                engine = _open_server(self.url)
            self._bring_up_to_date(engine)
            self._engine = engine
        return self._engine

    def _make_file(self) -> None:
        """An empty file that only its owner may read, before SQLite would make one that others may."""
        try:
            private_folder(self.home)
            os.close(open_private(self.path, os.O_CREAT | os.O_RDWR))
        except OSError as error:
            raise self._refused("written", error.strerror or type(error).__name__) from None

    def _bring_up_to_date(self, engine: Engine) -> None:
        with engine.connect() as connection:
            revision = _revision(connection)
        if revision == REVISION:
            return
        if revision is None:
            with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
                # Asked again: another process may have made the tables since.
                if _revision(connection) is None:
                    _make_tables(connection)
            return
        from personalrm.store.migrations.upgrade import upgrade

        if not upgrade(engine):
            raise NewerVersion(
                f"{self._name()} was made by a later personalrm (its tables are of revision {revision!r}, this one "
                f"knows {REVISION!r}); install that version"
            )

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        """What the database refuses meanwhile, in a sentence."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            reason = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
            if any(sign in reason for sign in SIGNS_OF_DAMAGE):
                raise CorruptFile(
                    f"{self._name()} is damaged ({reason}); move it away, then personalrm import an export or fit again"
                ) from None
            if "locked" in reason:
                reason = f"another process has been writing for {LOCK_WAIT_S:.0f} s"
            raise self._refused(verb, reason) from None

    def _refused(self, verb: str, reason: str) -> StoreError:
        what = f"home folder {str(self.home)!r}" if self.url is None else self._name()
        return StoreError(f"{what} cannot be {verb} ({reason}); check the path, the rights and the disk")

    def _name(self) -> str:
        """What messages call the database; a URL without its password."""
        return repr(str(self.path)) if self.url is None else f"database {make_url(self.url).render_as_string()!r}"


def today() -> str:
    """Now, ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would otherwise begin transactions of its own, without the lock
        with closing(connection.cursor()) as cursor:
            # A rollback journal with full sync: the write-ahead log is unsafe with two connections before 3.51.3.
            for pragma in ("journal_mode=DELETE", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        # A writer takes the lock at once: two that read first and then want to write would refuse each other.
        is_writing = connection.get_execution_options().get("is_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _open_server(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput("the database URL cannot be read; write postgresql+psycopg://user:password@host/name") from None
    if parsed.get_backend_name() != "postgresql":
        raise BadInput(
            f"databases of kind {parsed.get_backend_name()!r} are not supported; leave --database out for SQLite or "
            "pass postgresql+psycopg://user:password@host/name"
        )
    try:
        return create_engine(parsed)
    except (ImportError, NoSuchModuleError):
        raise MissingExtra(f"PostgreSQL needs a driver; {install_hint('postgresql')}") from None


def _revision(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none, empty where a migration was begun from nothing."""
    if not inspect(connection).has_table(REVISIONS.name):
        return None
    return connection.execute(select(REVISIONS.c.version_num)).scalar() or ""


def _make_tables(connection: Connection) -> None:
    METADATA.create_all(connection)
    REVISIONS.create(connection)
    connection.execute(insert(REVISIONS).values(version_num=REVISION))
    connection.execute(insert(FACTS).values(name=TOMBSTONE_KEY, value=os.urandom(32).hex()))
