"""Several samples in one row: which go together."""

from __future__ import annotations

import bisect

import numpy as np


def best_fit(sizes: np.ndarray, room: int) -> list[list[int]]:
    """Samples in bins, by best-fit decreasing: the longest first, each into the fullest bin that
    still has room. In the worst case that takes about 11/9 of the least number of bins.

    Args:
        sizes (ndarray): [n] the tokens of each sample, none more than `room`. Samples of one size
            are taken in their order.
        room: tokens of a bin.

    Returns:
        the numbers of the samples in each bin
    """
    bins: list[list[int]] = []
    left: list[int] = []  # the amounts of room that some bin has, each once, in order
    having: dict[int, list[int]] = {}  # amount -> the bins
    for number in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[number])
        at = bisect.bisect_left(left, size)
        if at == len(left):
            which, rest = len(bins), room - size
            bins.append([])
        else:
            which, rest = having[left[at]].pop(), left[at] - size
            if not having[left[at]]:
                del having[left.pop(at)]
        bins[which].append(number)
        if rest not in having:
            bisect.insort(left, rest)
            having[rest] = []
        having[rest].append(which)
    return bins
