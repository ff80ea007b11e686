"""Rows against closed forms and differences: with and without a batch, mixing or not, first and second derivatives."""

import numpy as np
import pytest

from service import errors
from service.engine.sweeps import BATCHES, batch_size
from tests.engine.conftest import differences

RNG = np.random.default_rng(0)
W = RNG.standard_normal((5, 4))


def test_rows_of_a_layer(expression):
    engine = expression(y="tanh(W @ x + b)")
    x, b = RNG.standard_normal(4), RNG.standard_normal(5)
    point = engine.point(W=W, x=x, b=b)
    slope = 1 - np.tanh(W @ x + b) ** 2
    np.testing.assert_allclose(engine.rows(point, "y", "x"), slope[:, None] * W, rtol=1e-13)
    np.testing.assert_allclose(engine.rows(point, "y", "b", [3, 0]), np.diag(slope)[[3, 0]], atol=1e-15)
    wanted = (slope[:, None, None] * np.eye(5)[:, :, None] * x).reshape(5, 20)
    np.testing.assert_allclose(engine.rows(point, "y", "W", xs=["x", "b"]), wanted, rtol=1e-13)


@pytest.mark.parametrize("uses", range(1, 5), ids=lambda n: f"use {n}")
def test_rows_are_the_same_at_every_use(expression, uses):
    """The first uses go the general way, later ones by a trace, also at other points and for other numbers of rows."""
    engine = expression(y="sin(W @ x) * exp(x[0]) + sum(x ** 3)")
    for n in range(uses):
        x = RNG.standard_normal(4)
        point = engine.point(W=W, x=x)
        engine.rows(point, "y", "x", [n])
        got = engine.rows(point, "y", "x")
        wanted = differences(lambda v: np.sin(W @ v) * np.exp(v[0]) + np.sum(v**3), x)
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9)
        while engine.pullbacks.work():
            pass


def test_per_sample_rows_where_samples_do_not_mix(expression):
    engine = expression(y="tanh(x @ W)")
    x, weights = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))
    point = engine.point(x=x, W=weights)
    assert point.separate("y", ("x",))
    slope = 1 - np.tanh(x @ weights) ** 2
    wanted = slope[:, :, None] * weights.T
    np.testing.assert_allclose(engine.rows(point, "y", "x", batch_axis=0), wanted, rtol=1e-13)
    np.testing.assert_allclose(engine.rows(point, "y", "x", [1], batch_axis=0), wanted[:, [1]], rtol=1e-13)


def test_per_sample_rows_where_samples_mix(expression):
    """d y[b] / d x[b], not the sum over samples."""
    engine = expression(y="x * sum(x, axis=0)")
    x = RNG.standard_normal((3, 2))
    point = engine.point(x=x)
    assert not point.separate("y", ("x",))
    wanted = np.stack([np.diag(x.sum(0) + x[b]) for b in range(3)])
    np.testing.assert_allclose(engine.rows(point, "y", "x", batch_axis=0), wanted, rtol=1e-13)


def test_hessian(expression):
    engine = expression(y="sum(a ** 3) * sum(b * b)")
    a, b = RNG.standard_normal(3), RNG.standard_normal(2)
    point = engine.point(a=a, b=b)
    np.testing.assert_allclose(engine.rows(point, "y", "a", x1="a", xs=["b"]), np.diag(6 * a) * (b @ b), rtol=1e-12)
    np.testing.assert_allclose(engine.rows(point, "y", "b", x1="a"), np.outer(3 * a**2, 2 * b), rtol=1e-12)


def test_hessian_per_sample_where_samples_mix(expression):
    """With y[b] = sum_n x[b,n]^2 * S and S the sum of all of x: the gradient of each y[b] by itself."""
    engine = expression(y="sum(x * x, axis=1) * sum(x)")
    x = RNG.standard_normal((3, 2))
    point = engine.point(x=x)
    got = engine.rows(point, "y", "x", x1="x", batch_axis=0)
    for b in range(3):

        def gradient(v, b=b):
            whole = x.copy()
            whole[b] = v
            return 2 * v * whole.sum() + (v @ v)

        np.testing.assert_allclose(got[b], differences(gradient, x[b]), rtol=1e-8)


def test_an_integer_output_has_zero_rows(nodes):
    engine = nodes(("ArgMax", ["x"], ["y"], {"axis": 0}))
    point = engine.point(x=np.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(engine.rows(point, "y", "x"), np.zeros((1, 3)))


def test_an_x_of_lower_precision_gives_rows_of_its_own(nodes):
    engine = nodes(("Cast", ["x"], ["h"], {"to": 11}), ("Sin", ["h"], ["y"]))
    point = engine.point(x=np.array([0.5, 1.5], np.float32))
    rows = engine.rows(point, "y", "x")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.diag(np.cos([0.5, 1.5])), rtol=1e-6)


def test_double_precision_of_a_single_precision_graph(nodes):
    weights = {"dtype": "float32", "shape": [2], "data": [0.1, 0.2]}
    steps = (("Mul", ["x", "w"], ["h"]), ("Cast", ["h"], ["g"], {"to": 1}), ("Exp", ["g"], ["y"]))
    engine = nodes(*steps, precision="float64", initializers={"w": weights})
    x = np.array([0.5, 1.5], np.float32)
    point = engine.point(x=x)
    w = np.array([0.1, 0.2], np.float32).astype(float)
    rows = engine.rows(point, "y", "x")
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows, np.diag(w * np.exp(w * x)), rtol=1e-15)


def test_a_row_that_is_not_there_is_refused(expression):
    engine = expression(y="x * 2")
    with pytest.raises(errors.InvalidIndex, match="row 3"):
        engine.rows(engine.point(x=np.ones(3)), "y", "x", [3])


@pytest.mark.parametrize(
    ("largest", "row_bytes", "rows", "size"),
    [
        pytest.param(100, 100, 1, 1, id="one row"),
        pytest.param(100, 100, 3, 4, id="pads up"),
        pytest.param(100, 100, 10_000, 256, id="at most 256"),
        pytest.param(1 << 14, 100, 10_000, 64, id="fits the cache"),
        pytest.param(1 << 24, 100, 10_000, 16, id="the usual batch beyond the cache"),
        pytest.param(1 << 10, 1 << 26, 10_000, 4, id="bounded by the rows' bytes"),
        pytest.param(1 << 40, 1, 10_000, 1, id="one row at least"),
    ],
)
def test_batch_sizes(largest, row_bytes, rows, size):
    assert batch_size(largest, row_bytes, rows) == size
    assert size in BATCHES
