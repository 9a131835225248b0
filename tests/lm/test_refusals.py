"""What servers and gateways say when they refuse, as found in their sources, documents and bug reports."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.lm.protocol import Usage
from personalrm.lm.refusals import LONGEST, context_named, refusal_of

PRIVATE = "Dear diary, logprobs and response_format are not supported by my therapist, and neither is a system role"


def refusal(status, content, sent=(), headers=None):
    body = content if isinstance(content, str) else json.dumps(content)
    return refusal_of(status, headers or {}, body.encode(), sent)


def openai(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}


TOO_LONG = [
    (
        400,
        openai("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
    ),
    (400, openai("Your input exceeds the context window of this model.", code="context_length_exceeded")),
    (
        400,
        openai("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."),
    ),
    (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    (
        400,
        {
            "object": "error",
            "message": "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 2048 tokens and your request has 1500 input tokens.",
            "code": 400,
        },
    ),
    (
        500,
        {
            "error": {
                "code": 500,
                "message": "the request exceeds the available context size. try increasing the context size or enable context shift",
                "type": "invalid_request_error",
            }
        },
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "input is larger than the max context size. skipping",
                "type": "exceed_context_size_error",
                "n_ctx": 4096,
            }
        },
    ),
    (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length."}),
    (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",
            "error_type": "validation",
        },
    ),
    (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",
            "error_type": "validation",
        },
    ),
    (
        400,
        {
            "object": "error",
            "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            "code": 400,
        },
    ),
    (
        400,
        {
            "error": {
                "message": "Please reduce the length of the messages or completion.",
                "code": "context_length_exceeded",
            }
        },
    ),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        },
    ),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            },
        },
    ),
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    (400, {"message": "Input is too long for requested model."}),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292."}),
    (
        400,
        {"error": {"message": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}},
    ),
    (400, {"error": {"message": "Range of input length should be [1, 30720]", "code": "invalid_parameter_error"}}),
    (
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 8192",
                "type": "invalid_request_error",
            }
        },
    ),
    (
        400,
        {
            "object": "error",
            "message": "Prompt contains 9999 tokens and 0 draft tokens, too large for model with 8192 maximum context length",
            "code": "3051",
        },
    ),
    (400, {"error": {"message": "prompt too long; exceeded max context length by 12 tokens"}}),
    (400, openai("Requested tokens (2153) exceed context window of 2048")),
]
STOPS = [
    (
        429,
        openai(
            "You exceeded your current quota, please check your plan and billing details.", code="insufficient_quota"
        ),
        "quota or credit",
    ),
    (402, {"error": {"message": "Insufficient Balance"}}, "quota or credit"),
    (
        402,
        {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}},
        "quota or credit",
    ),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
        "quota or credit",
    ),
    (
        400,
        {
            "error": {
                "message": "Budget has been exceeded! Current cost: 12.1, Max budget: 12.0",
                "type": "budget_exceeded",
            }
        },
        "quota or credit",
    ),
    (403, {"error": {"message": "The free tier of the model has been exhausted."}}, "quota or credit"),
    (429, openai("You have reached your monthly usage limit."), "quota or credit"),
    (
        404,
        openai("The model `gpt-5` does not exist or you do not have access to it.", code="model_not_found"),
        "model's name",
    ),
    (
        404,
        {"error": {"message": "model 'llama3' not found, try pulling it first", "type": "api_error"}},
        "model's name",
    ),
    (
        400,
        {"error": {"message": "Invalid model name passed in model=m. Call `/v1/models` to view available models"}},
        "model's name",
    ),
    (400, {"error": {"message": "foo is not a valid model ID", "code": 400}}, "model's name"),
    (404, {"error": {"message": "No endpoints found for foo/bar.", "code": 404}}, "model's name"),
    (
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
        "model's name",
    ),
    (
        400,
        {
            "error": {
                "message": "The model `mixtral` has been decommissioned and is no longer supported.",
                "code": "model_decommissioned",
            }
        },
        "model's name",
    ),
    (404, {"error": {"message": "No models loaded. Please load a model in the developer page."}}, "model's name"),
    (400, {"error": {"message": '"embed-1" does not support chat'}}, "model's name"),
    (404, "404 page not found", "base URL"),
    (404, {"detail": "Not Found"}, "base URL"),
    (404, {"message": "no Route matched with those values"}, "base URL"),
    (404, "<html><head><title>404 Not Found</title></head><body>nginx</body></html>", "base URL"),
    (405, {"detail": "Method Not Allowed"}, "base URL"),
    (401, openai("Incorrect API key provided: sk-abcd1234efgh."), "check the key"),
    (403, {"detail": "Not authenticated"}, "check the key"),
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        "check the key",
    ),
    (400, openai("max_tokens is too large: 4096. This model supports at most 512 completion tokens."), "--max-tokens"),
    (
        400,
        {
            "type": "error",
            "error": {"message": "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens"},
        },
        "--max-tokens",
    ),
    (400, {"error": {"message": "Range of max_tokens should be [1, 8192]"}}, "--max-tokens"),
    (
        400,
        {
            "error": {
                "message": "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model"
            }
        },
        "--max-tokens",
    ),
]
FEATURES = [
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", param="max_tokens"), "max_tokens"),
    (400, openai("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."), "temperature"),
    (422, {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}, "temperature"),
    (400, openai("`temperature` is deprecated for this model."), "temperature"),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 0}]}, "seed"),
    (400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 0}]", "code": 400}, "seed"),
    (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}, "seed"),
    (403, openai("You are not allowed to request logprobs from this model"), "logprobs"),
    (500, {"error": {"code": 500, "message": "logprobs is not supported with tools + stream", "type": "server_error"}}, "logprobs"),
    (400, {"object": "error", "message": "Requested sample logprobs of 5, which is greater than max allowed: 0", "code": 400}, "logprobs"),
    (400, openai("Invalid value for 'top_logprobs': must be less than or equal to 1.", param="top_logprobs"), "logprobs"),
    (400, [{"error": {"message": "Logprobs is not enabled for models/gemini-2.0"}}], "logprobs"),
    (400, openai("This response_format type is unavailable now"), "schema"),
    (400, openai("Invalid schema for response_format 'verdict': In context=(), 'required' is required to be supplied.", param="response_format"), "schema"),
    (500, {"error": {"message": "Internal error: xgrammar failed to compile the json schema"}}, "schema"),
    (400, {"error": {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar", "type": "invalid_request_error"}}, "schema"),
    (400, [{"error": {"message": "JSON mode is not enabled for models/gemma-3"}}], "schema"),
    (404, {"error": {"message": "No endpoints found that support the requested parameters: response_format", "code": 404}}, "schema"),
    (400, openai("System role not supported"), "roles"),
    (500, {"error": {"code": 500, "message": "Jinja Exception: System role not supported", "type": "server_error"}}, "roles"),
    (400, openai("Unsupported value: 'messages[0].role' does not support 'system' with this model."), "roles"),
    (400, [{"error": {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}], "roles"),
    (400, openai("Conversation roles must alternate user/assistant/user/assistant/..."), "roles"),
    (400, openai("Only user and assistant roles are supported!"), "roles"),
    (422, {"detail": [{"type": "literal_error", "loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'"}]}, "roles"),
    (400, openai("This model only support stream mode, please enable the stream parameter to access the model."), "whole"),
    (400, openai("parameter.enable_thinking must be set to false for non-streaming calls"), "whole"),
    (400, openai("Stream must be set to true"), "whole"),
    (400, openai("stream_options is not supported"), "usage"),
]  # fmt: skip
SOFT = [
    (429, [{"error": {"code": 429, "message": "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project", "status": "RESOURCE_EXHAUSTED"}}]),
    (429, {"error": {"code": "429", "message": "Requests have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 6 seconds."}}),
    (429, {"message": "Too many tokens, please wait before trying again."}),
    (429, openai("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000. Please try again in 2s.")),
    (429, [{"error": {"message": "You exceeded your current quota. Please retry in 26.4s.", "status": "RESOURCE_EXHAUSTED"}}]),
    (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    (503, {"error": {"message": "The model is overloaded. Please try again later."}}),
    (502, "<html><head><title>502 Bad Gateway</title></head></html>"),
    (500, {"error": {"message": "CUDA out of memory"}}),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "content"), TOO_LONG)
def test_a_context_that_is_too_long_is_known_by_any_wording(status, content):
    fault = refusal(status, content)
    assert (fault.kind, fault.again, fault.feature) == ("context too long", "never", None)


@pytest.mark.parametrize(
    ("message", "n_tokens"),
    [
        ("maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens", 8192),
        ("This endpoint's maximum context length is 4,096 tokens, you requested about 5000", 4096),
        ("the request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096),
        ("too large for model with 2048 maximum context length", 2048),
        ("Your input exceeds the context window of this model.", None),
        ("Input tokens exceed the configured limit of 272000 tokens.", None),
    ],
)
def test_the_context_that_a_refusal_names_is_read(message, n_tokens):
    assert context_named(message) == n_tokens


@pytest.mark.parametrize(("status", "content", "advice"), STOPS)
def test_what_every_request_would_meet_stops_the_run_with_its_own_advice(status, content, advice):
    fault = refusal(status, content)
    assert (fault.again, advice in fault.advice, fault.usage) == ("stop", True, Usage())


@pytest.mark.parametrize(("status", "content", "feature"), FEATURES)
def test_a_feature_is_known_by_message_parameter_and_place(status, content, feature):
    fault = refusal(status, content)
    assert (fault.feature, fault.usage) == (feature, Usage())


@pytest.mark.parametrize(("status", "content"), SOFT)
def test_what_may_pass_is_asked_again(status, content):
    fault = refusal(status, content)
    assert (fault.kind, fault.again, fault.feature) == (f"HTTP {status}", "same", None)


@pytest.mark.parametrize(
    "content",
    [
        {
            "detail": [
                {"type": "value_error", "loc": ["body"], "msg": "no", "input": {"messages": [{"content": PRIVATE}]}}
            ]
        },
        {"error": {"message": f"bad request: {{'messages': [{{'content': '{PRIVATE}'}}]}}"}},
        {"error": {"message": f"1 validation error\n  no [type=x, input_value='{PRIVATE}', input_type=str]"}},
        {"error": {"message": "no"}, "request": {"prompt": PRIVATE}},
        {"error": {"message": f"cannot render {PRIVATE.upper()}"}},
        {"error": {"message": "cannot read " + json.dumps(PRIVATE[10:90])}},
        f"no: {PRIVATE}",
    ],
)
def test_what_was_sent_is_neither_read_nor_shown(content):
    fault = refusal(400, content, [f"<turn>\n{PRIVATE}\n</turn>"])
    assert (fault.feature, "therapist" in fault.message.lower(), "not supported" in fault.message.lower()) == (
        None, False, False,
    )  # fmt: skip


def test_no_key_is_shown():
    fault = refusal(401, openai("Incorrect API key provided: my-own-key-1234 (sk-other9999)"), ["my-own-key-1234"])
    assert ("1234" in fault.message, "9999" in fault.message) == (False, False)


def test_a_wait_is_read_from_header_or_message():
    assert refusal(429, "slow down", headers={"Retry-After": "3"}).retry_after_s == 3.0
    assert refusal(429, openai("Please try again in 20s.")).retry_after_s == 20.0


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=60),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "msg", "loc", "code", "param", "x"]), inner, max_size=4),
        max_leaves=12,
    ),
    st.integers(300, 599),
)  # fmt: skip
def test_any_body_is_some_refusal_and_shown_in_one_printable_line(content, status):
    fault = refusal(status, content, [PRIVATE])
    assert fault.message.isprintable()
    assert len(fault.message) <= LONGEST


@given(st.text(min_size=30, max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_no_piece_of_a_text_that_was_sent_comes_back(private, before, after):
    letters = [c for c in private.lower() if c.isalnum()]
    fault = refusal(400, {"error": {"message": f"{before}{private}{after}"}}, [private])
    shown = "".join(c for c in fault.message.lower() if c.isalnum())
    assert len(letters) < 24 or not any("".join(letters[k : k + 24]) in shown for k in range(len(letters) - 23))


@pytest.mark.parametrize("piece", ["model ", "{", "{'loc': ('", "exceed tokens ", "<title>", "retry in ", '"'])
def test_long_refusals_take_no_longer_than_short_ones(piece):
    started = time.process_time()
    refusal(400, piece * (200_000 // len(piece)), [PRIVATE * 500])
    assert time.process_time() - started < 2.0
