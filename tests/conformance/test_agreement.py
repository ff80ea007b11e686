"""Jacobians, Hessians and their products of real models, beside each other and beside differences of values."""

import json

import numpy as np
import pytest

from tests.conformance.test_models import MODELS, array, tensor

STEP = 1e-5
EXACT, DIFFERENCES = 1e-9, 1e-5
"""Relative to the norm: of two exact ways in double precision, and of an exact way and central differences."""


class Model:
    """A session of a whole model in double precision: a function of its xs, with its derivatives at their values."""

    def __init__(self, client, folder):
        meta = json.loads((folder / "meta.json").read_text())
        inputs = np.load(folder / "inputs.npz")
        content = (folder / "model.onnx").read_bytes()
        graph = client.post("/v1/graphs", content=content, headers={"Content-Type": "application/octet-stream"}).json()
        body = {
            "graph": {"format": "ref", "graph_id": graph["graph_id"]},
            "inputs": {name: tensor(inputs[name]) for name in inputs.files},
            "precision": "float64",
            "cache": "session",
            "ys": meta["ys"],
            "xs": meta["xs"],
        }
        answer = client.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        self._client, self._path = client, answer.headers["location"]
        self.xs = {x: inputs[x].astype(np.float64) for x in meta["xs"]}
        self.ys = self.values()

    def values(self, **more):
        ys = [o["name"] for o in self._client.get(self._path).json()["outputs"] if o["dtype"] == "float64"]
        return read(self._post("jacobian", {"slices": [], "outputs": ys, **more})["outputs"])

    def vjp(self, w, **more):
        return read(self._post("vjp", {"cotangents": given(w), **more})["products"])

    def jvp(self, v):
        products = read(self._post("jvp", {"tangents": given(v)})["products"])
        return {y: products[y] for y in self.ys}

    def hvp(self, v, **more):
        return read(self._post("hvp", {"vectors": given(v), **more})["products"])

    def jacobian(self):
        pairs = [(y, x) for y in self.ys for x in self.xs]
        found = self._post("jacobian", {"slices": [{"y": y, "x": x} for y, x in pairs]})["slices"]
        return {pair: array(s).reshape(self.ys[pair[0]].size, -1) for pair, s in zip(pairs, found, strict=True)}

    def hessian(self, y, x1, x2):
        params = {"y": y, "x1": x1, "x2": x2, "encoding": "base64"}
        answer = self._client.get(f"{self._path}/hessian", params=params)
        assert answer.status_code == 200, answer.text
        return array(answer.json()).reshape(self.xs[x1].size, self.xs[x2].size)

    def along(self, function, v):
        """The derivative of a function of the xs by central differences, extrapolated once."""

        def central(h):
            ends = [function(at={x: tensor(value + s * v[x]) for x, value in self.xs.items()}) for s in (h, -h)]
            return {name: (ends[0][name] - ends[1][name]) / (2 * h) for name in ends[0]}

        near, far = central(STEP / 2), central(STEP)
        return {name: (4 * near[name] - far[name]) / 3 for name in near}

    def _post(self, kind, body):
        answer = self._client.post(f"{self._path}/{kind}?encoding=base64", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def read(tensors):
    return {name: array(value) for name, value in tensors.items()}


def given(vectors):
    return {name: tensor(value) for name, value in vectors.items()}


def some(like, seed, lead=()):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((*lead, *value.shape)) for name, value in like.items()}


def inner(a, b):
    return sum(np.vdot(a[name], b[name]) for name in a)


def flat(values):
    return np.concatenate([np.ravel(values[name]) for name in sorted(values)])


def check_close(got, wanted, tolerance, scale=0.0):
    got, wanted = (flat(v) if isinstance(v, dict) else np.ravel(v) for v in (got, wanted))
    size = max(np.linalg.norm(got), np.linalg.norm(wanted), scale)
    assert np.linalg.norm(got - wanted) <= tolerance * size


LONG = {"jax_pendulum"}
"""What takes more than two seconds."""


@pytest.fixture(
    params=[
        pytest.param(folder, id=folder.name, marks=[pytest.mark.slow] if folder.name in LONG else [])
        for folder in MODELS
    ]
)
def model(client, request):
    return Model(client, request.param)


def test_derivatives_agree(model):
    w, v = some(model.ys, 1), some(model.xs, 2)
    pushed, pulled, blocks = model.jvp(v), model.vjp(w), model.jacobian()
    check_close(pushed, {y: sum(blocks[y, x] @ v[x].ravel() for x in model.xs) for y in model.ys}, EXACT)
    check_close(pulled, {x: sum(w[y].ravel() @ blocks[y, x] for y in model.ys) for x in model.xs}, EXACT)
    check_close(inner(w, pushed), inner(pulled, v), EXACT, scale=np.linalg.norm(flat(w)) * np.linalg.norm(flat(pushed)))
    check_close(model.along(model.values, v), pushed, DIFFERENCES)


def test_second_derivatives_agree(model):
    w, pair = some(model.ys, 3), some(model.xs, 4, (2,))
    u, v = ({x: value[k] for x, value in pair.items()} for k in range(2))
    both = model.hvp(pair, cotangents=given({y: np.stack([value] * 2) for y, value in w.items()}))
    of_u, of_v = ({x: value[k] for x, value in both.items()} for k in range(2))
    pulled = np.linalg.norm(flat(model.vjp(w)))
    check_close(inner(u, of_v), inner(v, of_u), EXACT, scale=np.linalg.norm(flat(u)) * np.linalg.norm(flat(of_v)))
    check_close(model.along(lambda **more: model.vjp(w, **more), u), of_u, DIFFERENCES, scale=1e-4 * pulled)
    for y in (name for name, value in model.ys.items() if value.size == 1):
        blocks = {(x1, x2): model.hessian(y, x1, x2) for x1 in model.xs for x2 in model.xs}
        for x1, x2 in blocks:
            check_close(blocks[x1, x2], blocks[x2, x1].T, EXACT)
        check_close(model.hvp(v, y=y), {x: sum(blocks[x, z] @ v[z].ravel() for z in model.xs) for x in model.xs}, EXACT)
