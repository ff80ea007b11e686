"""Products against closed forms, and the residual of the adjoint identity, by which a wrong derivative is seen."""

import numpy as np
import pytest
import torch

from service.engine import products

RNG = np.random.default_rng(8)
A = RNG.standard_normal((3, 3))
X, B = RNG.standard_normal(3), RNG.standard_normal(3)
XS = ("x", "b")


@pytest.fixture
def point(expression):
    """With y = (A x)^3 b, s = x^T A x + sum(b^4), and k without a derivative."""
    engine = expression(y="(A @ x) ** 3 * b", s="x @ (A @ x) + sum(b ** 4)", k="argmax(x)")
    return engine.point(A=A, x=X, b=B)


def tensors(**values):
    return {name: torch.tensor(np.asarray(value)) for name, value in values.items()}


def close(got, **expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == np.shape(value), name
        np.testing.assert_allclose(got[name].numpy(), value, rtol=1e-12, atol=1e-14, err_msg=name)


def vjp(w, ws=0.0):
    h = A @ X
    return {"x": A.T @ (w * 3 * h**2 * B) + ws * (A + A.T) @ X, "b": w * h**3 + ws * 4 * B**3}


def hvp(w, ws, v, u):
    """The derivative of `vjp` along v (of x) and u (of b)."""
    h, dh = A @ X, A @ v
    return {
        "x": A.T @ (w * (6 * h * dh * B + 3 * h**2 * u)) + ws * (A + A.T) @ v,
        "b": w * 3 * h**2 * dh + ws * 12 * B**2 * u,
    }


def test_vjp(point):
    w = RNG.standard_normal(3)
    close(products.vjp(point, tensors(y=w, s=0.5), XS, False), **vjp(w, 0.5))


def test_jvp(point):
    v, u, h = RNG.standard_normal(3), RNG.standard_normal(3), A @ X
    got = products.jvp(point, tensors(x=v, b=u), ("s", "k", "y"), False)
    close(got, y=3 * h**2 * (A @ v) * B + h**3 * u, s=(A + A.T) @ X @ v + 4 * B**3 @ u, k=0)
    assert list(got) == ["s", "k", "y"]
    close(products.jvp(point, tensors(b=u), ("y",), False), y=h**3 * u)


def test_hvp(point):
    w, v, u = RNG.standard_normal((3, 3))
    close(products.hvp(point, tensors(y=w, s=2.0), tensors(x=v, b=u), XS, False), **hvp(w, 2.0, v, u))
    close(products.hvp(point, tensors(s=1.0), tensors(x=v), XS, False), **hvp(0 * w, 1.0, v, 0 * u))
    close(products.hvp(point, tensors(y=w), tensors(b=u), ("b", "x"), False), **hvp(w, 0.0, 0 * v, u))


def test_batches(point):
    w, v, u = RNG.standard_normal((3, 4, 3))
    pulled = products.vjp(point, tensors(y=w), XS, True)
    pushed = products.jvp(point, tensors(x=v), ("y", "k"), True)
    second = products.hvp(point, tensors(y=w, s=np.ones(4)), tensors(x=v, b=u), XS, True)
    for k in range(4):
        close({n: t[k] for n, t in pulled.items()}, **vjp(w[k]))
        close({n: t[k] for n, t in pushed.items()}, y=3 * (A @ X) ** 2 * (A @ v[k]) * B, k=0)
        close({n: t[k] for n, t in second.items()}, **hvp(w[k], 1.0, v[k], u[k]))


@pytest.mark.parametrize(("batched", "lead"), [(False, ()), (True, (2,))], ids=["one", "a batch"])
def test_what_has_no_derivative_gives_zeros(point, batched, lead):
    w, v = tensors(k=np.ones(lead, int)), tensors(x=np.ones((*lead, 3)))
    zeros = {"x": np.zeros((*lead, 3)), "b": np.zeros((*lead, 3))}
    close(products.vjp(point, w, XS, batched), **zeros)
    close(products.hvp(point, w, v, XS, batched), **zeros)
    got = products.jvp(point, v, ("k",), batched)
    close(got, k=np.zeros(lead))
    assert got["k"].dtype == torch.int64


def test_vectors_are_cast(expression):
    point = expression(y="x * x").point(x=np.float32([1.5, 2.0]))
    w = tensors(y=np.int64([1, 2]))
    assert products.vjp(point, w, ("x",), False)["x"].dtype == torch.float32
    got = products.hvp(point, w, tensors(x=np.float64([1, 1])), ("x",), False)["x"]
    assert got.dtype == torch.float32
    assert got.tolist() == [2, 4]


def test_a_gradient_is_a_function_of_all_xs(point):
    gradient = products.gradient(point, tensors(s=1.0), ("b",), XS)
    x, b = torch.zeros(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
    (got,) = gradient(x, b)
    assert got.tolist() == [32.0] * 3


# --- the adjoint identity --------------------------------------------------------------------------------------------


def residual(function, *primals):
    return products.adjoint_residual(function, tuple(torch.tensor(p) for p in primals))


def test_the_residual_of_a_graph_is_of_rounding_only(point):
    forward = point.forward(["y", "s"], XS)
    assert 0 <= residual(forward, X, B) < 1e-12
    second = products.gradient(point, tensors(y=np.ones(3), s=1.0), ("x",), XS)
    assert 0 <= residual(second, X, B) < 1e-12


def test_the_residual_of_single_precision(expression):
    point = expression(y="tanh(A @ x)").point(A=np.float32(A), x=np.float32(X))
    assert residual(point.forward(["y"], ("x",)), np.float32(X)) < 1e-5


def test_a_residual_of_nothing_is_zero():
    assert residual(lambda x: (x * 0,), X) == 0
    assert residual(lambda x: (x,), np.zeros(0)) == 0


class Wrong(torch.autograd.Function):
    """The square, whose pullback is that of the square times a factor."""

    @staticmethod
    def forward(x, factor):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.factor = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * ctx.factor * x * grad, None

    @staticmethod
    def jvp(ctx, tangent, _):
        (x,) = ctx.saved_tensors
        return 2 * x * tangent


@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (1.001, True), (-1.0, True), (0.0, True)])
def test_a_wrong_derivative_is_seen(factor, wrong):
    found = residual(lambda x: (Wrong.apply(x, factor),), X)
    assert (found > 1e-5) == wrong
    assert found <= 2


def test_a_derivative_wrong_in_one_of_many_places_is_seen():
    def function(x):
        return (torch.cat([Wrong.apply(x[:1], 2.0), x[1:] ** 2]),)

    assert residual(function, np.linspace(1, 2, 100)) > 1e-5
