"""How far a command is: a line a minute where stderr is a file or a pipe."""

import io
import threading
import time

from personalrm.cli.printing import EveryMinute, Progress
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Request
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM


class Seen(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self, *, is_terminal=False):
        super().__init__()
        self.is_terminal, self.has_line = is_terminal, threading.Event()

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.has_line.set()
        return super().write(text)


def test_a_log_gets_a_line_now_and_then():
    stream = Seen()
    with EveryMinute(lambda: "3 of 13 users", stream=stream, pause_s=0.001):
        assert stream.has_line.wait(30.0)
    assert stream.getvalue().startswith("3 of 13 users\n")


def test_a_terminal_gets_none_and_what_is_quick_gets_none():
    stream = Seen(is_terminal=True)
    with EveryMinute(lambda: "3 of 13 users", stream=stream, pause_s=0.0):
        time.sleep(0.01)
    with EveryMinute(lambda: "3 of 13 users", stream=(log := Seen())):
        pass
    assert stream.getvalue() + log.getvalue() == ""


def test_a_log_that_is_closed_does_not_end_the_command():
    stream = Seen()
    stream.close()
    with EveryMinute(lambda: "3 of 13 users", stream=stream, pause_s=0.001):
        time.sleep(0.02)


def test_users_are_counted_in_the_line(capsys):
    with Progress("fit", 13) as progress:
        assert progress._line().startswith("fit 0/13 users, ")
        progress.step("7 calls")
        assert progress._line().startswith("fit 1/13 users, ") and progress._line().endswith(" s left, 7 calls")
    assert capsys.readouterr().err == ""


def test_a_model_says_what_it_was_asked_and_what_is_under_way():
    lines = []

    def read(reply):
        lines.append(caller.progress())
        return reply.text

    with Caller(ScriptedLM()) as caller:
        caller.ask_all([Ask(lambda: Request((Message("user", "a"),)), read)])
    assert lines == ["model 'scripted': 1 answer in 0 min, 1 under way"]
