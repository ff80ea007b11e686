"""Elementwise functions of the expression language, with NumPy's meaning (torch's where NumPy has none).

A function's docstring is its line in `docs/expressions.md`.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from onnx import TensorProto

from service.graphs.building import Builder, Value, literal

Function: TypeAlias = Callable[..., Value]


# --- arithmetic ------------------------------------------------------------------------------------------------------


def negative(g: Builder, x: Value) -> Value:
    """`-x`."""
    return g.literal(-x.literal) if x.literal is not None else g.node("Neg", x, kind=x.kind)


def binary(op: str, meaning: str, floating: bool = False) -> Function:
    """An operator on two arrays in their common dtype."""

    def function(g: Builder, x1: Value, x2: Value) -> Value:
        a, b = g.promote(x1, x2, floating=floating)
        return g.node(op, a, b, kind=a.kind)

    function.__doc__ = meaning
    return function


add = binary("Add", "`x1 + x2`.")
subtract = binary("Sub", "`x1 - x2`.")
multiply = binary("Mul", "`x1 * x2`.")
divide = binary("Div", "`x1 / x2`.", floating=True)
matmul = binary("MatMul", "`x1 @ x2`.")
maximum = binary("Max", "The larger, element by element.")
minimum = binary("Min", "The smaller, element by element.")


def square(g: Builder, x: Value) -> Value:
    """`x * x`."""
    return multiply(g, x, x)


def power(g: Builder, x1: Value, x2: Value) -> Value:
    """`x1 ** x2`; a square is a product, as in NumPy."""
    if type(x2.literal) is int and x2.literal == 2 and x1.literal is None:
        return square(g, x1)
    a, b = g.promote(x1, x2)
    return g.node("Pow", a, b, kind=a.kind)


def fmod(g: Builder, x1: Value, x2: Value) -> Value:
    """The remainder with the sign of `x1`, as C has it."""
    a, b = g.promote(x1, x2)
    return g.node("Mod", a, b, kind=a.kind, fmod=1)


def mod(g: Builder, x1: Value, x2: Value) -> Value:
    """`x1 % x2`: the remainder with the sign of `x2`, as Python has it."""
    a, b = g.promote(x1, x2)
    rest = g.node("Mod", a, b, kind=a.kind, fmod=1)
    opposite = less(g, multiply(g, rest, g.node("Sign", b, kind=b.kind)), literal(0))
    return g.node("Where", opposite, add(g, rest, b), rest, kind=a.kind)


# --- elementwise -----------------------------------------------------------------------------------------------------


def unary(name: str, op: str, meaning: str, floating: bool = True) -> Function:
    """One operator; of a literal, NumPy's function of that name makes a literal again."""
    numpy = getattr(np, name, None)

    def function(g: Builder, x: Value) -> Value:
        if x.literal is not None and numpy is not None:
            with np.errstate(all="ignore"):
                return literal(numpy(float(x.literal) if floating else x.literal + 0).item())
        (a,) = g.promote(x, floating=floating)
        return g.node(op, a, kind=a.kind)

    function.__doc__ = meaning
    return function


abs_ = unary("abs", "Abs", "The magnitude; the derivative at 0 is 0.", floating=False)
sign = unary("sign", "Sign", "-1, 0 or 1; the derivative is 0.", floating=False)
exp = unary("exp", "Exp", "`e ** x`.")
log = unary("log", "Log", "The natural logarithm.")
sqrt = unary("sqrt", "Sqrt", "The square root.")
tanh = unary("tanh", "Tanh", "The hyperbolic tangent.")
arctan = unary("arctan", "Atan", "The inverse tangent, in radians.")
arctanh = unary("arctanh", "Atanh", "The inverse hyperbolic tangent.")
sigmoid = unary("sigmoid", "Sigmoid", "`1 / (1 + exp(-x))`.")
softplus = unary("softplus", "Softplus", "`log(1 + exp(x))`.")


def scaled(factor: float, meaning: str) -> Function:
    """A change of units."""

    def function(g: Builder, x: Value) -> Value:
        (a,) = g.promote(x, floating=True)
        return multiply(g, a, literal(factor))

    function.__doc__ = meaning
    return function


def log_base(base: int) -> Function:
    """The logarithm to a base."""

    def function(g: Builder, x: Value) -> Value:
        return divide(g, log(g, x), literal(math.log(base)))

    function.__doc__ = f"The logarithm to base {base}."
    return function


def log1p(g: Builder, x: Value) -> Value:
    """`log(1 + x)` without loss of digits near 0, where it is `2 arctanh(x / (2 + x))`."""
    (x,) = g.promote(x, floating=True)
    near = less(g, abs_(g, x), literal(0.5))
    small = where(g, near, x, literal(0))
    series = multiply(g, literal(2), arctanh(g, divide(g, small, add(g, literal(2), small))))
    return where(g, near, series, log(g, add(g, literal(1), where(g, near, literal(0), x))))


def expm1(g: Builder, x: Value) -> Value:
    """`exp(x) - 1` without loss of digits near 0, as `tanh(x / 2) * (exp(x) + 1)`."""
    (x,) = g.promote(x, floating=True)
    return multiply(g, tanh(g, divide(g, x, literal(2))), add(g, exp(g, x), literal(1)))


def logaddexp(g: Builder, x1: Value, x2: Value) -> Value:
    """`log(exp(x1) + exp(x2))` without overflow, as `x1 + softplus(x2 - x1)`."""
    a, b = g.promote(x1, x2, floating=True)
    return add(g, a, softplus(g, subtract(g, b, a)))


def hypot(g: Builder, x1: Value, x2: Value) -> Value:
    """`sqrt(x1 ** 2 + x2 ** 2)`."""
    a, b = g.promote(x1, x2, floating=True)
    return sqrt(g, add(g, square(g, a), square(g, b)))


def arctan2(g: Builder, x1: Value, x2: Value) -> Value:
    """The angle of the point `(x2, x1)`, in radians; at the origin 0.

    It is found by the arctangent of whichever ratio is at most 1.
    """
    y, x = g.promote(x1, x2, floating=True)
    steep = less(g, abs_(g, x), abs_(g, y))
    origin = logical_and(g, equal(g, x, literal(0)), equal(g, y, literal(0)))
    over = where(g, origin, literal(0), where(g, steep, x, y))
    under = where(g, origin, literal(1), where(g, steep, y, x))
    angle = arctan(g, divide(g, over, under))
    half = g.node(
        "CastLike", where(g, less(g, y, literal(0)), literal(-math.pi), literal(math.pi)), angle, kind="float"
    )
    flat = where(g, less(g, x, literal(0)), add(g, angle, half), angle)
    return where(g, steep, subtract(g, divide(g, half, literal(2)), angle), flat)


def clip(g: Builder, x: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """`x` within bounds, either of which may be left out; at a bound the derivative is 1."""
    if all(bound is None or bound.literal is not None for bound in (min, max)):
        given = [bound for bound in (min, max) if bound is not None]
        a, *bounds = g.promote(x, *given)
        low = bounds.pop(0) if min is not None else None
        high = bounds.pop(0) if max is not None else None
        return g.node("Clip", a, low, high, kind=a.kind) if given else x
    if min is not None:
        x = where(g, less(g, x, min), min, x)
    return x if max is None else where(g, less(g, max, x), max, x)


def where(g: Builder, condition: Value, x: Value, y: Value) -> Value:
    """`x` where the condition holds, else `y`."""
    a, b = g.promote(x, y)
    return g.node("Where", truth(g, condition), a, b, kind=a.kind)


# --- activations -----------------------------------------------------------------------------------------------------


def relu(g: Builder, x: Value) -> Value:
    """`maximum(x, 0)`, with derivative 0 at 0."""
    return g.node("Relu", x, kind=x.kind)


def relu6(g: Builder, x: Value) -> Value:
    """`clip(x, 0, 6)`."""
    return clip(g, x, literal(0), literal(6))


def silu(g: Builder, x: Value) -> Value:
    """`x * sigmoid(x)`."""
    (x,) = g.promote(x, floating=True)
    return multiply(g, x, sigmoid(g, x))


def leaky_relu(g: Builder, x: Value, negative_slope: float = 0.01) -> Value:
    """`x` where it is positive, else `negative_slope * x`."""
    (x,) = g.promote(x, floating=True)
    return where(g, less(g, literal(0), x), x, multiply(g, x, literal(negative_slope)))


def elu(g: Builder, x: Value, alpha: float = 1.0) -> Value:
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""
    return _exponential(g, x, alpha, 1.0)


def celu(g: Builder, x: Value, alpha: float = 1.0) -> Value:
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`."""
    return _exponential(g, x, alpha, alpha)


def selu(g: Builder, x: Value) -> Value:
    """The self-normalizing `elu` of Klambauer and others (2017), with the constants of their appendix."""
    value = elu(g, x, 1.6732632423543772848170429916717)
    return multiply(g, value, literal(1.0507009873554804934193349852946))


def _exponential(g: Builder, x: Value, alpha: float, width: float) -> Value:
    (x,) = g.promote(x, floating=True)
    positive = less(g, literal(0), x)
    below = expm1(g, divide(g, where(g, positive, literal(0), x), literal(width)))
    return where(g, positive, x, multiply(g, below, literal(alpha)))


# --- truth -----------------------------------------------------------------------------------------------------------


def truth(g: Builder, x: Value) -> Value:
    """Whether x is not 0."""
    return x if x.kind == "bool" else g.node("Cast", x, kind="bool", to=TensorProto.BOOL)


def comparison(op: str, sign: str) -> Function:
    """A comparison in the common dtype."""

    def function(g: Builder, x1: Value, x2: Value) -> Value:
        return g.node(op, *g.promote(x1, x2), kind="bool")

    function.__doc__ = f"Whether `x1 {sign} x2`."
    return function


equal = comparison("Equal", "==")
less = comparison("Less", "<")
less_equal = comparison("LessOrEqual", "<=")
greater = comparison("Greater", ">")
greater_equal = comparison("GreaterOrEqual", ">=")


def not_equal(g: Builder, x1: Value, x2: Value) -> Value:
    """Whether `x1 != x2`."""
    return logical_not(g, equal(g, x1, x2))


def logical(op: str, meaning: str) -> Function:
    """An operator on truth values."""

    def function(g: Builder, x1: Value, x2: Value) -> Value:
        return g.node(op, truth(g, x1), truth(g, x2), kind="bool")

    function.__doc__ = meaning
    return function


logical_and = logical("And", "Whether both are true; a number is where it is not 0.")
logical_or = logical("Or", "Whether one or both are true.")
logical_xor = logical("Xor", "Whether one of the two is true, and not both.")


def logical_not(g: Builder, x: Value) -> Value:
    """Whether `x` is false, or 0."""
    return g.node("Not", truth(g, x), kind="bool")


def test(op: str, meaning: str) -> Function:
    """A question to each element of a floating-point array."""

    def function(g: Builder, x: Value) -> Value:
        return g.node(op, *g.promote(x, floating=True), kind="bool")

    function.__doc__ = meaning
    return function


isnan = test("IsNaN", "Whether it is NaN.")
isinf = test("IsInf", "Whether it is infinite.")


def isfinite(g: Builder, x: Value) -> Value:
    """Whether it is neither NaN nor infinite."""
    return logical_not(g, logical_or(g, isnan(g, x), isinf(g, x)))
