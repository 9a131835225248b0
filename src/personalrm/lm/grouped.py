"""Many small pieces of blocking work as few large ones: group commit and grouped look-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Grouped(Generic[Item, Result]):
    """Hands everything that came in while the last group was at work to the next call.

    Args:
        work: Takes a group, gives a result an item, in order; runs in the executor.
        executor: Where it runs.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], executor: Executor) -> None:
        self._work, self._executor = work, executor
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The item's result, once its group is through."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(self._executor, self._work, [item for item, _ in group])
            except Exception as error:  # noqa: BLE001  # raised again, to everybody who waits
                for _, future in group:
                    if not future.done():  # whoever waited may have been cancelled
                        future.set_exception(error)
            else:
                for (_, future), result in zip(group, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        self._task = None

    async def idle(self) -> None:
        """Return when nothing is at work any more."""
        while self._task is not None:
            await asyncio.wait({self._task})
