"""What the client does with addresses, keys, proxies, redirects and slow servers, against servers that really listen."""

import asyncio
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from aiohttp import web

from personalrm.errors import AccessRefused, BadInput, UnknownName
from personalrm.lm.addresses import checked_base_url, headers_of, is_azure, moved, proxy_for, root_of, route_url
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.protocol import Request, Sampling
from personalrm.lm.reward_server import RewardServer
from personalrm.lm.settings import Limits, Retry
from personalrm.preferences.messages import Message
from personalrm.testing.fake_server import FakeServer, Limited
from personalrm.testing.faults import Faults

QUICK = Retry(base_s=0.001, max_pause_s=0.002)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        for spelled in (name, name.lower()):
            monkeypatch.delenv(spelled, raising=False)
    monkeypatch.delenv("PERSONALRM_API_KEY", raising=False)


def ask(text="hello"):
    return Ask(lambda: Request((Message("user", text),), Sampling(), stage="judge"), lambda reply: reply.text)


@contextmanager
def listening(answer, methods=("POST",), tls=None):
    """A server that answers requests with what a function makes of them, and its address without a path."""
    loop = asyncio.new_event_loop()

    async def answer_some(request):
        return await answer(request) if request.method in methods else web.Response(status=404)

    async def begin():
        runner = web.ServerRunner(web.Server(answer_some), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def completion(text="well"):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})


def outcome_of(model, **options):
    """What one question to a model comes to, and why the run was stopped, if it was."""
    lm = open_model(model) if isinstance(model, ModelName) else OpenAIServer(model)
    with Caller(lm, **{"retry": QUICK, **options}) as caller:
        outcome = caller.ask_all([ask()])[0]
        return outcome, caller.stopped if outcome.is_stopped else None


# --- slow servers


@pytest.mark.parametrize("tells_slots", [False, True])
def test_a_server_that_answers_four_at_a_time_is_asked_once_for_each(tells_slots):
    """In 16 rounds, which together take longer than the time-out."""
    with FakeServer(latency_s=0.05, limited=Limited(slots=4, tells_slots=tells_slots)) as server:
        with Caller(OpenAIServer(Endpoint("m", server.url, timeout_s=0.4)), limits=Limits(max_in_flight=64)) as caller:
            assert all(outcome.value for outcome in caller.ask_all([ask(str(number)) for number in range(64)]))
        assert (server.summary()["requests"], server.summary()["duplicates"]) == (64, 0)


def test_slots_are_read_where_the_server_tells_them():
    with FakeServer(latency_s=0.01, limited=Limited(slots=4, tells_slots=True)) as server:
        lm = OpenAIServer(Endpoint("m", server.url))
        with Caller(lm) as caller:
            caller.ask_all([ask(str(number)) for number in range(20)])
            assert lm.turns.n_slots >= 4


def test_answers_that_came_while_this_process_was_busy_are_not_asked_for_again():
    """As on a machine with too much to do: the loop gets to run again when the time-out is long over."""

    def busy(reply):
        time.sleep(0.5)  # in the thread of the loop
        return reply.text

    with FakeServer(latency_s=0.02) as server:
        with Caller(OpenAIServer(Endpoint("m", server.url, timeout_s=0.2))) as caller:
            asks = [Ask(ask("first").build, busy), *(ask(str(number)) for number in range(30))]
            assert all(outcome.value for outcome in caller.ask_all(asks))
        assert server.summary()["duplicates"] == 0


def test_a_server_that_answers_nobody_ends_the_run_and_says_so():
    with FakeServer(faults=Faults(("never answered",), rate=1.0), patience_s=10.0) as server:
        with Caller(OpenAIServer(Endpoint("m", server.url, timeout_s=0.1)), retry=Retry(max_attempts=2)) as caller:
            outcomes = caller.ask_all([ask(str(number)) for number in range(6)])
        assert all(outcome.is_stopped for outcome in outcomes)
        assert "answers nobody, after 2 attempts" in str(caller.stopped)


# --- addresses


@pytest.mark.parametrize(
    ("base_url", "wanted"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/embeddings/", "http://h/v1/chat/completions"),
        ("https://x.openai.azure.com/openai/deployments/d?api-version=2024-06-01",
         "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-06-01"),
        ("https://h/openai/deployments/d/chat/completions?api-version=1&x=2",
         "https://h/openai/deployments/d/chat/completions?api-version=1&x=2"),
        ("http://h/?key=1", "http://h/chat/completions?key=1"),
        ("http://h/v1#top", "http://h/v1/chat/completions"),
    ],
)  # fmt: skip
def test_the_route_stands_behind_the_path_and_before_the_query(base_url, wanted):
    assert route_url(base_url, "/chat/completions") == wanted


def test_what_lies_beside_v1_keeps_the_query_too():
    assert route_url(root_of("http://h/a/v1/?k=1"), "/classify") == "http://h/a/classify?k=1"


@pytest.mark.parametrize("pasted", [" http://h/v1\n", '"http://h/v1"', "'http://h/v1' "])
def test_what_sticks_to_a_pasted_address_is_taken_off(pasted):
    assert checked_base_url(pasted) == "http://h/v1"


@pytest.mark.parametrize(
    "broken", ["http://[::1", "http://h:99999/v1", "http://h:x/v1", "http:///v1", "http://a b/v1", "h:8000/v1", ""]
)
def test_a_broken_address_is_one_sentence(broken):
    with pytest.raises(UnknownName, match="write it like http://localhost:8000/v1"):
        open_model(ModelName("m", broken))


def test_azure_is_asked_behind_its_path_with_its_query_and_its_own_header():
    seen = []

    async def azure(request):
        seen.append((str(request.rel_url), request.headers.get("api-key")))
        return completion() if "api-version" in request.query else web.json_response({}, status=404)

    with listening(azure) as address:
        base_url = f"{address}/openai/deployments/gpt-4o?api-version=2024-06-01"
        assert outcome_of(ModelName("gpt-4o", base_url, key="k"))[0].value == "well"
    assert seen == [("/openai/deployments/gpt-4o/chat/completions?api-version=2024-06-01", "k")]


def test_an_azure_address_without_its_version_says_so():
    async def azure(_):
        return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)

    with listening(azure) as address:
        stopped = outcome_of(ModelName("gpt-4o", f"{address}/openai/deployments/gpt-4o"))[1]
    assert "?api-version=" in str(stopped)


@pytest.mark.parametrize(
    ("base_url", "key", "names"),
    [
        ("https://x.openai.azure.com/openai/v1", "abc", {"api-key"}),
        ("https://x.openai.azure.com/openai/v1", "eyJhbGciOi.a.b", {"Authorization"}),
        ("https://gateway/openai/deployments/d", "abc", {"api-key", "Authorization"}),
        ("https://api.openai.com/v1", "abc", {"Authorization"}),
        ("https://azure.com.evil.example/v1", "abc", {"Authorization"}),
    ],
)
def test_a_key_stands_in_the_header_that_the_server_reads(base_url, key, names):
    headers = headers_of(base_url, key, {})
    assert set(headers) - {"Content-Type"} == names
    assert is_azure(base_url) == ("api-key" in headers or key.startswith("eyJ"))


def test_the_variable_for_openais_address_is_followed_with_openais_key(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    model = ModelName("openai/m")
    endpoint = open_model(model).endpoint
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == ("http://localhost:1/v1", "m", "sk-openai")
    assert (model.is_on_this_machine, model.host, model.has_key) == (True, "localhost", True)
    assert open_model(ModelName("openai/m", "http://else:1/v1")).endpoint.base_url == "http://else:1/v1"
    assert open_model(ModelName("m", "http://else:1/v1")).endpoint.api_key == ""


# --- keys and headers


@pytest.mark.parametrize(
    "pasted",
    ["sk-abc\n", " sk-abc\r\n", '"sk-abc"', "'sk-abc'\n", "Bearer sk-abc", "\ufeffsk-abc", "sk-abc\u200b", "\tsk-abc"],
)
def test_what_sticks_to_a_key_is_taken_off(monkeypatch, pasted, tmp_path):
    monkeypatch.setenv("PERSONALRM_API_KEY", pasted)
    (tmp_path / "key").write_text(pasted, encoding="utf-8")
    assert open_model(ModelName("m", "http://localhost:1/v1")).endpoint.api_key == "sk-abc"
    assert open_model(ModelName("m", "http://localhost:1/v1", str(tmp_path / "key"))).endpoint.api_key == "sk-abc"


@pytest.mark.parametrize(
    ("pasted", "what"),
    [
        ("sk-a\nsk-b", "a line break after 4"),
        ("sk-a\x00b", "U+0000"),
        ("sk-\u2013a", "U+2013"),
        ("sk-a\xa0b", "U+00A0"),
    ],
)
def test_a_key_that_no_header_can_carry_is_one_sentence_without_it(tmp_path, pasted, what):
    (tmp_path / "my-key").write_text(pasted, encoding="utf-8")
    with pytest.raises(BadInput, match="my-key") as raised:
        open_model(ModelName("m", "http://localhost:1/v1", str(tmp_path / "my-key")))
    assert what in str(raised.value) and "sk-" not in str(raised.value)


def test_an_empty_key_file_is_one_sentence(tmp_path):
    (tmp_path / "key").write_text("\n")
    with pytest.raises(BadInput, match="is empty"):
        open_model(ModelName("m", "http://localhost:1/v1", str(tmp_path / "key")))


def test_a_key_of_a_library_user_is_checked_before_it_is_sent():
    _, stopped = outcome_of(Endpoint("m", "http://localhost:1/v1", "a\nb"))
    assert "a line break" in str(stopped)


@pytest.mark.parametrize(
    "headers", [{"X Y": "a"}, {"X": "a\nb"}, {"X": ["a"]}, {"X": None}, {"": "a"}, {"X": "\u00e9"}]
)
def test_a_header_that_cannot_be_sent_is_one_sentence(headers):
    with pytest.raises(BadInput, match="header"):
        open_model(ModelName("m", "http://localhost:1/v1", headers=headers))


# --- proxies


@pytest.mark.parametrize(
    ("environment", "url", "wanted"),
    [
        ({"HTTP_PROXY": "http://p:1"}, "http://h/v1", "http://p:1"),
        ({"http_proxy": "p:1"}, "http://h/v1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h/v1", "http://p:1"),
        ({"ALL_PROXY": "http://n:w@p:1"}, "https://h/v1", "http://n:w@p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "other,.h.example"}, "http://a.h.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "h.example"}, "http://ah.example/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "*.h.example, x"}, "http://a.h.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "h:8000"}, "http://h:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "h:8000"}, "http://h:8001/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://h/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00::/8,[fd01::1]"}, "http://[fd00::2]/v1", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1]:8000/v1", None),
        ({"HTTP_PROXY": ""}, "http://h/v1", None),
    ],
)  # fmt: skip
def test_the_proxy_is_the_one_that_the_environment_names(monkeypatch, environment, url, wanted):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == wanted


@pytest.mark.parametrize("proxy", ["socks5://name:secret@p:1", "http://p:x", "ftp://p"])
def test_a_proxy_that_cannot_be_used_is_one_sentence_without_its_login(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(BadInput, match="NO_PROXY") as raised:
        open_model(ModelName("m", "http://model.internal.invalid/v1"))
    assert "secret" not in str(raised.value)


def test_a_host_that_only_the_proxy_knows_is_reached_through_it(monkeypatch):
    seen = []

    async def proxy(request):
        seen.append((str(request.url), request.headers.get("Proxy-Authorization", "")[:6]))
        return completion()

    with listening(proxy) as address:
        monkeypatch.setenv("HTTP_PROXY", address.replace("http://", "http://name:word@"))
        assert outcome_of(ModelName("m", "http://model.internal.invalid/v1"))[0].value == "well"
    assert seen == [("http://model.internal.invalid/v1/chat/completions", "Basic ")]


@pytest.mark.parametrize(("status", "says"), [(407, "name:password@host"), (403, "HTTP 403")])
def test_a_proxy_that_wants_a_login_is_told_apart(monkeypatch, status, says):
    async def proxy(_):
        return web.Response(status=status)

    with listening(proxy) as address:
        monkeypatch.setenv("HTTP_PROXY", address)
        assert says in str(outcome_of(ModelName("m", "http://model.internal.invalid/v1"))[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named_without_its_login(monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", "http://name:secret@127.0.0.1:9")
    stopped = str(outcome_of(ModelName("m", f"{scheme}://model.internal.invalid/v1"))[1])
    assert "the proxy http://127.0.0.1:9" in stopped and "secret" not in stopped


def test_nobodys_netrc_file_replaces_the_key(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    async def answer(request):
        seen.append(request.headers.get("Authorization"))
        return completion()

    with listening(answer) as address:
        outcome_of(ModelName("m", f"{address}/v1", key="sk-ours"))
    assert seen == ["Bearer sk-ours"]


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_posted_again_and_learned(status):
    posts = []

    async def answer(request):
        posts.append(request.path)
        if request.path == "/old/chat/completions":
            return web.Response(status=status, headers={"Location": "/new/chat/completions"})
        return completion()

    with listening(answer) as address, Caller(open_model(ModelName("m", f"{address}/old"))) as caller:
        assert [outcome.value for outcome in (caller.ask_all([ask("a")]) + caller.ask_all([ask("b")]))] == ["well"] * 2
    assert posts == ["/old/chat/completions", "/new/chat/completions", "/new/chat/completions"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_follows_a_redirect_to_another_host(status):
    strangers = []

    async def stranger(request):
        strangers.append(request.path)
        return completion()

    async def answer(_):
        return web.Response(status=status, headers={"Location": f"{elsewhere}/v1/chat/completions"})

    with listening(stranger) as elsewhere, listening(answer) as address:
        outcome, stopped = outcome_of(ModelName("m", f"{address}/v1", key="k", headers={"X-Secret": "s"}))
    assert (outcome.is_stopped, strangers) == (True, [])
    assert "redirect to 127.0.0.1" in str(stopped) and "--base-url" in str(stopped)


@pytest.mark.parametrize(
    "location", ["/login", "", "//elsewhere.example/v1/chat/completions", "http://[", "/v1/chat/completions"]
)
def test_a_redirect_that_leads_nowhere_ends_the_run(location):
    """A page to sign in, no address, another host, a broken one, a circle."""

    async def answer(_):
        return web.Response(status=302, headers={"Location": location} if location else {})

    with listening(answer) as address:
        outcome, stopped = outcome_of(ModelName("m", f"{address}/v1"))
    assert outcome.is_stopped and "redirect" in str(stopped)


@pytest.mark.parametrize(
    ("url", "location", "wanted"),
    [
        ("http://h/v1/chat/completions", "https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions", "http://h/v1/chat/completions", None),
        ("https://h/v1/chat/completions", "https://h:444/v1/chat/completions", None),
        ("https://h/v1/chat/completions", "https://user@h/v1/chat/completions", None),
        ("https://h/v1/chat/completions", "https://h.evil/v1/chat/completions", None),
        ("https://h/v1/chat/completions", "/api/v1/chat/completions/", "https://h/api/v1/chat/completions/"),
    ],
)  # fmt: skip
def test_only_the_same_route_of_the_same_host_is_followed(url, location, wanted):
    assert moved(url, location) == wanted


# --- certificates


def test_a_server_without_tls_addressed_as_https_is_one_sentence():
    async def answer(_):
        return completion()

    with listening(answer) as address:
        stopped = outcome_of(ModelName("m", address.replace("http", "https") + "/v1"))[1]
    assert isinstance(stopped, AccessRefused) and "write http://" in str(stopped)


def test_a_certificate_that_nobody_vouches_for_is_one_sentence(tmp_path):
    files = [str(tmp_path / name) for name in ("key.pem", "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    try:
        subprocess.run([*command, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not there to make a certificate")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files[1], files[0])

    async def answer(_):
        return completion()

    with listening(answer, tls=tls) as address:
        outcome, stopped = outcome_of(ModelName("m", address.replace("http", "https") + "/v1"))
    assert outcome.is_stopped and "set SSL_CERT_FILE" in str(stopped)


async def endless(request):
    """Three hundred megabytes in pieces, without a length."""
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(300):
            await response.write(b" " * 2**20)
    return response


def test_a_body_longer_than_any_completion_is_given_up():
    with listening(endless) as address:
        outcome, _ = outcome_of(ModelName("m", f"{address}/v1"), retry=Retry(max_attempts=1))
    assert outcome.reason == "body too large, after 1 attempt"


def test_a_body_longer_than_any_reward_is_given_up():
    with (
        listening(endless) as address,
        Caller(RewardServer(Endpoint("m", address)), retry=Retry(max_attempts=1)) as caller,
    ):
        assert caller.ask_all([ask()])[0].reason == "body too large, after 1 attempt"
