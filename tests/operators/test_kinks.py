"""At kinks, ties and poles the derivatives are PyTorch's, both ways."""

import math

import numpy as np
import pytest
import torch

from tests.operators.cases import NEWEST, found, to_array, to_tensor

inf, nan = math.inf, math.nan


def jacobians(op: str, *arrays: np.ndarray, **attributes: object) -> list[np.ndarray]:
    """The Jacobian by each input, by pullbacks of unit vectors: `[y.size, x.size]`."""
    inputs = [to_tensor(np.asarray(a)) for a in arrays]
    kernel = found(op, NEWEST, "")
    (y,), pullback = torch.func.vjp(lambda *xs: kernel(xs, attributes), *inputs)
    units = torch.eye(y.numel(), dtype=y.dtype).reshape(-1, *y.shape)
    rows = torch.func.vmap(pullback)((units,))
    return [to_array(r.reshape(y.numel(), -1)) for r in rows]


def by_pushforwards(op: str, array: np.ndarray, **attributes: object) -> np.ndarray:
    x, kernel = to_tensor(np.asarray(array)), found(op, NEWEST, "")
    columns = []
    for unit in torch.eye(x.numel(), dtype=x.dtype):
        _, (column,) = torch.func.jvp(lambda x: kernel([x], attributes), (x,), (unit.reshape(x.shape),))
        columns.append(column.reshape(-1))
    return to_array(torch.stack(columns, -1))


SLOPES = [
    ("Abs", [-1.0, 0.0, 2.0], [-1, 0, 1], {}),
    ("Relu", [-1.0, 0.0, 2.0], [0, 0, 1], {}),
    ("LeakyRelu", [-1.0, 0.0, 1.0], [0.125, 0.125, 1], {"alpha": 0.125}),
    ("Elu", [-1.0, 0.0, 1.0], [0.5 * math.exp(-1), 0.5, 1], {"alpha": 0.5}),
    ("Celu", [-1.0, 0.0, 1.0], [math.exp(-2), 1, 1], {"alpha": 0.5}),
    ("HardSigmoid", [-2.0, 0.0, 2.0], [0, 0.25, 0], {"alpha": 0.25, "beta": 0.5}),
    ("ThresholdedRelu", [0.5, 1.0, 1.5], [0, 0, 1], {}),
    ("Softsign", [0.0], [1], {}),
    ("Sign", [-1.0, 0.0, 1.0], [0, 0, 0], {}),
    ("Floor", [0.0, 0.5], [0, 0], {}),
]


@pytest.mark.parametrize(("op", "at", "slopes", "attributes"), SLOPES, ids=[case[0] for case in SLOPES])
def test_slopes_at_kinks(op: str, at: list[float], slopes: list[float], attributes: dict[str, object]) -> None:
    np.testing.assert_allclose(jacobians(op, np.array(at), **attributes)[0], np.diag(slopes), rtol=1e-12)
    np.testing.assert_allclose(by_pushforwards(op, np.array(at), **attributes), np.diag(slopes), rtol=1e-12)


POLES = [
    ("Sqrt", [0.0, 1.0], [[inf, 0], [nan, 0.5]]),
    ("Reciprocal", [0.0, 2.0], [[-inf, 0], [nan, -0.25]]),
    ("Atanh", [1.0, 0.5], [[inf, 0], [nan, 4 / 3]]),
    ("Log", [0.0, 2.0], [[inf, 0], [nan, 0.5]]),
]


@pytest.mark.parametrize(("op", "at", "expected"), POLES, ids=[case[0] for case in POLES])
def test_poles_are_those_of_one_pullback(op: str, at: list[float], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(jacobians(op, np.array(at))[0], expected, rtol=1e-12)


def test_square_of_infinity() -> None:
    x = np.array([inf, 1.0, 2.0])
    a, b = jacobians("Mul", x, x)
    np.testing.assert_array_equal(a + b, [[inf, 0, 0], [nan, 2, 0], [nan, 0, 4]])


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_two_that_tie_share_the_gradient(op: str) -> None:
    a, b = jacobians(op, np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 3.0]))
    larger = 1.0 if op == "Max" else 0.0
    np.testing.assert_array_equal(a, np.diag([0.5, larger, 0.5]))
    np.testing.assert_array_equal(b, np.diag([0.5, 1 - larger, 0.5]))


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_elements_that_tie_share_the_gradient(op: str) -> None:
    sign = 1 if op == "ReduceMax" else -1
    (row,) = jacobians(op, sign * np.array([1.0, 3.0, 3.0, 2.0]), keepdims=0)
    np.testing.assert_array_equal(row, [[0, 0.5, 0.5, 0]])


def test_clip_has_slope_1_at_its_limits_and_passes_the_gradient_on_beyond() -> None:
    x, low, high = jacobians("Clip", np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.array(-1.0), np.array(1.0))
    np.testing.assert_array_equal(x, np.diag([0, 1, 1, 1, 0]))
    np.testing.assert_array_equal(low[:, 0], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(high[:, 0], [0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("exponent", "slope"), [(0.0, 0.0), (0.5, inf), (1.0, 1.0), (2.0, 0.0)], ids=lambda v: f"{v:g}"
)
def test_power_at_zero(exponent: float, slope: float) -> None:
    np.testing.assert_array_equal(jacobians("Pow", np.zeros(1), np.array(exponent))[0], [[slope]])


def test_norms_at_zero_have_slope_0() -> None:
    for op in ("ReduceL1", "ReduceL2"):
        np.testing.assert_array_equal(jacobians(op, np.zeros(3), keepdims=0)[0], np.zeros((1, 3)))


def test_log_sum_exp_of_minus_infinity() -> None:
    (row,) = jacobians("ReduceLogSumExp", np.array([-inf, 0.0, -inf]), keepdims=0)
    np.testing.assert_array_equal(row, [[0, 1, 0]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2.0, 3.0, 5.0], [15, 10, 6]), ([2.0, 0.0, 5.0], [0, 10, 0]), ([0.0, 0.0, 5.0], [0, 0, 0])],
    ids=["no-zero", "one-zero", "two-zeros"],
)
def test_products_with_zeros(values: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(jacobians("ReduceProd", np.array(values), keepdims=0)[0], [expected])
    np.testing.assert_array_equal(by_pushforwards("ReduceProd", np.array(values), keepdims=0), [expected])


def test_where_does_not_see_the_branch_not_taken_of_prelu() -> None:
    x, slope = jacobians("PRelu", np.array([inf, -2.0, 0.0]), np.array([0.25, 0.25, 0.25]))
    np.testing.assert_array_equal(np.diag(x), [1, 0.25, 0.25])
    np.testing.assert_array_equal(np.diag(slope), [0, -2, 0])
