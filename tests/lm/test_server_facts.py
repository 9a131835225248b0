"""What servers tell of themselves, each in its own place and words."""

import asyncio

import pytest
from aiohttp import web
from tests.lm.test_http import listening

from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.server_facts import ServerFacts

LLAMA_CPP = {"total_slots": 4, "default_generation_settings": {"n_ctx": 16384, "params": {"n_predict": -1}}}
SGLANG = {
    "model_path": "m",
    "max_running_requests": 48,
    "context_length": None,
    "internal_states": [{"context_length": 32768}],
}
VLLM = {"object": "list", "data": [{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 40960}]}
LM_STUDIO = {"data": [{"id": "m", "max_context_length": 131072, "loaded_context_length": 4096}]}
OLLAMA = {"models": [{"name": "m", "model": "m", "context_length": 8192}]}


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (LLAMA_CPP, ServerFacts(4, 16384)),
        (SGLANG, ServerFacts(48, 32768)),
        (VLLM, ServerFacts(None, 40960)),
        (LM_STUDIO, ServerFacts(None, 4096)),
        (OLLAMA, ServerFacts(None, 8192)),
        ({"max_total_tokens": 2048, "max_concurrent_requests": 128}, ServerFacts(None, 2048)),
        ({"data": [{"id": "a", "context_length": 1}, {"id": "b", "context_length": 2}]}, ServerFacts()),
        ({"total_slots": True, "n_ctx": "many"}, ServerFacts()),
        ({"total_slots": -1, "n_ctx": 0}, ServerFacts()),
        ([], ServerFacts()),
        (None, ServerFacts()),
        ("total_slots", ServerFacts()),
    ],
)  # fmt: skip
def test_facts_are_read_by_name(content, facts):
    assert ServerFacts().and_from(content, "m") == facts


def test_what_is_known_stays():
    assert ServerFacts(4, 100).and_from(LLAMA_CPP, "m") == ServerFacts(4, 100)


@pytest.mark.parametrize(
    ("answers", "facts"),
    [
        ({"/props": LLAMA_CPP}, ServerFacts(4, 16384)),
        ({"/get_server_info": SGLANG, "/v1/models": VLLM}, ServerFacts(48, 32768)),
        ({"/v1/models": VLLM}, ServerFacts(None, 40960)),
        ({"/props": "<html>", "/api/ps": OLLAMA}, ServerFacts(None, 8192)),
        ({}, ServerFacts()),
    ],
)
def test_facts_are_asked_for_beside_v1(answers, facts):
    async def tell(request):
        content = answers.get(request.path)
        if isinstance(content, str):
            return web.Response(text=content)
        return web.json_response(content, status=200 if content else 404)

    async def read(address):
        lm = OpenAIServer(Endpoint("m", f"{address}/v1"))
        try:
            return await lm.facts()
        finally:
            await lm.close()

    with listening(tell, methods=("GET",)) as address:
        assert asyncio.run(read(address)) == facts


def test_a_server_that_is_not_there_tells_nothing():
    async def read():
        lm = OpenAIServer(Endpoint("m", "http://127.0.0.1:9/v1"))
        try:
            return await lm.facts()
        finally:
            await lm.close()

    assert asyncio.run(read()) == ServerFacts()
