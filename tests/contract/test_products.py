"""Products and second derivatives over HTTP, beside complex steps and closed forms, and beside each other."""

import re

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.api import answers
from tests.contract.calls import answered, array, arrays, cached, held, opened, revision, tensor
from tests.contract.problems import check_problem

OUTPUTS = {
    "y": "tanh(W @ x) * b",
    "s": "sum(x ** 3 * b) + sum(exp(W @ x))",
    "z": "b * 2",
    "k": "argmax(b)",
    "c": "n * 3",
}
RNG = np.random.default_rng(11)
W = np.array([[0.5, -0.25], [0.75, 0.3], [0.1, -0.6]])
X, B = RNG.standard_normal((2, 2)), RNG.standard_normal(2)
INPUTS = {"W": W.tolist(), "x": X.tolist(), "b": B.tolist(), "n": 4}
SIZES = {"x": (2, 2), "b": (2,), "y": (3, 2), "s": (), "z": (2,), "k": ()}


def functions(x, b):
    return {"y": np.tanh(W @ x) * b, "s": np.sum(x**3 * b) + np.sum(np.exp(W @ x)), "z": b * 2, "k": 0 * b[0]}


def gradients(w, x, b):
    """The VJP of cotangents, in closed form."""
    h = np.tanh(W @ x)
    wy, ws, wz = (w.get(y, np.zeros(SIZES[y])) for y in "ysz")
    return {
        "x": W.T @ (wy * b * (1 - h**2)) + ws * (3 * x**2 * b + W.T @ np.exp(W @ x)),
        "b": (wy * h).sum(0) + ws * (x**3).sum(0) + 2 * wz,
    }


def along(function, v, at=(X, B)):
    """The derivative of a function of x and b along a direction, by a complex step: exact but for rounding."""
    h = 1e-100
    x, b = (value + 1j * h * v.get(name, 0) for name, value in zip("xb", at, strict=True))
    return {name: np.imag(value) / h for name, value in function(x, b).items()}


def close(got, expected, **more):
    assert got.keys() == set(expected)
    for name, value in expected.items():
        assert got[name].shape == np.shape(value), name
        np.testing.assert_allclose(got[name], value, **{"rtol": 1e-12, "atol": 1e-13, **more}, err_msg=name)


def some(*names, lead=(), seed=3):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((*lead, *SIZES[name])) for name in names}


def given(vectors):
    return {name: np.asarray(v).tolist() for name, v in vectors.items()}


@pytest.fixture(scope="module")
def path(client):
    """A session that no test moves."""
    ys = ["y", "s", "z", "k"]
    return opened(client, OUTPUTS, {**INPUTS, "n": tensor(np.int64(4))}, ys=ys, xs=["x", "b"])


def ask(client, path, kind, body, query="", **more):
    return client.post(f"{path}/{kind}{query}", json=body, **more)


def products(client, path, kind, body):
    answer = ask(client, path, kind, body, "?encoding=base64")
    assert answer.status_code == 200, answer.text
    return arrays(TypeAdapter(answers.Products).validate_json(answer.content, extra="forbid")["products"])


# --- one at a time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["y", "s", "z", "ys", "ysz"])
def test_a_vjp_is_summed_over_the_cotangents_given(client, path, names):
    w = some(*names)
    close(products(client, path, "vjp", {"cotangents": given(w)}), gradients(w, X, B))


@pytest.mark.parametrize("names", ["x", "b", "xb"])
def test_a_jvp_is_summed_over_the_tangents_given(client, path, names):
    v = some(*names)
    close(products(client, path, "jvp", {"tangents": given(v)}), along(functions, v))


@pytest.mark.parametrize("names", ["x", "b", "xb"])
def test_a_hessian_product_of_an_output_of_one_element(client, path, names):
    v = some(*names)
    got = products(client, path, "hvp", {"y": "s", "vectors": given(v)})
    close(got, along(lambda x, b: gradients({"s": 1.0}, x, b), v))


@pytest.mark.parametrize("names", ["x", "b", "xb"])
def test_a_hessian_product_with_cotangents(client, path, names):
    v, w = some(*names), some("y", "s", "z", seed=4)
    got = products(client, path, "hvp", {"cotangents": given(w), "vectors": given(v)})
    close(got, along(lambda x, b: gradients(w, x, b), v))


def test_the_y_of_a_hessian_product_may_be_left_out_where_there_is_one(client):
    path = opened(client, {"f": "sum(x ** 3)"}, {"x": [1.0, 2.0]})
    body = answered(ask(client, path, "hvp", {"vectors": {"x": [1.0, -1.0]}}))
    assert body == {"revision": 1, "products": {"x": {"dtype": "float64", "shape": [2], "data": [6.0, -12.0]}}}


@pytest.mark.parametrize(
    ("kind", "body", "names"),
    [
        pytest.param("vjp", {"cotangents": {"y": np.zeros((3, 2)).tolist()}}, "xb", id="zero cotangent"),
        pytest.param("vjp", {"cotangents": {"k": 1}}, "xb", id="an integer y"),
        pytest.param("jvp", {"tangents": {"b": [0.0, 0.0]}}, "yszk", id="zero tangent"),
        pytest.param("hvp", {"cotangents": {"z": [1.0, 2.0]}, "vectors": {"b": [1.0, 2.0]}}, "xb", id="a linear y"),
        pytest.param("hvp", {"cotangents": {"k": 1}, "vectors": {"b": [1.0, 2.0]}}, "xb", id="hvp of an integer y"),
        pytest.param("hvp", {"y": "k", "vectors": {"b": [1.0, 2.0]}}, "xb", id="hvp of an integer y by name"),
    ],
)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["one", "a batch"])
def test_zeros(client, path, kind, body, names, lead):
    repeated = {
        member: vectors
        if member == "y"
        else {n: np.tile(v, (*lead, *[1] * np.ndim(v))).tolist() for n, v in vectors.items()}
        for member, vectors in body.items()
    }
    if "k" in repeated.get("cotangents", {}):
        repeated["cotangents"]["k"] = np.ones(lead, int).tolist()
    got = products(client, path, kind, repeated)
    close(got, {name: np.zeros((*lead, *SIZES[name])) for name in names}, atol=0)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5])
def test_batches(client, path, count):
    w, v = some("y", "s", lead=(count,)), some("x", "b", lead=(count,))
    pulled = products(client, path, "vjp", {"cotangents": given(w)})
    pushed = products(client, path, "jvp", {"tangents": given(v)})
    second = products(client, path, "hvp", {"cotangents": given(w), "vectors": given(v)})
    of_s = products(client, path, "hvp", {"y": "s", "vectors": given(v)})
    for k in range(count):
        wk, vk = ({n: a[k] for n, a in vectors.items()} for vectors in (w, v))
        close({n: a[k] for n, a in pulled.items()}, gradients(wk, X, B))
        close({n: a[k] for n, a in pushed.items()}, along(functions, vk))
        close({n: a[k] for n, a in second.items()}, along(lambda x, b, wk=wk: gradients(wk, x, b), vk))
        close({n: a[k] for n, a in of_s.items()}, along(lambda x, b: gradients({"s": 1.0}, x, b), vk))


def test_a_batch_of_none(client, path):
    got = answered(
        ask(client, path, "vjp", {"cotangents": {"y": {"dtype": "float64", "shape": [0, 3, 2], "data": []}}})
    )
    assert {n: t["shape"] for n, t in got["products"].items()} == {"x": [0, 2, 2], "b": [0, 2]}


def test_products_know_nothing_of_the_batch_axis(client):
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    path = opened(client, {"y": "x * sum(x, axis=0)"}, {"x": x.tolist()}, batch_axis=0)
    w = np.array([[1.0, -1.0], [0.5, 2.0]])
    got = products(client, path, "vjp", {"cotangents": {"y": w.tolist()}})
    close(got, {"x": w * x.sum(0) + (w * x).sum(0)})
    one_hot = products(client, path, "vjp", {"cotangents": {"y": [[0, 0], [1, 0]]}})
    close(one_hot, {"x": [[3.0, 0.0], [x[:, 0].sum() + 3.0, 0.0]]})


# --- how they agree --------------------------------------------------------------------------------------------------


def slices(client, path, kind="jacobian", **names):
    return array(answered(client.get(f"{path}/{kind}", params={**names, "encoding": "base64"})))


def test_products_are_those_of_the_blocks(client, path):
    w, v = some("y", "s"), some("x", "b")
    blocks = {(y, x): slices(client, path, y=y, x=x) for y in "ys" for x in "xb"}
    pushed = products(client, path, "jvp", {"tangents": given(v)})
    pulled = products(client, path, "vjp", {"cotangents": given(w)})
    for y in "ys":
        np.testing.assert_allclose(
            pushed[y].ravel(), sum(blocks[y, x] @ v[x].ravel() for x in "xb").ravel(), rtol=1e-12
        )
    for x in "xb":
        wanted = sum(np.atleast_1d(w[y].ravel()) @ np.atleast_2d(blocks[y, x]) for y in "ys")
        np.testing.assert_allclose(pulled[x].ravel(), wanted, rtol=1e-12)
    inner = [sum(np.vdot(a[n], b[n]) for n in a) for a, b in ((w, {y: pushed[y] for y in "ys"}), (v, pulled))]
    np.testing.assert_allclose(*inner, rtol=1e-13)


def test_hessian_products_are_those_of_the_hessian_and_it_is_symmetric(client, path):
    whole = np.block([[np.atleast_2d(slices(client, path, "hessian", y="s", x1=a, x2=b)) for b in "xb"] for a in "xb"])
    np.testing.assert_allclose(whole, whole.T, rtol=1e-12, atol=1e-14)
    units = {"x": np.eye(6)[:, :4].reshape(6, 2, 2), "b": np.eye(6)[:, 4:]}
    got = products(client, path, "hvp", {"y": "s", "vectors": given(units)})
    np.testing.assert_allclose(np.concatenate([got["x"].reshape(6, 4), got["b"]], 1), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "bound"), [pytest.param("float64", 1e-10, id="double"), pytest.param("float32", 1e-4, id="single")]
)
def test_a_check_of_everything(client, dtype, bound):
    numbers = {n: v for n, v in INPUTS.items() if n != "n"}
    outputs = {"y": OUTPUTS["y"], "s": OUTPUTS["s"]}
    path = opened(client, outputs, numbers, xs=["x", "b"], dtype=dtype)
    vectors = {"cotangents": given(some("y", "s")), "vectors": given(some("x", "b"))}
    batch = {"cotangents": given(some("y", lead=(2,))), "vectors": given(some("x", lead=(2,)))}
    checked = [
        client.get(f"{path}/jacobian", params={"y": "y", "x": "x", "check": "true"}),
        client.get(f"{path}/jacobian.npy", params={"y": "s", "x": "b", "check": "true"}),
        client.get(f"{path}/hessian", params={"y": "s", "x1": "x", "x2": "b", "check": "true"}),
        ask(client, path, "jacobian", {"slices": [{"y": "y", "x": "b"}, {"y": "s", "x": "x"}]}, "?check=true"),
        ask(client, path, "jacobian.safetensors", {"slices": [{"y": "y", "x": "b"}]}, "?check=true"),
        ask(client, path, "vjp", {"cotangents": vectors["cotangents"]}, "?check=true"),
        ask(client, path, "jvp", {"tangents": vectors["vectors"], "at": {"x": X.T.tolist()}}, "?check=true"),
        ask(client, path, "hvp", vectors, "?check=true"),
        ask(client, path, "hvp", batch, "?check=true"),
        ask(client, path, "hvp", {"y": "s", "vectors": vectors["vectors"]}, "?check=true"),
    ]
    assert [answer.status_code for answer in checked] == [200] * len(checked)
    assert [answer.url for answer in checked if not 0 <= float(answer.headers["jacobian-check"]) < bound] == []
    assert (
        "jacobian-check" not in ask(client, path, "vjp", {"cotangents": vectors["cotangents"]}, "?check=false").headers
    )


def test_a_check_where_there_is_no_derivative(client, path):
    answer = client.get(f"{path}/jacobian", params={"y": "k", "x": "x", "check": "true"})
    assert float(answer.headers["jacobian-check"]) == 0


# --- where they are taken --------------------------------------------------------------------------------------------

NEW = X[::-1] * 0.5
BODIES = {
    "vjp": {"cotangents": given(some("y", "s"))},
    "jvp": {"tangents": given(some("x", "b"))},
    "hvp": {"cotangents": given(some("y", "s")), "vectors": given(some("x", "b"))},
}
EXPECTED = {
    "vjp": lambda at: gradients(some("y", "s"), *at),
    "jvp": lambda at: {n: v for n, v in along(functions, some("x", "b"), at).items() if n in "ys"},
    "hvp": lambda at: along(lambda x, b: gradients(some("y", "s"), x, b), some("x", "b"), at),
}


@pytest.fixture
def movable(client):
    return opened(client, {y: OUTPUTS[y] for y in "ys"}, {n: INPUTS[n] for n in "Wxb"}, ys=["y", "s"], xs=["x", "b"])


@pytest.mark.parametrize("kind", BODIES)
def test_at_the_sessions_values_at_others_and_at_new_ones(client, movable, kind):
    place = {"x": NEW.tolist()}
    for more, at, stands in (({}, (X, B), 1), ({"at": place}, (NEW, B), None), ({"inputs": place}, (NEW, B), 2)):
        answer = ask(client, movable, kind, {**BODIES[kind], **more, "outputs": ["s", "y"]})
        body = TypeAdapter(answers.Products).validate_json(answer.content, extra="forbid")
        assert body["revision"] == stands
        assert answer.headers.get("jacobian-revision") == (None if stands is None else str(stands))
        close(arrays(body["products"]), EXPECTED[kind](at))
        close(arrays(body["outputs"]), {y: functions(*at)[y] for y in "sy"})
        assert list(body["outputs"]) == ["s", "y"]
        assert revision(client, movable) == (stands or 1)
    assert cached(client, movable) == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", BODIES)
def test_without_outputs_there_are_none(client, path, kind):
    assert answered(ask(client, path, kind, BODIES[kind])).keys() == {"revision", "products"}


REFUSED = {
    "both": ({"inputs": {"x": NEW.tolist()}, "at": {"x": NEW.tolist()}}, "invalid-request", "/at"),
    "no such input": ({"inputs": {"q": 1.0}}, "invalid-request", "/inputs/q"),
    "no such input elsewhere": ({"at": {"q": 1.0}}, "invalid-request", "/at/q"),
    "another shape elsewhere": ({"at": {"x": [1.0]}}, "shape-mismatch", "/at/x"),
    "no such output": ({"outputs": ["q"]}, "invalid-request", "/outputs/0"),
    "an unknown member": ({"tangent": {}}, "invalid-request", "/tangent"),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_moves_nothing(client, movable, kind, case):
    more, name, pointer = REFUSED[case]
    moving = {} if "at" in more else {"inputs": {"x": NEW.tolist()}}
    answer = ask(client, movable, kind, {**BODIES[kind], **moving, **more})
    assert check_problem(answer, name)["errors"][0]["pointer"] == pointer
    assert revision(client, movable) == 1


VECTORS = {
    "no cotangents": ("vjp", {"cotangents": {}}, "invalid-request", "/cotangents"),
    "no member": ("vjp", {}, "invalid-request", "/cotangents"),
    "no y of the session": ("vjp", {"cotangents": {"c": 1.0}}, "invalid-request", "/cotangents/c"),
    "no x of the session": ("jvp", {"tangents": {"W": W.tolist()}}, "invalid-request", "/tangents/W"),
    "flattened": ("vjp", {"cotangents": {"y": [1.0] * 6}}, "shape-mismatch", "/cotangents/y"),
    "two more axes": ("jvp", {"tangents": {"b": [[[1.0, 2.0]]]}}, "shape-mismatch", "/tangents/b"),
    "different K": (
        "jvp",
        {"tangents": given({"x": np.ones((2, 2, 2)), "b": np.ones((3, 2))})},
        "shape-mismatch",
        "/tangents",
    ),
    "K on one": ("vjp", {"cotangents": given({"y": np.ones((2, 3, 2)), "s": 1.0})}, "shape-mismatch", "/cotangents"),
    "K on cotangents": (
        "hvp",
        {"cotangents": given({"s": [1.0, 2.0]}), "vectors": {"b": [1.0, 2.0]}},
        "shape-mismatch",
        "/cotangents",
    ),
    "y and cotangents": (
        "hvp",
        {"y": "s", "cotangents": {"s": 1.0}, "vectors": {"b": [1, 2]}},
        "invalid-request",
        "/y",
    ),
    "y of many elements": ("hvp", {"y": "y", "vectors": {"b": [1.0, 2.0]}}, "shape-mismatch", "/y"),
    "y left out": ("hvp", {"vectors": {"b": [1.0, 2.0]}}, "invalid-request", "/y"),
    "no such y": ("hvp", {"y": "q", "vectors": {"b": [1.0, 2.0]}}, "invalid-request", "/y"),
    "no vectors": ("hvp", {"y": "s", "vectors": {}}, "invalid-request", "/vectors"),
    "vectors of no x": ("hvp", {"y": "s", "vectors": {"W": W.tolist()}}, "invalid-request", "/vectors/W"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_vectors_that_do_not_fit(client, path, case):
    kind, body, name, pointer = VECTORS[case]
    assert check_problem(ask(client, path, kind, body), name)["errors"][0]["pointer"] == pointer


# --- dtypes ----------------------------------------------------------------------------------------------------------


def test_vectors_are_cast_to_what_they_belong_to(client):
    path = opened(client, {"y": "x * x"}, {"x": tensor(np.float32([1.5, 2.0]))})
    for vector in ([1, 2], [1.0, 2.0], tensor(np.float64([1, 2])), tensor(np.int8([1, 2])), tensor(np.float16([1, 2]))):
        for kind, member, name in (("vjp", "cotangents", "y"), ("jvp", "tangents", "x")):
            ((_, got),) = products(client, path, kind, {member: {name: vector}}).items()
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, np.float32([3, 8]))


def test_products_have_the_dtype_of_what_they_are_by(client):
    nodes = [
        {"op": "Cast", "inputs": ["x"], "outputs": ["d"], "attributes": {"to": 11}},
        {"op": "Mul", "inputs": ["d", "d"], "outputs": ["y"]},
    ]
    body = {"graph": {"format": "nodes", "nodes": nodes, "outputs": ["y"]}, "inputs": {"x": tensor(np.float32([1, 2]))}}
    path = client.post("/v1/sessions", json=body).headers["location"]
    assert products(client, path, "vjp", {"cotangents": {"y": [1, 1]}})["x"].dtype == np.float32
    assert products(client, path, "jvp", {"tangents": {"x": [1, 1]}})["y"].dtype == np.float64
    assert (
        products(client, path, "hvp", {"cotangents": {"y": [1, 1]}, "vectors": {"x": [1, 1]}})["x"].dtype == np.float32
    )


def test_vectors_that_are_not_finite(client):
    path = opened(client, {"y": "x * 2"}, {"x": [1.0, 2.0]})
    got = answered(ask(client, path, "vjp", {"cotangents": {"y": ["NaN", "-Infinity"]}}))["products"]["x"]["data"]
    assert got == ["NaN", "-Infinity"]
    bare = client.post(
        f"{path}/vjp", content=b'{"cotangents":{"y":[NaN,1]}}', headers={"Content-Type": "application/json"}
    )
    check_problem(bare, "invalid-request")


# --- from the cache --------------------------------------------------------------------------------------------------


def test_a_cached_row_is_the_product_of_its_unit_cotangent(client, server, movable):
    client.get(f"{movable}/jacobian", params={"y": "y", "x": "x", "index": "3"})
    unit = np.zeros((3, 2))
    unit.reshape(-1)[3] = 1
    with held(server.pid):
        answer = ask(client, movable, "vjp", {"cotangents": {"y": unit.tolist()}}, timeout=10)
    close(arrays(answered(answer)["products"]), gradients({"y": unit}, X, B))
    assert re.search(r"\brows;dur=0\.000\b", answer.headers["server-timing"])
    other = ask(client, movable, "vjp", {"cotangents": {"y": (2 * unit).tolist()}})
    close(arrays(answered(other)["products"]), gradients({"y": 2 * unit}, X, B))
    elsewhere = ask(client, movable, "vjp", {"cotangents": {"y": unit.tolist()}, "at": {"x": NEW.tolist()}})
    close(arrays(answered(elsewhere)["products"]), gradients({"y": unit}, NEW, B))


def test_a_cached_row_of_another_dtype_comes_in_its_own(client):
    path = opened(client, {"y": "x * x"}, {"x": tensor(np.float32([1.5, 2.0]))})
    first = products(client, path, "vjp", {"cotangents": {"y": [0, 1]}})
    client.get(f"{path}/jacobian")
    again = products(client, path, "vjp", {"cotangents": {"y": [0, 1]}})
    assert first["x"].dtype == again["x"].dtype == np.float32
    np.testing.assert_array_equal(first["x"], again["x"])
