"""A graph at values for its inputs: one forward pass, and what is kept of it for pullbacks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from service.engine.program import Model, specialize
from service.engine.samples import BatchAxis
from service.tensors.dtypes import DTYPES

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Point:
    """A program at values.

    Attributes:
        program: the program.
        inputs: the value of every input, defaults included.
        values: the value of every output.
        kept: what pullbacks keep of the forward pass, by their own key.
    """

    def __init__(self, model: Model, given: Mapping[str, np.ndarray]) -> None:
        self.inputs = {n: model.tensor(given[n]) if n in given else model.defaults[n] for n in model.inputs}
        with torch.no_grad():
            self.program, self.values = specialize(model, self.inputs)
        self.kept: dict[Any, Any] = {}

    @property
    def bytes(self) -> int:
        """About what it holds: inputs and outputs, and a forward pass for each pullback that is kept."""
        own = sum(t.nbytes for t in (*self.inputs.values(), *self.values.values()))
        return own + len(self.kept) * self.program.total

    def separate(self, y: str, xs: Sequence[str]) -> bool:
        """Whether `y[b]` depends on no other sample of any x than `b`, as far as is plain (see `samples`)."""
        key = ("separate", y, tuple(xs))
        known: bool | None = self.program.derived.get(key)
        if known is None:
            if self.values[y].shape[0] == 1:
                known = True
            else:
                with torch.no_grad(), BatchAxis([self.inputs[x] for x in xs]) as mode:
                    (value,) = self.program.forward(self.inputs, (y,))
                known = mode.separate(value)
            self.program.derived[key] = known
        return known

    def forward(self, ys: Sequence[str], xs: Sequence[str]) -> Callable[..., tuple[Tensor, ...]]:
        """The function `xs -> ys` with the other inputs as they are."""

        def function(*values: Tensor) -> tuple[Tensor, ...]:
            return self.program.forward({**self.inputs, **dict(zip(xs, values, strict=True))}, ys)

        return function


def to_numpy(value: Tensor) -> np.ndarray:
    """A tensor as an array of the contract's dtype, C order, in main memory."""
    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(DTYPES["bfloat16"].numpy)
    return value.numpy()


class Residents(Generic[K, V]):
    """What a worker holds so as not to be sent it again: least recently used goes first, by bytes.

    An item may grow while it is held; it is measured when it is put and at every use.
    """

    def __init__(self, budget: int, size: Callable[[V], int]) -> None:
        self._budget = budget
        self._size = size
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: K) -> V | None:
        """The item, now the most recently used; None where it is not held."""
        held = self._items.get(key)
        return None if held is None else self.put(key, held[0])

    def put(self, key: K, item: V) -> V:
        """Hold an item as the most recently used, and let go of the oldest others where that is too much."""
        self._bytes -= self._items.pop(key, (item, 0))[1]
        size = self._size(item)
        self._items[key] = (item, size)
        self._bytes += size
        while self._bytes > self._budget and len(self._items) > 1:
            _, (_, gone) = self._items.popitem(last=False)
            self._bytes -= gone
        return item

    def clear(self) -> None:
        """Let go of everything."""
        self._items.clear()
        self._bytes = 0
