"""Types at a node: what ONNX allows, and how a contradiction is said."""

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper, numpy_helper

from service import errors
from service.graphs.attributes import python_value
from service.graphs.infer import check_types
from service.graphs.model import load

ADD = helper.make_node("Add", ["a", "b"], ["c"], name="n")
ALLOWED = {
    "same": (ADD, 21, ["float64", "float64"]),
    "unknown": (ADD, 21, ["float64", None]),
    "half": (helper.make_node("Sin", ["x"], ["y"]), 21, ["bfloat16"]),
    "optional-left-out": (helper.make_node("Clip", ["x", "", "b"], ["y"]), 21, ["float32", None, "float32"]),
    "variadic": (helper.make_node("Concat", ["a", "b", "c"], ["d"], axis=0), 21, ["int8", "int8", "int8"]),
    "two-variables": (helper.make_node("Pow", ["a", "b"], ["c"]), 21, ["float64", "int64"]),
    "loop-carries-anything": (
        helper.make_node("Loop", ["m", "c", "a", "b"], ["d"]),
        21,
        ["int64", "bool", "int8", "bool"],
    ),
    "no-schema": (helper.make_node("Promote", ["a", "b"], ["c", "d"], domain="jacobian"), 1, ["int8", "float64"]),
}
REFUSED = {
    "mixed": (
        ADD,
        21,
        ["float32", "float64"],
        'node "n" (Add): A is float32 and B is float64; ONNX wants one type; insert a Cast',
    ),
    "bool": (ADD, 21, ["bool", "bool"], "A is bool; at opset 21 it is one of: float16,"),
    "int-sin": (helper.make_node("Sin", ["x"], ["y"]), 21, ["int64"], "input is int64"),
    "float-axes": (helper.make_node("ReduceSum", ["x", "a"], ["y"]), 21, ["float64", "float64"], "axes is float64"),
    "where": (
        helper.make_node("Where", ["c", "a", "b"], ["y"]),
        21,
        ["bool", "float64", "int64"],
        "X is float64 and Y is int64",
    ),
    "variadic": (helper.make_node("Max", ["a", "b", "c"], ["d"]), 21, ["int8", "int8", "int16"], "is int8 and"),
    "old": (helper.make_node("Relu", ["x"], ["y"]), 13, ["int32"], "at opset 13"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_onnx_allows(case: str) -> None:
    check_types(*ALLOWED[case])


@pytest.mark.parametrize("case", REFUSED)
def test_what_onnx_forbids(case: str) -> None:
    node, opset, dtypes, detail = REFUSED[case]
    with pytest.raises(errors.InvalidGraph) as raised:
        check_types(node, opset, dtypes)
    assert detail in raised.value.detail


@pytest.mark.parametrize(
    "value",
    [3, 0.5, "text", (1, 2), (0.5, 1.5), ("a", "b")],
    ids=["int", "float", "string", "ints", "floats", "strings"],
)
def test_attributes_as_python_values(value: object) -> None:
    assert python_value(helper.make_attribute("a", value)) == value


def test_tensors_and_graphs_among_attributes() -> None:
    array = np.array([[1.5, 2.5]])
    np.testing.assert_array_equal(python_value(helper.make_attribute("a", numpy_helper.from_array(array))), array)
    graph = helper.make_graph([], "g", [], [])
    assert python_value(helper.make_attribute("a", graph)) == graph


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        (AttributeProto(name="a", type=AttributeProto.STRING, s=b"\xff"), errors.InvalidGraph),
        (AttributeProto(name="a", type=AttributeProto.TYPE_PROTO), errors.UnsupportedOperator),
    ],
    ids=["not-utf-8", "type"],
)
def test_attributes_that_are_no_values(attribute: onnx.AttributeProto, problem: type[errors.Problem]) -> None:
    with pytest.raises(problem):
        python_value(attribute)


def test_bytes_that_are_no_model() -> None:
    with pytest.raises(errors.InvalidGraph, match="not a serialized ONNX ModelProto"):
        load(b"\x00")
