"""Equal content gives an equal `graph_id`; names of inputs and outputs, and every number, count."""

import random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graphs.reference import compiled, evaluate, expression

F64 = TensorProto.DOUBLE
X = np.array([[0.5, -1.0], [2.0, 0.25]])


def info(name: str, dtype: int = F64, shape: Any = (2, 2)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def branches(names: dict[str, str]) -> onnx.ModelProto:
    """A graph with a captured value, a nested initializer and a shared intermediate, under any names."""
    n = {key: names.get(key, key) for key in ("h", "k", "r", "s", "inner", "node", "graph", "doc")}
    then = helper.make_graph(
        [helper.make_node("Mul", [n["h"], n["inner"]], [n["r"]])],
        n["graph"],
        [],
        [info(n["r"])],
        [numpy_helper.from_array(np.array(3.0), n["inner"])],
    )
    other = helper.make_graph(
        [helper.make_node("Add", [n["h"], n["k"]], [n["s"]], name=n["node"] + "0")], n["graph"], [], [info(n["s"])]
    )
    nodes = [
        helper.make_node("Sin", ["x"], [n["h"]], name=n["node"] + "1"),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other, name=n["node"] + "2"),
        helper.make_node("Cos", [n["h"]], ["z"], doc_string=n["doc"]),
    ]
    graph = helper.make_graph(
        nodes,
        n["graph"],
        [info("x"), info("c", TensorProto.BOOL, [])],
        [info("y"), info("z")],
        [numpy_helper.from_array(np.array(1.5), n["k"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name=n["doc"])
    model.metadata_props.add(key="note", value=n["doc"])
    return model


def id_of(model: onnx.ModelProto) -> str:
    return compiled({"format": "onnx", "model": model.SerializeToString()}).info.graph_id


PLAIN = id_of(branches({}))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
NAMES = st.lists(
    (WORDS | st.sampled_from(["v0", "v1", "v2"])).filter(lambda w: w not in {"x", "y", "z", "c"}),
    min_size=8,
    max_size=8,
    unique=True,
)


@given(names=NAMES)
@settings(max_examples=60, deadline=None)
def test_names_of_intermediate_values_nodes_and_documents_do_not_count(names: list[str]) -> None:
    keys = ("h", "k", "r", "s", "inner", "node", "graph", "doc")
    assert id_of(branches(dict(zip(keys, names, strict=True)))) == PLAIN


def test_a_canonical_model_means_the_same() -> None:
    source = {"format": "onnx", "model": branches({}).SerializeToString()}
    for chosen, expected in ((True, np.sin(X) * 3), (False, np.sin(X) + 1.5)):
        y, z = evaluate(source, {"x": X, "c": chosen})
        np.testing.assert_allclose(y, expected)
        np.testing.assert_allclose(z, np.cos(np.sin(X)))


def test_inner_names_may_shadow_outer_ones() -> None:
    assert id_of(branches({"r": "z1", "s": "z1"})) == PLAIN


def renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "w"


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[1].name = model.graph.node[2].output[0] = "w"


def another_number(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(1.25), "k"))


def another_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([1.5]), "k"))


def another_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def another_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "Tan"


def outputs_swapped(model: onnx.ModelProto) -> None:
    outputs = [model.graph.output[1], model.graph.output[0]]
    model.graph.ClearField("output")
    model.graph.output.extend(outputs)


@pytest.mark.parametrize(
    "change",
    [renamed_input, renamed_output, another_number, another_shape, another_opset, another_operator, outputs_swapped],
    ids=lambda change: change.__name__.replace("_", "-"),
)
def test_content_counts(change: Any) -> None:
    model = branches({})
    change(model)
    assert id_of(model) != PLAIN


def test_attributes_that_say_the_default_do_not_count() -> None:
    def softmax(**attributes: Any) -> str:
        node = {"op": "Softmax", "inputs": ["x"], "outputs": ["y"], "attributes": attributes}
        return compiled({"format": "nodes", "nodes": [node], "outputs": ["y"]}).info.graph_id

    assert softmax() == softmax(axis=-1) != softmax(axis=1)


def test_how_a_tensor_is_stored_does_not_count() -> None:
    typed = branches({})
    typed.graph.initializer[0].CopyFrom(helper.make_tensor("k", F64, [], [1.5]))
    assert id_of(typed) == PLAIN


def test_inputs_left_out_at_the_end_do_not_count() -> None:
    def clip(*inputs: str) -> str:
        node = {"op": "Clip", "inputs": ["x", *inputs], "outputs": ["y"]}
        return compiled(
            {"format": "nodes", "nodes": [node], "outputs": ["y"], "initializers": {"b": 0.0}}
        ).info.graph_id

    assert clip() == clip("") == clip("", "")
    assert clip("b") == clip("b", "") != clip("", "b")


def test_spelling_and_order_of_an_expression_do_not_count() -> None:
    plain = compiled(expression(y="sin(x) + 2 * z", r="y ** 2")).info
    other = compiled(expression(r="(y)**2", y="sin((x))+  2*z")).info
    assert plain == other
    assert compiled(expression(y="sin(x) + z * 2", r="y ** 2")).info.graph_id != plain.graph_id


def test_an_expression_and_its_own_model_are_the_same() -> None:
    once = compiled(expression(y="softmax(W @ x + b)", loss="-sum(t * log(y))"))
    assert compiled({"format": "onnx", "model": once.model}) == once


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_random_graphs_under_other_names_and_orders(seed: int) -> None:
    rng = random.Random(seed)
    values = ["x", "z"]
    nodes: list[dict[str, Any]] = []
    for i in range(rng.randrange(1, 12)):
        inputs = [rng.choice(values) for _ in range(2)]
        nodes.append({"op": rng.choice(["Add", "Mul", "Sub"]), "inputs": inputs, "outputs": [f"t{i}"]})
        values.append(f"t{i}")
    wanted = rng.sample(values[2:], min(2, len(nodes)))
    others = {
        name: rng.choice(["a", "v", "%"]) + str(i) for i, name in enumerate(values) if name not in {"x", "z", *wanted}
    }
    relabelled = [
        node | {key: [others.get(name, name) for name in node[key]] for key in ("inputs", "outputs")} for node in nodes
    ]
    rng.shuffle(relabelled)
    first, second = (
        compiled({"format": "nodes", "nodes": given_, "outputs": wanted}).info for given_ in (nodes, relabelled)
    )
    assert first == second
