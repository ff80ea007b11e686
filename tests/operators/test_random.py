"""Random operators: functions of their seed, of the right distribution, refused without one."""

import numpy as np
import pytest

from service.errors import InvalidGraph, TooLarge, UnsupportedOperator
from tests.operators.cases import apply

MANY = np.zeros((200, 100))
DRAWS = {
    "RandomNormal": ((), {"shape": (200, 100), "mean": 3.0, "scale": 0.5}, 3, 0.5, np.float32),
    "RandomNormalLike": ((MANY,), {"mean": -1.0}, -1, 1, np.float64),
    "RandomUniform": ((), {"shape": (200, 100), "low": 1.0, "high": 3.0, "dtype": 11}, 2, 3**-0.5, np.float64),
    "RandomUniformLike": ((MANY,), {"dtype": 1}, 0.5, 12**-0.5, np.float32),
    "Bernoulli": ((MANY + 0.25,), {"dtype": 7}, 0.25, 0.1875**0.5, np.int64),
    "Multinomial": ((np.log([[1.0, 2.0, 1.0]]),), {"sample_size": 20000}, 1, 0.5**0.5, np.int32),
}


@pytest.mark.parametrize("op", DRAWS)
def test_draws_follow_the_seed_and_their_distribution(op: str) -> None:
    inputs, attributes, mean, deviation, dtype = DRAWS[op]
    one, same, other = (apply(op, *inputs, seed=seed, **attributes)[0] for seed in (1.5, 1.5, 2.0))
    assert one.dtype == dtype
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    error = 5 * deviation / one.size**0.5
    assert abs(one.mean() - mean) < error
    assert abs(one.std() - deviation) < error


@pytest.mark.parametrize("op", DRAWS)
def test_no_seed_is_refused(op: str) -> None:
    inputs, attributes, *_ = DRAWS[op]
    with pytest.raises(UnsupportedOperator, match=f"{op} without a seed"):
        apply(op, *inputs, **attributes)


def test_certain_events() -> None:
    np.testing.assert_array_equal(apply("Bernoulli", np.array([0.0, 1.0]), seed=0.0)[0], [0, 1])
    np.testing.assert_array_equal(
        apply("Multinomial", np.array([[-np.inf, 0.0]]), sample_size=4, seed=0.0)[0], [[1] * 4]
    )


def test_sizes_are_bounded() -> None:
    with pytest.raises(TooLarge):
        apply("RandomNormal", shape=(2**20, 2**20), seed=0.0)
    with pytest.raises(TooLarge):
        apply("Multinomial", np.zeros((1, 2)), sample_size=2**40, seed=0.0)
    with pytest.raises(InvalidGraph, match="matrix"):
        apply("Multinomial", np.zeros(3), seed=0.0)


X = np.arange(1.0, 2001.0).reshape(20, 100)


def test_dropout_outside_of_training_is_the_identity() -> None:
    for opset, dtype in ((7, np.float64), (10, np.bool_), (13, np.bool_)):
        y, mask = apply("Dropout", X, opset=opset, outputs=2)
        np.testing.assert_array_equal(y, X)
        assert mask.dtype == dtype
        assert mask.all()


@pytest.mark.parametrize("ratio", [None, 0.25], ids=["default", "quarter"])
def test_dropout_in_training_drops_a_share_and_magnifies_the_rest(ratio: float | None) -> None:
    share = 0.5 if ratio is None else ratio
    given = None if ratio is None else np.float32(ratio)
    y, mask = apply("Dropout", X, given, np.array(True), seed=7, outputs=2)
    assert abs((~mask).mean() - share) < 5 * (share * (1 - share) / X.size) ** 0.5
    np.testing.assert_allclose(y, np.where(mask, X / (1 - share), 0), rtol=1e-15)


@pytest.mark.parametrize("ratio", [1.0, -0.5], ids=str)
def test_dropout_with_a_share_that_is_none(ratio: float) -> None:
    with pytest.raises(InvalidGraph, match="ratio"):
        apply("Dropout", X, np.float32(ratio), np.array(True), seed=7)


def test_dropout_in_training_without_a_seed_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="seed"):
        apply("Dropout", X, np.float32(0.5), np.array(True))
    np.testing.assert_array_equal(apply("Dropout", X, np.float32(0), np.array(True))[0], X)
