"""Whether samples mix: follows the batch axis through a forward pass, operator by operator.

While a `BatchAxis` mode is active, each tensor that depends on the marked inputs carries the axis along which its
entry `b` depends on sample `b` alone, or `MIXED`. It sees the aten operators that every ONNX operator decomposes into;
one that it does not know mixes. So a yes is a proof, and a no only costs time: B pullbacks a row in the place of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MIXED = -1


class BatchAxis(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The mode. Tensors that it has no mark for depend on no sample."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: list[Tensor] = list(inputs)
        self._marks = {id(t): 0 for t in inputs}

    def separate(self, value: Tensor) -> bool:
        """Whether `value[b]` depends on sample `b` alone."""
        return self._marks.get(id(value), 0) == 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        marked = [(t, self._marks[id(t)]) for t in _tensors((args, kwargs or {})) if id(t) in self._marks]
        if marked:
            results = _tensors(out)
            axis = MIXED if any(m == MIXED for _, m in marked) else _axis(func, args, kwargs or {}, marked, results[0])
            self._marks.update((id(t), axis) for t in results)
            self._kept.extend(results)
        return out


Marked = Sequence[tuple[Tensor, int]]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [t for item in value for t in _tensors(item)]


def _axis(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], marked: Marked, out: Tensor) -> int:
    name = func.overloadpacket.__name__
    if torch.Tag.pointwise in func.tags or name in SAME:
        return _aligned(marked, out)
    x, axis = marked[0]
    if name in MOVES and len(marked) == 1:
        return MOVES[name](x, axis, args, out)
    if name in ALONG or name in REDUCES:
        position, default = (ALONG | REDUCES)[name]
        given = args[position] if len(args) > position else kwargs.get("dim", default)
        dims = _dims(given, x.dim())
        if axis in dims or len(marked) != 1 or x is not args[0]:
            return MIXED
        dropped = name in REDUCES and out.dim() < x.dim()
        return axis - sum(d < axis for d in dims) if dropped else axis
    if name in CONTRACTS:
        return _contracted(name, args, {id(t): m for t, m in marked})
    if name in PER_SAMPLE and len(marked) == 1 and x is args[0] and axis == 0:
        return 0
    if name in {"cat", "stack"}:
        dim = (args[1] if len(args) > 1 else 0) % out.dim()
        if len({(m, t.dim()) for t, m in marked}) != 1:
            return MIXED
        if name == "stack":
            return axis + (dim <= axis)
        return MIXED if dim == axis else axis
    return MIXED


def _dims(value: Any, rank: int) -> set[int]:
    if value is None or value == []:
        return set(range(rank))
    return {d % rank for d in (value if isinstance(value, list | tuple) else [value])} if rank else set()


def _aligned(marked: Marked, out: Tensor) -> int:
    """Broadcasting aligns axes from the right; every operand must have its samples there, and all of them."""
    axes = {m - t.dim() + out.dim() for t, m in marked}
    axis = axes.pop()
    return axis if not axes and all(t.shape[m] == out.shape[axis] for t, m in marked) else MIXED


def _view(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    lead, size = math.prod(x.shape[:axis]), x.shape[axis]
    return next((d for d in range(out.dim()) if math.prod(out.shape[:d]) == lead and out.shape[d] == size), MIXED)


def _permute(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    order: list[int] = [d % x.dim() for d in args[1]]
    return order.index(axis)


def _transpose(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    a: int = args[1] % x.dim() if len(args) > 1 else 0
    b: int = args[2] % x.dim() if len(args) > 1 else x.dim() - 1
    return {a: b, b: a}.get(axis, axis)


def _unsqueeze(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    dim: int = args[1] % out.dim()
    return axis + (dim <= axis)


def _expand(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    return _aligned([(x, axis)], out)


def _squeeze(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    gone = {d for d in _dims(args[1] if len(args) > 1 else None, x.dim()) if x.shape[d] == 1}
    return MIXED if axis in gone else axis - sum(d < axis for d in gone)


def _select(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    dim: int = (args[1] if len(args) > 1 else 0) % x.dim()
    return MIXED if dim == axis else axis - (dim < axis)


def _pad(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    return MIXED if x.dim() - axis <= len(args[1]) // 2 else axis


def _index_select(x: Tensor, axis: int, args: Sequence[Any], out: Tensor) -> int:
    return axis if x is args[0] and args[1] % x.dim() != axis else MIXED


def _contracted(name: str, args: Sequence[Any], marks: Mapping[int, int]) -> int:
    if name == "addmm":
        bias, *args = args
        if id(bias) in marks:
            return MIXED
    a, b = (marks.get(id(t)) for t in args[:2])
    free_a, free_b = CONTRACTS[name]
    if name == "bmm" and a in (0, None) and b in (0, None):
        return 0
    if b is None and a == free_a:
        return free_a
    if a is None and b == free_b and free_b is not None:
        return free_b
    return MIXED


SAME = frozenset({"clone", "_to_copy", "detach", "alias", "lift_fresh_copy", "where"})
"""Not all of them are tagged pointwise, though they are."""

MOVES: dict[str, Callable[[Tensor, int, Sequence[Any], Tensor], int]] = {
    "view": _view,
    "_unsafe_view": _view,
    "_reshape_alias": _view,
    "permute": _permute,
    "t": _transpose,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "squeeze": _squeeze,
    "select": _select,
    "unbind": _select,
    "constant_pad_nd": _pad,
    "index_select": _index_select,
    "gather": _index_select,
}
"""Operators that only move data: where the axis goes."""

ALONG: dict[str, tuple[int, Any]] = {
    "slice": (1, 0),
    "split": (2, 0),
    "split_with_sizes": (2, 0),
    "flip": (1, None),
    "cumsum": (1, None),
    "cumprod": (1, None),
    "logcumsumexp": (1, None),
    "_softmax": (1, None),
    "_log_softmax": (1, None),
    "sort": (1, -1),
    "topk": (2, -1),
}
"""Operators along an axis that keep all axes: the position of that argument, its default."""

REDUCES: dict[str, tuple[int, Any]] = {
    **dict.fromkeys(("sum", "mean", "prod", "amax", "amin", "logsumexp", "var", "any", "all"), (1, None)),
    **dict.fromkeys(("max", "min", "argmax", "argmin"), (1, None)),
    "linalg_vector_norm": (2, None),
}
"""Operators that reduce axes: the position of that argument; left out, it means all."""

CONTRACTS: dict[str, tuple[int, int | None]] = {"mm": (0, 1), "addmm": (0, 1), "bmm": (1, 2), "mv": (0, None)}
"""Products: the axis of either operand that stays in the result (where the other depends on no sample)."""

PER_SAMPLE = frozenset(
    {
        "convolution",
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
        "avg_pool2d",
        "avg_pool3d",
        "_adaptive_avg_pool2d",
        "im2col",
        "col2im",
    }
)
"""Operators that treat each entry of their first argument's first axis by itself."""
