"""Stands in for xllamacpp in the process that runs a model: a scripted server behind the same few names.

`FAKE_LLAMA` says how it fails: `dies at load`, `dies at the second request`, `takes long to load`.
"""

import os
import signal
import sys
import time
from types import SimpleNamespace

from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

HOW = os.environ.get("FAKE_LLAMA", "")


class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


def rule(prompt):
    rule.n_asked += 1
    if HOW == "dies at the second request" and rule.n_asked == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return skilled(1.0)(prompt)


rule.n_asked = 0


class Server:
    def __init__(self, params):
        if HOW == "takes long to load":
            time.sleep(60)
        if HOW == "dies at load":
            sys.stderr.write("load: error loading model: unknown architecture 'new'\n")
            sys.exit(1)
        self.params, self._server = params, FakeServer(rule)
        self._server.__enter__()

    @property
    def listening_address(self):
        return self._server.url.removesuffix("/v1")
