"""Serialized ONNX models: what is read from them, and what is refused."""

import base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import service
from service import errors
from service.graphs.compile import compile_graph
from service.link.messages import Limits, ValueInfo
from tests.graphs.reference import compiled, evaluate

ARM = (Path(service.__file__).parent / "assets" / "robot_arm.onnx").read_bytes()
F64, F32, I64 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64


def value(name: str, dtype: int = F64, shape: Any = (2, 2)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    *nodes: onnx.NodeProto,
    inputs: Any = (),
    outputs: Any = (),
    held: Any = (),
    opset: int = 17,
    functions: Any = (),
    **imports: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs or [value("x")], outputs or [value("y")], held)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in imports.items())]
    return helper.make_model(graph, opset_imports=opsets, functions=functions)


def source(proto: onnx.ModelProto) -> dict[str, Any]:
    return {"format": "onnx", "model": proto.SerializeToString()}


SIN = helper.make_node("Sin", ["x"], ["y"], name="sine")
X = np.array([[0.5, -1.0], [2.0, 0.25]])


def test_a_real_model() -> None:
    info = compiled({"format": "onnx", "model": base64.b64encode(ARM).decode()}).info
    assert info.inputs == (ValueInfo("q", "float64", (1, 6)),)
    assert info.outputs == (ValueInfo("position", "float64", (1, 3)), ValueInfo("rotation", "float64", (1, 3, 3)))
    assert info.operators["MatMul"] == 6
    assert "Constant" not in info.operators


def test_a_canonical_model_is_valid_and_its_own_canonical_form() -> None:
    once = compiled({"format": "onnx", "model": ARM})
    onnx.checker.check_model(onnx.load_from_string(once.model), full_check=True)
    assert compiled({"format": "onnx", "model": once.model}) == once


def test_base64_and_bytes_are_the_same() -> None:
    text = base64.b64encode(ARM).decode()
    assert compiled({"format": "onnx", "model": text}) == compiled({"format": "onnx", "model": ARM})


def test_symbolic_and_unknown_sizes() -> None:
    proto = model(SIN, inputs=[value("x", F32, ["N", None, 3])], outputs=[value("y", F32, ["N", None, 3])])
    info = compiled(source(proto)).info
    assert info.inputs == (ValueInfo("x", "float32", ("N", None, 3)),)
    assert info.outputs == (ValueInfo("y", "float32", ("N", None, 3)),)


def test_outputs_without_a_type_are_inferred() -> None:
    untyped = compiled(source(model(SIN, outputs=[onnx.ValueInfoProto(name="y")])))
    assert untyped.info.outputs == (ValueInfo("y", "float64", (2, 2)),)
    assert untyped.info.graph_id == compiled(source(model(SIN))).info.graph_id


def test_an_initializer_that_is_an_input_is_a_default() -> None:
    held = [numpy_helper.from_array(np.eye(2), "w"), numpy_helper.from_array(np.ones(2), "b")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    proto = model(*nodes, inputs=[value("x"), value("w")], held=held)
    info = compiled(source(proto)).info
    assert [(i.name, i.default) for i in info.inputs] == [("x", False), ("w", True)]
    np.testing.assert_array_equal(evaluate(source(proto), {"x": X})[0], X + 1)
    np.testing.assert_array_equal(evaluate(source(proto), {"x": X, "w": 2 * np.eye(2)})[0], 2 * X + 1)


def test_sparse_initializers_are_written_out() -> None:
    proto = model(helper.make_node("Add", ["x", "s"], ["y"]))
    values = numpy_helper.from_array(np.array([3.0, 5.0]), "s")
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([[0, 1], [1, 0]])), [2, 2])
    )
    np.testing.assert_array_equal(evaluate(source(proto), {"x": X})[0], X + np.array([[0, 3], [5, 0]]))


@pytest.mark.parametrize(
    "attribute",
    [
        {"value": numpy_helper.from_array(np.array([1.0, 2.0], np.float32))},
        {"value_floats": [1.0, 2.0]},
        {
            "sparse_value": helper.make_sparse_tensor(
                numpy_helper.from_array(np.array([1.0, 2.0], np.float32)),
                numpy_helper.from_array(np.array([0, 1])),
                [2],
            )
        },
    ],
    ids=["tensor", "floats", "sparse"],
)
def test_constants_become_initializers(attribute: dict[str, Any]) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attribute), helper.make_node("Mul", ["x", "c"], ["y"])]
    found = compiled(source(model(*nodes, inputs=[value("x", F32)], outputs=[value("y", F32)])))
    plain = model(
        helper.make_node("Mul", ["x", "k"], ["y"]),
        inputs=[value("x", F32)],
        outputs=[value("y", F32)],
        held=[helper.make_tensor("k", F32, [2], [1.0, 2.0])],
    )
    assert found.info == compiled(source(plain)).info
    assert found.info.operators == {"Mul": 1}


def twice(name: str, inner: str, opset: int = 17) -> onnx.FunctionProto:
    nodes = [helper.make_node(inner, ["a"], ["t"], domain="own"), helper.make_node(inner, ["t"], ["b"], domain="own")]
    return helper.make_function(
        "own", name, ["a"], ["b"], nodes, [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    )


def scaled(opset: int = 17) -> onnx.FunctionProto:
    node = helper.make_node("Elu", ["a"], ["b"])
    node.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT))
    return helper.make_function("own", "F0", ["a"], ["b"], [node], [helper.make_opsetid("", opset)], ["alpha"])


def test_local_functions_are_inlined() -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="own", alpha=0.5)
    inlined = compiled(source(model(call, functions=[scaled()], own=1))).info
    assert inlined == compiled(source(model(helper.make_node("Elu", ["x"], ["y"], alpha=0.5)))).info


def test_domains_of_functions_are_those_of_the_model() -> None:
    body = helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft")
    function = helper.make_function("own", "G", ["a"], ["b"], [body], [helper.make_opsetid("com.microsoft", 1)])
    call = helper.make_node("G", ["x"], ["y"], domain="own")
    info = compiled(source(model(call, functions=[function], own=1))).info
    assert info.operators == {"com.microsoft.Gelu": 1}


def test_a_function_of_another_opset_is_converted() -> None:
    body = helper.make_node("Squeeze", ["a"], ["b"], axes=[0])
    old = helper.make_function("own", "Old", ["a"], ["b"], [body], [helper.make_opsetid("", 11)])
    call = helper.make_node("Old", ["x"], ["y"], domain="own")
    proto = model(call, inputs=[value("x", F64, (1, 3))], outputs=[value("y", F64, (3,))], functions=[old], own=1)
    np.testing.assert_array_equal(evaluate(source(proto), {"x": np.ones((1, 3))})[0], np.ones(3))


def test_functions_that_double_at_every_level_are_counted_before_they_are_inlined() -> None:
    functions = [scaled(), *(twice(f"F{i}", f"F{i - 1}") for i in range(1, 60))]
    call = helper.make_node("F59", ["x"], ["y"], domain="own", alpha=1.0)
    with pytest.raises(errors.TooLarge, match="local functions inlined"):
        compiled(source(model(call, functions=functions, own=1)))


def test_a_function_that_calls_itself_is_refused() -> None:
    call = helper.make_node("F1", ["x"], ["y"], domain="own")
    with pytest.raises(errors.InvalidGraph, match="calls itself"):
        compiled(source(model(call, functions=[twice("F1", "F1")], own=1)))


def test_domains_that_no_node_uses_do_not_matter() -> None:
    imported = model(SIN)
    imported.opset_import.append(helper.make_opsetid("some.domain", 3))
    assert compiled(source(imported)).info == compiled(source(model(SIN))).info


def test_a_model_without_an_operator_of_ai_onnx_need_not_import_it() -> None:
    alone = model(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))
    alone.ClearField("opset_import")
    alone.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert compiled(source(alone)).info.operators == {"com.microsoft.Gelu": 1}


@pytest.mark.parametrize("opset", [1, 5, 6], ids="opset-{}".format)
def test_old_opsets_are_read_where_the_operator_had_its_meaning(opset: int) -> None:
    proto = model(helper.make_node("Neg", ["x"], ["y"]), opset=opset)
    if opset < 6:
        with pytest.raises(
            errors.UnsupportedOperator, match=f"Neg is supported from opset 6 on; the graph says {opset}"
        ):
            compiled(source(proto))
    else:
        assert compiled(source(proto)).info.opset == opset


def test_ai_onnx_has_two_names() -> None:
    other = model(SIN)
    other.opset_import[0].domain = "ai.onnx"
    other.graph.node[0].domain = "ai.onnx"
    assert compiled(source(other)).info == compiled(source(model(SIN))).info


def changed(change: Callable[[onnx.ModelProto], object], *nodes: onnx.NodeProto, **members: Any) -> dict[str, Any]:
    proto = model(*(nodes or (SIN,)), **members)
    change(proto)
    return source(proto)


def external(proto: onnx.ModelProto) -> None:
    tensor = TensorProto(name="w", data_type=F64, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    proto.graph.node.append(helper.make_node("Constant", [], ["w"], value=tensor))


def subgraph_external(proto: onnx.ModelProto) -> None:
    inner = model(SIN)
    external(inner)
    node = helper.make_node("If", ["c"], ["z"], then_branch=inner.graph, else_branch=inner.graph)
    proto.graph.node.append(node)


def add_tensor(**fields: Any) -> Callable[[onnx.ModelProto], object]:
    return lambda proto: proto.graph.initializer.append(TensorProto(name="w", **fields))


def set_opset(version: int) -> Callable[[onnx.ModelProto], object]:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return change


def sparse(*indices: int, dims: tuple[int, ...] = (4,)) -> Callable[[onnx.ModelProto], object]:
    values = numpy_helper.from_array(np.ones(len(indices)), "w")
    tensor = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices, np.int64)), dims)
    return lambda proto: proto.graph.sparse_initializer.append(tensor)


REFUSED: dict[str, tuple[dict[str, Any], type[errors.Problem], str]] = {
    "no-model": ({"format": "onnx"}, errors.InvalidGraph, "the base64 of a serialized ModelProto"),
    "member": ({"format": "onnx", "model": ARM, "bytes": 1}, errors.InvalidGraph, 'no member "bytes"'),
    "base64": ({"format": "onnx", "model": "ä"}, errors.InvalidGraph, "not base64"),
    "garbage": ({"format": "onnx", "model": b"\xff\xff\xff"}, errors.InvalidGraph, "not a serialized ONNX ModelProto"),
    "empty": ({"format": "onnx", "model": b""}, errors.InvalidGraph, "has no graph"),
    "external": (changed(external), errors.InvalidGraph, "keeps its data in another file"),
    "external-in-subgraph": (changed(subgraph_external), errors.InvalidGraph, "keeps its data in another file"),
    "training": (changed(lambda m: m.training_info.add()), errors.InvalidGraph, "training information"),
    "opset-old": (changed(set_opset(0)), errors.InvalidGraph, "opset 0; supported are 1 to"),
    "opset-new": (changed(set_opset(999)), errors.InvalidGraph, "opset 999"),
    "opset-none": (changed(lambda m: m.ClearField("opset_import")), errors.InvalidGraph, "no opset of ai.onnx"),
    "opset-twice": (
        changed(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 18))),
        errors.InvalidGraph,
        "at two versions",
    ),
    "ir-version": (changed(lambda m: setattr(m, "ir_version", 99)), errors.InvalidGraph, "IR version 99"),
    "raw-size": (
        changed(add_tensor(data_type=F64, dims=[3], raw_data=b"\0" * 16)),
        errors.InvalidGraph,
        "takes 24 bytes, it has 16",
    ),
    "data-size": (
        changed(add_tensor(data_type=F32, dims=[3], float_data=[1.0])),
        errors.InvalidGraph,
        "takes 3 numbers, it has 1",
    ),
    "two-contents": (
        changed(add_tensor(data_type=F32, dims=[1], float_data=[1.0], int64_data=[1])),
        errors.InvalidGraph,
        "content beside its float_data",
    ),
    "range": (
        changed(add_tensor(data_type=TensorProto.INT8, dims=[1], int32_data=[300])),
        errors.InvalidGraph,
        "do not fit int8",
    ),
    "bool-bytes": (
        changed(add_tensor(data_type=TensorProto.BOOL, dims=[1], raw_data=b"\x02")),
        errors.InvalidGraph,
        "its bytes are 0 and 1",
    ),
    "negative-size": (changed(add_tensor(data_type=F64, dims=[-1])), errors.InvalidGraph, "sizes are 0 or more"),
    "huge": (changed(add_tensor(data_type=F64, dims=[2**40])), errors.TooLarge, "the limit is"),
    "overflowing": (changed(add_tensor(data_type=F64, dims=[2**32, 2**32])), errors.TooLarge, "the limit is"),
    "rank": (changed(add_tensor(data_type=F64, dims=[1] * 99)), errors.TooLarge, "99 axes"),
    "string-tensor": (
        changed(add_tensor(data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])),
        errors.UnsupportedOperator,
        'the initializer "w" is string',
    ),
    "unknown-dtype": (changed(add_tensor(data_type=77, dims=[0])), errors.UnsupportedOperator, "unknown ONNX type 77"),
    "sparse-order": (changed(sparse(2, 1)), errors.InvalidGraph, "unsorted"),
    "sparse-range": (changed(sparse(1, 4)), errors.InvalidGraph, "out of range"),
    "sparse-huge": (changed(sparse(1, dims=(2**14, 2**14))), errors.TooLarge, "the limit is"),
    "sequence": (
        source(model(SIN, outputs=[helper.make_tensor_sequence_value_info("y", F64, None)])),
        errors.UnsupportedOperator,
        '"y" is a sequence',
    ),
    "dtype": (
        source(model(SIN, inputs=[value("x", TensorProto.UINT64)])),
        errors.UnsupportedOperator,
        '"x" is uint64',
    ),
    "unsorted": (
        source(model(helper.make_node("Cos", ["t"], ["y"]), helper.make_node("Sin", ["x"], ["t"]))),
        errors.InvalidGraph,
        'node 0 (Cos) reads "t", which comes later',
    ),
    "unknown-name": (
        source(model(helper.make_node("Cos", ["t"], ["y"], name="c"))),
        errors.InvalidGraph,
        'node "c" (Cos) reads "t", which is not in the graph',
    ),
    "unsupported": (
        source(model(helper.make_node("RoiAlign", ["x", "r", "i"], ["y"], name="roi"))),
        errors.UnsupportedOperator,
        'node "roi" (RoiAlign)',
    ),
    "domain": (
        source(model(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))),
        errors.InvalidGraph,
        'imports no opset of "com.microsoft"',
    ),
    "types": (
        source(model(helper.make_node("Add", ["x", "k"], ["y"]), held=[helper.make_tensor("k", F32, [1], [1.0])])),
        errors.InvalidGraph,
        "node 0 (Add): A is float64 and B is float32; ONNX wants one type; insert a Cast",
    ),
    "dtype-of-node": (
        source(model(SIN, inputs=[value("x", I64)], outputs=[value("y", I64)])),
        errors.InvalidGraph,
        'node "sine" (Sin): input is int64',
    ),
    "output-type": (
        source(model(SIN, outputs=[value("y", F32)])),
        errors.InvalidGraph,
        'the output "y" is declared float32 and comes out float64',
    ),
    "utf-8": (
        {"format": "onnx", "model": model(SIN).SerializeToString().replace(b"sine", b"s\xffne")},
        errors.InvalidGraph,
        "not UTF-8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    given_, problem, detail = REFUSED[case]
    with pytest.raises(problem) as raised:
        compiled(given_)
    assert detail in raised.value.detail


@pytest.mark.parametrize("limits", [Limits(graph_nodes=100), Limits(tensor_elements=2)], ids=["nodes", "elements"])
def test_sizes_are_limited(limits: Limits) -> None:
    with pytest.raises(errors.TooLarge):
        compile_graph({"format": "onnx", "model": ARM}, limits)


def test_only_outputs_of_a_file_are_ys() -> None:
    made = compiled({"format": "onnx", "model": ARM}, "q")
    assert [o.name for o in made.info.outputs] == ["position", "rotation"]


@given(content=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_a_problem_and_nothing_else(content: bytes) -> None:
    with suppress(errors.InvalidGraph, errors.UnsupportedOperator, errors.TooLarge):
        compiled({"format": "onnx", "model": content})


SMALL = model(
    helper.make_node("F0", ["x"], ["t"], domain="own", alpha=0.5),
    helper.make_node("Reshape", ["t", "shape"], ["r"]),
    helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.array(2.0))),
    helper.make_node(
        "If",
        ["c"],
        ["y"],
        then_branch=helper.make_graph([helper.make_node("Mul", ["r", "k"], ["q"])], "a", [], [value("q", F64, [4])]),
        else_branch=helper.make_graph([helper.make_node("Cos", ["r"], ["q"])], "b", [], [value("q", F64, [4])]),
    ),
    inputs=[value("x"), value("c", TensorProto.BOOL, [])],
    outputs=[value("y", F64, [4])],
    held=[numpy_helper.from_array(np.array([4]), "shape")],
    functions=[scaled()],
    own=1,
).SerializeToString()


@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4
    )
)
@settings(max_examples=100, deadline=None)
def test_damaged_models_are_a_problem_or_a_model(edits: list[tuple[int, int, bytes]]) -> None:
    content = bytearray(SMALL)
    for at, length, replacement in edits:
        content[at : at + length] = replacement
    with suppress(errors.InvalidGraph, errors.UnsupportedOperator, errors.TooLarge):
        compiled({"format": "onnx", "model": bytes(content)})
