"""Fits the same users with personalrm: cache on disk, persona and demonstrations, waves of users overlapped.

`python -m peers.fit_ours URL USERS.json RESULT.json`, run inside benchmarks/.
"""

import json
import resource
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

started = time.perf_counter()
import aiohttp  # noqa: E402, F401  # a fit imports it when it connects; here it is timed with the rest

from peers.people import Row, pairs_of  # noqa: E402
from personalrm.induction.settings import InductionSettings  # noqa: E402
from personalrm.induction.synthesize import synthesize  # noqa: E402
from personalrm.induction.waves import run_overlapping  # noqa: E402
from personalrm.judging.both_orders import judge_both_orders, question_about  # noqa: E402
from personalrm.judging.model import ModelJudge  # noqa: E402
from personalrm.lm.batch import Caller  # noqa: E402
from personalrm.lm.cache import Cache  # noqa: E402
from personalrm.lm.opening import ModelName, open_model  # noqa: E402
from personalrm.lm.settings import Limits  # noqa: E402
from personalrm.preferences.personal_prompts import PersonalPrompt  # noqa: E402

IMPORT_S = time.perf_counter() - started
IN_FLIGHT = 256


def right(judge: ModelJudge, prompt: PersonalPrompt, user: Row) -> list[int]:
    """For each target 1 or 0: in the first order for all, then in the second, as the package lists them."""
    targets = pairs_of(user["user_id"], user["targets"])
    both = judge_both_orders(judge, [question_about(prompt, t.conversation, t.chosen, t.rejected) for t in targets])
    return [int(one.as_asked.choice == "first") for one in both] + [int(one.swapped.choice == "second") for one in both]


def main(url: str, users_file: str, result_file: str) -> None:
    users = json.loads(Path(users_file).read_text())
    pairs = {user["user_id"]: pairs_of(user["user_id"], user["context"]) for user in users}
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(
            open_model(ModelName("fake", url)), cache=Cache(Path(folder) / "c"), limits=Limits(max_in_flight=IN_FLIGHT)
        )
        with caller:
            judge = ModelJudge(caller)
            settings = InductionSettings(variant="both")
            inductions = (synthesize(user_id, listed, settings, judge="fake") for user_id, listed in pairs.items())
            wall, cpu = time.perf_counter(), time.process_time()
            done = list(run_overlapping(inductions, judge, users_at_once=IN_FLIGHT))
            result: dict[str, Any] = {"import_s": IMPORT_S}
            result |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            with urllib.request.urlopen(url.replace("/v1", "/log")) as answer:
                result["server"] = json.load(answer)
            prompts = {one.prompt.user_id: one.prompt for one in done if one.prompt is not None}
            result["failed"] = {u["user_id"]: "no prompt" for u in users if u["user_id"] not in prompts}
            asked = [u for u in users if u["targets"] and u["user_id"] in prompts]
            result["right"] = {u["user_id"]: right(judge, prompts[u["user_id"]], u) for u in asked}
            result["kept"] = {u["user_id"]: len(prompts[u["user_id"]].demonstrations) for u in asked}
    Path(result_file).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
