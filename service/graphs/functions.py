"""The table of the expression language's functions, and how one is called.

A function's signature is its specification: parameters are named as in NumPy, and their annotations say what stands
there. `Value` is an array or a number, `list[Value]` a list of them, everything else a constant.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from service.graphs import arrays, elementwise
from service.graphs.arrays import Axes, Shape
from service.graphs.building import Builder, Number, Value
from service.graphs.elementwise import Function, unary

Argument: TypeAlias = "Value | list[Argument] | str | None"

SECTIONS: Mapping[str, Mapping[str, Function]] = {
    "Arithmetic": {
        "add": elementwise.add,
        "subtract": elementwise.subtract,
        "multiply": elementwise.multiply,
        "divide true_divide": elementwise.divide,
        "negative": elementwise.negative,
        "power pow": elementwise.power,
        "mod remainder": elementwise.mod,
        "fmod": elementwise.fmod,
        "square": elementwise.square,
        "maximum": elementwise.maximum,
        "minimum": elementwise.minimum,
        "clip clamp": elementwise.clip,
        "where": elementwise.where,
    },
    "Elementwise": {
        "abs absolute": elementwise.abs_,
        "sign": elementwise.sign,
        "exp": elementwise.exp,
        "expm1": elementwise.expm1,
        "log": elementwise.log,
        "log1p": elementwise.log1p,
        "log2": elementwise.log_base(2),
        "log10": elementwise.log_base(10),
        "logaddexp": elementwise.logaddexp,
        "sqrt": elementwise.sqrt,
        "reciprocal": unary("reciprocal", "Reciprocal", "`1 / x`."),
        "sin": unary("sin", "Sin", "The sine of radians."),
        "cos": unary("cos", "Cos", "The cosine of radians."),
        "tan": unary("tan", "Tan", "The tangent of radians."),
        "arcsin asin": unary("arcsin", "Asin", "The inverse sine, in radians."),
        "arccos acos": unary("arccos", "Acos", "The inverse cosine, in radians."),
        "arctan atan": elementwise.arctan,
        "arctan2 atan2": elementwise.arctan2,
        "sinh": unary("sinh", "Sinh", "The hyperbolic sine."),
        "cosh": unary("cosh", "Cosh", "The hyperbolic cosine."),
        "tanh": elementwise.tanh,
        "arcsinh asinh": unary("arcsinh", "Asinh", "The inverse hyperbolic sine."),
        "arccosh acosh": unary("arccosh", "Acosh", "The inverse hyperbolic cosine."),
        "arctanh atanh": elementwise.arctanh,
        "hypot": elementwise.hypot,
        "deg2rad radians": elementwise.scaled(math.pi / 180, "Degrees to radians."),
        "rad2deg degrees": elementwise.scaled(180 / math.pi, "Radians to degrees."),
        "floor": unary("floor", "Floor", "The largest whole number not above; the derivative is 0."),
        "ceil": unary("ceil", "Ceil", "The smallest whole number not below; the derivative is 0."),
        "round": unary("round", "Round", "The nearest whole number, a tie to the even one; the derivative is 0."),
        "erf": unary("erf", "Erf", "The error function."),
    },
    "Activations": {
        "sigmoid expit": elementwise.sigmoid,
        "softplus": elementwise.softplus,
        "softsign": unary("softsign", "Softsign", "`x / (1 + abs(x))`."),
        "relu": elementwise.relu,
        "relu6": elementwise.relu6,
        "leaky_relu": elementwise.leaky_relu,
        "elu": elementwise.elu,
        "celu": elementwise.celu,
        "selu": elementwise.selu,
        "gelu": unary("gelu", "Gelu", "`x * (1 + erf(x / sqrt(2))) / 2`."),
        "silu": elementwise.silu,
        "mish": unary("mish", "Mish", "`x * tanh(softplus(x))`."),
        "hardswish": unary("hardswish", "HardSwish", "`x * clip(x / 6 + 0.5, 0, 1)`."),
        "softmax": arrays.softmax("Softmax", "`exp(x)` over its sum along an axis."),
        "log_softmax": arrays.softmax("LogSoftmax", "`log(softmax(x))` without overflow."),
    },
    "Truth": {
        "equal": elementwise.equal,
        "not_equal": elementwise.not_equal,
        "less": elementwise.less,
        "less_equal": elementwise.less_equal,
        "greater": elementwise.greater,
        "greater_equal": elementwise.greater_equal,
        "logical_and": elementwise.logical_and,
        "logical_or": elementwise.logical_or,
        "logical_xor": elementwise.logical_xor,
        "logical_not": elementwise.logical_not,
        "isnan": elementwise.isnan,
        "isinf": elementwise.isinf,
        "isfinite": elementwise.isfinite,
        "any": arrays.truth_reduction("ReduceMax", "Whether any is true, along axes or of all."),
        "all": arrays.truth_reduction("ReduceMin", "Whether all are true, along axes or of all."),
    },
    "Reductions": {
        "sum": arrays.sum_,
        "mean": arrays.mean,
        "prod": arrays.reduction("ReduceProd", "The product.", counting=True),
        "max amax": arrays.reduction("ReduceMax", "The largest; a tie shares the derivative evenly."),
        "min amin": arrays.reduction("ReduceMin", "The smallest; a tie shares the derivative evenly."),
        "var": arrays.var,
        "std": arrays.std,
        "norm": arrays.norm,
        "logsumexp": arrays.reduction("ReduceLogSumExp", "`log(sum(exp(x)))` without overflow.", floating=True),
        "argmax": arrays.extreme_position("ArgMax", "largest"),
        "argmin": arrays.extreme_position("ArgMin", "smallest"),
        "cumsum": arrays.cumsum,
    },
    "Shapes": {
        "reshape": arrays.reshape,
        "ravel flatten": arrays.ravel,
        "transpose permute": arrays.transpose,
        "squeeze": arrays.squeeze,
        "expand_dims unsqueeze": arrays.expand_dims,
        "concatenate concat cat": arrays.concatenate,
        "stack": arrays.stack,
        "broadcast_to": arrays.broadcast_to,
        "flip": arrays.flip,
        "take": arrays.take,
        "diff": arrays.diff,
    },
    "Products": {
        "matmul": elementwise.matmul,
        "dot": arrays.dot,
        "vdot": arrays.vdot,
        "outer": arrays.outer,
        "cross": arrays.cross,
        "einsum": arrays.einsum,
        "trace": arrays.trace,
        "diagonal": arrays.diagonal,
        "det": arrays.det,
    },
    "Creation": {
        "zeros": arrays.zeros,
        "ones": arrays.ones,
        "full": arrays.full,
        "zeros_like": arrays.zeros_like,
        "ones_like": arrays.ones_like,
        "full_like": arrays.full_like,
        "eye": arrays.eye,
        "arange": arrays.arange,
        "linspace": arrays.linspace,
    },
}
"""The functions by section of `docs/expressions.md`: the names of one, synonyms after a blank, and what it does."""

FUNCTIONS: Mapping[str, Function] = {
    name: function for section in SECTIONS.values() for names, function in section.items() for name in names.split()
}
OPERATORS: Mapping[str, Function] = {
    "+": elementwise.add,
    "-": elementwise.subtract,
    "*": elementwise.multiply,
    "/": elementwise.divide,
    "%": elementwise.mod,
    "@": elementwise.matmul,
    "**": elementwise.power,
}
COMPARISONS: Mapping[str, Function] = {
    "<": elementwise.less,
    ">": elementwise.greater,
    "<=": elementwise.less_equal,
    ">=": elementwise.greater_equal,
    "==": elementwise.equal,
    "!=": elementwise.not_equal,
}
SYNONYMS = {"dim": "axis", "keepdim": "keepdims", "a_min": "min", "a_max": "max"}
"""Keywords that torch or older NumPy has for ours."""

_ADVICE = {
    "max": "for the larger of two write maximum(a, b)",
    "min": "for the smaller of two write minimum(a, b)",
    "amax": "for the larger of two write maximum(a, b)",
    "amin": "for the smaller of two write minimum(a, b)",
}


class _Unfit(ValueError):
    """An argument is not what its parameter takes."""


def call(g: Builder, name: str, positional: Sequence[Argument], named: Mapping[str, Argument]) -> Value:
    """The value of a function at arguments.

    Raises:
        InvalidGraph: there are too few or too many, or one is not what its parameter takes.
    """
    function = FUNCTIONS[name]
    signature = inspect.signature(function)
    written = usage(name)
    try:
        bound = signature.bind(g, *positional, **{SYNONYMS.get(key, key): value for key, value in named.items()})
    except TypeError as fault:
        raise g.fault(f"{name}(): {fault}", f"it is {written}") from fault
    for key, argument in bound.arguments.items():
        if key != "g":
            parameter = signature.parameters[key]
            try:
                if parameter.kind is parameter.VAR_POSITIONAL:
                    bound.arguments[key] = tuple(_fit(g, parameter.annotation, each) for each in argument)
                else:
                    bound.arguments[key] = _fit(g, parameter.annotation, argument)
            except _Unfit as fault:
                advice = _ADVICE.get(name, f"it is {written}")
                raise g.fault(f"{name}(): {key} is {_WANTED[parameter.annotation]}", advice) from fault
    return function(*bound.args, **bound.kwargs)


def usage(name: str) -> str:
    """How a function is called: `sum(x, axis=None, keepdims=False)`."""
    _, *parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    return f"{name}({', '.join(map(_written, parameters))})"


def _written(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    default = "" if parameter.default is parameter.empty else f"={parameter.default}"
    return star + parameter.name + default


_WANTED: Mapping[object, str] = {
    Value: "an array or a number",
    Value | None: "an array or a number",
    list[Value]: "a list of arrays",
    Axes: "a constant integer or a tuple of them",
    Shape: "a constant integer or a tuple of them",
    int: "a constant integer",
    int | None: "a constant integer",
    bool: "True or False",
    Number: "a constant number",
    float: "a constant number",
    str: "a string in quotes",
}


def _fit(g: Builder, wanted: object, argument: Argument) -> object:
    """An argument as its parameter's annotation wants it."""
    if wanted is str:
        return _when(isinstance(argument, str), argument)
    if argument is None:
        return _when(wanted in {Value | None, Axes, int | None}, None)
    if wanted in {Value, Value | None}:
        return _array(g, argument)
    if wanted == list[Value]:
        return [_array(g, item) for item in _when(isinstance(argument, list) and argument, argument)]
    if wanted in {Axes, Shape}:
        items = argument if isinstance(argument, list) else [argument]
        numbers = tuple(_number(item, int) for item in items)
        return _when(numbers or wanted == Shape, numbers)
    if wanted is bool:
        number = _number(argument, bool, int)
        return _when(number in {0, 1}, bool(number))
    if wanted in {int, int | None}:
        return _number(argument, int)
    number = _number(argument, int, float)
    return _when(math.isfinite(number), number)


def _when(condition: object, value: Any) -> Any:
    if not condition:
        raise _Unfit
    return value


def _number(argument: Argument, *types: type) -> Any:
    return _when(isinstance(argument, Value) and type(argument.literal) in types and argument, argument).literal


def _array(g: Builder, argument: Argument) -> Value:
    """An argument as an array: a list of numbers is a constant, a list of arrays is stacked."""
    if isinstance(argument, Value):
        return argument
    if not isinstance(argument, list):
        raise _Unfit
    numbers = _numbers(argument)
    if numbers is None:
        return arrays.stack(g, [_array(g, item) for item in argument])
    try:
        content = np.array(numbers)
    except ValueError as fault:
        raise g.fault("a ragged list is no array") from fault
    return g.constant(content)


def _numbers(argument: Argument) -> Any:
    """Nested lists of literals as Python numbers, None where something else is among them."""
    if isinstance(argument, list):
        items = [_numbers(item) for item in argument]
        return None if any(item is None for item in items) else items
    return argument.literal if isinstance(argument, Value) else None
