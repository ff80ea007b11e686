"""The expression language means what NumPy means."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.graphs.reference import compiled, evaluate, expression

RNG = np.random.default_rng(7)
INPUTS: dict[str, Any] = {
    "x": np.array([0.3, -1.2, 2.5]),
    "z": np.array([1.5, 0.4, -0.7]),
    "p": np.array([0.2, 0.9, 0.5]),
    "A": RNG.normal(size=(3, 3)),
    "B": RNG.normal(size=(2, 3, 4)),
    "s": np.array(0.7),
    "k": np.array([1, -2, 5]),
    "m": np.array([3, 3, -3]),
    "c": np.array([True, False, True]),
    "f": np.array([0.3, -1.2, 2.5], np.float32),
    "i8": np.array([100, 100, 3], np.int8),
}


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Expressions that are also Python: NumPy is the reference as it is.
PYTHON = [
    "x + z",
    "x - z * 2",
    "x / z",
    "k / m",
    "k % m",
    "x % z",
    "x ** 2",
    "-x ** 2",
    "x ** 3",
    "k ** 2",
    "k ** 2.0",
    "2 ** x",
    "2 ** -1 * x",
    "-2 ** 2 + x",
    "x ** -z ** 2",
    "k + 0.5",
    "k * 2",
    "k + x",
    "c + k",
    "f * 2 + 0.5",
    "f * x",
    "f ** 0.5",
    "f * (2 * pi / 3)",
    "i8 + 1",
    "i8 + k",
    "s * A",
    "A @ x",
    "x @ A",
    "A @ A @ x",
    "x @ z",
    "A[0] @ A[:, 1]",
    "A[1, 2]",
    "A[-1]",
    "A[:, -2]",
    "A[::-1]",
    "A[1:, ::2]",
    "A[..., 0]",
    "B[1, ..., 2]",
    "B[..., 1:3, ::-2]",
    "B[:, 2:0:-1, -1]",
    "B[..., -100::-1]",
    "B[..., 100::-3]",
    "B[..., :-100:-1]",
    "B[1,]",
    "x < z",
    "x <= 0.3",
    "k == 5",
    "k != m",
    "f > 0.3",
    "x >= z",
    "+x - +z",
    "- - x",
    "(x)",
    "(x + z) * (x - z)",
    "e ** x",
    "1.5e-3 * x + .5 + 2.",
    "1_000 * x",
    "sin(x) + cos(x) * tan(x)",
    "arcsin(p) + arccos(p) + arctan(x)",
    "sinh(x) + cosh(x) + tanh(x)",
    "arcsinh(x) + arctanh(p)",
    "arccosh(1 + p)",
    "exp(x) + log(p) + sqrt(p)",
    "sin(k)",
    "log2(p) + log10(p)",
    "log1p(p) + expm1(x)",
    "log1p(p * 1e-12)",
    "expm1(p * 1e-12)",
    "log1p(100 * p)",
    "logaddexp(x, z)",
    "hypot(x, z)",
    "arctan2(x, z)",
    "abs(x) + abs(k)",
    "abs(-3) * x + sign(-2) + floor(2.5)",
    "sign(x)",
    "floor(x) + ceil(z)",
    "round(x)",
    "square(x) + reciprocal(z)",
    "maximum(x, z) + minimum(x, 0)",
    "maximum(f, 0)",
    "clip(x, -1, 1)",
    "clip(x, None, 1)",
    "clip(x, 0, None)",
    "clip(x, -p, p)",
    "clip(k, 0, 1.5)",
    "where(x > 0, x, z)",
    "where(c, 1, x)",
    "where(k, x, 0)",
    "where(c, 1, 0) * x",
    "power(p, x)",
    "mod(x, z) + fmod(x, z)",
    "remainder(k, m)",
    "add(x, z) + subtract(x, z) * multiply(x, z) / divide(x, z) + negative(x)",
    "deg2rad(x) + rad2deg(z)",
    "logical_and(x > 0, z > 0)",
    "logical_or(c, k)",
    "logical_xor(c, k > 0)",
    "logical_not(x > 0)",
    "isnan(x / (x - x))",
    "isinf(x / 0.0)",
    "isfinite(x)",
    "equal(k, m)",
    "not_equal(k, m)",
    "less(x, z)",
    "less_equal(x, 0.3)",
    "greater(x, z)",
    "greater_equal(x, z)",
    "sum(A)",
    "sum(A, 0)",
    "sum(B, (0, 2))",
    "sum(B, axis=(0, -1), keepdims=True)",
    "sum(k)",
    "sum(x > 0)",
    "mean(A, axis=1)",
    "mean(k)",
    "prod(A, 1)",
    "max(B, axis=1) - min(B, axis=1)",
    "amax(A) + amin(A)",
    "var(A) + std(A)",
    "var(A, axis=0, ddof=1)",
    "std(A, axis=1, keepdims=True)",
    "any(A > 1, axis=0)",
    "all(A > -1, axis=0)",
    "any(k)",
    "argmax(A)",
    "argmax(A, axis=1)",
    "argmin(A, axis=0, keepdims=True)",
    "cumsum(x)",
    "cumsum(A)",
    "cumsum(A, axis=1)",
    "reshape(B, (4, 6))",
    "reshape(B, (-1, 3))",
    "reshape(B, -1)",
    "ravel(A)",
    "transpose(A)",
    "transpose(B)",
    "transpose(B, (1, 0, 2))",
    "transpose(B, axes=(0, -1, 1))",
    "concatenate([x, z])",
    "concatenate((A, A), axis=1)",
    "concatenate([x, k, [1, 2]])",
    "concatenate([x, [s * 2, 1.5]])",
    "stack([x, z, x * z], axis=1)",
    "stack([s, s ** 2])",
    "stack([x, z], -1)",
    "squeeze(expand_dims(A, 0))",
    "squeeze(expand_dims(A, (0, 2)), axis=0)",
    "expand_dims(x, 1) * z",
    "broadcast_to(x, (2, 3))",
    "flip(x, 0)",
    "flip(B, (0, 2))",
    "take(x, 1)",
    "take(A, [2, 0], axis=1)",
    "take(A, [0, 7])",
    "diff(x)",
    "diff(A, axis=0)",
    "dot(x, z) + vdot(A, A)",
    "dot(A, x)",
    "dot(2, x)",
    "matmul(A, A)",
    "outer(x, z)",
    "cross(x, z)",
    "einsum('ij,j->i', A, x)",
    "einsum('ij,ij', A, A)",
    "einsum('...i,i->...', A, x)",
    "trace(A)",
    "diagonal(A)",
    "zeros(3) + x",
    "ones((2, 3)) * x",
    "full((2,), 7)",
    "full(2, 7.5)",
    "zeros_like(f)",
    "ones_like(k) + full_like(x, 3)",
    "eye(3) @ x",
    "eye(2, 3)",
    "arange(5)",
    "arange(1, 2, 0.25)",
    "arange(3) * x",
    "arange(5, 0, -2)",
    "linspace(0, 1, 5)",
    "linspace(-1, 2)",
    "dot([1, 2, 3], A)",
    "max(x, 0)",
    "3",
    "2 * pi",
    "True",
    "7 % -3 + x",
    "100 ** 0.5 * f",
]
NAMESPACE: dict[str, Any] = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}


@pytest.mark.parametrize("text", PYTHON)
def test_an_expression_is_what_numpy_makes_of_it(text: str) -> None:
    with np.errstate(all="ignore"):
        expected = np.asarray(eval(text, {"__builtins__": {}}, NAMESPACE | INPUTS))
    (found,) = evaluate(expression(y=text), INPUTS)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12 if found.dtype == np.float64 else 1e-6, atol=1e-15)


X, Z, A = INPUTS["x"], INPUTS["z"], INPUTS["A"]
ELSEWHERE = {
    "softmax(A)": softmax(A),
    "softmax(A, axis=0)": softmax(A, 0),
    "log_softmax(A)": np.log(softmax(A)),
    "logsumexp(A, axis=1)": np.log(np.exp(A).sum(1)),
    "logsumexp(x)": np.log(np.exp(X).sum()),
    "sigmoid(x)": sigmoid(X),
    "silu(x)": X * sigmoid(X),
    "relu(x)": np.maximum(X, 0),
    "relu6(9 * x)": np.clip(9 * X, 0, 6),
    "leaky_relu(x)": np.where(X > 0, X, 0.01 * X),
    "leaky_relu(x, 0.2)": np.where(X > 0, X, 0.2 * X),
    "elu(x)": np.where(X > 0, X, np.expm1(X)),
    "elu(x, alpha=0.5)": np.where(X > 0, X, 0.5 * np.expm1(X)),
    "celu(x, 2)": np.where(X > 0, X, 2 * np.expm1(X / 2)),
    "selu(x)": 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X)),
    "softplus(x)": np.log1p(np.exp(X)),
    "softsign(x)": X / (1 + np.abs(X)),
    "mish(x)": X * np.tanh(np.log1p(np.exp(X))),
    "hardswish(x)": X * np.clip(X / 6 + 0.5, 0, 1),
    "norm(x)": np.linalg.norm(X),
    "norm(A)": np.linalg.norm(A),
    "norm(A, axis=1)": np.linalg.norm(A, axis=1),
    "norm(A, 1, axis=0)": np.linalg.norm(A, 1, axis=0),
    "norm([x - 1, z - 2])": np.linalg.norm([X - 1, Z - 2]),
    "det(A)": np.linalg.det(A),
    "cat([x, z], dim=0)": np.concatenate([X, Z]),
    "unsqueeze(x, 0)": X[None],
    "sum(A, dim=1, keepdim=True)": A.sum(1, keepdims=True),
    "clamp(x, a_min=0)": np.maximum(X, 0),
    "reshape(A, 9, 1)": A.reshape(9, 1),
    "permute(A, (1, 0))": A.T,
    "flatten(A)": A.ravel(),
}


@pytest.mark.parametrize("text", ELSEWHERE)
def test_functions_that_numpy_has_elsewhere_or_not_at_all(text: str) -> None:
    (found,) = evaluate(expression(y=text), INPUTS)
    np.testing.assert_allclose(found, ELSEWHERE[text], rtol=1e-7 if "hardswish" in text else 1e-12)


@pytest.mark.parametrize("text", ["erf(x)", "gelu(x)"])
def test_the_error_function(text: str) -> None:
    erf = np.array([math.erf(v) for v in X / (math.sqrt(2) if "gelu" in text else 1)])
    expected = X * (1 + erf) / 2 if "gelu" in text else erf
    (found,) = evaluate(expression(y=text), INPUTS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_arctan2_in_every_quadrant_and_on_the_axes() -> None:
    angles = np.linspace(-np.pi, np.pi, 17)[1:]
    y, x = np.round(np.sin(angles), 15), np.round(np.cos(angles), 15)
    y, x = np.append(y, 0.0), np.append(x, 0.0)
    (found,) = evaluate(expression(r="arctan2(y, x)"), {"y": y, "x": x})
    np.testing.assert_allclose(found, np.arctan2(y, x), atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "text", ["arctan2(x, 2)", "2 * pi * x + 1", "var(x, ddof=1)", "elu(x, 0.5)", "log1p(x ** 2)", "sqrt(2) * x"]
)
def test_literals_take_the_dtype_of_what_they_meet(text: str, dtype: str) -> None:
    (found,) = evaluate(expression(y=text), {"x": X.astype(dtype)})
    assert found.dtype == dtype


def test_outputs_refer_to_each_other_in_any_order() -> None:
    source = expression(loss="sum(residual ** 2)", residual="model - t", model="a * exp(-b)")
    loss, model, residual = evaluate(source, {"a": 2.0, "b": 0.5, "t": 1.0})
    assert model == pytest.approx(2 * math.exp(-0.5))
    assert residual == pytest.approx(model - 1)
    assert loss == pytest.approx(residual**2)


def test_an_output_may_be_an_input_another_output_or_a_number() -> None:
    assert evaluate(expression(a="x", b="a", c="b", d="2.5"), {"x": 3.0}) == [3.0, 3.0, 3.0, 2.5]


def test_an_input_named_as_a_constant_hides_it() -> None:
    source = expression(y="e * x")
    assert evaluate(source, {"x": 2.0}) == [2 * math.e]
    assert evaluate(source, {"e": 3.0, "x": 2.0}) == [6.0]


def test_an_input_that_nothing_reads_is_one_where_it_is_differentiated_by() -> None:
    source = expression(y="sin(x)")
    assert [i.name for i in compiled(source, inputs=["x", "z"]).info.inputs] == ["x"]
    assert [i.name for i in compiled(source, inputs=["x", "z"], xs=["z", "x", "y"]).info.inputs] == ["x", "z"]


def test_an_output_named_as_a_constant_hides_it() -> None:
    assert evaluate(expression(y="2 * e", e="x + 1"), {"x": 2.0}) == [3.0, 6.0]


def test_a_name_may_be_a_functions_too() -> None:
    assert evaluate(expression(y="sum(sum) + max"), {"sum": np.ones(3), "max": 1.0}) == [4.0]


def test_a_negative_base_with_a_fractional_exponent_is_nan() -> None:
    assert np.isnan(evaluate(expression(y="(-8) ** 0.5 * x"), {"x": 1.0})).all()


def test_inputs_and_outputs_are_listed_by_name_and_operators_without_casts() -> None:
    info = compiled(expression(y="tanh(W @ x + b)")).info
    assert [i.name for i in info.inputs] == ["W", "b", "x"]
    assert [(o.name, o.dtype, o.shape) for o in info.outputs] == [("y", None, None)]
    assert info.operators == {"Add": 1, "MatMul": 1, "Tanh": 1}


def sequences() -> st.SearchStrategy[str]:
    numbers = st.none() | st.integers(-7, 7)
    slices = st.tuples(numbers, numbers, numbers.filter(lambda step: step != 0)).map(
        lambda s: ":".join("" if v is None else str(v) for v in s)
    )
    return st.lists(slices | st.integers(-3, 2).map(str), max_size=3).map(",".join)


@given(before=sequences(), after=sequences())
@example(before="-7::-1", after="")
@settings(max_examples=100, deadline=None)
def test_indexing_is_numpys(before: str, after: str) -> None:
    array = np.arange(81.0).reshape(3, 3, 3, 3)
    entries = ",".join(part for part in (before, "...", after) if part)
    try:
        expected = eval(f"array[{entries}]", {"array": array})
    except IndexError:
        return
    (found,) = evaluate(expression(y=f"x[{entries}]"), {"x": array})
    np.testing.assert_array_equal(found, expected)


def arithmetic() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["x", "z", "k", "2", "0.5", "3"])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner).map(" ".join),
            inner.map("({})".format),
            inner.map("-{}".format),
            inner.map("abs({})".format),
        ),
        max_leaves=8,
    )


@given(text=arithmetic())
@settings(max_examples=100, deadline=None)
def test_precedence_and_promotion_are_pythons_and_numpys(text: str) -> None:
    values = {name: INPUTS[name] for name in ("x", "z", "k")}
    try:
        with np.errstate(all="ignore"):
            expected = np.asarray(eval(text, {"__builtins__": {}}, {"abs": np.abs, **values}))
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        return
    if expected.dtype == object or np.iscomplexobj(expected):
        return
    (found,) = evaluate(expression(y=text), values)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
