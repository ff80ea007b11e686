"""Arithmetic, comparison, logic, bits and mathematical functions, an element at a time."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from service.errors import InvalidGraph
from service.operators.numerics import widened
from service.operators.registry import kernel, torch_dtype


def _unary(op: str, since: int, function: Callable[[Tensor], Tensor]) -> None:
    @kernel(op, since)
    def apply(X: Tensor) -> Tensor:
        return function(X)


def _binary(op: str, since: int, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @kernel(op, since)
    def apply(A: Tensor, B: Tensor) -> Tensor:
        return function(A, B)


for _op, _since, _function in (
    ("Abs", 6, torch.abs),
    ("Acos", 7, torch.acos),
    ("Acosh", 9, torch.acosh),
    ("Asin", 7, torch.asin),
    ("Asinh", 9, torch.asinh),
    ("Atan", 7, torch.atan),
    ("Atanh", 9, torch.atanh),
    ("BitwiseNot", 18, torch.bitwise_not),
    ("Ceil", 6, torch.ceil),
    ("Cos", 7, torch.cos),
    ("Cosh", 9, torch.cosh),
    ("Erf", 9, torch.erf),
    ("Exp", 6, torch.exp),
    ("Floor", 6, torch.floor),
    ("IsNaN", 9, torch.isnan),
    ("Log", 6, torch.log),
    ("Neg", 6, torch.neg),
    ("Not", 1, torch.logical_not),
    ("Reciprocal", 6, torch.reciprocal),
    ("Round", 11, torch.round),
    ("Sign", 9, torch.sign),
    ("Sin", 7, torch.sin),
    ("Sinh", 9, torch.sinh),
    ("Sqrt", 6, torch.sqrt),
    ("Tan", 7, torch.tan),
):
    _unary(_op, _since, _function)

for _op, _since, _pair in (
    ("Add", 7, torch.add),
    ("And", 7, torch.logical_and),
    ("BitwiseAnd", 18, torch.bitwise_and),
    ("BitwiseOr", 18, torch.bitwise_or),
    ("BitwiseXor", 18, torch.bitwise_xor),
    ("Equal", 7, torch.eq),
    ("Greater", 7, torch.gt),
    ("GreaterOrEqual", 12, torch.ge),
    ("Less", 7, torch.lt),
    ("LessOrEqual", 12, torch.le),
    ("Mul", 7, torch.mul),
    ("Or", 7, torch.logical_or),
    ("Sub", 7, torch.sub),
    ("Xor", 7, torch.logical_xor),
):
    _binary(_op, _since, _pair)


@kernel("Identity", 1)
def identity(input: Tensor) -> Tensor:
    """The input itself."""
    return input


@kernel("Div", 7)
def div(A: Tensor, B: Tensor) -> Tensor:
    """The quotient; that of integers is truncated towards zero."""
    return A / B if A.is_floating_point() else torch.div(A, B, rounding_mode="trunc")


@kernel("Mod", 10)
def mod(A: Tensor, B: Tensor, *, fmod: int = 0) -> Tensor:
    """The remainder with the sign of B (`fmod` 0) or of A (`fmod` 1)."""
    return torch.fmod(A, B) if fmod else torch.remainder(A, B)


@kernel("Pow", 7)
def power(X: Tensor, Y: Tensor) -> Tensor:
    """`X ** Y` in the dtype of X; an integer base to a floating-point exponent is computed in float64."""
    if Y.is_floating_point() and not X.is_floating_point():
        return torch.pow(X.to(torch.float64), Y).to(X.dtype)
    return torch.pow(X, Y).to(X.dtype)


@kernel("BitShift", 11)
def bit_shift(X: Tensor, Y: Tensor, *, direction: str) -> Tensor:
    """Shifted bits; a shift by more than there are leaves what the sign alone would give."""
    if direction not in ("LEFT", "RIGHT"):
        raise InvalidGraph(f'BitShift: direction must be "LEFT" or "RIGHT", not "{direction}"')
    bits = torch.iinfo(X.dtype).bits
    within = Y.ge(0) & Y.lt(bits)
    amount = torch.where(within, Y, 0)
    if direction == "LEFT":
        return torch.where(within, torch.bitwise_left_shift(X, amount), 0)
    return torch.where(within, torch.bitwise_right_shift(X, amount), torch.where(X < 0, -1, 0).to(X.dtype))


@kernel("Max", 6)
def maximum(*data_0: Tensor) -> Tensor:
    """The largest at each place; two that tie share the gradient."""
    return functools.reduce(torch.maximum, _some(data_0, "Max"))


@kernel("Min", 6)
def minimum(*data_0: Tensor) -> Tensor:
    """The smallest at each place; two that tie share the gradient."""
    return functools.reduce(torch.minimum, _some(data_0, "Min"))


@kernel("Sum", 6)
def add_all(*data_0: Tensor) -> Tensor:
    """The sum at each place."""
    first, *others = _some(data_0, "Sum")
    total = functools.reduce(torch.add, others, widened(first))
    return total.to(first.dtype)


@kernel("Mean", 6)
def mean_of_all(*data_0: Tensor) -> Tensor:
    """The mean at each place."""
    first, *others = _some(data_0, "Mean")
    total = functools.reduce(torch.add, others, widened(first))
    return (total / len(data_0)).to(first.dtype)


def _some(values: tuple[Tensor, ...], op: str) -> tuple[Tensor, ...]:
    if not values:
        raise InvalidGraph(f"{op} needs at least one input")
    return values


@kernel("Where", 9)
def where(condition: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """X where the condition holds, else Y."""
    return torch.where(condition, X, Y)


@kernel("Clip", 6)
def clip_by_attributes(
    input: Tensor, *, min: float = -3.4028234663852886e38, max: float = 3.4028234663852886e38
) -> Tensor:
    """Limited to `[min, max]`; the gradient at the limits is 1."""
    return clip(input, input.new_tensor(min), input.new_tensor(max))


@kernel("Clip", 11)
def clip(input: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """Limited to `[min, max]`, each a scalar; the gradient at the limits is 1."""
    if min is None and max is None:
        return input
    return torch.clamp(input, None if min is None else min.reshape(()), None if max is None else max.reshape(()))


@kernel("IsInf", 10)
def is_infinite(X: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Whether an element is infinite, of the signs asked for."""
    negative = torch.isneginf(X) if detect_negative else torch.zeros_like(X, dtype=torch.bool)
    return negative | torch.isposinf(X) if detect_positive else negative


@kernel("Cast", 6)
def cast(input: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Another dtype; floats are truncated to integers. `saturate` and `round_mode` concern 8-bit floats only."""
    return input.to(torch_dtype(to))


@kernel("CastLike", 15)
def cast_like(input: Tensor, target_type: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """The dtype of another tensor, converted as by Cast."""
    return input.to(target_type.dtype)


@kernel("BitCast", 26)
def bit_cast(input: Tensor, *, to: int) -> Tensor:
    """The same bits read as another dtype of the same width; no gradient.

    Raises:
        InvalidGraph: the widths differ.
    """
    dtype = torch_dtype(to)
    if dtype.itemsize != input.dtype.itemsize:
        raise InvalidGraph(f"BitCast: {dtype} has not the width of {input.dtype}")
    return input.detach().view(dtype)
