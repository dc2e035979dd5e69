"""Accumulators of several processes merged into one, exactly, under torchrun (or any torch.distributed group).

    torchrun --nproc-per-node 4 -m finegrain measure shard-*.npz

Processes merge in pairs, then pairs of pairs: log2 of their number rounds, each of one accumulator's size.
"""

from __future__ import annotations

import atexit
import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from finegrain.sims.workers import end_with
from finegrain.theory.jackknife import GroupedMoments
from finegrain.theory.moments import MomentsAccumulator

A = TypeVar("A", MomentsAccumulator, GroupedMoments)


def join() -> tuple[int, int]:
    """Join the group that torchrun has set up, if any; this process's number and how many there are.

    All work of a program shares one group, left at its end: in a second one processes may find the addresses of the
    first and wait for each other without end.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # Torchrun's agent is the parent: killed, it could not stop us.
        end_with(os.getppid())
        if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
            # All on this machine: what they say to each other stays on it.
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
        # Each device has its own way: accumulators travel through main memory, gradients from GPU to GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(_leave)
    return rank_and_size()


def _leave() -> None:
    if dist.is_initialized():  # a caller may have left it already
        dist.destroy_process_group()


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) outside of a process group."""
    active = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if active else (0, 1)


def share() -> slice:
    """Of a list of work, what is this process's."""
    rank, size = rank_and_size()
    return slice(rank, None, size)


def union(found: set[str]) -> set[str]:
    """What any of the processes has found."""
    _, size = rank_and_size()
    everywhere: list[Any] = [found] * size
    if size > 1:
        dist.all_gather_object(everywhere, found)
    return set().union(*everywhere)


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
