import json
from importlib.util import find_spec

import pytest

from personalrm.errors import BadFile, MissingExtra, UnknownName
from personalrm.lm.http import OpenAIServer
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import Price, price_of
from personalrm.lm.protocol import Usage


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "PERSONALRM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_openai_models_go_to_openai_with_their_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    lm = open_model(ModelName("openai/gpt-4o-mini"))
    assert (lm.endpoint.model, lm.endpoint.base_url) == ("gpt-4o-mini", "https://api.openai.com/v1")
    assert lm.endpoint.api_key == "sk-openai"


def test_another_server_never_gets_openais_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert open_model(ModelName("m", "http://localhost:1/v1")).endpoint.api_key == ""
    assert open_model(ModelName("openai/m", "http://elsewhere/v1")).endpoint.api_key == ""


def test_a_key_file_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PERSONALRM_API_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    lm = open_model(ModelName("m", "http://localhost:1/v1", key_file=str(tmp_path / "key")))
    assert lm.endpoint.api_key == "from-file"


def test_a_key_is_in_no_repr_and_no_identity(monkeypatch):
    monkeypatch.setenv("PERSONALRM_API_KEY", "sk-secret")
    lm = open_model(ModelName("m", "http://localhost:1/v1"))
    assert isinstance(lm, OpenAIServer)
    assert "sk-secret" not in repr(lm.endpoint) + lm.identity + lm.name


@pytest.mark.parametrize(
    "name",
    [
        ModelName("gpt-4"),
        ModelName("openai/"),
        ModelName("m", "localhost:8000"),
        ModelName("m", "ftp://host/v1"),
        ModelName("m", "http://user:secret@host/v1"),
    ],
)
def test_a_name_that_does_not_say_where_is_refused_without_its_secrets(name):
    with pytest.raises(UnknownName) as caught:
        open_model(name)
    assert "secret" not in str(caught.value)


def test_a_missing_key_file_is_one_sentence():
    with pytest.raises(BadFile, match="key file 'nowhere'"):
        open_model(ModelName("m", "http://localhost:1/v1", key_file="nowhere"))


@pytest.mark.skipif(find_spec("litellm") is not None, reason="LiteLLM is installed")
def test_litellm_without_its_extra_names_the_extra():
    with pytest.raises(MissingExtra, match=r"personalrm\[litellm\]"):
        open_model(ModelName("litellm/x/y"))


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.5/v1", True),
        ("http://[::1]/v1", True),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_only_this_machine_is_local(url, local):
    assert ModelName("m", url).is_on_this_machine is local


def test_prices_are_found_with_and_without_provider():
    assert price_of("openai/gpt-4o-mini-2024-07-18") == price_of("gpt-4o-mini")
    assert price_of("nobody-knows") is None
    assert Price(1.0, 0.5, 2.0).of(Usage(1_000_000, 500_000, 400_000)) == pytest.approx(0.6 + 0.2 + 1.0)


def test_a_price_table_of_ones_own_is_read_and_checked(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"mine*": [1, 1, 2]}))
    assert price_of("mine-7b", path) == Price(1.0, 1.0, 2.0)
    for bad in ('{"m": [1]}', '{"m": [1, 2, -3]}', "[", '{"m": "free"}'):
        path.write_text(bad)
        with pytest.raises(BadFile, match="price table"):
            price_of("m", path)
