"""The fake server as a process of its own, so that nothing of it runs in the client's interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

ANSWERS_IN_S = 30.0


class ServerProcess:
    """Starts `python -m personalrm.testing.fake_server` with these arguments, and ends it.

    Example:
        with ServerProcess("--latency-ms", "50") as server:
            server.misbehave(kinds=["500"], rate=0.2)
            ...  # run something against server.url
            print(server.summary()["requests"])
    """

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        """Base URL, known once it is entered."""

    def __enter__(self) -> ServerProcess:
        command = [sys.executable, "-m", "personalrm.testing.fake_server", *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()  # it prints its URL once it listens
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def summary(self) -> dict[str, Any]:
        """The server's counts, see `Log.summary`."""
        return dict(self._call("/log"))

    def reset(self) -> None:
        """Forget all counts."""
        self._call("/reset", {})

    def misbehave(self, **faults: object) -> None:
        """Set what goes wrong from now on (fields of `Faults`; nothing when left out), and forget all counts."""
        self._call("/faults", faults)
        self.reset()

    def _call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, data)
        until = time.monotonic() + ANSWERS_IN_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=ANSWERS_IN_S) as response:
                    return json.load(response)
            except urllib.error.URLError as error:
                # it may be refusing connections just now, because it was told to
                if not isinstance(error.reason, ConnectionError) or time.monotonic() > until:
                    raise
            time.sleep(0.02)
