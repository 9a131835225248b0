import asyncio
import time

import pytest

from personalrm.errors import BadInput
from personalrm.lm.pacing import Pacing
from personalrm.lm.settings import Budget, Limits, Retry

pytestmark = pytest.mark.slow


def moments(limits, n, tokens=1, before=lambda pacing: None):
    async def run():
        pacing = Pacing(limits)
        before(pacing)
        start = time.monotonic()

        async def one():
            await pacing.wait(tokens)
            return time.monotonic() - start

        return sorted(await asyncio.gather(*(one() for _ in range(n))))

    return asyncio.run(run())


def test_without_limits_nothing_waits():
    assert moments(Limits(), 100)[-1] < 5.0


def test_requests_a_minute_are_spread_evenly():
    times = moments(Limits(requests_per_minute=6000), 100)
    assert times[-1] > 0.4


def test_tokens_a_minute_count_what_a_request_needs():
    assert moments(Limits(tokens_per_minute=60_000), 10, tokens=100)[-1] > 0.4


def test_a_server_over_its_limit_holds_everybody_back():
    assert moments(Limits(), 3, before=lambda pacing: pacing.close_for(0.1))[0] >= 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(max_in_flight=0),
        lambda: Limits(requests_per_minute=float("nan")),
        lambda: Budget(max_calls=-1),
        lambda: Budget(max_cost=float("inf")),
        lambda: Retry(max_attempts=0),
        lambda: Retry(max_rereads=-1),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput):
        make()


def test_a_pace_that_was_found_out_spreads_what_leaves():
    async def run():
        pacing = Pacing(Limits())
        for _ in range(5):
            pacing.note_answer()
            await asyncio.sleep(0.02)
        pacing.close_for(0.0)
        start = time.monotonic()
        for _ in range(20):
            await pacing.wait(1)
        return time.monotonic() - start

    assert asyncio.run(run()) > 0.1


def test_nobody_waits_for_a_run_that_is_ending():
    async def run():
        pacing = Pacing(Limits(requests_per_minute=1))
        pacing.close_for(3600.0)
        waiting = [asyncio.create_task(pacing.wait(1)) for _ in range(10)]
        await asyncio.sleep(0)
        pacing.is_over = True
        await asyncio.wait_for(asyncio.gather(*waiting), 60.0)

    asyncio.run(run())


def test_a_server_that_says_too_many_is_not_stormed():
    from personalrm.lm.batch import Ask, Caller
    from personalrm.lm.opening import ModelName, open_model
    from personalrm.lm.protocol import Request
    from personalrm.preferences.messages import Message
    from personalrm.testing.fake_server import FakeServer, Limited

    with FakeServer(limited=Limited(requests_per_minute=6000)) as server:
        asks = [Ask(lambda k=k: Request((Message("user", f"{k}?"),)), lambda reply: reply.text) for k in range(300)]
        with Caller(open_model(ModelName("fake", server.url))) as caller:
            assert all(outcome.value for outcome in caller.ask_all(asks))
    assert server.log.statuses["429"] < 300


def test_a_server_that_refuses_however_slowly_it_is_asked_is_not_slowed_for():
    async def run():
        pacing = Pacing(Limits())
        for number in range(2000):
            await pacing.wait(1)
            if number % 5 == 4:
                pacing.close_for(0.001)
            else:
                pacing.note_answer()
        return pacing._gap_s

    assert asyncio.run(run()) < 0.01


def test_a_pace_that_was_found_is_kept_while_refusals_are_rare():
    async def run():
        pacing = Pacing(Limits())
        for number in range(200):
            await pacing.wait(1)
            pacing.close_for(0.001) if number % 50 == 49 else pacing.note_answer()
        return pacing._gap_s

    assert asyncio.run(run()) > 0.0
