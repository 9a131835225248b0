"""How the database of people is opened: SQLite in the home folder by default, PostgreSQL by URL.

Importing SQLAlchemy takes longer than showing a person or a list of people, and Alembic more than every query of a
command together. So SQLAlchemy is imported by what writes, or asks a server, and Alembic only for a database of an
older revision.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.errors import BadInput, CorruptFile, MissingExtra, NewerVersion, StoreError
from personalrm.store.overwriting import NOTE, overwrite_gaps
from personalrm.whole_files import open_private, private_folder
from personalrm.wording import install_hint

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

REVISION = "0001"
"""The newest of the migrations; a database of another one is brought here or refused."""
LOCK_WAIT_S = 60.0
"""How long a command waits for another process to finish writing; each write takes milliseconds, a vacuum seconds."""

MOST_EMPTY = 0.5
"""Of a file, before it is written anew without its empty pages."""

SIGNS_OF_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "UndefinedTable")
"""In what SQLite and PostgreSQL say."""


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
        self._has_looked = False
        """Whether it was seen that no kill has left anything to be overwritten."""

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

    def rows(self, query: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        """What a SELECT gives; no rows where nothing was ever written.

        For what has to be quick: where SQLite will do, SQLAlchemy is not imported.

        Args:
            query: With parameters such as `:user_id`.
            parameters: Their values.

        Raises:
            StoreError: As `reading` does.
        """
        if self.url is None and self._engine is None:
            self._refuse_old_home()
            if not self._is_file():
                return []
            with self._translated("read"), closing(sqlite3.connect(self.path, timeout=LOCK_WAIT_S)) as connection:
                if _is_of_today(connection):
                    return connection.execute(query, parameters).fetchall()
        from sqlalchemy import text

        with self.reading() as open_connection:
            return [] if open_connection is None else open_connection.execute(text(query), parameters).all()

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
            if not self._has_looked:
                self._has_looked = True
                if self.is_overwriting_left():
                    self._overwrite_erased()
            with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
                yield connection

    @contextmanager
    def erasing(self) -> Iterator[Connection]:
        """As `writing`; of what is deleted or replaced in the block no byte is left in the file where that is SQLite's.

        Erased cells are overwritten by SQLite (`secure_delete`), copies that it left elsewhere in the file afterwards.
        """
        with self.writing() as connection:
            if self.url is None:
                connection.exec_driver_sql(NOTE, ("no",))
            yield connection
        self._overwrite_erased()

    def is_overwriting_left(self) -> bool:
        """Whether a process was killed after it had erased and before that was overwritten."""
        return [row[0] for row in self.rows("SELECT value FROM facts WHERE name = 'overwritten'")] == ["no"]

    def _overwrite_erased(self) -> None:
        if self.url is not None:
            return
        with self._translated("written"):
            # By the driver, since SQLAlchemy would begin a transaction, in which SQLite does not vacuum.
            with closing(self._opened().raw_connection()) as connection:
                cursor = connection.cursor()
                n_pages, n_empty = (
                    cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
                )
                cursor.close()
            try:
                if n_empty <= MOST_EMPTY * n_pages and overwrite_gaps(self.path, LOCK_WAIT_S):
                    return
            except OSError as error:
                raise self._refused("written", error.strerror or type(error).__name__) from None
            with closing(self._opened().raw_connection()) as connection:
                connection.cursor().execute("VACUUM")
                connection.cursor().execute(NOTE, ("yes",))

    def close(self) -> None:
        """Let go of the file or the server; the next use opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
            self._has_looked = False

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
                from sqlalchemy import create_engine

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
        from personalrm.store.tables import make_tables, revision_of

        with engine.connect() as connection:
            revision = revision_of(connection)
        if revision == REVISION:
            return
        if revision is None:
            with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
                # Asked again: another process may have made the tables since.
                if revision_of(connection) is None:
                    make_tables(connection)
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
        except Exception as error:
            if (cause := _said_by_driver(error)) is None:
                raise
            reason = " ".join(str(cause).split())
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
        if self.url is None:
            return repr(str(self.path))
        from sqlalchemy.engine import make_url

        return f"database {make_url(self.url).render_as_string()!r}"


def today() -> str:
    """Now, ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _said_by_driver(error: Exception) -> BaseException | None:
    """What SQLite or the driver of a server refused, SQLAlchemy's wrapping taken off; None for any other error."""
    if isinstance(error, sqlite3.Error):
        return error
    sqlalchemy = sys.modules.get("sqlalchemy.exc")  # not imported to ask: where it is not there, it did not raise
    return error.orig if sqlalchemy is not None and isinstance(error, sqlalchemy.DBAPIError) else None


def _is_of_today(connection: sqlite3.Connection) -> bool:
    """Whether the tables are of the newest revision."""
    try:
        return bool(connection.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISION,))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return False


def _prepare_sqlite(engine: Engine) -> None:
    from sqlalchemy import event

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
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

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
