"""A few threads that call clients; one in which a client hangs is given up, and another takes its place."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fedpers.endings import CLIENT_THREAD

T = TypeVar("T")
R = TypeVar("R")


class Calls(Generic[T, R]):
    """Calls of a function, one for each item, that several threads share.

    Args:
        function: The function.
        items: Its arguments.
        late: Makes what is the result of a call that takes too long, of its argument.
        limit: Seconds that a call may take; None for as long as it wants.
    """

    def __init__(
        self, function: Callable[[T], R], items: Sequence[T], late: Callable[[T], R], limit: float | None
    ) -> None:
        """Begin with the first item."""
        self._function, self._items, self._late, self._limit = function, items, late, limit
        self._next = 0
        self._running: dict[int, tuple[float, threading.Thread]] = {}  # since when and where, by the item's position
        self._results: dict[int, R] = {}
        self._error: BaseException | None = None
        self._news = threading.Condition()

    def work(self) -> bool:
        """Take one item after the other; tell whether this thread is still wanted when there are no more."""
        while True:
            with self._news:
                if self._next == len(self._items):
                    return True
                position = self._next
                self._next += 1
                self._running[position] = time.monotonic(), threading.current_thread()
            try:
                result, error = self._function(self._items[position]), None
            except BaseException as raised:  # whatever it is, it is raised again where the results are waited for
                result, error = None, raised
            with self._news:
                if self._running.pop(position, None) is None:
                    return False  # too late: another thread has taken this one's place
                if error:
                    self._error, self._next = self._error or error, len(self._items)
                else:
                    self._results[position] = result  # type: ignore[assignment]
                if error or len(self._results) == len(self._items):
                    self._news.notify_all()

    def results(self, replace: Callable[[threading.Thread], None]) -> list[R]:
        """Wait for all results and return them in the items' order; however that ends, no other call begins.

        Args:
            replace: Is called with each thread that is given up.

        Raises:
            BaseException: whatever a call has raised.
        """
        with self._news:
            try:
                while len(self._results) < len(self._items):
                    if self._error:
                        raise self._error
                    self._news.wait(self._patience())
                    for position in self._overdue():
                        _, thread = self._running.pop(position)
                        self._results[position] = self._late(self._items[position])
                        replace(thread)
            finally:
                self._next = len(self._items)
        return [self._results[position] for position in range(len(self._items))]

    def _patience(self) -> float | None:
        if self._limit is None:
            return None
        first = min((since for since, _ in self._running.values()), default=time.monotonic())
        return max(0.0, first + self._limit - time.monotonic())

    def _overdue(self) -> list[int]:
        if self._limit is None:
            return []
        latest = time.monotonic() - self._limit
        return [position for position, (since, _) in self._running.items() if since <= latest]


class Crew:
    """Threads that stay from round to round.

    Args:
        num_threads: Calls at the same time.
        limit: Seconds that a call may take; None for as long as it wants.
    """

    def __init__(self, num_threads: int, limit: float | None = None) -> None:
        """Start the threads."""
        self._limit, self._num_threads = limit, num_threads
        self._tasks: queue.SimpleQueue[Callable[[], bool] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(num_threads):
            self._start()

    def map(self, function: Callable[[T], R], items: Sequence[T], late: Callable[[T], R]) -> list[R]:
        """Call a function of each item and return the results, in the items' order.

        Args:
            function: The function.
            items: Its arguments.
            late: Makes what is the result of a call that takes too long; its thread goes on until the call ends.

        Raises:
            BaseException: whatever a call has raised.
        """
        calls = Calls(function, items, late, self._limit)

        def replace(thread: threading.Thread) -> None:
            self._threads.remove(thread)
            self._start()
            self._tasks.put(calls.work)

        for _ in range(min(self._num_threads, len(items))):
            self._tasks.put(calls.work)
        return calls.results(replace)

    def close(self, *, wait: bool = True) -> None:
        """Stop the threads, after the calls that are running unless nobody is to wait for them."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=CLIENT_THREAD, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None and task():
            pass
