"""The process that runs llama.cpp: `python -m personalrm.lm.local.child`, started by `LocalModel` alone.

It reads one line of JSON (the settings) from its input, loads the model, writes the address of its server as one line
of JSON, and ends when its input ends: then the process that started it is gone, however that came about.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve until nobody is there any more."""
    settings = json.loads(sys.stdin.readline())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}  # the path is nobody's business
    params.n_parallel = settings["n_slots"]
    params.n_ctx = settings["n_slots"] * settings["context_tokens"]
    params.n_gpu_layers = settings["gpu_layers"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["n_threads"]
    params.cache_ram_mib = settings["cache_mib"]
    params.hostnames, params.port = ["127.0.0.1"], 0
    # Other users of this machine can reach the port too; prompts are nobody else's business.
    params.api_keys = [settings["key"]]
    params.endpoint_slots, params.endpoint_metrics, params.ui = False, False, False
    params.fit_params = False  # it would shrink the context without a word
    params.verbosity = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Its threads may be in the middle of a reply that nobody waits for.
    os._exit(0)


if __name__ == "__main__":
    main()
