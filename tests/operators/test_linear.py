"""Products, contractions and linear models against NumPy."""

import ml_dtypes
import numpy as np
import pytest

from service.catalogue import MICROSOFT, ML
from service.errors import InvalidGraph, TooLarge, UnsupportedOperator
from tests.operators.cases import apply

rng = np.random.default_rng(0)
A, B = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))


@pytest.mark.parametrize(
    "shapes",
    [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 1, 3, 4), (5, 4, 2)), ((0, 4), (4, 2)), ((3, 0), (0, 2))],
    ids=str,
)
def test_matmul_is_numpys(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (rng.normal(size=s) for s in shapes)
    (result,) = apply("MatMul", a, b)
    np.testing.assert_allclose(result, a @ b, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_halves_are_accumulated_in_float32(dtype: type) -> None:
    ones = np.ones((1, 6000), dtype)
    for result in (apply("MatMul", ones, ones.T)[0], apply("Gemm", ones, ones, transB=1)[0]):
        assert result.dtype == dtype
        assert result[0, 0] == np.array(6000).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32], ids=lambda d: d.__name__)
def test_gemm_keeps_its_dtype(dtype: type) -> None:
    a, b, c = (np.arange(n).reshape(s).astype(dtype) for n, s in ((6, (3, 2)), (12, (4, 3)), (4, (4,))))
    (result,) = apply("Gemm", a, b, c, alpha=2.0, beta=3.0, transA=1, transB=1)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, 2 * a.T @ b.T + 3 * c)


def test_gemm_without_c() -> None:
    np.testing.assert_allclose(apply("Gemm", A, B)[0], A @ B, rtol=1e-14)


SQUARES = rng.normal(size=(2, 3, 3))
CONTRACTIONS = {
    "ij,jk->ik": (A, B),
    "ij , jk": (A, B),
    "Ab,bC->CA": (A, B),
    "...ii->...i": (SQUARES,),
    "...ij,...jk": (SQUARES, SQUARES[0]),
    "bij->": (SQUARES,),
    "ij,kj,lj->ikl": (A, A, A),
    "ba": (A,),
}


@pytest.mark.parametrize("equation", CONTRACTIONS)
def test_einsum_is_numpys(equation: str) -> None:
    operands = CONTRACTIONS[equation]
    expected = np.einsum(equation, *operands)
    (result,) = apply("Einsum", *operands, equation=equation)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("equation", ["ij->i", "ijk,jk->i", "i!,jk->ik", "....i,jk->k"], ids=str)
def test_einsum_refuses_an_equation_that_does_not_fit(equation: str) -> None:
    with pytest.raises(InvalidGraph, match="Einsum"):
        apply("Einsum", A, B, equation=equation)


def test_einsum_is_bounded() -> None:
    x = np.ones(2000)
    with pytest.raises(TooLarge):
        apply("Einsum", x, x, x, equation="i,j,k->ijk")


def test_determinants() -> None:
    np.testing.assert_allclose(apply("Det", SQUARES)[0], np.linalg.det(SQUARES), rtol=1e-13)
    assert apply("Det", SQUARES.astype(np.float16))[0].dtype == np.float16


def test_fused_matmul() -> None:
    (result,) = apply("FusedMatMul", SQUARES, SQUARES, domain=MICROSOFT, opset=1, alpha=0.5, transA=1)
    np.testing.assert_allclose(result, 0.5 * SQUARES.transpose(0, 2, 1) @ SQUARES, rtol=1e-13, atol=1e-14)
    with pytest.raises(UnsupportedOperator, match="transBatchA"):
        apply("FusedMatMul", A, B, domain=MICROSOFT, opset=1, transBatchA=1)


def test_scaler_keeps_float64_and_gives_float32_for_integers() -> None:
    (result,) = apply("Scaler", A, domain=ML, opset=1, offset=(0.5,), scale=(1.0, 2.0, 3.0, 4.0))
    np.testing.assert_allclose(result, (A - 0.5) * [1, 2, 3, 4], rtol=1e-15)
    assert apply("Scaler", np.ones((1, 2), np.int64), domain=ML, opset=1, scale=(0.5,))[0].dtype == np.float32


def test_linear_regressor() -> None:
    weights = (1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0)
    (result,) = apply("LinearRegressor", A, domain=ML, opset=1, coefficients=weights, intercepts=(0.5, 1.0), targets=2)
    np.testing.assert_allclose(result, A @ np.reshape(weights, (2, 4)).T + [0.5, 1.0], rtol=1e-13)
    with pytest.raises(UnsupportedOperator, match="SOFTMAX"):
        apply("LinearRegressor", A, domain=ML, opset=1, coefficients=weights, post_transform="SOFTMAX")
    with pytest.raises(InvalidGraph, match="multiple of 3 targets"):
        apply("LinearRegressor", A, domain=ML, opset=1, coefficients=weights, targets=3)


@pytest.mark.parametrize(("norm", "order"), [("MAX", np.inf), ("L1", 1), ("L2", 2)], ids=["max", "l1", "l2"])
def test_normalizer_leaves_zeros_alone(norm: str, order: float) -> None:
    x = np.concatenate([A, np.zeros((1, 4))])
    expected = A / np.linalg.norm(A, order, axis=1, keepdims=True)
    (result,) = apply("Normalizer", x, domain=ML, opset=1, norm=norm)
    np.testing.assert_allclose(result, np.concatenate([expected, np.zeros((1, 4))]), rtol=1e-14)
