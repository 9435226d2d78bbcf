"""Pieces of work on several threads."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
import torch

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask, blocks
from attnwidget.attention.crew import crew_size, in_order
from attnwidget.attention.limits import limits


@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_come_in_order_whatever_is_done_first(size):
    def piece(number):
        time.sleep(0.002 * (number % 3))
        return number, threading.current_thread(), torch.get_num_threads()

    before = torch.get_num_threads()
    found = list(in_order((lambda number=number: piece(number) for number in range(30)), size))
    assert [number for number, _, _ in found] == list(range(30))
    if size > 1:
        assert threading.current_thread() not in {thread for _, thread, _ in found}
        assert {threads for _, _, threads in found} == {1}
    assert torch.get_num_threads() == before


def test_the_threads_of_others_are_left_as_they_were():
    before = torch.get_num_threads()
    list(in_order([lambda: 1], 3))
    seen = []
    thread = threading.Thread(target=lambda: seen.append((torch.ones(9).sum(), torch.get_num_threads())))
    thread.start()
    thread.join()
    assert (seen[0][1], torch.get_num_threads()) == (before, before)


def test_an_exception_comes_out_and_later_work_is_done():
    def fail():
        raise ZeroDivisionError("by chance")

    with pytest.raises(ZeroDivisionError, match="by chance"):
        list(in_order([lambda: 1, fail, lambda: 2], 2))
    assert list(in_order([lambda: 1, lambda: 2], 2)) == [1, 2]


def test_pieces_are_taken_only_a_few_ahead():
    taken = []

    def pieces():
        for number in range(100):
            taken.append(number)
            yield lambda: None

    work = in_order(pieces(), 2)
    next(work)
    assert len(taken) == 5
    work.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    list(in_order([lambda: 1], 2))
    child = os.fork()
    if child == 0:
        os._exit(0 if list(in_order([lambda: 7], 2)) == [7] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_a_tile_is_the_same_whoever_makes_it(monkeypatch, reduce):
    n = 700
    monkeypatch.setattr(limits, "block_bytes", 1 << 19)
    q, k = torch.randn(2, 1, 1, n, 8, generator=torch.Generator().manual_seed(0))
    tiles = []
    for size in (1, 4):
        monkeypatch.setattr(blocks, "crew_size", lambda device, size=size: size)
        cap = AttentionCapture([AttentionStack("self", [FactoredAttention(q, k, mask=Mask.causal(n, n))])])
        tiles.append((cap.tile(0, 0, height=33, width=44, reduce=reduce).values, cap.marginals(0, 0).entropy))
    for one, other in zip(*tiles, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_device_works_on_one_piece_at_a_time():
    assert crew_size(torch.device("cuda")) == 1
    assert crew_size(torch.device("cpu")) == torch.get_num_threads()
