"""Every exception of personalrm, in one tree.

    PersonalRMError
    ├── BadInput (ValueError)             what a user passed cannot be used
    │   ├── BadRow                        one row of a file, with line, field and rule
    │   ├── BadFile                       a file that cannot be read at all
    │   ├── UnknownUser (KeyError)        no such user in the file or home folder
    │   ├── UnknownName                   a method, option, column or model that is not known
    │   └── TargetLeak                    a prompt was made from pairs it is to be scored on
    ├── NotFitted (RuntimeError)          asked to judge before it was fitted
    ├── NoScoredPairs (ValueError)        the mean of nothing
    ├── TrainingFailed (RuntimeError)     the loss is not a number any more, step after step
    ├── MissingExtra (ImportError)        an optional package is not installed
    ├── ModelUnavailable (RuntimeError)   a language model is needed and none can be reached
    │   ├── AccessRefused                 the server does not take the key or does not know the model
    │   └── BudgetSpent                   another call would exceed the calls or the money allowed
    ├── UnreadableReply (ValueError)      a model's reply does not say what was asked
    └── StoreError (OSError)              the home folder cannot be read or written
        ├── CorruptFile                   truncated, not JSON, or changed by something else
        └── NewerVersion                  written by a later personalrm

Messages are one sentence: what, the value, where, what to do. They carry ids and
lengths, never conversations, personas or keys.
"""

from __future__ import annotations


class PersonalRMError(Exception):
    """Base of every error this package raises on purpose."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class BadInput(PersonalRMError, ValueError):
    """Something a caller passed cannot be used."""


class BadRow(BadInput):
    """One row cannot become a preference pair; `line`, `field` and `rule` say which and why."""

    def __init__(self, message: str, *, line: int = 0, field: str = "", rule: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.field = field
        self.rule = rule or message


class BadFile(BadInput):
    """A file is missing, empty, in the wrong encoding or of an unknown kind."""


class UnknownUser(BadInput, KeyError):
    """The user is not in the file or the home folder."""


class UnknownName(BadInput):
    """A method, option, column, model or layout of that name does not exist."""


class TargetLeak(BadInput):
    """A personal prompt was made from pairs it is about to be scored on."""


class NotFitted(PersonalRMError, RuntimeError):
    """The model was asked to judge before `fit` or `load`."""


class NoScoredPairs(PersonalRMError, ValueError):
    """Nothing was measured, so there is no mean to report."""


class TrainingFailed(PersonalRMError, RuntimeError):
    """Training cannot go on: loss or gradient were not numbers many steps in a row."""


class MissingExtra(PersonalRMError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class ModelUnavailable(PersonalRMError, RuntimeError):
    """A language model is needed and none was named, or none can be reached."""


class AccessRefused(ModelUnavailable):
    """The model server does not accept the key, or does not serve the model."""


class BudgetSpent(ModelUnavailable):
    """Another call would exceed the number of calls or the money that may be spent."""


class UnreadableReply(PersonalRMError, ValueError):
    """A model's reply does not say what was asked; the message says why in a few words, without its text."""


class StoreError(PersonalRMError, OSError):
    """The home folder cannot be read or written."""


class CorruptFile(StoreError):
    """A stored file is truncated, is not JSON or misses a field."""


class NewerVersion(StoreError):
    """A stored file was written by a later personalrm."""
