"""Options that several commands share, and where their values may come from.

A setting is, in this order: the flag, the environment variable `PERSONALRM_<FLAG>`, the
key of the YAML file given by `--config`, the default.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from personalrm.cli.flags import add_flags, folder, from_flags
from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.wording import kind_of

if TYPE_CHECKING:
    from personalrm.induction.settings import InductionSettings
    from personalrm.preferences.reading.options import ReadOptions

ROWS = "rows: .jsonl, .csv, .tsv, .parquet, also .gz; - is JSON lines on standard input (default: %(default)s)"
DEFAULT_HOME = "personalrm-home"
READING, LEARNING, OUTPUT = "reading the file", "how to learn", "home folder, settings and output"
MODEL, ASKING = "with a language model", "how the model is asked"
GROUPS = (READING, LEARNING, OUTPUT, MODEL, ASKING)
"""Titles of what many commands share, in the order of the help pages."""
MOST_IN_USAGE = 8
"""Options that still fit into the first line of a help page."""
OUTPUT_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "home": {"type": folder, "default": DEFAULT_HOME, "help": "home folder (default: ./%(default)s)"},
    "database": {
        "metavar": "URL",
        "help": "PostgreSQL database of people, postgresql+psycopg://user@host/name (default: people.db in the home "
        "folder)",
    },
    "config": {"metavar": "YAML", "help": "file with settings; flags and PERSONALRM_* win over it"},
    "json": {"action": "store_true", "help": "print JSON for machines"},
}
PREFIX = "PERSONALRM_"
NOT_OPTIONS = frozenset({"API_KEY", "DATA", "MODELS"})
"""Variables that are read elsewhere: the key of a model server, and where run files look for data and models."""
KEYS = "KEY_"
"""How the variables begin that run files and judges files name for keys."""
NOT_SETTINGS = frozenset({"help", "version", "command", "run", "config", "file", "user", "json"})


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong option ends with one sentence and exit code 2.

    The options of a command are added when its parser is first used: those of all commands, with the settings
    classes they come from, would take a quarter of the time to start.
    """

    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds what has not been added yet."""

    def filled(self) -> Parser:
        """The parser with its options."""
        if self.add_options is not None:
            add_options, self.add_options = self.add_options, None
            add_options(self)
            # The command's own options first, then the shared groups; a short usage line where there are many.
            self._action_groups.sort(key=lambda group: GROUPS.index(group.title) if group.title in GROUPS else -1)
            optional = [action for action in self._actions if action.option_strings]
            if len(optional) > MOST_IN_USAGE:
                shown = [f"{action.option_strings[-1]} {action.metavar}" for action in optional if action.required]
                for action in self._actions:
                    if not action.option_strings:
                        name = str(action.metavar or action.dest)
                        shapes = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
                        shown.append(shapes.get(str(action.nargs), name))
                self.usage = " ".join([self.prog, "[options]", *shown])
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the options that the command has."""
        return super(Parser, self.filled()).parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with the message and exit code 2."""
        hint = "personalrm users lists them" if message.endswith(": user") else f"see {self.prog} --help"
        self.exit(2, f"personalrm: {message}; {hint}\n")


def add_commands(parser: argparse.ArgumentParser, modules: Sequence[ModuleType], *, dest: str) -> None:
    """One command a module, named as the module; its docstring is a summary, a blank line and `Example: ...`."""
    commands = parser.add_subparsers(dest=dest, metavar="COMMAND", required=True, parser_class=Parser)
    for module in modules:
        summary, _, example = (module.__doc__ or "").partition("\n\nExample: ")
        child = commands.add_parser(
            module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-"),  # `import_`, a word of Python
            help=summary.splitlines()[0].rstrip("."),
            description=summary,
            epilog=f"example: {example.strip()}",
            allow_abbrev=False,  # `apply_settings` looks for whole flags: a shortened one would lose to the environment
        )
        if hasattr(module, "run"):  # a group such as `bench` leaves that to its commands
            child.set_defaults(run=module.run)
        child.add_options = module.add_arguments


def shared_group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """The group of that title on the help page, made at its first option."""
    groups = (group for group in parser._action_groups if group.title == title)
    return next(groups, None) or parser.add_argument_group(title)


def add_output(parser: argparse.ArgumentParser, *names: str) -> None:
    """--home, --config and --json, or those of `OUTPUT_FLAGS` that are named, in that order."""
    for name in names or ("home", "config", "json"):
        shared_group(parser, OUTPUT).add_argument(f"--{name}", **OUTPUT_FLAGS[name])


def add_pair(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """--pair, of commands about one choice of a user."""
    parser.add_argument(
        "--pair",
        metavar="ID",
        default=None if required else "",
        required=required,
        help="its pair_id, or its hash, as show --evidence and export name it",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads preference pairs."""
    from personalrm.preferences.reading.options import ReadOptions

    add_flags(shared_group(parser, READING), ReadOptions)


def add_skip_bad(parser: argparse.ArgumentParser) -> None:
    """--skip-bad, for commands that read rows of another kind."""
    from personalrm.preferences.reading.options import ReadOptions

    add_flags(parser, ReadOptions, "skip_bad")


def add_induction(parser: argparse.ArgumentParser) -> None:
    """Options of every command that fits."""
    from personalrm.induction.settings import InductionSettings

    add_flags(shared_group(parser, LEARNING), InductionSettings, "variant", "n_trials", "seed")


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """--schedule."""
    from personalrm.induction.settings import InductionSettings

    add_flags(parser, InductionSettings, "schedule")


def read_options(options: argparse.Namespace) -> ReadOptions:
    """How the file is read, as the shared flags say."""
    from personalrm.preferences.reading.options import ReadOptions

    return from_flags(ReadOptions, options)


def induction_settings(options: argparse.Namespace) -> InductionSettings:
    """How to learn, as the shared flags say; with a model the default variant is the paper's."""
    from personalrm.induction.settings import InductionSettings

    variant = options.variant or ("all_pairs" if getattr(options, "model", None) is None else "both")
    return from_flags(InductionSettings, options, variant=variant)


def apply_settings(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Fill in what no flag set, from the environment and the YAML file.

    Raises:
        UnknownName: If the file has a key no command knows.
        BadInput: If a value does not fit.
    """
    child = parser
    while (group := _group(child)) is not None:  # the command that was given, inside its group if it has one
        child = group.choices[getattr(options, group.dest)]
    _warn_of_unknown(parser)
    config = _read_config(getattr(options, "config", None), parser)
    for action in child._actions:
        name = action.dest
        if not action.option_strings or name in NOT_SETTINGS:
            continue
        if any(text == flag or text.startswith(f"{flag}=") for text in arguments for flag in action.option_strings):
            continue
        variable = f"{PREFIX}{name.upper()}"
        if variable in os.environ:
            setattr(options, name, _converted(action, os.environ[variable], variable))
        elif name in config:
            setattr(options, name, _converted(action, config[name], f"key {name!r} of {options.config}"))


def _warn_of_unknown(parser: argparse.ArgumentParser) -> None:
    """Say on stderr which variables look like settings and are not; values may be private and are not shown."""
    given = sorted(name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX))
    given = [name for name in given if not name.startswith(KEYS)]
    if not set(given) - NOT_OPTIONS:
        return  # most often, and the parsers of all commands need not be filled
    names = {name.upper() for name in _known_keys(parser)} | NOT_OPTIONS
    unknown = []
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name.upper(), sorted(names), 1)
            unknown.append(f"{PREFIX}{name}" + (f" (did you mean {PREFIX}{near[0]}?)" if near else ""))
    if unknown:
        verb = "is not a setting and is" if len(unknown) == 1 else "are not settings and are"
        print(f"warning: {', '.join(unknown)} {verb} not used; a setting is {PREFIX}<FLAG>", file=sys.stderr)


def _group(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, then those of its commands, in the order in which help lists them."""
    yield parser.filled() if isinstance(parser, Parser) else parser
    if (group := _group(parser)) is not None:
        for child in group.choices.values():
            yield from all_parsers(child)


def _known_keys(parser: argparse.ArgumentParser) -> set[str]:
    """Settings of any command, so that one file can serve them all."""
    actions = (action for child in all_parsers(parser) for action in child._actions)
    return {action.dest for action in actions if action.option_strings} - NOT_SETTINGS


def _read_config(path: str | None, parser: argparse.ArgumentParser) -> Mapping[str, Any]:
    if path is None:
        return {}
    from personalrm.typed_values import read_yaml, suggestion

    content = read_yaml(path, "settings file") or {}
    if not isinstance(content, dict):
        raise BadFile(f"settings file {path!r} holds {kind_of(content)}, not keys and values; write `seed: 1`")
    known = _known_keys(parser)
    config: dict[str, Any] = {}
    for written, value in content.items():
        key = str(written).replace("-", "_")
        if key not in known:
            raise UnknownName(f"unknown key {key!r} in settings file {path!r}; {suggestion(key, known)}")
        if key in config:  # once with `-`, once with `_`
            raise BadInput(f"key {key!r} stands twice in settings file {path!r}; keep one")
        config[key] = value
    return config


def _converted(action: argparse.Action, value: Any, where: str) -> Any:
    """The value as the flag would have given it."""
    if isinstance(action, argparse._StoreTrueAction):
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off", ""):
            return False
        raise BadInput(f"{where} is {value!r}; write true or false")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadInput(f"{where} is {kind_of(value)}; write one text or number, in quotes if need be")
    try:
        kind = action.type if callable(action.type) else str
        converted = kind(str(value))
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise BadInput(f"{where}: {error}") from None
    if action.choices is not None and converted not in action.choices:
        raise BadInput(f"{where} is {value!r}; use one of {', '.join(map(str, action.choices))}")
    return converted
