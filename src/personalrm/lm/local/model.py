"""`LocalModel`: a GGUF file as a language model, without a server of the user's."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from personalrm.errors import BadFile, MissingExtra, ModelUnavailable
from personalrm.lm.http import BROKE, CANNOT_CONNECT, Endpoint, OpenAIServer
from personalrm.lm.local.bounds import bounded
from personalrm.lm.local.gguf import GGUFFacts, hash_of_model, read_facts
from personalrm.lm.protocol import Fault, Reply, Request
from personalrm.lm.server_facts import ServerFacts
from personalrm.wording import install_hint

ENDING = ".gguf"
MOST_CONTEXT, LEAST_CONTEXT = 33_024, 2_048
"""Tokens of prompt and reply together: what `JudgeOptions` ask for at most; and what a judge cannot do without."""
MOST_SLOTS, CORES_A_SLOT = 4, 2
"""Replies written at one time, and cores that one needs: a step of four hardly takes longer than a step of one, but
prompts have a beginning in common, which each slot reads anew, and reading is most of the work. A fit of four pairs by
135M parameters on two cores took 108 s with one slot, 127 with two, 131 with four."""
SHARE_OF_MEMORY = 0.8
OVERHEAD_BYTES = 400 * 2**20
"""Of llama.cpp beside weights, keys and values."""
CACHE_MIB = 512
"""Of prompts that were read before and may begin the next one; llama.cpp's own 8 GiB are more than a laptop has."""
TIMEOUT_S = 3_600.0
"""Longest wait for a reply: a large model without a GPU writes for minutes, and if its process ends that is seen."""
A_MOMENT_S = 0.1
"""After which the end of a process is seen; that of its connections comes first."""
PATIENCE_S = 2.0
"""How long a process may take to end by itself."""
LOG_TAIL = 4_096
_LOG_MARKS = re.compile(r"^[\d.]+ [A-Z] +")
"""Time and level in front of a line of llama.cpp's log."""


@dataclass(frozen=True)
class Size:
    """What of a model fits this machine."""

    n_slots: int
    context_tokens: int
    """Of one slot."""
    n_threads: int


def fitting_size(facts: GGUFFacts, *, n_cores: float, memory_bytes: int, has_gpu: bool = False) -> Size:
    """As much context as the model has and a judge can use, as many slots as memory has room for.

    The context does not depend on the machine unless memory is short, so that prompts are the same everywhere.

    Args:
        facts: Of the model.
        n_cores: Cores that may be used; a share of one counts as one.
        memory_bytes: That are free.
        has_gpu: Whether layers go onto one; then cores do not count.

    Raises:
        ModelUnavailable: If not even the smallest context fits.
    """
    room = SHARE_OF_MEMORY * memory_bytes - facts.n_bytes - OVERHEAD_BYTES
    context = full = min(facts.context_tokens or LEAST_CONTEXT, MOST_CONTEXT)
    n_slots = MOST_SLOTS if has_gpu else max(1, min(MOST_SLOTS, int(n_cores / CORES_A_SLOT)))
    while n_slots * context * facts.bytes_a_token > room:
        if n_slots > 1:
            n_slots //= 2
        elif context > LEAST_CONTEXT:
            context = max(LEAST_CONTEXT, context // 2)
        else:
            needed = facts.n_bytes + OVERHEAD_BYTES + min(full, LEAST_CONTEXT) * facts.bytes_a_token
            raise ModelUnavailable(
                f"the model needs {needed / SHARE_OF_MEMORY / 2**30:.1f} GiB of memory and {memory_bytes / 2**30:.1f} "
                "are free; close other programs or take a smaller model"
            )
    return Size(n_slots, context, max(1, math.ceil(n_cores)))


def cores() -> float:
    """Cores this process may use: llama.cpp's threads wait by spinning, so that one too many slows all others."""
    n_cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with suppress(OSError, ValueError):  # the share of a container, where there is one
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        n_cores = min(n_cores, int(quota) / int(period))
    return n_cores


def free_memory() -> int:
    """Bytes that can be had without pushing others out, at most what a container may use."""
    free = 2 * 2**30  # where nothing is told, such as on Windows
    with suppress(ValueError, OSError, AttributeError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, most - used)
    return free


class LocalModel:
    """A model in a GGUF file, run by llama.cpp in a process of its own, which starts at the first request.

    Args:
        path: The file.
        name: What messages call it; the file's name where empty.
        gpu_layers: Layers that go onto a GPU, where llama.cpp was built for one; -1 for all.
        body: Merged into every request.
        tenant: Whose cache entries these are.

    Raises:
        BadFile: If it is no GGUF file, or its model writes no text.
        MissingExtra: If xllamacpp is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str = "",
        gpu_layers: int = 0,
        body: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> None:
        self.path, self._gpu_layers = Path(path), gpu_layers
        self._name, self._body, self._tenant = name or self.path.name, dict(body or {}), tenant
        self.facts = read_facts(self.path)
        """What the file says."""
        if not self.facts.writes:
            raise BadFile(
                f"model file {str(path)!r} holds an encoder ({self.facts.architecture}), which writes no text; name a "
                "language model, or this one as --encoder"
            )
        if find_spec("xllamacpp") is None:  # looked for, not imported: 100 MB that only the other process needs
            raise MissingExtra(f"model {str(path)!r} is run by xllamacpp; {install_hint('local')}")
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self._server: OpenAIServer | None = None
        self._starting: asyncio.Lock | None = None

    @property
    def name(self) -> str:
        """The file's name, unless another was given."""
        return self._name

    @cached_property
    def identity(self) -> str:
        """Hash of the file instead of an address, which changes with every start."""
        return json.dumps([self._tenant, "gguf", hash_of_model(self.path), self._body], sort_keys=True)

    @cached_property
    def size(self) -> Size:
        """Slots, context and threads on this machine.

        Raises:
            ModelUnavailable: If the model does not fit into memory.
        """
        return fitting_size(self.facts, n_cores=cores(), memory_bytes=free_memory(), has_gpu=self._gpu_layers != 0)

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and reply together."""
        return self.size.context_tokens

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt.

        Raises:
            Fault: If it fails.
            ModelUnavailable: If the model cannot be loaded, or its process is gone.
        """
        server = await self._started()
        if request.schema is not None:
            request = replace(request, schema=bounded(request.schema, request.sampling.max_tokens))
        try:
            return await server.complete(request, seed=seed)
        except Fault as fault:
            if fault.kind == CANNOT_CONNECT or fault.kind.startswith(BROKE):
                await asyncio.sleep(A_MOMENT_S)
                if self._process is not None and (code := self._process.poll()) is not None:
                    raise ModelUnavailable(
                        f"the process of model {self.name!r} ended ({_ending(code)}{self._last_words()}); run the same "
                        "command again, what was answered is kept"
                    ) from None
            raise

    @property
    def server_facts(self) -> ServerFacts:
        """How many requests are answered at one time, and how long they may be."""
        return ServerFacts(self.size.n_slots, self.size.context_tokens)

    async def close(self) -> None:
        """End the process."""
        if self._server is not None:
            await self._server.close()
            self._server = None
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)
        if self._log is not None:
            self._log.close()
            self._log = None

    async def _started(self) -> OpenAIServer:
        """The server of the process, started once."""
        if self._server is None:
            self._starting = self._starting or asyncio.Lock()
            async with self._starting:
                if self._server is None:
                    self._server = await asyncio.to_thread(self._start)
        return self._server

    def _start(self) -> OpenAIServer:
        size, key = self.size, secrets.token_hex(16)
        settings = {
            "path": str(self.path),
            "name": self.name,
            "n_slots": size.n_slots,
            "context_tokens": size.context_tokens,
            "n_threads": size.n_threads,
            "gpu_layers": self._gpu_layers,
            "cache_mib": CACHE_MIB,
            "key": key,
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
        command = [sys.executable, "-m", "personalrm.lm.local.child"]
        # In a session of its own: an interrupt at the keyboard is for us, who let what is under way finish.
        self._process = process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it may be gone already, which the missing address tells
            process.stdin.write(json.dumps(settings) + "\n")
            process.stdin.flush()
        try:
            url = json.loads(process.stdout.readline())["url"]
        except (ValueError, KeyError):
            code = process.wait()
            raise ModelUnavailable(
                f"model file {str(self.path)!r} cannot be run ({_ending(code)}{self._last_words()}); check that this "
                f"version of llama.cpp knows {self.facts.architecture!r}, or download the file again"
            ) from None
        server = OpenAIServer(
            Endpoint(self.name, f"{url}/v1", api_key=key, body=self._body, timeout_s=TIMEOUT_S, name=self.name)
        )
        server.turns.n_slots = size.n_slots
        return server

    def _last_words(self) -> str:
        """What the end of its log says of an error first."""
        if self._log is None:
            return ""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_TAIL))
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        telling = [line.strip() for line in lines if "error" in line.lower() or "fail" in line.lower()]
        # Those of llama.cpp say more than the exception of the package around it.
        telling = [line for line in telling if not line.startswith("RuntimeError")] or telling
        return f": {_LOG_MARKS.sub('', telling[0])[:160]}" if telling else ""  # the first is the cause of the others


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:  # it is loading, and does not look
        process.kill()
        process.wait()
    if process.stdout is not None:  # last, since closing waits for whoever is reading
        process.stdout.close()


def _ending(code: int | None) -> str:
    """How a process ended; without memory a system kills it with signal 9."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return "killed, as it is where memory is short" if code == -9 else f"signal {-code}"
