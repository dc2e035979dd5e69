"""Accumulators of several processes merged into one, exactly, under torchrun (or any torch.distributed group).

    torchrun --nproc-per-node 4 -m empirical measure shard-*.npz

Processes merge in pairs, then pairs of pairs: log2 of their number rounds, each of one accumulator's size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist

from theory.jackknife import GroupedMoments
from theory.moments import MomentsAccumulator

T = TypeVar("T")
A = TypeVar("A", MomentsAccumulator, GroupedMoments)


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) outside of a process group."""
    active = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if active else (0, 1)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that torchrun has set up, if any, and leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo")  # accumulators travel through main memory, from whatever device
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(items: Sequence[T]) -> Sequence[T]:
    """The items that are this process's to work on."""
    rank, size = rank_and_size()
    return items[rank::size]


def all_reduce(accumulator: A | None) -> A | None:
    """The merge of every process's accumulator, in every process; merged in one order, so bit for bit the same.

    `accumulator` becomes one of the partial sums: use the result alone. None is one without samples. It must hold
    NumPy arrays, or tensors on the CPU.
    """
    rank, size = rank_and_size()
    step = 1
    while step < size:
        if rank % (2 * step) == step:
            dist.send_object_list([accumulator], dst=rank - step)
        elif rank % (2 * step) == 0 and rank + step < size:
            received: list[A | None] = [None]
            dist.recv_object_list(received, src=rank + step)
            if accumulator is None:
                accumulator = received[0]
            elif received[0] is not None:
                accumulator.merge(received[0])
        step *= 2
    result = [accumulator]
    if size > 1:
        dist.broadcast_object_list(result, src=0)
    return result[0]
