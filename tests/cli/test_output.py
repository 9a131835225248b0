import io
import json
import os
import pty
import subprocess
import sys

import pytest

from personalrm.cli import _is_out_of_memory
from personalrm.cli.printing import BOLD, PLAIN, harmless, print_bad_rows

pytestmark = pytest.mark.slow


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def command(run, tmp_path):
    """Starts a command in a process of its own, where somebody with an accent and a bell was fitted."""
    row = {"user_id": "zoë", "prompt": "Hi?", "chosen": "Yes.\x1b]0;x\x07 \x9b2J", "rejected": "No, I do not think so."}
    (tmp_path / "prefs.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert run("fit", "prefs.jsonl")[0] == 0

    def start(*arguments, **options):
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"} | options.pop("env", {})
        return subprocess.run([sys.executable, "-m", "personalrm", *arguments], env=environment, check=False, **options)

    def shell(script, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        asked = ["sh", "-c", script, "sh", sys.executable, "-m", "personalrm", *arguments]
        return subprocess.run(asked, env=environment, check=False, capture_output=True, text=True)

    start.shell = shell
    return start


def test_output_that_the_encoding_cannot_carry_ends_with_one_sentence(command):
    ended = command("export", env={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "cannot be written as ascii" in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_ends_with_one_sentence(command):
    with open("/dev/full", "w") as full:
        ended = command("show", "zoë", stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "No space left" in ended.stderr


def test_a_reader_that_has_gone_is_not_told_anything(command):
    reader, writer = os.pipe()
    os.close(reader)
    ended = command("show", "zoë", stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_terminal_gets_no_control_characters_out_of_the_data(command):
    ours, theirs = pty.openpty()
    command("show", "zoë", "--as", "generation-prompt", stdout=theirs)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"\\u001b]0;x\\u0007 \\u009b2J" in shown
    assert [code for code in (b"\x1b", b"\x07", b"\xc2\x9b") if code in shown] == []


def test_a_pipe_gets_every_byte(command):
    printed = command("show", "zoë", "--as", "generation-prompt", capture_output=True, text=True).stdout
    assert "\x1b]0;x\x07 \x9b2J" in printed


def test_newlines_tabs_and_our_own_bold_reach_the_terminal():
    terminal = Terminal()
    print(f"{BOLD}a{PLAIN}\tb\r", file=harmless(terminal))
    assert terminal.getvalue() == "\033[1ma\033[0m\tb\\u000d\n"


def test_somebody_elses_bold_does_not():
    terminal = Terminal()
    print("\033[1ma", file=harmless(terminal))
    assert terminal.getvalue() == "\\u001b[1ma\n"


def test_errors_are_escaped_on_a_terminal_too(command):
    ours, theirs = pty.openpty()
    command("show", "a\x1b[2J\u202eb", stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("\\x1b[2J" in shown, "\x1b" in shown, "\u202e" in shown) == (True, False, False)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_trouble(command, closed):
    shell = f'"$@" {closed}{"<" if closed == 0 else ">"}&-'
    ended = command.shell(shell, "show", "zoë")
    assert (ended.returncode, "Traceback" in ended.stderr) == (1 if closed == 1 else 0, False)
    assert ("standard output is closed" in ended.stderr) == (closed == 1)


def test_only_the_first_of_the_rows_that_stop_a_command_are_told(capsys):
    assert print_bad_rows([f"line {n}" for n in range(40)], is_skipping=False, undone="nothing was judged")
    told = capsys.readouterr().err
    assert told.count("personalrm: line") == 10
    assert "40 bad rows, the first 10 above, nothing was judged; fix them or pass --skip-bad" in told


def test_rows_that_are_left_out_are_told_one_and_all(capsys):
    assert not print_bad_rows([f"line {n}" for n in range(40)], is_skipping=True, undone="nothing was judged")
    assert capsys.readouterr().err.count("personalrm: line") == 40


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
            ),
            True,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RecursionError("maximum recursion depth exceeded"), False),
    ],
)
def test_short_memory_is_told_from_mistakes(error, is_memory):
    assert _is_out_of_memory(error) is is_memory
