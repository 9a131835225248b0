from types import ModuleType

import pytest

from personalrm.cli.options import Parser, add_commands, apply_settings
from personalrm.errors import UnknownName


@pytest.fixture
def parser():
    """`tool group inner --size N`, with a sibling `tool plain --depth N`."""
    parser = Parser(prog="tool")
    add_commands(parser, (group(command("inner", "--size")), command("plain", "--depth")), dest="command")
    return parser


def command(name, flag):
    module = ModuleType(f"commands.{name}", "Do it.\n\nExample: tool")
    module.add_arguments = lambda parser: parser.add_argument(flag, type=int, default=1) and add_file(parser)
    module.run = lambda options: 7
    return module


def add_file(parser):
    parser.add_argument("--config")


def group(*commands):
    module = ModuleType("commands.group", "Do some of it.\n\nExample: tool group inner")
    module.add_arguments = lambda parser: add_commands(parser, commands, dest="group_command")
    return module


def test_a_command_inside_a_group_runs(parser) -> None:
    options = parser.parse_args(["group", "inner"])
    assert (options.run(options), options.size) == (7, 1)


def test_settings_reach_a_command_inside_a_group(parser, tmp_path, monkeypatch) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("size: 3\ndepth: 2\n")
    options = parser.parse_args(arguments := ["group", "inner", "--config", str(path)])
    apply_settings(parser, options, arguments)
    assert options.size == 3
    monkeypatch.setenv("PERSONALRM_SIZE", "4")
    apply_settings(parser, options, arguments)
    assert options.size == 4


def test_an_unknown_key_is_named_among_those_of_all_groups(parser, tmp_path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("sise: 3\n")
    options = parser.parse_args(arguments := ["plain", "--config", str(path)])
    with pytest.raises(UnknownName, match="did you mean 'size'"):
        apply_settings(parser, options, arguments)


def test_a_group_without_a_command_is_refused(parser) -> None:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["group"])
    assert stop.value.code == 2
