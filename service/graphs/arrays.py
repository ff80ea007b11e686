"""Functions of the expression language on whole arrays: reductions, shapes, products, creation, indexing.

A function's docstring is its line in `docs/expressions.md`.
"""

import math
from types import EllipsisType
from typing import TypeAlias

import numpy as np
from onnx import TensorProto, helper

from service import errors
from service.graphs.building import Builder, Kind, Number, Value, literal, pointer
from service.graphs.elementwise import (
    Function,
    add,
    divide,
    multiply,
    sqrt,
    square,
    subtract,
    truth,
)

Axes: TypeAlias = tuple[int, ...] | None
Shape: TypeAlias = tuple[int, ...]
Entry: TypeAlias = int | slice | EllipsisType

_LAST = 2**63 - 1
_FIRST = -(2**63)


# --- reductions ------------------------------------------------------------------------------------------------------


def _reduce(g: Builder, op: str, x: Value, axis: Axes, keepdims: bool) -> Value:
    axes = None if axis is None else g.integers(*axis)
    return g.node(op, x, axes, kind=x.kind, keepdims=int(keepdims))


def reduction(op: str, meaning: str, floating: bool = False, counting: bool = False) -> Function:
    """A reduction over some axes or all. `counting` makes truth values integers first, as sums do."""

    def function(g: Builder, x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
        if counting and x.kind != "float":
            x, _ = g.promote(x, literal(0))
        (x,) = g.promote(x, floating=floating)
        return _reduce(g, op, x, axis, keepdims)

    function.__doc__ = meaning
    return function


sum_ = reduction("ReduceSum", "The sum; truth values count as 0 and 1.", counting=True)
mean = reduction("ReduceMean", "The mean.", floating=True)


def truth_reduction(op: str, meaning: str) -> Function:
    """Whether any (the largest of truth values) or all (the smallest) hold."""

    def function(g: Builder, x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
        return _reduce(g, op, truth(g, x), axis, keepdims)

    function.__doc__ = meaning
    return function


def extreme_position(op: str, extreme: str) -> Function:
    """Where the first extreme stands."""

    def function(g: Builder, x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
        if axis is None and keepdims:
            raise g.fault("keepdims needs an axis here")
        flat = ravel(g, x) if axis is None else x
        return g.node(op, flat, axis=axis or 0, keepdims=int(keepdims))

    function.__doc__ = f"The first place of the {extreme} along an axis, or in the flattened array."
    return function


def var(g: Builder, x: Value, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Value:
    """The variance, over N - `ddof`."""
    (x,) = g.promote(x, floating=True)
    squares = square(g, subtract(g, x, mean(g, x, axis, True)))
    if not ddof:
        return mean(g, squares, axis, keepdims)
    total = sum_(g, squares, axis, keepdims)
    count = g.node("Div", g.node("Size", x), g.node("Size", total))
    return divide(g, total, g.node("CastLike", subtract(g, count, literal(ddof)), total, kind="float"))


def std(g: Builder, x: Value, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Value:
    """The square root of the variance."""
    return sqrt(g, var(g, x, axis, ddof, keepdims))


def norm(g: Builder, x: Value, ord: int | None = None, axis: Axes = None, keepdims: bool = False) -> Value:
    """The 2-norm of all elements or along axes; with `ord` 1 or 2 that norm along one axis."""
    if ord is not None and (ord not in {1, 2} or axis is None or len(axis) != 1):
        raise g.fault("ord is 1 or 2 and needs one axis", "norm(x) is the 2-norm of all elements")
    (x,) = g.promote(x, floating=True)
    return _reduce(g, "ReduceL1" if ord == 1 else "ReduceL2", x, axis, keepdims)


def softmax(op: str, meaning: str) -> Function:
    """A softmax over one axis, the last by default."""

    def function(g: Builder, x: Value, axis: int = -1) -> Value:
        return g.node(op, *g.promote(x, floating=True), kind="float", axis=axis)

    function.__doc__ = meaning
    return function


def cumsum(g: Builder, x: Value, axis: int | None = None) -> Value:
    """Running sums along an axis, or of the flattened array."""
    if x.kind != "float":
        x, _ = g.promote(x, literal(0))
    flat = ravel(g, x) if axis is None else x
    return g.node("CumSum", flat, g.constant(np.array(axis or 0, np.int64)), kind=x.kind)


# --- shapes ----------------------------------------------------------------------------------------------------------


def reshape(g: Builder, x: Value, shape: Shape, *more: int) -> Value:
    """The same elements in a shape, `(2, 3)` or `2, 3`, of which one size may be -1."""
    sizes = (*shape, *more)
    return g.node("Reshape", x, g.integers(*sizes), kind=x.kind, allowzero=int(0 in sizes))


def ravel(g: Builder, x: Value) -> Value:
    """All elements in a row."""
    return reshape(g, x, (-1,))


def transpose(g: Builder, x: Value, axes: Axes = None) -> Value:
    """The axes reversed, or in the order given."""
    if axes is None:
        return g.node("Transpose", x, kind=x.kind)
    order = tuple(axis % len(axes) if -len(axes) <= axis < len(axes) else axis for axis in axes)
    if sorted(order) != list(range(len(axes))):
        raise g.fault(f"{list(axes)} is no order of {len(axes)} axes")
    return g.node("Transpose", x, kind=x.kind, perm=order)


def squeeze(g: Builder, x: Value, axis: Axes = None) -> Value:
    """Without axes of size 1, all or those named."""
    return g.node("Squeeze", x, None if axis is None else g.integers(*axis), kind=x.kind)


def expand_dims(g: Builder, x: Value, axis: Shape) -> Value:
    """With new axes of size 1."""
    return g.node("Unsqueeze", x, g.integers(*axis), kind=x.kind)


def concatenate(g: Builder, arrays: list[Value], axis: int = 0) -> Value:
    """Arrays end to end along an axis."""
    parts = g.promote(*arrays)
    return g.node("Concat", *parts, kind=parts[0].kind, axis=axis)


def stack(g: Builder, arrays: list[Value], axis: int = 0) -> Value:
    """Arrays side by side along a new axis."""
    parts = [expand_dims(g, part, (axis,)) for part in g.promote(*arrays)]
    return g.node("Concat", *parts, kind=parts[0].kind, axis=axis)


def broadcast_to(g: Builder, x: Value, shape: Shape) -> Value:
    """Repeated to a shape."""
    return g.node("Expand", x, g.integers(*_bounded(g, shape)), kind=x.kind)


def flip(g: Builder, x: Value, axis: Shape) -> Value:
    """Backwards along axes."""
    count = len(axis)
    ends = [g.integers(*[bound] * count) for bound in (_LAST, _FIRST)]
    return g.node("Slice", x, *ends, g.integers(*axis), g.integers(*[-1] * count), kind=x.kind)


def take(g: Builder, x: Value, indices: Value, axis: int | None = None) -> Value:
    """The elements at some indices along an axis, or of the flattened array."""
    return g.node("Gather", ravel(g, x) if axis is None else x, indices, kind=x.kind, axis=axis or 0)


def diff(g: Builder, x: Value, axis: int = -1) -> Value:
    """Differences of neighbours along an axis."""
    later = _slice(g, x, axis, 1, _LAST, 1)
    return subtract(g, later, _slice(g, x, axis, 0, -1, 1))


def index(g: Builder, x: Value, entries: list[Entry]) -> Value:
    """x[entries], NumPy's basic indexing."""
    if entries.count(...) > 1:
        raise g.fault("an index has at most one ...")
    before = entries.index(...) if ... in entries else len(entries)
    after = len(entries) - before
    axes = [axis if axis < before else axis - before - after for axis in range(len(entries))]
    for axis, entry in zip(axes, entries, strict=True):
        if isinstance(entry, slice):
            x = _sliced(g, x, axis, entry)
    gone = [(axis, entry) for axis, entry in zip(axes, entries, strict=True) if isinstance(entry, int)]
    for axis, entry in sorted(gone, key=lambda pair: (pair[0] < 0, pair[0] if pair[0] < 0 else -pair[0])):
        x = g.node("Gather", x, g.constant(np.array(entry, np.int64)), kind=x.kind, axis=axis)
    return x


def _sliced(g: Builder, x: Value, axis: int, entry: slice) -> Value:
    """One slice. A negative step walks the flipped axis, where ONNX clamps starts as NumPy does."""
    step = 1 if entry.step is None else entry.step
    if step == 0:
        raise g.fault("the step of a slice is not 0")
    start, stop = entry.start, entry.stop
    if step < 0:
        x = flip(g, x, (axis,))
        start, stop = (None if bound is None else -1 - bound for bound in (start, stop))
    if start is None and stop is None and abs(step) == 1:
        return x
    return _slice(g, x, axis, start or 0, _LAST if stop is None else stop, abs(step))


def _slice(g: Builder, x: Value, axis: int, start: int, stop: int, step: int) -> Value:
    return g.node("Slice", x, *(g.integers(number) for number in (start, stop, axis, step)), kind=x.kind)


# --- products --------------------------------------------------------------------------------------------------------


def dot(g: Builder, a: Value, b: Value) -> Value:
    """The product of vectors and matrices; with a number, the multiple."""
    if a.literal is not None or b.literal is not None:
        return multiply(g, a, b)
    left, right = g.promote(a, b)
    return g.node("MatMul", left, right, kind=left.kind)


def vdot(g: Builder, a: Value, b: Value) -> Value:
    """The sum of the products of all elements."""
    return sum_(g, multiply(g, ravel(g, a), ravel(g, b)))


def outer(g: Builder, a: Value, b: Value) -> Value:
    """Every element of `a` times every element of `b`."""
    return multiply(g, expand_dims(g, ravel(g, a), (1,)), expand_dims(g, ravel(g, b), (0,)))


def cross(g: Builder, a: Value, b: Value) -> Value:
    """The product of vectors of three elements, along the last axis."""
    (a1, a2), (b1, b2) = (_turned(g, v) for v in g.promote(a, b))
    return subtract(g, multiply(g, a1, b2), multiply(g, a2, b1))


def _turned(g: Builder, x: Value) -> tuple[Value, Value]:
    """The last axis (of size 3) turned by one and by two places."""
    p, q, r = g.split("Split", 3, x, g.integers(1, 1, 1), kind=x.kind, axis=-1)
    return tuple(g.node("Concat", *parts, kind=x.kind, axis=-1) for parts in ((q, r, p), (r, p, q)))  # type: ignore[return-value]


def einsum(g: Builder, subscripts: str, operand: Value, *operands: Value) -> Value:
    """A sum of products in Einstein's notation: `einsum("ij,j->i", A, x)`."""
    parts = g.promote(operand, *operands)
    return g.node("Einsum", *parts, kind=parts[0].kind, equation=subscripts)


def trace(g: Builder, a: Value) -> Value:
    """The sum of a matrix's diagonal."""
    return einsum(g, "ii->", a)


def diagonal(g: Builder, a: Value) -> Value:
    """A matrix's diagonal."""
    return einsum(g, "ii->i", a)


def det(g: Builder, a: Value) -> Value:
    """The determinant of the last two axes."""
    return g.node("Det", *g.promote(a, floating=True), kind="float")


# --- creation --------------------------------------------------------------------------------------------------------


def _bounded(g: Builder, shape: Shape) -> Shape:
    if any(size < 0 for size in shape):
        raise g.fault(f"sizes are 0 or more, not {list(shape)}")
    if math.prod(shape) > g.limits.tensor_elements:
        raise errors.TooLarge(
            f"an array of shape {list(shape)} has {math.prod(shape)} elements; the limit is {g.limits.tensor_elements}",
            pointer(g.output),
        )
    return shape


def full(g: Builder, shape: Shape, fill_value: Number) -> Value:
    """An array of one number."""
    dtype = {bool: TensorProto.BOOL, int: TensorProto.INT64, float: TensorProto.DOUBLE}[type(fill_value)]
    value = helper.make_tensor("", dtype, [1], [fill_value])
    kind: Kind = "float" if isinstance(fill_value, float) else "any"
    return g.node("ConstantOfShape", g.integers(*_bounded(g, shape)), kind=kind, value=value)


def zeros(g: Builder, shape: Shape) -> Value:
    """Zeros, float64."""
    return full(g, shape, 0.0)


def ones(g: Builder, shape: Shape) -> Value:
    """Ones, float64."""
    return full(g, shape, 1.0)


def full_like(g: Builder, a: Value, fill_value: Number) -> Value:
    """An array of one number, with the shape and dtype of another."""
    like = g.node("CastLike", literal(fill_value), a, kind=a.kind)
    return g.node("Expand", like, g.node("Shape", a), kind=a.kind)


def zeros_like(g: Builder, a: Value) -> Value:
    """Zeros, with the shape and dtype of another array."""
    return full_like(g, a, 0)


def ones_like(g: Builder, a: Value) -> Value:
    """Ones, with the shape and dtype of another array."""
    return full_like(g, a, 1)


def eye(g: Builder, N: int, M: int | None = None) -> Value:
    """Ones on the diagonal of `N` rows and `M` columns (`N` too by default), float64."""
    return g.node("EyeLike", zeros(g, (N, N if M is None else M)), kind="float")


def arange(g: Builder, start: Number, stop: Number | None = None, step: Number = 1) -> Value:
    """Constant numbers a step apart from `start` on, before `stop`; `arange(n)` is from 0 on."""
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise g.fault("the step is not 0")
    _bounded(g, (math.ceil(max(0, min((last - first) / step, _LAST))),))
    exact = all(isinstance(number, int) for number in (first, last, step))
    bounds = [literal(number if exact else float(number)) for number in (first, last, step)]
    return g.node("Range", *bounds, kind="any" if exact else "float")


def linspace(g: Builder, start: Number, stop: Number, num: int = 50) -> Value:
    """Evenly spaced constant numbers, float64, both ends among them."""
    (_,) = _bounded(g, (num,))
    step = (stop - start) / max(num - 1, 1)
    return add(g, multiply(g, arange(g, 0.0, float(num)), literal(step)), literal(float(start)))
