"""What is folded once, what decides a program, and what errors say."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service import errors
from tests.engine.conftest import Engine

INT64 = 7


def body(inputs, nodes, outputs):
    return {"inputs": inputs, "nodes": nodes, "outputs": outputs}


def node(op, inputs, outputs, **attributes):
    return {"op": op, "inputs": inputs, "outputs": outputs, "attributes": attributes}


def test_shapes_are_folded_once(nodes):
    engine = nodes(
        ("Shape", ["x"], ["s"]),
        ("Gather", ["s", "zero"], ["n"], {"axis": 0}),
        ("Concat", ["n", "minus"], ["t"], {"axis": 0}),
        ("Reshape", ["x", "t"], ["y"]),
        initializers={"zero": {"dtype": "int64", "shape": [1], "data": [0]}, "minus": {"dtype": "int64", "data": [-1]}},
    )
    point = engine.point(x=np.arange(6.0).reshape(3, 2))
    assert [step.kernel.op for step in point.program.block.steps] == ["Reshape"]
    assert engine.point(x=np.ones((3, 2))).program is point.program
    assert engine.point(x=np.ones((2, 2))).program is not point.program


def test_an_integer_input_that_decides_a_shape_belongs_to_the_program(nodes):
    engine = nodes(("Reshape", ["x", "shape"], ["h"]), ("Sin", ["h"], ["y"]))
    flat = engine.point(x=np.arange(6.0), shape=np.array([6]))
    tall = engine.point(x=np.arange(6.0), shape=np.array([3, 2]))
    assert tuple(flat.values["y"].shape) == (6,)
    assert tuple(tall.values["y"].shape) == (3, 2)
    assert flat.program is not tall.program
    assert engine.point(x=np.ones(6), shape=np.array([3, 2])).program is tall.program
    np.testing.assert_allclose(engine.rows(tall, "y", "x"), np.diag(np.cos(np.arange(6.0))))


def test_an_input_that_decides_may_be_empty(nodes):
    engine = nodes(("ReduceSum", ["x", "axes"], ["y"], {"keepdims": 0}))
    all_axes = engine.point(x=np.ones((2, 3)), axes=np.array([], np.int64))
    last_axis = engine.point(x=np.ones((2, 3)), axes=np.array([1]))
    np.testing.assert_array_equal(all_axes.values["y"], 6)
    np.testing.assert_array_equal(last_axis.values["y"], [3, 3])


def test_an_integer_input_that_decides_nothing_does_not(nodes):
    engine = nodes(("Gather", ["x", "ids"], ["y"], {"axis": 0}))
    first = engine.point(x=np.arange(3.0), ids=np.array([0, 2]))
    second = engine.point(x=np.arange(3.0), ids=np.array([1, 1]))
    assert first.program is second.program
    np.testing.assert_array_equal(engine.rows(second, "y", "x"), np.eye(3)[[1, 1]])


def test_a_loop_runs_as_often_as_its_input_says(nodes):
    step = body(["i", "going", "h"], [node("Sin", ["h"], ["g"]), node("Identity", ["going"], ["go"])], ["go", "g"])
    engine = nodes(("Loop", ["trips", "", "x"], ["y"], {"body": step}))
    for trips in (0, 1, 3):
        x = np.array([0.4, -1.2])
        point = engine.point(trips=np.array(trips), x=x)
        slope = np.ones(2)
        for _ in range(trips):
            slope, x = slope * np.cos(x), np.sin(x)
        np.testing.assert_allclose(engine.rows(point, "y", "x"), np.diag(slope), rtol=1e-14)


def test_a_branch_on_a_differentiated_value_is_the_one_taken_at_the_point(nodes):
    engine = nodes(
        ("ReduceSum", ["x"], ["s"], {"keepdims": 0}),
        ("Greater", ["s", "zero"], ["c"]),
        (
            "If",
            ["c"],
            ["y"],
            {
                "then_branch": body([], [node("Exp", ["x"], ["a"])], ["a"]),
                "else_branch": body([], [node("Sin", ["x"], ["b"])], ["b"]),
            },
        ),
        initializers={"zero": {"dtype": "float64", "shape": [], "data": [0.0]}},
    )
    for x in (np.array([1.0, 2.0]), np.array([-1.0, -2.0]), np.array([1.0, 3.0])):
        slope = np.exp(x) if x.sum() > 0 else np.cos(x)
        for _ in range(3):
            point = engine.point(x=x)
            np.testing.assert_allclose(engine.rows(point, "y", "x"), np.diag(slope), rtol=1e-14)
            while engine.pullbacks.work():
                pass


def test_a_shape_that_depends_on_values_is_that_of_the_point(nodes):
    engine = nodes(
        ("Greater", ["x", "zero"], ["c"]),
        ("Compress", ["x", "c"], ["h"], {"axis": 0}),
        ("Shape", ["h"], ["n"]),
        ("Cast", ["n"], ["f"], {"to": 11}),
        ("Mul", ["h", "f"], ["y"]),
        initializers={"zero": {"dtype": "float64", "shape": [], "data": [0.0]}},
    )
    for x in (np.array([1.0, -1.0, 2.0]), np.array([1.0, 1.0, 2.0]), np.array([-1.0, -1.0, 2.0])):
        for _ in range(3):
            point = engine.point(x=x)
            keep = x > 0
            np.testing.assert_array_equal(point.values["y"].numpy(), x[keep] * keep.sum())
            np.testing.assert_array_equal(engine.rows(point, "y", "x"), np.eye(3)[keep] * keep.sum())
            while engine.pullbacks.work():
                pass


def test_dtypes_are_held_against_onnx(nodes):
    engine = nodes(("Add", ["a", "b"], ["y"]))
    with pytest.raises(errors.InvalidGraph, match=r"Add.*float32.*float64"):
        engine.point(a=np.ones(2, np.float32), b=np.ones(2))


def test_shapes_that_do_not_fit_name_the_node(nodes):
    engine = nodes(("MatMul", ["a", "b"], ["y"]))
    with pytest.raises(errors.ShapeMismatch, match=r"node 0 \(MatMul\).*float64\[2, 3\], float64\[4\]"):
        engine.point(a=np.ones((2, 3)), b=np.ones(4))


def test_a_default_is_used_and_can_be_overridden():
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.DOUBLE, [2]), value("w", TensorProto.DOUBLE, [2])],
        [value("y", TensorProto.DOUBLE, [2])],
        [numpy_helper.from_array(np.array([2.0, 3.0]), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION)
    engine = Engine({"format": "onnx", "model": model.SerializeToString()})
    assert [i.default for i in engine.info.inputs] == [False, True]
    np.testing.assert_array_equal(engine.point(x=np.ones(2)).values["y"].numpy(), [2, 3])
    np.testing.assert_array_equal(engine.point(x=np.ones(2), w=np.full(2, 5.0)).values["y"].numpy(), [5, 5])
