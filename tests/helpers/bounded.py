"""A call in a process of its own, under a limit on its memory: what came of it, and what it took."""

import contextlib
import io
import multiprocessing
import resource
import time
import warnings
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20


class Outcome(NamedTuple):
    """The value or the error's message, its classes' names, MiB that memory grew by, and seconds of processor time."""

    value: object
    error: str
    kinds: tuple
    grown: float
    seconds: float


def bounded(call, mebibytes):
    """Call with so many MiB of address space more than this process has."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work():
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mebibytes * MIB,) * 2)
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        value, error, kinds = None, "", ()
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                value = call()
            except BaseException as failure:
                error, kinds = str(failure), tuple(c.__name__ for c in type(failure).__mro__)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        there.send(Outcome(value, error, kinds, grown, time.process_time() - started))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
        process = context.Process(target=work)
        process.start()
    there.close()
    try:
        if not here.poll(60):
            raise TimeoutError("still busy after 60 s")
        return here.recv()
    finally:
        process.kill()
        process.join()
