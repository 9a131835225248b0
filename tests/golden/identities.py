"""What must not change from one version to the next: names of files, prompts, requests, settings and figures, as one value.

Hashes of these things stand in file names, cache keys and saved folders of users, so a change makes old work unreadable
or paid for twice. Everything is made by commands, into a folder of its own, and read from the files they wrote;
`identities.json` holds the values of the version before a change. Where a change is meant:

    python -m tests.golden.identities --write

and say in the changelog what of the old is still read. Without `--write` the differences are printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakes.command import output_of as run

from personalrm.lm.batch import key_of
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.protocol import Request, Sampling, Schema
from personalrm.preferences.messages import Message
from personalrm.preferences.people import example_path
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.store.people import PeopleStore
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.scripted_models import counting

GOLDEN = Path(__file__).with_name("identities.json")
WHOLE_PROMPT = Path(__file__).with_name("whole_prompt.json")
"""A personal prompt in which every field says something."""
PARTS = {
    "mara": "train", "amir": "train", "kenji": "train", "ruth": "train", "priya": "train", "henrik": "dev",
    "nadia": "test", "tobias": "test",
}  # fmt: skip
FEW = ("nadia", "tobias")
HEADS = ("bradley_terry_head", "low_rank", "mrm", "soup", "two_level", "gpo", "vpl", "pal")
LANGUAGE = ("bradley_terry", "bradley_terry_soup", "vpl_lm")
PROMPTS = ("default", "memory", "guided_profile", "raw_history", "just_demonstrations", "just_persona")
QUICK = {
    **{name: {"optimization": {"n_steps": 5}} for name in ("gpo", "vpl", "pal", "mrm")},
    **{name: {"max_tokens": 32, "pairs_a_step": 16, "epochs": 1, "lora": {"rank": 2}} for name in LANGUAGE},
    "bradley_terry_soup": {"adapters": {"max_tokens": 32, "pairs_a_step": 16, "epochs": 1, "lora": {"rank": 2}}},
}
"""Settings under which a model of each kind is trained in a second; kinds that are not named take their defaults."""
CLOSE = 1e-4
"""How far a figure may be off: other processors add in another order."""


class Recorder:
    """Stands before a fake server and keeps the bytes of every request."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Its base URL."""
        with FakeServer(counting(0.95, 1.0)) as behind:
            server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(behind.url))
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/v1"
            finally:
                server.shutdown()
                server.server_close()
                thread.join()

    def taken(self) -> list[bytes]:
        """What came in since the last time, sorted: requests leave in no fixed order."""
        bodies, self.bodies = sorted(self.bodies), []
        return bodies

    def _handler(self, url: str) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorder.bodies.append(body)
                with urllib.request.urlopen(url + "/chat/completions", data=body) as response:
                    content = response.read()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def digest(content: bytes | str) -> str:
    """The beginning of a sha256, enough to tell two contents apart."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def ordered(content: Any) -> str:
    """A value as JSON whose keys stand in their own order, so that a changed order is a changed value."""
    return json.dumps(content, ensure_ascii=False)


def example_rows() -> list[dict[str, Any]]:
    """Choices of the people that ship: six each of the users of `PARTS`, with their part."""
    rows = [json.loads(line) for line in Path(example_path()).read_text(encoding="utf-8").splitlines()]
    return [
        row | {"user_split": PARTS[user]}
        for user in PARTS
        for row in [row for row in rows if row["user_id"] == user][:6]
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shapes(bodies: Sequence[bytes]) -> dict[str, Any]:
    """Requests by their settings, as text with keys in order: how many, and a digest of them all."""
    groups: dict[str, list[bytes]] = {}
    for body in bodies:
        content = json.loads(body)
        content["messages"] = [message["role"] for message in content["messages"]]
        groups.setdefault(ordered(content), []).append(body)
    return {shape: {"n": len(group), "digest": digest(b"\n".join(group))} for shape, group in sorted(groups.items())}


def files_of(folder: Path, *, without: Sequence[str] = ()) -> list[str]:
    """Paths of the files in a folder, but for those whose name begins with one of some words."""
    return sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(tuple(without))
    )


def prompts_of(home: Path) -> dict[str, str]:
    """A digest of every saved prompt by its path, but for its fingerprint, into which the port of the server goes."""
    people = PeopleStore(home)
    texts = {
        f"{_digest_of_user(person.user_id)}/v{number:04d}.json": prompt_to_json(people.load(person.user_id, number))
        for person in people.listed()
        for number in range(1, person.n_versions + 1)
    }
    return {name: digest(re.sub(r'"fingerprint": "\w+"', "", text)) for name, text in sorted(texts.items())}


def _digest_of_user(user_id: str) -> str:
    """The name of a person's folder in the homes of the first versions, where the golden file has it from."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def of_the_embedded_engine(folder: Path, _: Recorder, __: str) -> dict[str, Any]:
    """Prompts of the example people, where they are saved, what is exported."""
    home = folder / "home"
    run("fit", example_path(), "--home", home)
    exported = run("export", "--home", home)
    return {
        "files": files_of(home),
        "prompts": prompts_of(home),
        "exported": digest(exported),
        "export keys": [ordered(_keys(line)) for line in map(json.loads, exported.splitlines()[12:14])],
    }


def of_a_whole_prompt(folder: Path, _: Recorder, __: str) -> dict[str, Any]:
    """A prompt that says something in every field, read and written again."""
    text = WHOLE_PROMPT.read_text(encoding="utf-8")
    home = folder / "whole"
    user = json.loads(text)["user_id"]
    people = PeopleStore(home)
    people.save(prompt_from_json(text, where="whole_prompt.json"))
    people.save(prompt_from_json(json.dumps(json.loads(text) | {"notes": ["another"]}), where="another"))
    people.close()
    run("restore", user, "1", "--home", home)
    written = prompt_to_json(PeopleStore(home).load(user, 3))
    return {
        "written again": digest(written),
        "equal": written == text,
        "for a judge": digest(run("show", user, "--home", home, "--as", "judge-messages")),
        "for a generator": digest(run("show", user, "--home", home, "--as", "generation-prompt")),
    }


def of_requests(folder: Path, recorder: Recorder, url: str) -> dict[str, Any]:
    """What commands send to a model: settings, schemas, messages; and the prompts that come of it."""
    rows = [row for row in example_rows() if row["user_id"] in FEW]
    file, home = write_rows(folder / "few.jsonl", rows), folder / "model-home"
    drafts = [{"user_id": row["user_id"], "conversation": row["conversation"]} for row in rows[:2]]
    pairs = [draft | {"first": "Yes. 2 of them.", "second": "It might be so."} for draft in drafts]
    many = [draft | {"completions": ["Yes. 2 of them.", "It might be so.", "No."]} for draft in drafts]
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "many.jsonl", many)
    model = ("--model", "tiny", "--base-url", url, "--home", home, "--trials", "2")
    asked = ("--model", "tiny", "--base-url", url, "--home", home)
    commands: dict[str, tuple[object, ...]] = {
        "fit": ("fit", file, *model),
        "fit persona": ("fit", file, *model, "--variant", "persona"),
        "judge": ("judge", folder / "pairs.jsonl", *asked),
        "judge thrice": ("judge", folder / "pairs.jsonl", *asked, "--samples", "3", "--temperature", "0.7"),
        "judge otherwise": (
            "judge", folder / "pairs.jsonl", *asked, "--max-tokens", "77", "--model-seed", "5", "--body", '{"top_k": 3}',
        ),
        "rank": ("rank", folder / "many.jsonl", *asked),
        "rank knockout": ("rank", folder / "many.jsonl", *asked, "--tournament", "knockout"),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, command in commands.items():
        printed = run(*command)
        bodies = recorder.taken()
        found[name] = {"requests": shapes(bodies), "printed": digest(printed)}
        if name == "judge":
            found["one request"] = bodies[0].decode()
    return found | {"prompts": prompts_of(home), "files": files_of(home, without=("cache", "index"))}


def of_cache_keys(_: Path, __: Recorder, ___: str) -> dict[str, str]:
    """The keys under which answers are kept."""
    schema = Schema("verdict", {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}})
    turns = (Message("system", "Judge."), Message("user", "Which one? é\n"), Message("assistant", "First."))
    plain = OpenAIServer(Endpoint("m", "http://127.0.0.1:1/v1/")).identity
    other = OpenAIServer(Endpoint("m", "http://127.0.0.1:1/v1", body={"z": 1, "a": [2]}, tenant="t", name="n")).identity
    requests = {
        "plain": Request(turns[:1]),
        "turns": Request(turns, stage="judge", user_id="u"),
        "sampling": Request(turns, Sampling(0.7, 77, 5, 20)),
        "schema": Request(turns, schema=schema),
    }
    keys = {name: key_of(plain, request).hex() for name, request in requests.items()}
    return keys | {"another server": key_of(other, requests["schema"]).hex(), "identity": plain, "other": other}


def of_a_run_with_models(folder: Path, recorder: Recorder, url: str) -> dict[str, Any]:
    """`run.json`, names of cells, judgements and requests of a run with judges and the embedded engine."""
    rows = [row | {"user_split": "test"} for row in example_rows() if row["user_id"] in (*FEW, "henrik")]
    write_rows(folder / "three.jsonl", rows)
    spec = {
        "name": "judges",
        "datasets": [{"name": "People.of_the-run", "path": "three.jsonl", "min_pairs": 3, "shows_texts": True}],
        "models": [{"label": label, "name": "tiny", "base_url": url, "scripted": True} for label in ("A b", "c")],
        "methods": [
            "random", "first", "longer", "population", "personal", *PROMPTS, "persona_and_demonstrations",
        ],
        "seeds": [0, 1],
        "trials": 1,
        "identical": 2,
        "shuffled_users": {"embedded": 2},
        "by_context": {"k": [0, 2], "methods": ["personal", "persona_and_demonstrations"], "models": ["embedded", "c"]},
        "transfer": {"methods": ["persona_and_demonstrations"], "students": ["c"], "teachers": ["A b"]},
    }  # fmt: skip
    found = _bench(folder, "judges", spec)
    requests = shapes(recorder.taken())
    return found | {"requests": requests}


def of_a_run_with_trained_models(folder: Path, _: Recorder, __: str) -> dict[str, Any]:
    """The same of a run with every trained reward model."""
    write_rows(folder / "people.jsonl", example_rows())
    spec = {
        "name": "trained",
        "datasets": [{"name": "people", "path": "people.jsonl", "min_pairs": 3}],
        "encoders": [{"label": "stylometric"}],
        "base_models": [{"label": "tiny", "name": "tiny", "device": "cpu", "n_parameters": 1e6}],
        "methods": ["longer", *HEADS, *LANGUAGE],
        "reward_models": [{"method": name, "settings": settings} for name, settings in QUICK.items()],
        "shuffled_users": {"embedded": 1, "base_models": 1},
    }
    return _bench(folder, "trained", spec)


def _bench(folder: Path, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    (folder / f"{name}.yaml").write_text(json.dumps(spec), encoding="utf-8")  # JSON is YAML
    place = folder / name
    run(
        "bench",
        "run",
        "-c",
        folder / f"{name}.yaml",
        "--folder",
        place,
        "--home",
        folder / f"{name}-home",
        "--attempts",
        "1",
    )
    info = json.loads((place / "run.json").read_text(encoding="utf-8"))
    del info["versions"]
    return {
        "run.json": ordered(info),
        "files": files_of(place),
        "judgements": {path.name: _rows(path) for path in sorted((place / "judgements").iterdir())},
        "targets": {path.name: digest(path.read_bytes()) for path in sorted((place / "targets").iterdir())},
        "prompts": digest("".join(digest(path.read_bytes()) for path in sorted((place / "prompts").rglob("*.json")))),
        "timing keys": ordered(_keys(json.loads((place / "timing.jsonl").read_text().splitlines()[0]))),
    }


def _rows(path: Path) -> dict[str, Any]:
    """A cell: its head, keys of a row in order, everything but the numbers as a digest, and the numbers."""
    head, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    texts = [{key: value for key, value in row.items() if not isinstance(value, float)} for row in rows]
    numbers = [round(value, 6) for row in rows for value in row.values() if isinstance(value, float)]
    return {"head": ordered(head), "keys": ordered(list(rows[0])), "texts": digest(ordered(texts)), "numbers": numbers}


def of_trained_models(folder: Path, _: Recorder, __: str) -> dict[str, Any]:
    """Folders of trained models: their files, what stands in `model.json` in its order, and the rewards they give."""
    rows = write_rows(folder / "to-train.jsonl", [row for row in example_rows() if row["user_split"] != "test"])
    drafts = write_rows(
        folder / "drafts.jsonl",
        [{"user_id": "henrik", "prompt": "Is it worth repairing?", "completions": ["Yes. Do it.", "It might be."]}],
    )
    found = {}
    faithful = [f"{name} --faithful" for name in ("gpo", "vpl", "pal", "vpl_lm")]
    for title in (*HEADS, "bt", "bt_soup", "vpl_lm", *faithful):
        name, *flags = title.split()
        method = {"bt": "bradley_terry", "bt_soup": "bradley_terry_soup"}.get(name, name)
        model, settings = folder / f"model-{title}", folder / f"{name}.yaml"
        settings.write_text(json.dumps(QUICK.get(method, {})), encoding="utf-8")
        more = ("--base", "tiny") if method in LANGUAGE else ()
        home = ("--home", folder / "train-home")
        report = run(
            "train", name, rows, "--out", model, "-c", settings, "--dev-percent", "0", "--json", *flags, *more, *home
        )
        scores = run("score", drafts, "--model-folder", model, "--context", rows, "--json", *home)
        found[title] = {
            "files": files_of(model),
            **{path.name: _settings(path) for path in sorted(model.glob("*.json"))},
            "report keys": ordered(_keys(json.loads(report))),
            "rewards": json.loads(scores)["rewards"],
        }
    return found


def _settings(path: Path) -> str:
    """A file of settings in its order; figures of the training apart from the settings may differ by processor."""
    return ordered(_rounded(json.loads(path.read_text(encoding="utf-8"))))


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return float(f"{content:.3g}") if isinstance(content, float) else content


def _keys(content: Any) -> Any:
    """The keys of a value in their order, without what they hold."""
    if isinstance(content, dict):
        return {key: _keys(value) for key, value in content.items()}
    return [_keys(content[0])] if isinstance(content, list) and content else type(content).__name__


PARTS_OF: Mapping[str, Callable[[Path, Recorder, str], Any]] = {
    "embedded engine": of_the_embedded_engine,
    "whole prompt": of_a_whole_prompt,
    "requests": of_requests,
    "cache keys": of_cache_keys,
    "run with models": of_a_run_with_models,
    "run with trained models": of_a_run_with_trained_models,
    "trained models": of_trained_models,
}
NEED_TORCH = ("run with trained models", "trained models")


def identities_of(part: str) -> Any:
    """The values of a part, made in a folder that goes afterwards."""
    before, recorder = Path.cwd(), Recorder()
    with tempfile.TemporaryDirectory(prefix="personalrm-golden-") as name, recorder.served() as url:
        folder = Path(name)
        if part in NEED_TORCH:
            save_base_model(folder / "tiny")
        os.chdir(folder)  # so that no path of a machine stands in a model or a run
        try:
            return PARTS_OF[part](Path(), recorder, url)
        finally:
            os.chdir(before)


def save_base_model(folder: Path) -> None:
    """A random language model of a few kilobytes."""
    from personalrm.embedding.quiet_loading import quiet_loading
    from personalrm.testing.tiny_models import save_tiny_model

    with quiet_loading():
        save_tiny_model(folder, hidden_size=8, intermediate_size=16, num_attention_heads=2, num_key_value_heads=1)


def differences(old: Any, new: Any, where: str) -> Iterator[str]:
    """A line for each place where two values differ; figures may be a little off."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), f"{where}: {key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{where}[{number}]")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{where}: was {old}, is {new}"
    elif old != new:
        yield f"{where}: was {old!r}, is {new!r}"


def main_of_script() -> int:
    found = {part: identities_of(part) for part in PARTS_OF}
    if "--write" in sys.argv:
        GOLDEN.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return 0
    lines = list(
        differences(json.loads(GOLDEN.read_text(encoding="utf-8")), json.loads(json.dumps(found)), "identities")
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main_of_script())
