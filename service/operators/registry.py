"""How a kernel is declared, found and called.

A kernel is a function whose signature can be laid beside the operator's ONNX page: ONNX's inputs are positional
parameters in ONNX's order, its attributes keyword-only parameters with ONNX's names and defaults. The annotation of
an input says what it is:

- `Tensor`: data; gradients flow through it where it is floating-point.
- `Ints`, `Floats`: numbers that decide shapes; they are known before a program is traced.
- `Static`: a tensor whose values decide shapes or branches (a condition, a trip count, `NonZero`'s input).

`X | None = None` is an optional input, `*X` a variadic one. An attribute is `int`, `float`, `str`, a tuple of these,
a `Tensor`, or a `Body` (a subgraph, callable). A keyword-only parameter `outputs: int` is no attribute: it is the
number of outputs that the node names. A kernel returns one tensor or a tuple; never in place, never fused ops without
a second derivative.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from service import errors
from service.tensors.dtypes import OF_ONNX

Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Static: TypeAlias = Annotated[Tensor, "static"]
Body: TypeAlias = Callable[..., tuple[Tensor, ...]]

Function = TypeVar("Function", bound=Callable[..., Any])
Kind: TypeAlias = Literal["tensor", "static", "ints", "floats"]

ELEMENT_LIMIT = 2**31
"""The most elements that an operator may make from a shape alone; memory is bounded by the worker besides."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a kernel: its ONNX name, what it is, and whether it may be left out or repeated."""

    name: str
    kind: Kind
    optional: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator from one opset version on.

    Attributes:
        op: the ONNX name.
        domain: the ONNX domain, "" for `ai.onnx`.
        since: the first opset version that has this meaning.
        function: the kernel itself.
        inputs: in ONNX's order.
        attributes: the default of each, `inspect.Parameter.empty` where it is required.
        counts_outputs: whether the kernel wants the number of the node's outputs.
    """

    op: str
    domain: str
    since: int
    function: Callable[..., Any]
    inputs: tuple[Input, ...]
    attributes: Mapping[str, object]
    counts_outputs: bool

    def input_at(self, position: int) -> Input:
        """The declaration that the node's input at `position` falls under.

        Raises:
            InvalidGraph: the node has more inputs than the operator.
        """
        if position < len(self.inputs):
            return self.inputs[position]
        if self.inputs and self.inputs[-1].variadic:
            return self.inputs[-1]
        raise errors.InvalidGraph(f"{self.op} takes at most {len(self.inputs)} inputs")

    def __call__(
        self, inputs: Sequence[Tensor | None], attributes: Mapping[str, object], outputs: int = 1
    ) -> tuple[Tensor, ...]:
        """Apply the kernel to a node's inputs (None where one is left out).

        Returns:
            The outputs, at least as many as ONNX wants; callers drop what the node does not name.

        Raises:
            InvalidGraph: a required input is missing, or there are too many.
        """
        values = [None if t is None else _number(t, self.input_at(i).kind) for i, t in enumerate(inputs)]
        for i, declared in enumerate(self.inputs):
            if not (declared.optional or declared.variadic) and (i >= len(values) or values[i] is None):
                raise errors.InvalidGraph(f"{self.op} needs its input {declared.name}")
        extra = {"outputs": outputs} if self.counts_outputs else {}
        result = self.function(*values, **attributes, **extra)
        return result if isinstance(result, tuple) else (result,)


def _number(value: Tensor, kind: Kind) -> object:
    match kind:
        case "ints":
            return tuple(int(v) for v in value.detach().reshape(-1).tolist())
        case "floats":
            return tuple(float(v) for v in value.detach().reshape(-1).tolist())
        case _:
            return value


KERNELS: dict[tuple[str, str], list[Kernel]] = {}
"""(domain, op) -> its kernels, newest first."""


def kernel(op: str, since: int = 1, domain: str = "") -> Callable[[Function], Function]:
    """Register the decorated function as `op` from opset `since` on.

    Raises:
        TypeError: at import, where the same version is registered twice.
    """

    def register(function: Function) -> Function:
        versions = KERNELS.setdefault((domain, op), [])
        if any(k.since == since for k in versions):
            raise TypeError(f"{op} is registered twice for opset {since}")
        hints = typing.get_type_hints(function, include_extras=True)
        inputs, attributes, counts = [], {}, False
        for p in inspect.signature(function).parameters.values():
            if p.kind is not p.KEYWORD_ONLY:
                inputs.append(Input(p.name, _kind(hints[p.name]), p.default is None, p.kind is p.VAR_POSITIONAL))
            elif p.name == "outputs":
                counts = True
            else:
                attributes[p.name] = p.default
        versions.append(Kernel(op, domain, since, function, tuple(inputs), attributes, counts))
        versions.sort(key=lambda k: -k.since)
        return function

    return register


def _kind(hint: object) -> Kind:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        if option == Static:
            return "static"
        if option == Ints:
            return "ints"
        if option == Floats:
            return "floats"
    return "tensor"


def resolve(op: str, opset: int, domain: str = "") -> Kernel | None:
    """The kernel of `op` at `opset`, None where there is none."""
    return next((k for k in KERNELS.get((domain, op), ()) if k.since <= opset), None)


def torch_dtype(code: int) -> torch.dtype:
    """The torch dtype of an ONNX type number (the attribute `to` of Cast and its like).

    Raises:
        UnsupportedOperator: strings, complex numbers, float8 and what else the contract has not.
    """
    found = OF_ONNX.get(code)
    if found is None:
        raise errors.UnsupportedOperator(
            f"ONNX data type {code} is not supported; use one of {', '.join(d.name for d in OF_ONNX.values())}"
        )
    dtype: torch.dtype = getattr(torch, found.name)
    return dtype


def bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """`shape`, once it is known to be small enough to make. For operators whose output's size is a number in data.

    Raises:
        TooLarge: more than `ELEMENT_LIMIT` elements.
    """
    count = 1
    for size in shape:
        count *= max(int(size), 0)
    if count > ELEMENT_LIMIT:
        raise errors.TooLarge(f"a tensor of shape {list(shape)} has {count} elements; the limit is {ELEMENT_LIMIT}")
    return tuple(int(s) for s in shape)
