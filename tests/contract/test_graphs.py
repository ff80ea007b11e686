"""What a graph says of itself, whichever way it was said."""

import base64

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.contract.calls import answered, array, opened, tensor

FLOAT64 = TensorProto.DOUBLE


def model(outputs_typed=True):
    """y = x * scale + x, where x has a symbolic and an unknown axis and scale a default."""
    x = helper.make_tensor_value_info("x", FLOAT64, ["rows", None])
    scale = helper.make_tensor_value_info("scale", FLOAT64, [2])
    y = helper.make_tensor_value_info("y", FLOAT64, ["rows", None]) if outputs_typed else onnx.ValueInfoProto(name="y")
    nodes = [helper.make_node("Mul", ["x", "scale"], ["h"]), helper.make_node("Add", ["h", "x"], ["y"])]
    default = helper.make_tensor("scale", FLOAT64, [2], [2.0, 3.0])
    graph = helper.make_graph(nodes, "scaled", [x, scale], [y], [default])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def register(client, content):
    return client.post("/v1/graphs/onnx", content=content, headers={"Content-Type": "application/octet-stream"})


@pytest.mark.parametrize("outputs_typed", [True, False], ids=["typed outputs", "untyped outputs"])
def test_a_file_says_its_types_and_operators(client, outputs_typed):
    graph = register(client, model(outputs_typed)).json()
    assert graph["graph_id"].startswith("sha256:")
    assert graph["operators"] == {"Add": 1, "Mul": 1}
    assert graph["opset"] >= 21
    by_name = {value["name"]: value for value in graph["inputs"]}
    assert by_name["x"] == {"name": "x", "dtype": "float64", "shape": ["rows", None]}
    assert by_name["scale"] == {"name": "scale", "dtype": "float64", "shape": [2], "default": True}
    assert [(value["name"], value["dtype"]) for value in graph["outputs"]] == [("y", "float64")]


def test_a_default_may_be_overridden_and_is_no_x_unless_it_is_named(client):
    graph = {"format": "onnx", "model": base64.b64encode(model()).decode()}
    body = {"graph": graph, "inputs": {"x": [[1.0, 2.0]]}}
    session = answered(client.post("/v1/sessions", json=body), 201)
    assert [block["x"] for block in session["jacobians"]] == ["x"]
    path = f"/v1/sessions/{session['id']}"
    assert array(answered(client.get(f"{path}/outputs/y"))).tolist() == [[3.0, 8.0]]
    moved = answered(client.put(f"{path}/inputs", json={"inputs": {"scale": [10.0, 20.0]}}))
    assert moved["revision"] == 2
    assert array(answered(client.get(f"{path}/outputs/y"))).tolist() == [[11.0, 42.0]]
    assert array(answered(client.get(f"{path}/jacobian"))).tolist() == [[11.0, 0.0], [0.0, 21.0]]
    named = answered(client.post("/v1/sessions", json={**body, "xs": "scale"}), 201)
    assert array(answered(client.get(f"/v1/sessions/{named['id']}/jacobian"))).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_the_model_of_an_expression_has_no_types_and_is_typed_by_a_session(client):
    graph = answered(client.post("/v1/graphs", json={"format": "expression", "outputs": {"y": "cos(v) * 0.8125"}}), 201)
    content = client.get(f"/v1/graphs/{graph['graph_id']}/model").content
    kept = onnx.load_from_string(content).graph
    assert [value.name for value in kept.input] == ["v"]
    assert not any(value.type.tensor_type.HasField("shape") for value in kept.input)
    assert register(client, content).json()["graph_id"] == graph["graph_id"]
    for value in (np.float64([1.0]), np.float32([[1.0, 2.0]])):
        body = {"graph": {"format": "ref", "graph_id": graph["graph_id"]}, "inputs": {"v": tensor(value)}}
        session = answered(client.post("/v1/sessions", json=body), 201)
        assert session["graph_id"] == graph["graph_id"]
        assert session["outputs"] == [{"name": "y", "dtype": str(value.dtype), "shape": list(value.shape)}]


def test_a_graph_is_named_by_what_it_means(client):
    def graph_id(body):
        answer = client.post("/v1/graphs", json=body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["graph_id"]

    def chain(inner, order, output="y"):
        nodes = [
            {"op": "Sin", "inputs": ["x"], "outputs": [inner], "name": f"made by {inner}"},
            {"op": "Exp", "inputs": [inner], "outputs": [output]},
        ]
        return {"format": "nodes", "nodes": nodes[::order], "outputs": [output]}

    assert graph_id(chain("h", 1)) == graph_id(chain("hidden", -1))
    assert graph_id(chain("h", 1)) != graph_id(chain("h", 1, "z"))
    spaced = {"format": "expression", "outputs": {"y": " ( sin( x ) ) "}}
    assert graph_id(spaced) == graph_id({"format": "expression", "outputs": {"y": "sin(x)"}})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_floating_point_dtype_has_a_block_of_its_own(client, dtype):
    x = {"dtype": dtype, "shape": [2], "data": [1.5, -2.0]}
    path = opened(client, {"y": "x * x"}, {"x": x})
    body = answered(client.get(f"{path}/jacobian"))
    assert (body["dtype"], body["data"]) == (dtype, [3.0, 0.0, 0.0, -4.0])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "bool"])
def test_every_other_dtype_comes_through(client, dtype):
    data = [True, False] if dtype == "bool" else [1, 2]
    body = {
        "graph": {
            "format": "nodes",
            "nodes": [{"op": "Identity", "inputs": ["n"], "outputs": ["y"]}],
            "outputs": ["y"],
        },
        "inputs": {"n": {"dtype": dtype, "shape": [2], "data": data}},
    }
    path = client.post("/v1/sessions", json=body).headers["location"]
    assert answered(client.get(f"{path}/outputs/y")) == {"dtype": dtype, "shape": [2], "data": data}
