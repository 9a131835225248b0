"""What a server says in place of an answer: one list of wordings, and what follows from each.

Read are the message, the parameter and the place that a server names, whatever the status, since
servers agree on neither. Never read, and never shown, is what they send back of the request: a
conversation may hold any of these words.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from personalrm.lm.protocol import Again, Fault, Feature, Usage

TOO_LONG = "context too long"
LONGEST = 160
"""Characters shown of what a server said."""
MOST_READ = 4000
"""Characters read of it."""
ECHO = 24
"""Letters and digits in a row that were sent too: fewer may be chance, such as "maximum context length"."""
NOTHING = Usage()
TOO_MANY = 429
_FREE = frozenset({401, 402, 403, 404, 405, 410, 413, 422, TOO_MANY, 501})
"""Statuses of requests for which no server computes anything."""
_BUSY = frozenset({408, 409, 425, TOO_MANY, 499})
"""Statuses below 500 that may be another one the next time."""
_HOPELESS_FOR_ALL = {
    401: "check the key",
    402: "its quota or credit is used up, add some",
    403: "check the key",
    404: "check the base URL and the model's name",
    405: "check the base URL",
    410: "check the base URL and the model's name",
    501: "check the model's name",
    505: "check the base URL",
}
"""What to do about statuses that every other request would get too."""


@dataclass(frozen=True)
class _Wording:
    """How servers say one thing, and what follows."""

    says: re.Pattern[str]
    again: Again = "never"
    kind: str = ""
    """What it is called; its status where empty."""
    feature: Feature | None = None
    """What the server does not take."""
    advice: str = ""
    counts: Literal["always", "unless too many", "where refused"] = "always"
    """For which statuses: a server that is busy or broken says many a thing about its models and paths."""
    is_free: bool = True
    """Whether nothing was computed; what may have been is taken to have cost the most it can."""
    beside: re.Pattern[str] | None = None
    """What must be said too."""
    unless: re.Pattern[str] | None = None
    """What must not be said too."""


def _any(*wordings: str) -> re.Pattern[str]:
    return re.compile("|".join(wordings))


_NOT_TAKEN = _any(
    r"un(?:supported|recognized|known|expected|available|able)",
    r"n[o']t (?:be |yet )?(?:support|permit|allow|available|enabled)",
    r"not (?:accept|implement|compatible)",
    r"extra[ _](?:input|field|forbidden)",
    r"disabled|deprecated|forbidden|removed",
    r"no longer|instead|must|invalid|only|cannot|fail|between|range|(?:greater|less|more) than",
)
_SOON = _any(r"(?:retry|try again) (?:in|after)", r"retrydelay", r"per[ _-]?(?:minute|second)", r"\b[rt]pm\b")
_CREDIT = "its quota or credit is used up, add some or use another key"
_PATH = "check the base URL"
_WORDINGS = (  # in this order
    _Wording(
        _any(
            r"json_validate_failed",
            r"output_parse_failed",
            r"fail\w* to (?:validate|generate|parse|produce) (?:a )?(?:valid )?json",
            r"(?:output|response|generation)\b.{0,40}(?:not match|not conform|invalid|violat).{0,40}(?:schema|json)",
        ),
        "reseeded",
        "not the JSON that was asked for",
        is_free=False,
    ),
    _Wording(_any(r"insufficient_quota"), "stop", advice=_CREDIT),
    _Wording(
        _any(
            r"insufficient[ _-](?:user[ _-])?(?:quota|balance|credit|fund)",
            r"exceeded your (?:current|monthly|daily) quota",
            r"credit balance",
            r"(?:more|out of|no|not enough|add|purchase) credits?\b",
            r"credits? (?:is |are |has |have )?(?:been )?exhausted",
            r"billing[ _-](?:hard[ _-])?limit",
            r"billing[ _]not[ _]active",
            r"(?:monthly|weekly|spend\w*|usage) (?:limit|cap|budget)",
            r"budget(?: has been|[ _])exceeded",
            r"exceed\w* .{0,40}\b(?:quota|budget)",
            r"(?:quota|balance).{0,30}(?:exhausted|used up|exceeded)",
            r"account.{0,30}(?:not active|suspended|deactivated|overdue)",
            r"arrear",
            r"payment[ _]required",
            r"per[ _-]day\b",
            r"free (?:tier|quota|allocat).{0,60}(?:exhausted|exceeded|used)",
        ),
        "stop",
        advice=_CREDIT,
        unless=_SOON,
    ),
    _Wording(_any(r"request too large.{0,200}(?:per min|\btpm\b)"), "never", "too large for the server's rate limit"),
    _Wording(
        _any(
            r"max_(?:\w+_)?tokens\W{0,3} ?(?:is too large|must be (?:less|at most|smaller|<)|: \d+ > )",
            r"(?:range|value)\b.{0,20} of \W?max_\w*tokens",
            r"invalid \W?max_\w*tokens",
            r"at most \d+ (?:completion|output) tokens",
            r"maximum (?:allowed )?number of output tokens",
        ),
        "stop",
        advice="pass a smaller --max-tokens",
        counts="where refused",
        unless=_any(
            r"inputs?\W{0,2} tokens", r"prompt (?:contains|tokens)", r"in the messages", r"maximum context length"
        ),
    ),
    _Wording(
        _any(
            r"context[ _-]?(?:length|size|window|limit)",
            r"exceed_context",
            r"context the overflows",
            r"\bn_ctx\b",
            r"max(?:imum)?[ _]?(?:prompt|model|input|seq(?:uence)?|total)[ _]?len",
            r"maximum (?:number of )?(?:input )?tokens",
            r"(?:prompt|inputs?|messages?|conversation|texts?|sequence)\b.{0,30}\btoo (?:long|large|big|many)",
            r"too many (?:input |prompt )?tokens",
            r"(?:prompt|input|sequence|message|text)s?\b.{0,60}\b(?:longer|greater|larger|more) than",
            r"input length",
            r"(?:less|fewer|shorter|more) than.{0,30}\btoken",
            r"tokens\W* \+ ",
            r"token limit",
            r"tokens?\b.{0,80}\bexceed",
            r"exceed\w*.{0,80}\btokens?\b",
            r"(?:range|length) of (?:the |your )?(?:messages|prompt|inputs?)\b",
            r"(?:reduce|shorten) (?:the |your )?(?:length|prompt|input|message)",
            r"string[ _]above[ _]max",
            r"too long for",
        ),
        "never",
        TOO_LONG,
        counts="unless too many",
        is_free=False,
        unless=_SOON,
    ),
    _Wording(
        _any(
            r"response_?format",
            r"json[ _-]?schema",
            r"json_object",
            r"guided",
            r"structured[ _-]?(?:out|gen|dec)",
            r"\bgrammar",
            r"constrained decod",
            r"json[ _-]mode",
            r"response.?(?:mime|schema)",
            r"invalid schema",
            r"output_config",
        ),
        feature="schema",
        counts="unless too many",
    ),
    _Wording(_any(r"log_?prob", r"log[ -]probabilit"), feature="logprobs", counts="unless too many"),
    _Wording(_any(r"stream_options", r"include_usage"), feature="usage", counts="unless too many"),
    _Wording(
        _any(
            r"only supports? stream",
            r"stream(?:ing)? mode",
            r"non-?stream",
            r"stream\W{1,4}(?:must |should )?(?:be )?(?:set )?(?:to |= ?)?\W?true",
            r"(?:requires?|enable|use|set).{0,30}\bstream",
            r"stream(?:ing)? is (?:strongly )?(?:required|recommended)",
        ),
        feature="whole",
        counts="unless too many",
    ),
    _Wording(
        _any(
            r"(?:system|developer)['\"`]?[ _-](?:role|message|prompt|instruction|turn)",
            r"roles?\b\W{1,4}(?:system|developer)",
            r"(?:support|allow|accept|know|role)\w*.{0,20}['\"`](?:system|developer)\b",
            r"must alternate",
            r"\balternat(?:e|ing)\b",
            r"consecutive (?:user|assistant|message|role|turn)",
            r"only user(?:,| and| or) ",
            r"'user' or 'assistant'",
            r"(?:un(?:expected|supported|known)|invalid) (?:message )?role",
            r"(?:messages|turns) in a row",
            r"first message must",
        ),
        feature="roles",
        counts="unless too many",
    ),
    _Wording(
        _any(r"max_completion_tokens", r"\bmax_tokens"),
        feature="max_tokens",
        counts="unless too many",
        beside=_NOT_TAKEN,
    ),
    _Wording(_any(r"\btemperature\b"), feature="temperature", counts="unless too many", beside=_NOT_TAKEN),
    _Wording(_any(r"\bseed\b"), feature="seed", counts="unless too many", beside=_NOT_TAKEN),
    _Wording(
        _any(
            r"content[ _-]?(?:filter|management|policy|moderation)",
            r"responsibleai",
            r"\bflagged\b",
            r"requires moderation",
            r"data_?inspection",
            r"inappropriate content",
            r"sensitive (?:content|words)",
            r"usage polic(?:y|ies)",
            r"safety (?:system|filter|reasons?|polic)",
            r"prohibited[ _](?:content|use)",
            r"violat\w+ .{0,40}polic",
        ),
        "reseeded",
        "content filter",
        counts="where refused",
        is_free=False,
    ),
    _Wording(
        _any(
            r"(?:invalid|incorrect|missing|wrong|no|expired|revoked)[ _](?:(?:valid|api|access|auth\w*|bearer)[ _-]?)*"
            r"(?:key|token|credentials)\b",
            r"api[ _-]?key.{0,30}(?:not valid|invalid|expired|missing|required|not found)",
            r"provide an? (?:valid )?api key",
            r"authentication[ _](?:error|fail|required)",
            r"unauthori[sz]ed",
        ),
        "stop",
        advice="check the key",
        counts="where refused",
    ),
    _Wording(
        _any(
            r"model.{0,100}(?:not[ _](?:be )?found|not exist|n't exist|not available|not loaded|decommissioned|"
            r"no longer|not supported|not deployed|not serve|retired|shut ?down)",
            r"(?:no such|unknown|invalid|unsupported|wrong)[ _]model",
            r"not a (?:valid|known|chat) model",
            r"not (?:serve|host|have|find) (?:the )?model",
            r"no models? (?:is |are )?(?:currently )?(?:loaded|available|found)",
            r"no endpoints found",
            r"deployment.{0,60}(?:not exist|not found)",
            r"deploymentnotfound",
            r"not support (?:chat|generate|completion)",
            r"pulling it first",
        ),
        "stop",
        advice="check the model's name",
        counts="where refused",
    ),
    _Wording(
        _any(
            r"unexpected endpoint",
            r"(?:invalid|unknown|unrecognized) (?:request )?(?:url|path|route|endpoint)",
            r"no (?:matching )?(?:route|handler)",
            r"cannot (?:post|get) /",
            r"page not found",
            r"method not allowed",
            r"(?:path|route|url|endpoint|resource).{0,60}not[ _](?:be )?found",
            r"no such (?:path|endpoint|url|route)",
        ),
        "stop",
        advice=_PATH,
        counts="where refused",
    ),
)
_NAMES: tuple[tuple[re.Pattern[str], Feature], ...] = (
    (
        _any(r"response_?format", r"json_?schema", r"guided", r"structured", r"grammar", r"^format$", r"output_format"),
        "schema",
    ),
    (_any(r"log_?prob"), "logprobs"),
    (_any(r"^seed$"), "seed"),
    (_any(r"^temperature$"), "temperature"),
    (_any(r"stream_options"), "usage"),
    (_any(r"^stream$"), "whole"),
    (_any(r"\brole$"), "roles"),
)
"""The features by the names of parameters and places in a request."""
_OWN = frozenset(
    "error errors message msg detail details error_message error_msg error_description description reason raw metadata"
    " innererror inner_error title fieldViolations status_message".split()
)
"""Keys of an error under which servers speak for themselves; under all others the request may come back."""
_LOC = re.compile(r"""['"]loc['"]: ?[(\[]([^)\]]*)[)\]]""")
_MSG = re.compile(r"""['"]msg['"]: ?(['"])(.*?)\1""")
_FROM_HERE_OURS = re.compile(
    r"""input_value=|['"](?:inputs?|messages|prompt|content|body|request|failed_generation)['"]\s*:"""
)
"""What follows in a message is the request, or what the model wrote."""
_SECRET = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|bearer)[-_ ][\w*.\-]{6,}", re.IGNORECASE)
_WAIT = re.compile(r"(?:retry|try again) in (?:about )?(\d+(?:\.\d+)?) ?(ms|m|s)")


@dataclass(frozen=True)
class _Said:
    """The server's own part of an error."""

    messages: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Parameters, and places in the request."""
    codes: list[str] = field(default_factory=list)
    """Codes and types."""


def refusal_of(status: int, headers: Mapping[str, str], body: bytes, sent: Sequence[str] = ()) -> Fault:
    """What a response means that is not a success.

    Args:
        status: Of the response.
        headers: Of the response; only Retry-After counts.
        body: JSON in any layout, HTML or text.
        sent: Texts and secrets of the request, which are neither read nor shown.
    """
    text = body[: 16 * MOST_READ].decode("utf-8", "replace")
    page = re.search(r"<title[^>]*>([^<]{0,400})", text, re.IGNORECASE)
    content = "" if text.lstrip()[:1] == "<" else text
    return error_fault(page.group(1) if page else content, status, retry_after(headers.get("Retry-After")), sent)


def error_fault(error: Any, status: int | None, retry_after_s: float | None = None, sent: Sequence[str] = ()) -> Fault:
    """What an error means, as text or as JSON values.

    Args:
        error: What was said.
        status: Of the response; None where it says that all is well, as proxies do of errors.
        retry_after_s: Wait that was asked for.
        sent: Texts and secrets of the request, which are neither read nor shown.
    """
    said = _Said()
    _listen(error, said)
    own = _without_echo(" ".join(said.messages)[:MOST_READ], sent)
    words = " ".join([own, *said.codes]).lower()
    kind = f"HTTP {status}"
    if status is None:
        status = next((int(code) for code in said.codes if re.fullmatch(r"[45]\d\d", code)), None)
        kind = f"error {status}" if status else "error with status 200"
    if retry_after_s is None and (wait := _WAIT.search(words)):
        retry_after_s = float(wait[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[wait[2]]
    is_refusal = status is None or status in _HOPELESS_FOR_ALL or (400 <= status < 500 and status not in _BUSY)
    again: Again = "same"
    if status in _HOPELESS_FOR_ALL:
        again = "stop"
    elif status is not None and is_refusal:
        again = "never"
    advice = _HOPELESS_FOR_ALL.get(status or 0, "")
    usage = NOTHING if status in _FREE else None
    feature = next((feature for name in said.names for is_name, feature in _NAMES if is_name.search(name)), None)
    if feature is not None:
        usage = NOTHING
    else:
        for wording in _WORDINGS:
            if not _counts(wording, words, status, is_refusal=is_refusal):
                continue
            usage = NOTHING if wording.is_free else None
            feature = wording.feature
            if feature is None:
                again, advice, kind = wording.again, wording.advice, wording.kind or kind
            break
    return Fault(
        kind,
        again,
        status=status,
        retry_after_s=retry_after_s,
        feature=feature,
        advice=advice,
        message=_shown(own, sent),
        usage=usage,
    )


def _counts(wording: _Wording, words: str, status: int | None, *, is_refusal: bool) -> bool:
    if (wording.counts == "where refused" and not is_refusal) or (wording.counts != "always" and status == TOO_MANY):
        return False
    if not wording.says.search(words) or (wording.beside is not None and not wording.beside.search(words)):
        return False
    return wording.unless is None or not wording.unless.search(words)


def _listen(value: Any, said: _Said, depth: int = 0) -> None:
    """Gather what is the server's own, from JSON values and from texts with such in them."""
    if depth > 8 or len(said.messages) > 20:
        return
    if isinstance(value, str):
        _listen_to_text(value[: 4 * MOST_READ], said, depth)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if key in _OWN:
                _listen(part, said, depth + 1)
            elif key in ("param", "field") and isinstance(part, str):
                said.names.extend(part.split("."))
                said.names.append(part)
            elif key == "loc" and isinstance(part, list | tuple):
                said.names.extend(str(name) for name in part)
            elif key in ("code", "type", "status", "error_type", "http_code") and isinstance(part, str | int | float):
                said.codes.append(str(part))
            elif key == "retryDelay":
                said.codes.append("retrydelay")
    elif isinstance(value, list | tuple):
        for part in value:
            _listen(part, said, depth + 1)


def _listen_to_text(text: str, said: _Said, depth: int) -> None:
    """Texts hold JSON, or what Python prints of it, behind the name of who says so."""
    starts = [at for at in (text.find("{"), text.find("[{")) if at >= 0]
    if starts:
        at = min(starts)
        with suppress(ValueError, RecursionError):
            inner, _ = json.JSONDecoder().raw_decode(text, at)
            said.messages.append(text[:at].strip())
            _listen(inner, said, depth + 1)
            return
    ours = _FROM_HERE_OURS.search(text)
    text = text[: ours.start()] if ours else text
    for place in _LOC.findall(text):
        said.names.extend(re.findall(r"\w+", place))
    said.messages.extend([part for _, part in _MSG.findall(text)] or [text])


def _without_echo(text: str, sent: Sequence[str]) -> str:
    """The text in one line of printable characters, with `…` for what was sent."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    text = re.sub(r"\\[nrt]", " ", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    places = [at for at, c in enumerate(text) if c.isalnum()]
    letters = "".join(text[at] for at in places).lower()
    if len(letters) < ECHO or not sent:
        return text
    ours = "\n".join("".join(filter(str.isalnum, part)) for part in sent).lower()
    if len(letters) != len(places):  # lowering a letter may give two; then nothing can be told apart
        return "…"
    kept, at, cut_to = [], 0, 0
    while at + ECHO <= len(letters):
        if letters[at : at + ECHO] in ours:
            end = at + ECHO
            while end < len(letters) and letters[end - ECHO + 1 : end + 1] in ours:
                end += 1
            kept.append(text[cut_to : places[at]])
            cut_to, at = places[end - 1] + 1, end
        else:
            at += 1
    return "… ".join([*kept, text[cut_to:]]) if kept else text


def _shown(text: str, sent: Sequence[str]) -> str:
    """As much of the server's words as goes into a message of ours, secrets and short texts that were sent left out."""
    for part in sent:
        if 4 <= len(part.strip()) < 2 * ECHO:
            text = text.replace(part.strip(), "…")
    text = _SECRET.sub("…", text).strip()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


_CONTEXT = re.compile(
    r"context[ _-]?(?:length|size|window|limit)\D{0,20}?\b(\d{2,9})\b|\b(\d{2,9})[ -](?:tokens? )?(?:maximum )?context"
)


def context_named(message: str) -> int | None:
    """The tokens of a model's context, where a refusal names them.

    >>> context_named("This model's maximum context length is 2048 tokens. However, you requested 2500 tokens")
    2048
    """
    named = _CONTEXT.search(message.lower().replace(",", ""))
    return int(named[1] or named[2]) if named else None


def retry_after(value: str | None) -> float | None:
    """Seconds a Retry-After header asks for, as a number or a date; None when absent or absurd.

    >>> retry_after("2"), retry_after("-1"), retry_after("soon")
    (2.0, None, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
        seconds = max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
