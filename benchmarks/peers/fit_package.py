"""Fits users with the published package, unmodified and at its defaults. Runs in its own environment.

`python fit_package.py URL USERS.json RESULT.json [no-cache]`. The package's cache (dspy's) lies in a fresh folder, so
that nothing is remembered from an earlier run; it is on, as by default, unless the last word says otherwise.
"""

import json
import os
import resource
import sys
import tempfile
import time
import urllib.request
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it waits for a download


def main(url: str, users_file: str, result_file: str, cached: str = "cache") -> None:
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DSPY_CACHEDIR"] = cache
        started = time.perf_counter()
        from synthesizeme.personalrm.synthesizeme import SynthesizeMe

        if cached == "no-cache":
            import dspy

            dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False, enable_litellm_cache=False)
        result: dict[str, Any] = {
            "import_s": time.perf_counter() - started,
            "fits": [],
            "right": {},
            "kept": {},
            "failed": {},
        }
        with open(users_file) as file:
            users = json.load(file)
        fitted = {}
        wall, cpu = time.perf_counter(), time.process_time()
        for user in users:
            began = time.perf_counter()
            model = SynthesizeMe(user_id=user["user_id"], model_id="fake", model_url=url)
            try:
                model.fit(user["context"])
                fitted[user["user_id"]] = model
            except Exception as error:  # noqa: BLE001  # whatever it was, it is counted and named
                result["failed"][user["user_id"]] = repr(error)[:200]
            result["fits"].append(time.perf_counter() - began)
        result["wall_s"], result["cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with urllib.request.urlopen(url.replace("/v1", "/log")) as answer:
            result["server"] = json.load(answer)
        for user in users:
            if user["user_id"] in fitted and user["targets"]:
                model = fitted[user["user_id"]]
                result["right"][user["user_id"]] = list(map(int, model.evaluate(user["targets"])["results"]))
                result["kept"][user["user_id"]] = len(model.get_demos())
    with open(result_file, "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
