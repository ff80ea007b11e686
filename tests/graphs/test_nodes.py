"""Node lists: what they mean, in which order they may stand, and what is refused where."""

from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.catalogue import INSTEAD, OPERATORS, SEEDED
from service.graphs.attributes import python_value
from service.graphs.compile import compile_graph
from service.link.messages import Limits
from tests.graphs.reference import compiled, evaluate


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> dict[str, Any]:
    return {"op": op, "inputs": inputs, "outputs": outputs, "attributes": attributes}


def graph(*nodes: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"format": "nodes", "nodes": list(nodes), **members}


X = np.array([[0.5, -1.0], [2.0, 0.25]])
LAYERS = (
    node("MatMul", ["x", "W"], ["h"]),
    node("Tanh", ["h"], ["a"]),
    node("ReduceSum", ["a", "axes"], ["y"], keepdims=0),
)
HELD = {"W": {"dtype": "float64", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}, "axes": [1]}


def test_a_graph_is_evaluated() -> None:
    (y,) = evaluate(graph(*LAYERS, initializers=HELD, outputs=["y"]), {"x": X})
    np.testing.assert_allclose(y, np.tanh(X @ [[1.0, 2.0], [3.0, 4.0]]).sum(1))


@given(order=st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_nodes_stand_in_any_order(order: list[int]) -> None:
    sorted_id = compiled(graph(*LAYERS, initializers=HELD, outputs=["y"])).info.graph_id
    shuffled = graph(*(LAYERS[i] for i in order), initializers=HELD, outputs=["y"])
    assert compiled(shuffled).info.graph_id == sorted_id


def test_what_no_node_makes_is_an_input() -> None:
    info = compiled(graph(node("Add", ["b", "a"], ["t"]), node("Mul", ["t", "a"], ["y"]), outputs=["y"])).info
    assert [(i.name, i.dtype, i.shape, i.default) for i in info.inputs] == [
        ("a", None, None, False),
        ("b", None, None, False),
    ]
    assert info.opset == 21
    assert info.operators == {"Add": 1, "Mul": 1}


def test_outputs_may_be_named_by_the_session() -> None:
    source = graph(*LAYERS, initializers=HELD)
    assert [o.name for o in compiled(source, "y", "h", "y").info.outputs] == ["y", "h"]
    assert [o.name for o in compiled(source | {"outputs": ["y"]}, "h", "y").info.outputs] == ["y", "h"]
    assert [o.name for o in compiled(source, "x").info.outputs] == ["x"]
    with pytest.raises(errors.InvalidRequest, match='no value "z"'):
        compiled(source, "z")
    with pytest.raises(errors.InvalidGraph, match='"outputs": \\["y"\\]'):
        compiled(source)


def test_an_input_that_nothing_reads_is_one_where_it_is_differentiated_by() -> None:
    source = graph(node("Sin", ["x"], ["y"]), outputs=["y"])
    assert [i.name for i in compiled(source, inputs=["x", "z"]).info.inputs] == ["x"]
    assert [i.name for i in compiled(source, inputs=["x", "z"], xs=["z", "x", "y"]).info.inputs] == ["x", "z"]


def test_an_output_may_be_an_input_or_an_initializer() -> None:
    source = graph(*LAYERS, initializers=HELD, outputs=["x", "W", "y"])
    x, w, _ = evaluate(source, {"x": X})
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(w, [[1.0, 2.0], [3.0, 4.0]])


def test_dead_nodes_and_initializers_do_not_count() -> None:
    more = graph(*LAYERS, node("Sin", ["h"], ["unused"]), initializers=HELD | {"rest": [1.0]}, outputs=["y"])
    assert compiled(more).info == compiled(graph(*LAYERS, initializers=HELD, outputs=["y"])).info


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ({"op": "Softmax", "inputs": ["x"], "attributes": {"axis": True}}, 1),
        ({"op": "Softmax", "inputs": ["x"], "attributes": {"axis": 0.0}}, 0),
        ({"op": "Elu", "inputs": ["x"], "attributes": {"alpha": 2}}, 2.0),
        ({"op": "Einsum", "inputs": ["x"], "attributes": {"equation": "ij->ji"}}, "ij->ji"),
        ({"op": "Transpose", "inputs": ["x"], "attributes": {"perm": [1, 0]}}, (1, 0)),
    ],
    ids=["bool-for-int", "float-for-int", "int-for-float", "string", "integers"],
)
def test_attributes_have_the_types_of_the_schema(value: dict[str, Any], attribute: object) -> None:
    model = onnx.load_from_string(compiled(graph(value | {"outputs": ["y"]}, outputs=["y"])).model)
    assert python_value(model.graph.node[0].attribute[0]) == attribute


def test_a_tensor_attribute() -> None:
    source = graph(
        node("ConstantOfShape", ["n"], ["zeros"], value={"dtype": "float64", "shape": [1], "data": [2.5]}),
        node("Add", ["zeros", "x"], ["y"]),
        initializers={"n": [2]},
        outputs=["y"],
    )
    np.testing.assert_array_equal(evaluate(source, {"x": X})[0], X + 2.5)


@pytest.mark.parametrize("chosen", [True, False], ids=["then", "else"])
def test_subgraphs_capture_outer_values_and_inputs(chosen: bool) -> None:
    source = graph(
        node(
            "If",
            ["c"],
            ["y"],
            then_branch={"nodes": [node("Mul", ["h", "x"], ["r"])], "outputs": ["r"]},
            else_branch={
                "nodes": [node("Add", ["h", "k"], ["r"])],
                "outputs": ["r"],
                "initializers": {"k": 1.5},
            },
        ),
        node("Sin", ["x"], ["h"]),
        outputs=["y"],
    )
    info = compiled(source).info
    assert [i.name for i in info.inputs] == ["c", "x"]
    assert info.operators == {"Add": 1, "If": 1, "Mul": 1, "Sin": 1}
    (y,) = evaluate(source, {"c": chosen, "x": X})
    np.testing.assert_allclose(y, np.sin(X) * X if chosen else np.sin(X) + 1.5)


def test_a_scan_body_says_its_inputs() -> None:
    body = {
        "inputs": ["state", "row"],
        "nodes": [node("Add", ["state", "row"], ["sum"]), node("Identity", ["sum"], ["copy"])],
        "outputs": ["sum", "copy"],
    }
    source = graph(node("Scan", ["s0", "x"], ["last", "all"], body=body, num_scan_inputs=1), outputs=["last", "all"])
    last, everything = evaluate(source, {"s0": np.zeros(2), "x": X})
    np.testing.assert_allclose(last, X.sum(0))
    np.testing.assert_allclose(everything, X.cumsum(0))


SIN = node("Sin", ["x"], ["y"])
REFUSED: dict[str, tuple[dict[str, Any], type[errors.Problem], str, str | None]] = {
    "no-nodes": ({"format": "nodes"}, errors.InvalidGraph, "a list", "/nodes"),
    "node-is-text": (graph("Sin"), errors.InvalidGraph, "a node is an object", "/nodes/0"),  # type: ignore[arg-type]
    "member": (graph(SIN | {"output": "y"}), errors.InvalidGraph, 'no member "output"', "/nodes/0"),
    "graph-member": (graph(SIN, inputs=["x"]), errors.InvalidGraph, 'no member "inputs"', ""),
    "opset": (graph(SIN, opset=99), errors.InvalidGraph, "from 1 to", "/opset"),
    "opset-type": (graph(SIN, opset=True), errors.InvalidGraph, "from 1 to", "/opset"),
    "operator": (
        graph(SIN, node("Sofmax", ["y"], ["z"])),
        errors.UnsupportedOperator,
        "node 1 (Sofmax): the operator Sofmax is not supported; did you mean Softmax?",
        "/nodes/1",
    ),
    "domain": (
        graph(SIN | {"domain": "my.own", "name": "mine"}),
        errors.UnsupportedOperator,
        'node "mine" (my.own.Sin)',
        "/nodes/0",
    ),
    "inputs": (
        graph(node("Add", ["x"], ["y"])),
        errors.InvalidGraph,
        "node 0 (Add) has 1 inputs; it takes 2",
        "/nodes/0",
    ),
    "blank-input": (
        graph(node("Add", ["x", ""], ["y"])),
        errors.InvalidGraph,
        "input B may not be left out",
        "/nodes/0",
    ),
    "outputs": (graph(node("Sin", ["x"], ["y", "z"])), errors.InvalidGraph, "has 2 outputs; it makes 1", "/nodes/0"),
    "no-output": (graph(node("Sin", ["x"], [""])), errors.InvalidGraph, "names no output", "/nodes/0"),
    "twice": (graph(SIN, SIN), errors.InvalidGraph, 'node 1 (Sin) makes "y", which node 0 (Sin)', "/nodes/1/outputs"),
    "over-initializer": (
        graph(SIN, initializers={"y": 1.0}),
        errors.InvalidGraph,
        "which the graph has already",
        "/nodes/0/outputs",
    ),
    "cycle": (
        graph(node("Sin", ["z"], ["y"]), node("Cos", ["y"], ["z"])),
        errors.InvalidGraph,
        "cycle: node 0 (Sin) <- node 1 (Cos) <- node 0 (Sin)",
        None,
    ),
    "attribute": (
        graph(node("Softmax", ["x"], ["y"], axes=1)),
        errors.InvalidGraph,
        "has no attribute axes; it has axis",
        "/nodes/0/attributes/axes",
    ),
    "attribute-type": (
        graph(node("Softmax", ["x"], ["y"], axis=[1])),
        errors.InvalidGraph,
        "node 0 (Softmax): axis is an integer",
        "/nodes/0/attributes/axis",
    ),
    "attribute-item": (
        graph(node("Transpose", ["x"], ["y"], perm=[0, "1"])),
        errors.InvalidGraph,
        "perm is an integer",
        "/nodes/0/attributes/perm/1",
    ),
    "attribute-missing": (graph(node("Cast", ["x"], ["y"])), errors.InvalidGraph, "needs the attribute to", "/nodes/0"),
    "output-unknown": (graph(SIN, outputs=["yy"]), errors.InvalidGraph, 'no node makes the output "yy"', "/outputs"),
    "output-twice": (graph(SIN, outputs=["y", "y"]), errors.InvalidGraph, 'the output "y" stands 2 times', "/outputs"),
    "old-opset": (
        graph(node("Gelu", ["x"], ["y"]), opset=13),
        errors.UnsupportedOperator,
        "from opset 20 on",
        "/nodes/0",
    ),
    "ragged": (
        graph(SIN, initializers={"a/b": [[1], [2, 3]]}),
        errors.ShapeMismatch,
        "ragged",
        "/initializers/a~1b/1",
    ),
    "subgraph": (
        graph(
            node(
                "If",
                ["c"],
                ["y"],
                then_branch={"nodes": [node("Sinus", ["x"], ["r"])], "outputs": ["r"]},
                else_branch={"nodes": [], "outputs": ["x"]},
            )
        ),
        errors.UnsupportedOperator,
        "node 0 (Sinus) in then_branch of node 0 (If)",
        "/nodes/0/attributes/then_branch/nodes/0",
    ),
    "subgraph-type": (
        graph(node("If", ["c"], ["y"], then_branch=1)),
        errors.InvalidGraph,
        "then_branch is a graph",
        "/nodes/0/attributes/then_branch",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    source, problem, detail, pointer = REFUSED[case]
    with pytest.raises(problem) as raised:
        compiled({"outputs": ["y"], **source})
    assert detail in raised.value.detail
    if pointer:
        assert raised.value.faults[0].pointer == pointer


@pytest.mark.parametrize("op", INSTEAD)
def test_a_refusal_says_what_to_do_instead(op: str) -> None:
    with pytest.raises(errors.UnsupportedOperator) as raised:
        compiled(graph(node(op, ["x"], ["y"]) | {"name": "mine"}, outputs=["y"]))
    assert raised.value.detail == f'node "mine" ({op}): the operator {op} is not supported; {INSTEAD[op]}'
    assert op not in {name for _, name in OPERATORS}


def test_a_refusal_knows_the_domain() -> None:
    with pytest.raises(errors.UnsupportedOperator, match="without ONNX Runtime's optimizations"):
        compiled(graph(node("FusedConv", ["x", "w"], ["y"]) | {"domain": "com.microsoft"}, outputs=["y"]))


@pytest.mark.parametrize("op", sorted(SEEDED))
def test_a_random_operator_is_one_with_a_seed(op: str) -> None:
    inputs = [] if op in {"RandomNormal", "RandomUniform"} else ["x"]
    rest = {} if inputs else {"shape": [2]}
    with pytest.raises(errors.UnsupportedOperator, match=f"{op} without a seed is random; give it a seed"):
        compiled(graph(node(op, inputs, ["y"], **rest), outputs=["y"]))
    seeded = compiled(graph(node(op, inputs, ["r"], seed=1.5, **rest), node("Cast", ["r"], ["y"], to=1), outputs=["y"]))
    assert seeded.info.operators[op] == 1


def test_all_unsupported_operators_are_listed() -> None:
    with pytest.raises(errors.UnsupportedOperator) as raised:
        compiled(graph(node("Foo", ["x"], ["a"]), node("Bar", ["a"], ["b"]), node("Foo", ["b"], ["y"]), outputs=["y"]))
    assert [fault.pointer for fault in raised.value.faults] == ["/nodes/0", "/nodes/1"]


@pytest.mark.parametrize(
    "limits",
    [Limits(graph_nodes=2), Limits(tensor_elements=3), Limits(tensor_rank=1)],
    ids=["nodes", "elements", "rank"],
)
def test_sizes_are_limited(limits: Limits) -> None:
    with pytest.raises(errors.TooLarge):
        compile_graph(graph(*LAYERS, initializers=HELD, outputs=["y"]), limits)


def test_nesting_is_limited() -> None:
    body: dict[str, Any] = {"nodes": [], "outputs": ["x"]}
    for _ in range(100):
        body = {"nodes": [node("If", ["c"], ["r"], then_branch=body, else_branch=body)], "outputs": ["r"]}
    with pytest.raises(errors.InvalidGraph, match="nested more than 64 deep"):
        compiled(graph(*body["nodes"], outputs=["r"]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["x", "y", "", "Sin", "If", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op", "nodes", "inputs", "outputs", "data", "dtype", "\ud800"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
NODES = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["Sin", "Add", "If", "Loop", "Cast", "Constant", "Concat", "ReduceSum", "Conv"]) | JSON,
        "inputs": st.lists(st.sampled_from(["x", "y", "z", ""]), max_size=3) | JSON,
        "outputs": st.lists(st.sampled_from(["y", "z", "w", ""]), max_size=2) | JSON,
        "attributes": st.dictionaries(
            st.sampled_from(["axis", "to", "body", "then_branch", "value", "sparse_value", "value_string"]),
            JSON,
            max_size=2,
        )
        | JSON,
        "domain": st.sampled_from(["", "ai.onnx", "com.microsoft", "jacobian"]) | JSON,
        "name": JSON,
    },
)
GRAPHS = st.fixed_dictionaries(
    {"format": st.sampled_from(["nodes", "expression", "onnx"]) | JSON},
    optional={
        "nodes": st.lists(NODES, max_size=3) | JSON,
        "outputs": st.lists(st.sampled_from(["x", "y", "z"]), max_size=2) | JSON,
        "initializers": st.dictionaries(st.sampled_from(["x", "y", "z"]), JSON, max_size=2) | JSON,
        "opset": st.integers(1, 30) | JSON,
        "model": JSON,
    },
)


@given(source=GRAPHS, names=st.lists(st.sampled_from(["x", "y"]), max_size=2))
@settings(max_examples=100, deadline=None)
def test_garbage_is_a_problem_and_nothing_else(source: dict[str, Any], names: list[str]) -> None:
    with suppress(errors.Problem):
        compiled(source, *names, xs=names, inputs=names)
