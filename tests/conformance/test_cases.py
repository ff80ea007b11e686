"""Known answers, over HTTP: every index of every case, the rows that it takes, and sequences of slices.

A case in `cases.json` has a graph of ONNX operators, its inputs, and for each block (named by the positions of its y
and x) a list of indexes with the values wanted, or `refused` where a problem is. `rows` is how many rows a fresh
session evaluates for that index.
"""

import json
from pathlib import Path

import numpy as np
import pytest

CASES = json.loads((Path(__file__).parent / "cases.json").read_text())["cases"]
SPECIAL = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def values(tensor):
    return np.array([SPECIAL.get(v, v) for v in tensor["data"]], np.float64).reshape(tensor["shape"])


def open_session(client, case):
    graph = {"format": "nodes", **case["graph"], "outputs": list(dict.fromkeys(case["ys"]))}
    body = {key: case[key] for key in ("inputs", "ys", "xs", "batch_axis")}
    answer = client.post("/v1/sessions", json={"graph": graph, "cache": "session", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def get(client, case, session, block, index):
    places = [int(p) for p in block.split(",")] if block else []
    if case["kind"] == "hessian":
        i, j = places or (0, 0)
        names = {"y": case["ys"][0], "x1": case["xs"][i], "x2": case["xs"][j]}
    else:
        i, j = (
            places if len(places) == 2 else ((places or [0])[0], 0) if len(case["ys"]) > 1 else (0, (places or [0])[0])
        )
        names = {"y": case["ys"][i], "x": case["xs"][j]}
    return client.get(f"/v1/sessions/{session}/{case['kind']}", params={**names, "index": index})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_values_and_refusals(client, case):
    for block in case["blocks"]:
        session = open_session(client, case)
        for result in block["results"]:
            answer = get(client, case, session, block["block"], result["index"])
            if result.get("refused"):
                assert answer.status_code == 422, result["index"]
                assert answer.json()["type"] == "urn:jacobian:problem:invalid-index"
                continue
            assert answer.status_code == 200, answer.text
            got, wanted = values(answer.json()), values(result)
            assert got.shape == wanted.shape, result["index"]
            np.testing.assert_allclose(got, wanted, **case["tolerance"], err_msg=result["index"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_rows_of_a_fresh_session(client, case):
    counted = [(b["block"], r) for b in case["blocks"] for r in b["results"] if r.get("rows") is not None]
    for block, result in counted[:: max(1, len(counted) // 4)]:
        answer = get(client, case, open_session(client, case), block, result["index"])
        assert answer.json()["rows"] == {"computed": result["rows"], "cached": 0}, result["index"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_sequences_evaluate_what_is_new(client, case):
    for sequence in case.get("sequences", []):
        session = open_session(client, case)
        for step in sequence["steps"]:
            answer = get(client, case, session, sequence["block"], step["index"])
            assert int(answer.headers["Jacobian-Rows-Computed"]) == step["new_rows"], step["index"]
