"""Works that wait for processes of their own, begun together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """A context manager around works by name; `at_once` of them run at the same time, the others after them.

    Nothing begins before `begin` or before the first result is asked for.
    """

    def __init__(self, works: Mapping[str, Callable[[], T]], *, at_once: int) -> None:
        self._works = dict(works)
        self._pool = ThreadPoolExecutor(max_workers=max(1, at_once))
        self._begun: dict[str, Future[T]] = {}

    def begin(self, first: str = "") -> None:
        """Begin all works, in their order but for the one that is to be first; nothing where they have begun."""
        if not self._begun:
            order = sorted(self._works, key=lambda one: one != first)
            self._begun = {one: self._pool.submit(self._works[one]) for one in order}

    def result(self, name: str) -> T:
        """What the work returned or raised; waits for it.

        Raises:
            KeyError: there is no such work.
        """
        self.begin(name)  # who asks is served first
        return self._begun[name].result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what has not begun, and wait for the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)
