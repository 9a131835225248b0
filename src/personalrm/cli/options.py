"""Options that several commands share, and where their values may come from.

A setting is, in this order: the flag, the environment variable `PERSONALRM_<FLAG>`, the
key of the YAML file given by `--config`, the default.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.wording import kind_of

ROWS = "rows: .jsonl, .csv, .tsv, .parquet, also .gz; - is JSON lines on standard input (default: %(default)s)"
DEFAULT_HOME = "personalrm-home"
READING, LEARNING, OUTPUT = "reading the file", "how to learn", "home folder, settings and output"
MODEL, ASKING = "with a language model", "how the model is asked"
GROUPS = (READING, LEARNING, OUTPUT, MODEL, ASKING)
"""Titles of what many commands share, in the order of the help pages."""
MOST_IN_USAGE = 8
"""Options that still fit into the first line of a help page."""
PREFIX = "PERSONALRM_"
NOT_OPTIONS = frozenset({"API_KEY", "DATA"})
"""Variables that are read elsewhere: the key of a model server, and where tests and run files look for data."""
NOT_SETTINGS = frozenset({"help", "version", "command", "run", "config", "file", "user", "json"})


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong option ends with one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End with the message and exit code 2."""
        hint = "personalrm users lists them" if message.endswith(": user") else f"see {self.prog} --help"
        self.exit(2, f"personalrm: {message}; {hint}\n")


def add_commands(parser: argparse.ArgumentParser, modules: Sequence[ModuleType], *, dest: str) -> None:
    """One command a module, named as the module; its docstring is a summary, a blank line and `Example: ...`."""
    commands = parser.add_subparsers(dest=dest, metavar="COMMAND", required=True)
    for module in modules:
        summary, _, example = (module.__doc__ or "").partition("\n\nExample: ")
        child = commands.add_parser(
            module.__name__.rpartition(".")[2].replace("_", "-"),
            help=summary.splitlines()[0].rstrip("."),
            description=summary,
            epilog=f"example: {example.strip()}",
            allow_abbrev=False,  # `_given` looks for whole flags: a shortened one would lose to the environment
        )
        if hasattr(module, "run"):  # a group such as `bench` leaves that to its commands
            child.set_defaults(run=module.run)
        module.add_arguments(child)
        _make_readable(child)


def shared_group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """The group of that title on the help page, made at its first option."""
    groups = (group for group in parser._action_groups if group.title == title)
    return next(groups, None) or parser.add_argument_group(title)


def _make_readable(parser: argparse.ArgumentParser) -> None:
    """The command's own options first, then groups in `GROUPS`' order; a short usage line where there are many."""
    parser._action_groups.sort(key=lambda group: GROUPS.index(group.title) if group.title in GROUPS else -1)
    optional = [action for action in parser._actions if action.option_strings]
    if len(optional) > MOST_IN_USAGE:
        required = [f"{action.option_strings[-1]} {action.metavar}" for action in optional if action.required]
        given = [_in_usage(action) for action in parser._actions if not action.option_strings]
        parser.usage = " ".join([parser.prog, "[options]", *required, *given])


def _in_usage(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def non_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def percent_kept_back(text: str) -> int:
    """A whole number of 0 to 99, so that somebody is left."""
    number = _whole(text, 0)
    if number > 99:
        raise argparse.ArgumentTypeError(f"{text!r} is above 99 and leaves nobody")
    return number


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is below {least}")
    return number


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, separated by commas."""
    return tuple(positive(part.strip()) for part in text.split(","))


def folder(text: str) -> str:
    """The name of a folder; a blank one would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder; name one")
    return text


def add_home(parser: argparse.ArgumentParser) -> None:
    """--home."""
    group = shared_group(parser, OUTPUT)
    group.add_argument("--home", type=folder, default=DEFAULT_HOME, help="home folder (default: ./%(default)s)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    shared_group(parser, OUTPUT).add_argument("--json", action="store_true", help="print JSON for machines")


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config."""
    group = shared_group(parser, OUTPUT)
    group.add_argument("--config", metavar="YAML", help="file with settings; flags and PERSONALRM_* win over it")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads preference pairs."""
    add = shared_group(parser, READING).add_argument
    add("--layout", help="layout of the rows (default: recognised from the first row)")
    add("--user-column", metavar="NAME", help="column that names the user, if not user_id")
    add("--default-user", metavar="NAME", help="user of rows without one, for data of a single person")
    add("--min-gap", type=float, metavar="X", help="smallest difference of ratings that makes a pair")
    add("--skip-bad", action="store_true", help="leave bad rows out, count them, exit with 3")


def add_induction(parser: argparse.ArgumentParser) -> None:
    """Options of every command that fits."""
    add = shared_group(parser, LEARNING).add_argument
    add(
        "--variant",
        choices=("all_pairs", "persona", "demonstrations", "both"),
        help="form of induction (default: all_pairs with the embedded engine, both with a model)",
    )
    add("--trials", type=positive, default=10, metavar="T", help="trials a search (default: %(default)s)")
    add("--seed", type=non_negative, default=0, help="seed of every draw (default: %(default)s)")


def read_options(options: argparse.Namespace) -> Any:
    """`ReadOptions` from the shared flags."""
    from personalrm.preferences.reading.files import ReadOptions

    return ReadOptions(
        layout=options.layout,
        user_column=options.user_column,
        default_user=options.default_user,
        min_gap=options.min_gap,
        skip_bad=options.skip_bad,
    )


def induction_settings(options: argparse.Namespace) -> Any:
    """`InductionSettings` from the shared flags; with a model the default variant is the paper's."""
    from personalrm.induction.settings import InductionSettings

    variant: Any = options.variant or ("all_pairs" if getattr(options, "model", None) is None else "both")
    schedule: Any = getattr(options, "schedule", "latency")
    return InductionSettings(variant=variant, n_trials=options.trials, schedule=schedule, seed=options.seed)


def apply_settings(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Fill in what no flag set, from the environment and the YAML file.

    Raises:
        UnknownName: If the file has a key no command knows.
        BadInput: If a value does not fit.
    """
    child = _command_parser(parser, options)
    actions = {action.dest: action for action in child._actions if action.option_strings}
    settings = {name: action for name, action in actions.items() if name not in NOT_SETTINGS}
    known = _known_keys(parser)
    _warn_of_unknown(known)
    config = _read_config(getattr(options, "config", None), known)
    for name, action in settings.items():
        if any(_given(flag, arguments) for flag in action.option_strings):
            continue
        variable = f"{PREFIX}{name.upper()}"
        if variable in os.environ:
            setattr(options, name, _converted(action, os.environ[variable], variable))
        elif name in config:
            setattr(options, name, _converted(action, config[name], f"key {name!r} of {options.config}"))


def _warn_of_unknown(known: Collection[str]) -> None:
    """Say on stderr which variables look like settings and are none; values may be private and are not shown."""
    names = {name.upper() for name in known} | NOT_OPTIONS
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name[len(PREFIX) :] not in names)
    told = []
    for name in unknown:
        near = difflib.get_close_matches(name[len(PREFIX) :].upper(), sorted(names), 1)
        told.append(name + (f" (did you mean {PREFIX}{near[0]}?)" if near else ""))
    if told:
        verb = "is no setting and is" if len(told) == 1 else "are no settings and are"
        print(f"warning: {', '.join(told)} {verb} not used; a setting is {PREFIX}<FLAG>", file=sys.stderr)


def _given(flag: str, arguments: Sequence[str]) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)


def _command_parser(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the command that was given, inside its group if it has one."""
    while (group := _group(parser)) is not None:
        parser = group.choices[getattr(options, group.dest)]
    return parser


def _group(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command, those inside groups too."""
    group = _group(parser)
    if group is None:
        yield parser
    else:
        for child in group.choices.values():
            yield from _commands(child)


def _known_keys(parser: argparse.ArgumentParser) -> set[str]:
    """Settings of any command, so that one file can serve them all."""
    return {a.dest for child in _commands(parser) for a in child._actions if a.option_strings} - NOT_SETTINGS


def _read_config(path: str | None, known: set[str]) -> Mapping[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        content, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFile(
            f"settings file {path!r} cannot be read ({type(error).__name__}); check the path and the YAML"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise BadFile(f"settings file {path!r} holds {kind_of(content)}, not keys and values; write `seed: 1`")
    config = {_setting(key): value for key, value in content.items()}
    keys = [_setting(key.value) for key, _ in node.value]  # the values as read keep only the last of equal keys
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise UnknownName(f"unknown key {key!r} in settings file {path!r}; {advice}")
        if keys.count(key) > 1:
            raise BadInput(f"key {key!r} stands twice in settings file {path!r}; keep one")
    return config


def _setting(key: object) -> str:
    return str(key).replace("-", "_")


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
