"""ONNX's own node cases over HTTP: each gives the values wanted, or is out of scope by a rule and refused."""

import itertools
from urllib.parse import quote

import ml_dtypes
import numpy as np
import pytest

from tests.conformance.onnx_cases import (
    DRAWN,
    POOLS,
    fast_cases,
    from_json,
    in_tenth,
    out_of_scope,
    pool_cases,
    to_array,
    to_json,
)

CASES = fast_cases()
IN_SCOPE = [case for case in CASES if out_of_scope(case.model) is None]
REFUSED = [case for case in CASES if out_of_scope(case.model) is not None]


def parameters(cases):
    return [pytest.param(case, id=case.name, marks=() if in_tenth(case) else pytest.mark.slow) for case in cases]


def register(client, case):
    content = case.model.SerializeToString()
    return client.post("/v1/graphs", content=content, headers={"Content-Type": "application/octet-stream"})


def open_session(client, case, graph_id):
    names = [value.name for value in case.model.graph.input]
    given, _ = case.data_sets[0]
    inputs = {name: to_json(to_array(value)) for name, value in zip(names, given, strict=True)}
    graph = {"format": "ref", "graph_id": graph_id}
    return client.post("/v1/sessions", json={"graph": graph, "inputs": inputs, "cache": "session"})


def check_outputs(client, case):
    registered = register(client, case)
    assert registered.status_code in {200, 201}, registered.text
    opened = open_session(client, case, registered.json()["graph_id"])
    assert opened.status_code == 201, opened.text
    session = opened.json()
    floating = [i["name"] for i in session["inputs"] if "float" in i["dtype"]]
    outputs = [value.name for value in case.model.graph.output]
    assert [(b["y"], b["x"]) for b in session["jacobians"]] == list(itertools.product(outputs, floating))

    base = f"/v1/sessions/{session['id']}"
    for name, value in zip(outputs, case.data_sets[0][1], strict=True):
        answer = client.get(f"{base}/outputs/{quote(name, safe='')}", params={"encoding": "base64"})
        assert answer.status_code == 200, answer.text
        got, expected = from_json(answer.json()), to_array(value)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), name
        if case.name not in DRAWN:
            check_values(got, expected, case)
    assert client.delete(base).status_code == 204


def check_values(got, expected, case):
    """Within the case's tolerances, and at least two units in the last place (of the largest value, near 0)."""
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected)
        return
    unit = 2 * float(ml_dtypes.finfo(got.dtype).eps)
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    largest = np.max(np.abs(expected), where=np.isfinite(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=max(case.rtol, unit), atol=max(case.atol, unit * largest))


@pytest.mark.parametrize("case", parameters(IN_SCOPE))
def test_outputs(client, case):
    check_outputs(client, case)


@pytest.mark.slow
@pytest.mark.parametrize("module", POOLS)
def test_outputs_of_pools(client, module):
    for case in pool_cases(module):
        check_outputs(client, case)


@pytest.mark.parametrize("case", parameters(REFUSED))
def test_refusals(client, case):
    answer = register(client, case)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == "urn:jacobian:problem:unsupported-operator"


def test_most_cases_are_in_scope():
    assert len(IN_SCOPE) >= 1_000
