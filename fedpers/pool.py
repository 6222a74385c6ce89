"""Several runs at the same time, each in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fedpers import siblings
from fedpers.endings import exit_code, listen
from fedpers.guardian import guarded

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 5.0
"""Seconds that a worker has to end its run in good order."""

DIED = "a worker process died (out of memory?); the same command goes on"
"""What is said of a run whose worker is gone."""


def side_by_side(function: Callable[[T], R], items: Iterable[T], num_workers: int) -> Iterator[tuple[T, R | None]]:
    """Call a function of each item in worker processes, and yield results as they come; None where a worker has died.

    Each worker is a pool of its own, so that one which dies costs the item that it had and nothing else. If the caller
    ends by an error or a signal, each worker may write what it has finished.

    Args:
        function: Can be pickled, as items and results.
        items: The items.
        num_workers: Calls at the same time.
    """
    waiting, workers = list(reversed(list(items))), [_worker() for _ in range(num_workers)]
    running: dict[Future[R], tuple[ProcessPoolExecutor, T]] = {}
    try:
        with guarded():
            while waiting or running:
                busy = [worker for worker, _ in running.values()]
                for worker in (each for each in workers if each not in busy and waiting):
                    item = waiting.pop()
                    running[worker.submit(_in_good_order, function, item)] = worker, item
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    worker, item = running.pop(future)
                    try:
                        yield item, future.result()
                    except BrokenProcessPool:
                        workers[workers.index(worker)] = _worker()
                        yield item, None
    except BaseException:
        _end(workers)
        raise
    for worker in workers:
        worker.shutdown()


def _worker() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=start_worker)


def _end(workers: Iterable[ProcessPoolExecutor]) -> None:
    for process in multiprocessing.active_children():
        process.terminate()
    for process in multiprocessing.active_children():
        process.join(PATIENCE)
        process.kill()
    for worker in workers:
        worker.shutdown(cancel_futures=True)  # its thread ends, now that its process has


def start_worker() -> None:
    """Prepare a process that makes runs for another one, which ends it: Ctrl-C is left to that one."""
    siblings.claim()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_good_order(function: Callable[[T], R], item: T) -> R:
    """Call a function; if this process is told to end meanwhile, it does, once what has to be written is."""
    listen()
    try:
        return function(item)
    except KeyboardInterrupt as error:
        os._exit(exit_code(error))  # a pool would take it for the result, and begin with another item
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
