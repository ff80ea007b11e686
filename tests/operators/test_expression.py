"""Promote: NumPy's promotion, with Python's literals as weak operands."""

import itertools

import numpy as np
import pytest

from service.tensors.dtypes import DTYPES, OF_NUMPY
from tests.operators.cases import apply

NAMES = list(DTYPES)


def promoted(*values: np.ndarray, **attributes: object) -> list[str]:
    results = apply("Promote", *values, domain="jacobian", opset=1, outputs=len(values), **attributes)
    return [OF_NUMPY[r.dtype].name for r in results]


def of(name: str) -> np.ndarray:
    return np.ones(2, DTYPES[name].numpy)


@pytest.mark.parametrize("left", [n for n in NAMES if n != "bfloat16"])
def test_promotion_is_numpys(left: str) -> None:
    for right in NAMES:
        if right != "bfloat16":
            expected = OF_NUMPY[np.promote_types(of(left).dtype, of(right).dtype)].name
            assert promoted(of(left), of(right)) == [expected, expected]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("bfloat16", "bfloat16"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("bool", "bfloat16"),
        ("uint8", "bfloat16"),
        ("int16", "float32"),
        ("int64", "float64"),
    ],
    ids=lambda name: name,
)
def test_bfloat16_meets(other: str, expected: str) -> None:
    assert promoted(of("bfloat16"), of(other)) == [expected] * 2
    assert promoted(of(other), of("bfloat16")) == [expected] * 2


def test_promotion_does_not_depend_on_the_order_of_a_pair() -> None:
    for left, right in itertools.product(NAMES, NAMES):
        assert promoted(of(left), of(right)) == promoted(of(right), of(left))


WHOLE, REAL = np.array(2), np.array(0.5)


@pytest.mark.parametrize("name", NAMES)
def test_a_literal_gives_way(name: str) -> None:
    kind = DTYPES[name].kind
    assert promoted(of(name), WHOLE, weak=(1,)) == ["int64" if kind == "bool" else name] * 2
    assert promoted(REAL, of(name), weak=(0,)) == [name if kind == "float" else "float64"] * 2


def test_literals_alone_are_what_they_are() -> None:
    assert promoted(WHOLE, WHOLE, weak=(0, 1)) == ["int64"] * 2
    assert promoted(WHOLE, REAL, weak=(0, 1)) == ["float64"] * 2


@pytest.mark.parametrize("name", NAMES)
def test_floating_makes_float64_of_what_is_not_floating(name: str) -> None:
    assert promoted(of(name), floating=1) == [name if DTYPES[name].kind == "float" else "float64"]


def test_values_are_kept() -> None:
    whole, real = apply("Promote", [1, -2], [0.5, 1.5], domain="jacobian", opset=1, outputs=2)
    np.testing.assert_array_equal(whole, [1.0, -2.0])
    np.testing.assert_array_equal(real, [0.5, 1.5])
