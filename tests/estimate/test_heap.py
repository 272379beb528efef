"""The allocator's heap: what it reuses, joins and gives back."""

from __future__ import annotations

from tfcli.checkpoints.io.memory import KEPT, LARGEST
from tfcli.estimate.heap import Heap

MB = 1 << 20


def test_a_hole_is_too_small_for_the_next_block_of_its_size_and_serves_a_smaller_one():
    heap = Heap()
    first, _ = heap.take(4 * MB), heap.take(MB)
    heap.give(first)
    before = heap.peak
    heap.take(3 * MB)
    assert heap.peak == before
    heap.give(heap.take(4 * MB))
    assert heap.peak >= before + 4 * MB - MB


def test_a_newer_library_reuses_it():
    heap = Heap(reuses=True)
    first, _ = heap.take(4 * MB), heap.take(MB)
    heap.give(first)
    before = heap.peak
    heap.take(4 * MB)
    assert heap.peak == before


def test_neighbours_are_joined_but_while_a_graph_is_made():
    grown = []
    for graph in (False, True):
        heap = Heap()
        if graph:
            heap.begin_graph()
        blocks = [heap.take(MB) for _ in range(4)]
        heap.take(MB)
        for block in blocks:
            heap.give(block)
        before = heap.peak
        heap.take(3 * MB)
        grown.append(heap.peak - before)
        if graph:  # its nodes are gone, and the holes are one
            heap.end_graph()
            before = heap.peak
            heap.take(3 * MB)
            assert heap.peak == before
    assert grown[0] == 0
    assert grown[1] >= 3 * MB


def test_large_blocks_go_back_at_once_and_the_top_when_much_of_it_is_free():
    heap = Heap()
    heap.give(heap.take(LARGEST))
    assert (heap.size, heap.peak) == (0, LARGEST)
    blocks = [heap.take(LARGEST // 2) for _ in range(2 * KEPT // LARGEST + 1)]
    whole = heap.size
    for block in reversed(blocks[-4:]):
        heap.give(block)
    assert heap.size == whole
    for block in reversed(blocks[:-4]):
        heap.give(block)
    assert heap.size < LARGEST
