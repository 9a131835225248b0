"""Embedding servers as bug reports describe them: what each says instead of vectors, or does to them.

Every mode gets the request and the right answer, and gives back what the server sends.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

import numpy as np

Answer = tuple[int, Any]
"""A status and JSON."""
LONGEST = 400
"""Characters that the servers below take for as long as can be."""


def _refuses(is_refused: Callable[[list[str]], bool], status: int, said: Any) -> Callable[[Any, Any], Answer]:
    def answer(body: Any, good: Any) -> Answer:
        texts = body["input"]
        if not is_refused(texts):
            return 200, good
        return status, said(texts) if callable(said) else said

    return answer


def _too_many(most: int, status: int, said: Any) -> Callable[[Any, Any], Answer]:
    return _refuses(lambda texts: len(texts) > most, status, said)


def _too_long(status: int, said: Any) -> Callable[[Any, Any], Answer]:
    return _refuses(lambda texts: any(len(text) > LONGEST for text in texts), status, said)


def _changed(change: Callable[[list[Any]], Any]) -> Callable[[Any, Any], Answer]:
    """What the rows become; some are changed where they stand."""

    def answer(_: Any, good: Any) -> Answer:
        rows = [dict(row) for row in sorted(good["data"], key=lambda row: row["index"])]
        changed = change(rows)
        return 200, {**good, "data": rows if changed is None else changed}

    return answer


def _each(**fields: Callable[[Any], Any]) -> Callable[[Any, Any], Answer]:
    return _changed(lambda rows: [{**row, **{name: make(row) for name, make in fields.items()}} for row in rows])


def _spoils(value: float | None) -> Callable[[Any, Any], Answer]:
    """The vector of a text with rice in it holds the value."""

    def answer(body: Any, good: Any) -> Answer:
        rows = [dict(row) for row in good["data"]]
        for row in rows:
            if "rice" in body["input"][row["index"]]:
                row["embedding"] = [value, *row["embedding"][1:]]
        return 200, {**good, "data": rows}

    return answer


def _without_format(body: Any, good: Any) -> Answer:
    if "encoding_format" in body:
        return 400, {"error": {"message": "Unrecognized request argument supplied: encoding_format"}}
    return 200, good


def _base64(row: Any) -> str:
    return base64.b64encode(np.array(row["embedding"], "<f4").tobytes()).decode("ascii")


def _error(message: str, **more: Any) -> Any:
    return {"error": {"message": message, "param": None, "code": None, **more}}


NAN_500 = _error("failed to encode response: json: unsupported value: NaN", type="api_error")
MODES: dict[str, Callable[[Any, Any], Answer]] = {
    "batch10": _too_many(10, 400, _error(
        "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than "
        "10.: input.contents", code="InvalidParameter")),
    "batch8_422": _too_many(8, 422, lambda texts: {
        "message": f"batch size {len(texts)} > maximum allowed batch size 8", "code": 422, "type": "Validation"}),
    "batch16_azure": _too_many(16, 400, _error("Too many inputs. The max number of inputs is 16.")),
    "batch1_list": _too_many(1, 400, _error("'input' must be a text; array of inputs is not supported by this model")),
    "batch20_413": _too_many(20, 413, {"detail": "Payload Too Large"}),
    "batch5_no_words": _too_many(5, 400, _error("Bad request")),
    "batch_tokens": _refuses(lambda texts: sum(map(len, texts)) > 600, 400, {
        "detail": "The max allowed tokens per submitted batch is 120000. Please lower the number of tokens "
        "in the batch."}),
    "tei_413": _too_long(413, lambda texts: {
        "message": f"Input validation error: `inputs` must have less than 512 tokens. Given: {max(map(len, texts))}",
        "code": 413, "type": "Validation"}),
    "ollama_ctx": _too_long(400, _error("the input length exceeds the context length", type="api_error")),
    "llamacpp_batch": _too_long(500, _error(
        "input is too large to process. increase the physical batch size", code=500, type="server_error")),
    "openai_ctx": _too_long(400, _error(
        "This model's maximum context length is 8192 tokens, however you requested 9000 tokens")),
    "llama_box": _too_long(400, _error("Illegal param: prefill 744 tokens exceed n_ctx_per_seq, try increasing it")),
    "cohere_long": _too_long(422, {"message": "texts[0]: sequence of 9000 tokens is over the limit of this model"}),
    "long_no_words": _too_long(500, {"detail": "Internal Server Error"}),
    "long_plain_400": _too_long(400, {"detail": "invalid input"}),
    "shuffled": _changed(lambda rows: random.Random(0).shuffle(rows)),
    "no_index": _changed(lambda rows: [{"embedding": row["embedding"]} for row in rows]),
    "index_all_zero": _each(index=lambda row: 0),
    "index_from_one": _each(index=lambda row: row["index"] + 1),
    "base64_anyway": _each(embedding=_base64),
    "nested": _each(embedding=lambda row: [row["embedding"]]),
    "encoding_refused": _without_format,
    "text_only": lambda body, good: (200, good) if isinstance(body["input"], str) else (422, {"detail": [
        {"type": "string_type", "loc": ["body", "input"], "msg": "Input should be a valid string"}]}),
    "list_alone": lambda body, good: (200, good["data"]),
    "nan_500": _refuses(lambda texts: any("rice" in text for text in texts), 500, NAN_500),
    "nan_in_vector": _spoils(float("nan")),
    "null_in_vector": _spoils(None),
    "dims_differ": _changed(lambda rows: rows[0].update(embedding=rows[0]["embedding"][:4]) if len(rows) > 1 else None),
    "one_missing": _changed(lambda rows: rows.pop() and None if len(rows) > 1 else None),
    "one_refused": _refuses(lambda texts: any("rice" in text for text in texts), 400, {"detail": "bad token"}),
    "none_at_all": _refuses(lambda texts: True, 400, _error("this model does not support embeddings")),
}  # fmt: skip
