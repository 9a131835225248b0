"""The tables of the database of people; one schema for SQLite and PostgreSQL.

A new database is made from them, an old one is brought here by the migrations beside this file.
"""

from __future__ import annotations

import os

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
)

from personalrm.store.database import REVISION

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


def revision_of(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none, empty where a migration was begun from nothing."""
    if not inspect(connection).has_table(REVISIONS.name):
        return None
    return connection.execute(select(REVISIONS.c.version_num)).scalar() or ""


def make_tables(connection: Connection) -> None:
    """Make all of them, empty, with a key for tombstones."""
    METADATA.create_all(connection)
    REVISIONS.create(connection)
    connection.execute(insert(REVISIONS).values(version_num=REVISION))
    connection.execute(insert(FACTS).values(name=TOMBSTONE_KEY, value=os.urandom(32).hex()))
