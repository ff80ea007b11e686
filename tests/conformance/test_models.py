"""Models as users' tools export them, over HTTP, beside what their own framework says of their derivatives."""

import base64
import json
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

MODELS = sorted(p for p in (Path(__file__).parent / "models").iterdir() if p.is_dir())


def tensor(array):
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": data}


def array(answer):
    return np.frombuffer(base64.b64decode(answer["base64"]), answer["dtype"]).reshape(answer["shape"])


def touched(shape, row_axis, index):
    """The rows of a block that an index touches; the one row of a block without an axis that counts them."""
    numbers = np.zeros(shape, int) if row_axis is None else np.indices(shape)[row_axis]
    return set(np.unique(numbers[eval(f"np.s_[{index}]", {"np": np})]).tolist())


def close(got, expected, key, of):
    np.testing.assert_allclose(got, expected[key], rtol=of["rtol"], atol=of["atol"])


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_real_model(client, folder):
    meta = json.loads((folder / "meta.json").read_text())
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    content = (folder / "model.onnx").read_bytes()
    graph = client.post("/v1/graphs", content=content, headers={"Content-Type": "application/octet-stream"}).json()
    session = client.post(
        "/v1/sessions",
        json={
            "graph": {"format": "ref", "graph_id": graph["graph_id"]},
            "inputs": {name: tensor(inputs[name]) for name in inputs.files},
            "cache": "session",
            **{key: meta[key] for key in ("ys", "xs", "batch_axis")},
        },
    ).json()
    assert [b["rows"]["cached"] for b in session["jacobians"]] == [0] * len(session["jacobians"])
    base = f"/v1/sessions/{session['id']}"

    for output in meta["outputs"]:
        answer = client.get(f"{base}/outputs/{quote(output['y'], safe='')}", params={"encoding": "base64"})
        close(array(answer.json()), expected, output["key"], output)

    first_row_axis = 0 if meta["batch_axis"] is None else 1
    ranks = {x: value.ndim for x, value in inputs.items()} | {o["y"]: expected[o["key"]].ndim for o in meta["outputs"]}
    for kind, names, rows_of in (("jacobian", ("y", "x"), ("y",)), ("hessian", ("y", "x1", "x2"), ("y", "x1"))):
        seen = defaultdict(set)
        for wanted in meta[f"{kind}s"]:
            params = {name: wanted[name] for name in (*names, "index")}
            answer = client.get(f"{base}/{kind}", params={**params, "encoding": "base64"}).json()
            close(array(answer), expected, wanted["key"], wanted)
            rows = tuple(wanted[name] for name in rows_of)
            row_axis = first_row_axis if ranks[rows[-1]] > first_row_axis else None
            new = touched(wanted["shape"], row_axis, wanted["index"]) - seen[rows]
            assert answer["rows"]["computed"] == len(new)
            seen[rows] |= new

    for kind, given in (("vjp", "cotangents"), ("jvp", "tangents")):
        if kind in meta:
            vectors = {name: tensor(expected[key]) for name, key in meta[kind][given].items()}
            answer = client.post(f"{base}/{kind}", params={"encoding": "base64"}, json={given: vectors}).json()
            for name, key in meta[kind]["products"].items():
                close(array(answer["products"][name]), expected, key, meta[kind])
