"""When a request has waited too long, on servers that answer a few at a time; the clock leaps, nothing is waited for."""

import asyncio
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.leaping_loop import run_leaping

from personalrm.lm.pacing import Turns

NEVER = math.inf
IN_FLIGHT, TIMEOUT = 64, 120.0


class Server:
    """Answers some requests at a time, those that came first or any of those in line first.

    Args:
        slots: At one time.
        takes_s: Seconds each request takes at its first attempt; the next take `again_s`.
        draw: Draws who is next; None is first come, first served.
    """

    def __init__(self, slots, takes_s, draw=None, again_s=30.0):
        self.takes_s, self.draw, self.again_s = takes_s, draw, again_s
        self.free, self.line, self.asked = slots, [], []

    async def answer(self, number):
        takes = self.takes_s[number] if number not in self.asked else self.again_s
        self.asked.append(number)
        ready = asyncio.get_running_loop().create_future()
        self.line.append(ready)
        self._call()
        try:
            await ready
            await asyncio.sleep(min(takes, 1e6))
        finally:
            if ready in self.line:  # gone before its turn
                self.line.remove(ready)
            else:
                self.free += 1
                self._call()

    def _call(self):
        while self.free and self.line:
            self.free -= 1
            self.line.pop(self.draw.randrange(len(self.line)) if self.draw else 0).set_result(None)


def play(*servers, told=None, in_flight=IN_FLIGHT, timeout_s=TIMEOUT, attempts=6):
    """Who waited too long (with the moment), and when all was done; each server given is one program that asks it."""
    late = []

    async def program(server):
        turns, numbers, clock = Turns(timeout_s), iter(range(len(server.takes_s))), asyncio.get_running_loop()
        if told:
            turns.know_slots(told)

        async def work():
            for number in numbers:
                for _ in range(attempts):
                    try:
                        with turns.turn() as turn:
                            await server.answer(number)
                            turn.is_answered = True
                        break
                    except TimeoutError:
                        late.append((number, clock.time()))
                else:
                    given_up.append(number)

        await asyncio.gather(*(work() for _ in range(in_flight)))

    async def main():
        await asyncio.gather(*map(program, servers))
        return asyncio.get_running_loop().time()

    given_up = []
    done = run_leaping(main())
    return late, done, given_up


@pytest.mark.parametrize("told", [None, 4])
def test_a_server_of_four_slots_and_thirty_seconds_is_waited_for(told):
    server = Server(4, [30.0] * 128)
    late, done, _ = play(server, told=told)
    assert (late, done, len(server.asked)) == ([], 128 / 4 * 30.0, 128)


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 50])
def test_any_number_of_slots_is_waited_for(slots):
    late, done, _ = play(Server(slots, [90.0] * 100))
    assert (late, done) == ([], math.ceil(100 / slots) * 90.0)


@pytest.mark.parametrize("told", [None, 4])
@pytest.mark.parametrize("hung", [{0}, {5}, {90}, {3, 40}, {1, 2}])
def test_only_the_request_that_hangs_is_sent_again(told, hung):
    server = Server(4, [NEVER if number in hung else 30.0 for number in range(128)])
    late, _, _ = play(server, told=told)
    assert sorted(number for number, _ in late) == sorted(hung)


def test_a_request_that_hangs_on_a_quick_server_is_found_when_it_has_waited_its_time():
    late, _, _ = play(Server(1000, [1.0, NEVER, *[1.0 + number / 100 for number in range(300)]]))
    ((number, moment),) = late
    assert (number, moment) == (1, pytest.approx(TIMEOUT, rel=0.1))


def test_on_a_slow_server_it_is_found_when_it_has_waited_its_time_since_its_turn():
    takes = [30.0] * 128
    takes[60] = NEVER  # its turn comes after 15 rounds
    ((number, moment),) = play(Server(4, takes), told=4)[0]
    assert (number, moment) == (60, pytest.approx(15 * 30.0 + TIMEOUT, rel=0.1))


def test_of_a_server_that_never_answers_everybody_knows_soon():
    """First one waits in vain, then all together, each time twice as long."""
    late, _, given_up = play(Server(4, [NEVER] * 64, again_s=NEVER), attempts=3)
    rounds = Counter(round(moment / TIMEOUT) for _, moment in late)
    assert (rounds, len(given_up)) == ({1: 1, 2: 64, 4: 64, 8: 63}, 64)


def test_a_server_that_wakes_up_after_being_silent_is_waited_for_as_before():
    """As one that loads its model at the first request: some are sent again, then nothing is."""
    takes = [300.0] + [30.0] * 127
    late, _, _ = play(Server(1, takes))
    assert len(late) <= IN_FLIGHT
    assert max(moment for _, moment in late) <= 2 * TIMEOUT * 1.1


def test_a_server_that_draws_who_is_next_is_waited_for():
    """Its line tells nothing of its slots; the slowest answers do."""
    late, _, _ = play(Server(4, [30.0] * 256, random.Random(0)))
    assert len(late) <= 8


def test_two_programs_that_share_a_slow_server_both_come_to_an_end():
    """Either stands in a line that it does not see; whoever is cut off goes to its end."""
    server = Server(4, [30.0] * 192)
    late, done, given_up = play(server, server)
    assert (given_up, len(server.asked) - len(late)) == ([], 2 * 192)
    assert done <= 1.5 * 2 * 192 / 4 * 30.0


def test_a_machine_that_was_too_busy_to_look_has_lost_nothing():
    async def main():
        turns, loop = Turns(1.0), asyncio.get_running_loop()
        with turns.turn():
            await asyncio.sleep(0.2)
            loop.stall(60.0)  # the answer comes meanwhile and is read when the loop runs again
            await asyncio.sleep(0.2)

    run_leaping(main())


def test_who_is_canceled_from_outside_is_not_late():
    async def main():
        turns = Turns(1.0)

        async def wait():
            with turns.turn():
                await asyncio.sleep(60.0)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        return type(outcome).__name__

    assert run_leaping(main()) != "TimeoutError"


@settings(max_examples=60, deadline=None)
@given(
    takes=st.lists(st.floats(0.0, 110.0), min_size=1, max_size=80),
    slots=st.integers(1, 20),
    in_flight=st.integers(1, 40),
    is_told=st.booleans(),
)
def test_whoever_is_answered_within_the_time_out_once_it_has_a_slot_is_never_sent_again(
    takes, slots, in_flight, is_told
):
    server = Server(slots, takes)
    assert play(server, told=slots if is_told else None, in_flight=in_flight)[0] == []
    assert sorted(server.asked) == list(range(len(takes)))
