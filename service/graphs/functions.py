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
from service.graphs.elementwise import Function

Argument: TypeAlias = "Value | list[Argument] | str | None"

FUNCTIONS: dict[str, Function] = {
    # arithmetic
    "add": elementwise.add,
    "subtract": elementwise.subtract,
    "multiply": elementwise.multiply,
    "divide": elementwise.divide,
    "true_divide": elementwise.divide,
    "negative": elementwise.negative,
    "power": elementwise.power,
    "pow": elementwise.power,
    "mod": elementwise.mod,
    "remainder": elementwise.mod,
    "fmod": elementwise.fmod,
    "square": elementwise.square,
    "maximum": elementwise.maximum,
    "minimum": elementwise.minimum,
    "clip": elementwise.clip,
    "clamp": elementwise.clip,
    "where": elementwise.where,
    # elementwise
    "abs": elementwise.abs_,
    "absolute": elementwise.abs_,
    "sign": elementwise.sign,
    "exp": elementwise.exp,
    "log": elementwise.log,
    "sqrt": elementwise.sqrt,
    "tanh": elementwise.tanh,
    "arctan": elementwise.arctan,
    "atan": elementwise.arctan,
    "arctanh": elementwise.arctanh,
    "atanh": elementwise.arctanh,
    "sigmoid": elementwise.sigmoid,
    "expit": elementwise.sigmoid,
    "softplus": elementwise.softplus,
    **{
        name: elementwise.unary(name, op)
        for name, op in {
            "sin": "Sin",
            "cos": "Cos",
            "tan": "Tan",
            "arcsin": "Asin",
            "asin": "Asin",
            "arccos": "Acos",
            "acos": "Acos",
            "sinh": "Sinh",
            "cosh": "Cosh",
            "arcsinh": "Asinh",
            "asinh": "Asinh",
            "arccosh": "Acosh",
            "acosh": "Acosh",
            "floor": "Floor",
            "ceil": "Ceil",
            "round": "Round",
            "reciprocal": "Reciprocal",
            "erf": "Erf",
            "gelu": "Gelu",
            "softsign": "Softsign",
            "mish": "Mish",
            "hardswish": "HardSwish",
        }.items()
    },
    "arctan2": elementwise.arctan2,
    "atan2": elementwise.arctan2,
    "hypot": elementwise.hypot,
    "log2": elementwise.log_base(2),
    "log10": elementwise.log_base(10),
    "log1p": elementwise.log1p,
    "expm1": elementwise.expm1,
    "logaddexp": elementwise.logaddexp,
    "deg2rad": elementwise.scaled(np.pi / 180),
    "radians": elementwise.scaled(np.pi / 180),
    "rad2deg": elementwise.scaled(180 / np.pi),
    "degrees": elementwise.scaled(180 / np.pi),
    "relu": elementwise.relu,
    "relu6": elementwise.relu6,
    "silu": elementwise.silu,
    "leaky_relu": elementwise.leaky_relu,
    "elu": elementwise.elu,
    "celu": elementwise.celu,
    "selu": elementwise.selu,
    # truth
    "equal": elementwise.equal,
    "not_equal": elementwise.not_equal,
    "less": elementwise.less,
    "less_equal": elementwise.comparison("LessOrEqual"),
    "greater": elementwise.comparison("Greater"),
    "greater_equal": elementwise.comparison("GreaterOrEqual"),
    "logical_and": elementwise.logical_and,
    "logical_or": elementwise.logical("Or"),
    "logical_xor": elementwise.logical("Xor"),
    "logical_not": elementwise.logical_not,
    "isnan": elementwise.test("IsNaN"),
    "isinf": elementwise.test("IsInf"),
    "isfinite": elementwise.isfinite,
    # reductions
    "sum": arrays.sum_,
    "mean": arrays.mean,
    "prod": arrays.reduction("ReduceProd", counting=True),
    "max": arrays.reduction("ReduceMax"),
    "amax": arrays.reduction("ReduceMax"),
    "min": arrays.reduction("ReduceMin"),
    "amin": arrays.reduction("ReduceMin"),
    "logsumexp": arrays.reduction("ReduceLogSumExp", floating=True),
    "any": arrays.truth_reduction("ReduceMax"),
    "all": arrays.truth_reduction("ReduceMin"),
    "argmax": arrays.extreme_position("ArgMax"),
    "argmin": arrays.extreme_position("ArgMin"),
    "var": arrays.var,
    "std": arrays.std,
    "norm": arrays.norm,
    "softmax": arrays.softmax("Softmax"),
    "log_softmax": arrays.softmax("LogSoftmax"),
    "cumsum": arrays.cumsum,
    # shapes
    "reshape": arrays.reshape,
    "ravel": arrays.ravel,
    "flatten": arrays.ravel,
    "transpose": arrays.transpose,
    "permute": arrays.transpose,
    "squeeze": arrays.squeeze,
    "expand_dims": arrays.expand_dims,
    "unsqueeze": arrays.expand_dims,
    "concatenate": arrays.concatenate,
    "concat": arrays.concatenate,
    "cat": arrays.concatenate,
    "stack": arrays.stack,
    "broadcast_to": arrays.broadcast_to,
    "flip": arrays.flip,
    "take": arrays.take,
    "diff": arrays.diff,
    # products
    "matmul": elementwise.matmul,
    "dot": arrays.dot,
    "vdot": arrays.vdot,
    "outer": arrays.outer,
    "cross": arrays.cross,
    "einsum": arrays.einsum,
    "trace": arrays.trace,
    "diagonal": arrays.diagonal,
    "det": arrays.det,
    # creation
    "zeros": arrays.zeros,
    "ones": arrays.ones,
    "full": arrays.full,
    "zeros_like": arrays.zeros_like,
    "ones_like": arrays.ones_like,
    "full_like": arrays.full_like,
    "eye": arrays.eye,
    "arange": arrays.arange,
    "linspace": arrays.linspace,
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
    ">": FUNCTIONS["greater"],
    "<=": FUNCTIONS["less_equal"],
    ">=": FUNCTIONS["greater_equal"],
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
    written = f"{name}({', '.join(_written(p) for p in list(signature.parameters.values())[1:])})"
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
