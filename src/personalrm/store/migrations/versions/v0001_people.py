"""The first tables: people, pairs, prompts, edits, hidden words, tombstones."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "people",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "pairs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("pair_id", sa.Text, nullable=False),
        sa.Column("is_hidden", sa.Boolean, nullable=False),
        sa.Column("date", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("content", sa.Text, nullable=False),
        sa.UniqueConstraint("person_id", "hash"),
    )
    op.create_table(
        "prompts",
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("date", sa.Text, nullable=False),
        sa.Column("n_pairs", sa.Integer, nullable=False),
        sa.Column("n_sentences", sa.Integer, nullable=False),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    listed = ["person_id", "number", "date", "n_pairs", "n_sentences", "engine"]
    op.create_index("prompts_listed", "prompts", listed)
    op.create_table(
        "edits",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
    )
    op.create_table(
        "hidden_words",
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("word", sa.Text, primary_key=True),
    )
    op.create_table(
        "tombstones",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False, index=True),
        sa.Column("date", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    facts = op.create_table(
        "facts", sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    op.bulk_insert(facts, [{"name": "tombstone_key", "value": secrets.token_hex(32)}])
