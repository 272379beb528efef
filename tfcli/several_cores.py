"""Long work on tensors cut into pieces that stay in a core's cache, on several cores at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

PIECE = 1 << 17
"""Elements that are worked on at once. With the scratch memory for them they stay in a cache of
2 MB; fewer cost more calls than they save."""
GROUP = 8  # pieces that a thread takes


def spans(count: int, step: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `step` that cover `count`."""
    for start in range(0, count, step):
        yield start, min(start + step, count)


def ahead(work: Callable[[int, int], T], count: int, step: int) -> Iterator[T]:
    """The results of `work` on each span of `count`, in order, made by threads ahead of their use.

    torch's own threads stay out of it: they wait for each other after every single operation.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1 or count <= step:
        for start, stop in spans(count, step):
            yield work(start, stop)
        return
    mode = torch.is_inference_mode_enabled()  # a thread's own, as is the number of threads

    def in_mode(start: int, stop: int) -> T:
        with torch.inference_mode(mode):
            return work(start, stop)

    waiting: deque[Future[T]] = deque()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for start, stop in spans(count, step):
                    waiting.append(pool.submit(in_mode, start, stop))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)  # threads that begin later take the number of the last call
