"""What a lazy block asks of whoever evaluates: one verb."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import numpy as np


class Evaluator(Protocol):
    """Rows of one function at one point, for all its xs.

    Attributes:
        timings: seconds by phase (`forward`, `rows`, `queue`) of what it has evaluated so far.
    """

    @property
    def timings(self) -> Mapping[str, float]:  # noqa: D102
        ...

    def rows(self, rows: Sequence[int]) -> AsyncIterator[tuple[Sequence[int], Sequence[np.ndarray]]]:
        """Evaluate rows, batch by batch.

        Args:
            rows: distinct indices into y's elements (of one sample, with a batch), `[R]`.

        Yields:
            Some of the rows, and for each x an array `[R, N]` (`[B, R, N]` with a batch), dtype of x.

        Raises:
            Problem: the rows that were not yielded are not evaluated.
        """
        ...
