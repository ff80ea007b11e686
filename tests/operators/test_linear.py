"""Products, contractions and determinants against NumPy."""

import ml_dtypes
import numpy as np
import pytest

from service.catalogue import MICROSOFT
from service.errors import InvalidGraph, TooLarge
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


@pytest.mark.parametrize("last", [0, 1], ids=["plain", "transposed"])
def test_fused_matmul_of_a_batch_behind_the_rows(last: int) -> None:
    a, b = rng.normal(size=(4, 2, 3) if last else (3, 2, 4)), rng.normal(size=(4, 2, 5))
    (result,) = apply("FusedMatMul", a, b, domain=MICROSOFT, opset=1, transA=last, transBatchA=1, transBatchB=1)
    np.testing.assert_allclose(result, np.einsum("kbm,kbn->bmn" if last else "mbk,kbn->bmn", a, b), rtol=1e-13)
