"""Class-centred blocks of samples and their Gram matrices: the arithmetic under MomentsAccumulator.

A covariance formed from raw products is lost once classes collapse: E h h^T - hbar hbar^T cancels as
(|mean| / std)^2. Here samples are sorted by class, taken in blocks that fit a core's cache, centred on their
own class mean within the block, and only then multiplied. A class mean is kept as origin + offset, the origin
being one of the class's samples: the difference of two nearby floats is exact, so a large common mean costs
nothing.

What centring within a block leaves out is the scatter between old and new samples of a class, n m/(n + m)
delta delta^T for n old and m new ones whose means differ by delta (Chan, Golub & LeVeque 1983). It rides
along: centred rows sum to zero, so adding sqrt(n/(n + m)) delta to each of the m rows adds exactly that to
their Gram matrix. Nothing is ever subtracted from a sum, and every sum stays PSD.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

# Bytes of a block: few enough for a core's cache; an accelerator wants fewer, larger calls.
CPU_BYTES = 2**23
ACCELERATOR_BYTES = 2**26
FEW = 16  # up to so many classes in a block, a loop over them beats a gather


class Block(NamedTuple):
    """Rows sorted by class whose Gram matrices are to be added; the next block overwrites `rows`."""

    classes: Any  # (S,) the classes present, rising
    starts: list[int]  # S + 1 row numbers: class s holds rows starts[s] to starts[s + 1]
    member: Any  # (n,) the position in `classes` of each row
    rows: Any  # (n, d)


class RunningMeans:
    """Count (C,) and mean (C, d) = origin + offset of each class so far."""

    def __init__(self, num_classes: int, dim: int, like: Any) -> None:
        xp, place = array_namespace(like), device(like)
        self.count = xp.zeros(num_classes, dtype=xp.float64, device=place)
        self.origin = xp.zeros((num_classes, dim), dtype=xp.float64, device=place)
        self.offset = xp.zeros((num_classes, dim), dtype=xp.float64, device=place)

    def absorb(self, classes: Any, counts: Any, origin: Any, offset: Any) -> Any:
        """Merge in the means of `classes` (S,), each once; return sqrt(n/(n + m)) delta, shape (S, d)."""
        xp = array_namespace(counts)
        before, old = xp.take(self.count, classes), xp.take(self.offset, classes, axis=0)
        base = xp.where((before > 0)[:, None], xp.take(self.origin, classes, axis=0), origin)
        delta = (origin - base) + (offset - old)
        total = before + counts
        safe = xp.where(total > 0, total, 1.0)  # a merge may hold classes that neither side has seen
        self.count[classes] = total
        self.origin[classes] = base
        self.offset[classes] = old + (counts / safe)[:, None] * delta
        return xp.sqrt(before / safe)[:, None] * delta

    def merge(self, other: RunningMeans) -> Iterator[Block]:
        """Merge in all of `other`, a block of classes at a time; yield the scatter between the two."""
        xp, size = array_namespace(self.count), block_rows(self.origin, self.origin.dtype)
        for start in range(0, self.count.shape[0], size):
            stop = min(start + size, self.count.shape[0])
            classes = xp.arange(start, stop, device=device(self.count))
            counts = other.count[start:stop]
            shift = self.absorb(classes, counts, other.origin[start:stop, :], other.offset[start:stop, :])
            rows = xp.sqrt(counts)[:, None] * shift
            yield Block(classes, list(range(stop - start + 1)), classes - start, rows)

    def check_counts(self) -> None:
        """Require two samples of each class; the error names the classes that have fewer."""
        counts = np.asarray(self.count.tolist())
        found = [
            f"{word} in {_listed(np.flatnonzero(counts == n))}"
            for n, word in ((0, "none"), (1, "one"))
            if (counts == n).any()
        ]
        if found:
            raise ValueError(f"every class must have at least 2 samples, got {' and '.join(found)}")


def _listed(classes: Any) -> str:
    """ "class 3", "classes 1, 4", or the first eight of many."""
    names = ", ".join(str(c) for c in classes[:8])
    more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
    return f"class{'es' if len(classes) > 1 else ''} {names}{more}"


def block_rows(array: Any, dtype: Any) -> int:
    """Rows of (N, d) that make one block when held in `dtype`."""
    on_cpu = is_numpy_array(array) or str(device(array)) == "cpu"
    row = array.shape[1] * array_namespace(array).finfo(dtype).bits // 8
    return max((CPU_BYTES if on_cpu else ACCELERATOR_BYTES) // row, 16)


def absorbed_blocks(means: RunningMeans, features: Any, labels: Any, product: Any) -> Iterator[Block]:
    """Cut samples (N, d) with labels (N,) into blocks, merge their means into `means`, and yield rows in the
    dtype `product` whose Gram matrices hold what the samples add to each class's scatter."""
    xp = array_namespace(features)
    size = min(block_rows(features, product), features.shape[0])
    order = xp.argsort(labels, stable=True)
    buffers = _Buffers(features, size)
    wide = xp.result_type(features.dtype, product)
    for start in range(0, features.shape[0], size):
        chosen = order[start : start + size]
        classes, counts = xp.unique_counts(xp.take(labels, chosen))
        member = xp.searchsorted(classes, xp.take(labels, chosen))
        starts = [0, *np.cumsum(counts.tolist()).tolist()]
        rows = buffers.cast(buffers.take(features, chosen), wide)
        origin = xp.take(rows, xp.asarray(starts[:-1], device=device(rows)), axis=0)
        # In the wider dtype: to round a sample before it is centred would be final.
        rows = buffers.cast(buffers.subtract(rows, origin, starts, member), product)
        counts = xp.astype(counts, xp.float64)
        offset = segment_sums(rows, starts, member) / counts[:, None]
        shift = means.absorb(classes, counts, xp.astype(origin, xp.float64), offset)
        rows = buffers.subtract(rows, xp.astype(offset - shift, product), starts, member)
        yield Block(classes, starts, member, rows)


class _Buffers:
    """For NumPy, memory reused from block to block: fresh pages cost as much as the arithmetic."""

    def __init__(self, features: Any, size: int) -> None:
        self.xp, self.reuse = array_namespace(features), is_numpy_array(features)
        self.shape = (size, features.shape[1])
        self.arrays: dict[tuple[str, Any], Any] = {}

    def take(self, array: Any, index: Any, name: str = "rows") -> Any:
        if not self.reuse:
            return self.xp.take(array, index, axis=0)
        out = self._array(name, array.dtype)[: len(index)]
        return np.take(array, index, axis=0, out=out, mode="clip")  # "raise" would copy through a buffer

    def cast(self, rows: Any, dtype: Any) -> Any:
        if rows.dtype == dtype or not self.reuse:
            return self.xp.astype(rows, dtype, copy=False)
        out = self._array("rows", dtype)[: len(rows)]
        np.copyto(out, rows, casting="same_kind")
        return out

    def subtract(self, rows: Any, values: Any, starts: list[int], member: Any) -> Any:
        """rows - values[member], in place."""
        if values.shape[0] > FEW:
            rows -= self.take(values, member, "spread")
            return rows
        for s in range(values.shape[0]):
            rows[starts[s] : starts[s + 1], :] -= values[s, :]
        return rows

    def _array(self, name: str, dtype: Any) -> Any:
        if (name, dtype) not in self.arrays:
            self.arrays[name, dtype] = np.empty(self.shape, dtype)
        return self.arrays[name, dtype]


def segment_sums(rows: Any, starts: list[int], member: Any) -> Any:
    """Float64 sums (S, ...) of the consecutive segments of rows (n, ...) that begin at `starts`."""
    xp, segments = array_namespace(rows), len(starts) - 1
    if segments <= FEW:
        parts = [rows[start:stop, ...] for start, stop in pairwise(starts)]
        return xp.stack([xp.sum(part, axis=0, dtype=xp.float64) for part in parts])
    if is_numpy_array(rows):
        # Imported here, as BLAS below: it doubles the time that importing theory takes.
        from scipy.sparse import csr_array

        n = len(rows)
        return csr_array((np.ones(n), np.arange(n), starts), shape=(segments, n)) @ rows
    sums = xp.zeros((segments, *rows.shape[1:]), dtype=xp.float64, device=device(rows))
    return sums.index_add_(0, member, xp.astype(rows, xp.float64))  # torch: the standard has no such sum


def add_gram(total: Any, rows: Any) -> None:
    """Add rows^T rows to the float64 `total` (d, d) in place; NumPy fills the lower triangle alone."""
    if not is_numpy_array(rows):
        total += array_namespace(rows).astype(rows.T @ rows, total.dtype)
        return
    from scipy.linalg.blas import dsyrk, ssyrk

    if rows.dtype == np.float64:
        dsyrk(1.0, rows.T, beta=1.0, c=total.T, overwrite_c=1)
    else:
        total += ssyrk(1.0, rows.T).T


def mirror(total: Any, strip: int = 64) -> None:
    """Copy the lower triangle of `total` (d, d) onto the upper one, in place."""
    xp = array_namespace(total)
    # By strips: a transposed copy of the whole misses the cache.
    for start in range(0, total.shape[0], strip):
        stop = start + strip
        corner = total[start:stop, start:stop]
        total[start:stop, start:stop] = xp.tril(corner) + xp.tril(corner, k=-1).T
        total[start:stop, stop:] = total[stop:, start:stop].T
