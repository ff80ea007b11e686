"""Attributes: as Python values for who runs a node, and against the operator's schema."""

from functools import cache

import numpy as np
import onnx
from onnx import AttributeProto
from onnx.defs import OpSchema, SchemaError

from service import errors
from service.graphs import constants

Value = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | np.ndarray | onnx.GraphProto

FIELDS = {
    AttributeProto.INT: "i",
    AttributeProto.FLOAT: "f",
    AttributeProto.STRING: "s",
    AttributeProto.INTS: "ints",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
}
"""Where an attribute of each supported type keeps its value."""


def python_value(attribute: onnx.AttributeProto) -> Value:
    """What an attribute of a canonical model holds.

    Returns:
        int, float (exactly the float32 of the file), str, a tuple of these, an array, or the subgraph as it is.

    Raises:
        UnsupportedOperator: lists of tensors or graphs, sparse tensors and types.
    """
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.FLOAT:
            return attribute.f
        case AttributeProto.STRING:
            return text(attribute.s, attribute.name)
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.STRINGS:
            return tuple(text(s, attribute.name) for s in attribute.strings)
        case AttributeProto.TENSOR:
            return constants.array(attribute.t)
        case AttributeProto.GRAPH:
            return attribute.g
        case _:
            raise errors.UnsupportedOperator(
                f"the attribute {attribute.name} is {kind(attribute)}, which no supported operator takes"
            )


def text(content: bytes, name: str) -> str:
    """The string of an attribute.

    Raises:
        InvalidGraph: the bytes are not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        raise errors.InvalidGraph(f"the attribute {name} is not a UTF-8 string") from fault


def kind(attribute: onnx.AttributeProto) -> str:
    """The name of an attribute's type."""
    known = attribute.type in AttributeProto.AttributeType.values()
    return str(AttributeProto.AttributeType.Name(attribute.type)) if known else f"type {attribute.type}"


@cache
def schema(op: str, opset: int, domain: str) -> OpSchema | None:
    """ONNX's own description of an operator at an opset, None where it has none."""
    try:
        return onnx.defs.get_schema(op, opset, domain)
    except SchemaError:
        return None


def declared_kind(declared: OpSchema.Attribute) -> int:
    """The type that a schema gives an attribute, as `AttributeProto` numbers it."""
    number: int = declared.type.value  # type: ignore[attr-defined]  # the stub lacks it
    return number


def is_default(attribute: onnx.AttributeProto, described: OpSchema | None) -> bool:
    """Whether an attribute says no more than its absence would."""
    declared = described.attributes.get(attribute.name) if described else None
    if declared is None or declared.default_value.type != attribute.type:
        return False
    field = FIELDS[attribute.type]
    said, default = getattr(attribute, field), getattr(declared.default_value, field)
    return bool(said == default)
