"""Rows by pullbacks: which cotangents, how many at once, and what becomes of the result.

A row of a Jacobian is one pullback with a unit cotangent. With a batch axis a row spans all samples: where samples do
not mix, one pullback with ones in every sample's entry `m` gives the row of each; where they do, sample `b` needs a
pullback of its own, of which its own part is the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from service import errors
from service.engine import device
from service.engine.points import Point, to_numpy
from service.engine.pullbacks import Pullback, Pullbacks
from service.engine.targets import target_like
from service.link.messages import Function

BATCHES = (1, 4, 16, 64, 256)
CACHE_BYTES = 1 << 20
"""Rows of a batch times the largest value of one row: what stays in a processor's cache."""
USUAL_BATCH = 16
"""A batch is not made smaller than this for the cache's sake."""
LARGE_VALUE = 1 << 18
"""Bytes from which on one row's values keep a processor busy: then rows need not go together to be worth a call."""
BATCH_BYTES = 1 << 28
"""The rows of a batch, or its largest value, are not larger than this."""


def evaluate(
    pullbacks: Pullbacks, point: Point, function: Function, rows: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], list[np.ndarray]]]:
    """Rows of a function's Jacobian at a point, batch by batch.

    Args:
        pullbacks: whoever makes and keeps pullbacks.
        point: where.
        function: of what.
        rows: indices into the target's elements (of one sample, with a batch), `[R]`.

    Yields:
        Some rows, in order, and for each x an array `[R, N]` (`[B, R, N]` with a batch), dtype of x.

    Raises:
        OutOfMemory: not even one row can be evaluated.
    """
    like = target_like(point.inputs, point.values, function)
    if rows and max(rows) >= like.shape[-1]:
        raise errors.InvalidIndex(f"row {max(rows)} of a function with {like.shape[-1]} rows")
    row_bytes = sum(point.inputs[x].nbytes for x in function.xs) + like.nbytes
    size, start = batch_size(point.program.largest, row_bytes, len(rows)), 0
    while start < len(rows):
        part = tuple(rows[start : start + size])
        try:
            arrays = _rows(pullbacks, point, function, like, part, min(size, at_once(point)))
        except Exception as error:
            if not device.is_out_of_memory(error):
                raise
            point.kept.clear()
            if size == 1:
                raise errors.OutOfMemory("one row needs more memory than the worker has") from error
            size = BATCHES[BATCHES.index(size) - 1]
            continue
        yield part, [to_numpy(a) for a in arrays]
        start += len(part)


def batch_size(largest: int, row_bytes: int, rows: int) -> int:
    """How many rows are evaluated at once: no more than cache and memory allow, and no larger than is of use.

    Args:
        largest: bytes of the largest intermediate value of one row.
        row_bytes: bytes of one row for all xs, and of its cotangent.
        rows: how many are asked for.
    """
    allowed = min(max(USUAL_BATCH, CACHE_BYTES // max(largest, 1)), BATCH_BYTES // max(row_bytes, largest, 1))
    fitting = [b for b in BATCHES if b <= allowed] or [1]
    return next((b for b in fitting if b >= rows), fitting[-1])


def at_once(point: Point) -> int:
    """How many rows of a batch go through one pullback: all, but few where large values would fall out of the cache.

    Not where weights are what a pass reads most of: these are read once for all rows. On a CPU a row of 800 KB values
    takes a quarter of the time by itself.
    """
    weights = point.program.model.bytes + sum(t.nbytes for t in point.inputs.values())
    largest = point.program.largest
    if point.program.model.device.type != "cpu" or largest < LARGE_VALUE or weights > 4 * largest:
        return BATCHES[-1]
    return max(b for b in BATCHES if b == 1 or b * largest <= CACHE_BYTES)


def _rows(
    pullbacks: Pullbacks, point: Point, function: Function, like: Tensor, rows: tuple[int, ...], size: int
) -> list[Tensor]:
    """One batch of rows: `[R, N]`, or `[B, R, N]` with a batch, for each x."""
    xs = [point.inputs[x] for x in function.xs]
    count, batched = len(rows), function.batch_axis is not None
    if not point.values[function.y].is_floating_point():
        return [x.new_zeros((x.shape[0], count, x[0].numel()) if batched else (count, x.numel())) for x in xs]
    separate = not batched or point.separate(function.y, function.xs)
    pull = pullbacks.at(point, function, separate, size)
    if not separate:
        return _mixing_rows(pull, xs, like, rows, size)
    runs = [pull(_units(like, rows[start : start + size], batched)) for start in range(0, count, size)]
    found = [torch.cat(parts) if len(runs) > 1 else parts[0] for parts in zip(*runs, strict=True)]
    if not batched:
        return [g.reshape(count, x.numel()) for g, x in zip(found, xs, strict=True)]
    return [g.reshape(count, len(like), x[0].numel()).transpose(0, 1) for g, x in zip(found, xs, strict=True)]


def _units(like: Tensor, rows: Sequence[int], batched: bool) -> Tensor:
    """A unit cotangent for each row, `[R, M]`; with a batch, of every sample at once, `[R, B, M]`."""
    units = like.new_zeros((len(rows), *like.shape))
    run, index = torch.arange(len(rows), device=like.device), torch.tensor(rows, device=like.device)
    units[(run, slice(None), index) if batched else (run, index)] = 1
    return units


def _mixing_rows(pull: Pullback, xs: Sequence[Tensor], like: Tensor, rows: tuple[int, ...], size: int) -> list[Tensor]:
    """Rows of all samples by one pullback a row and sample; of each result the sample's own part is kept."""
    samples = like.shape[0]
    places = [(m, b) for m in rows for b in range(samples)]
    kept: list[list[Tensor]] = [[] for _ in xs]
    for start in range(0, len(places), size):
        m, b = torch.tensor(places[start : start + size], device=like.device).T
        count = torch.arange(len(m), device=like.device)
        units = like.new_zeros((len(m), *like.shape))
        units[count, b, m] = 1
        for parts, g, x in zip(kept, pull(units), xs, strict=True):
            parts.append(g.reshape(len(m), samples, x[0].numel())[count, b])
    return [
        torch.cat(p).reshape(len(rows), samples, x[0].numel()).transpose(0, 1) for p, x in zip(kept, xs, strict=True)
    ]
