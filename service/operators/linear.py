"""Products of matrices, contractions, determinants, linear models."""

import re

import numpy as np
import torch
from torch import Tensor

from service.catalogue import MICROSOFT, ML
from service.errors import InvalidGraph, UnsupportedOperator
from service.operators.numerics import floating
from service.operators.registry import bounded, kernel


@kernel("MatMul", 1)
def matmul(A: Tensor, B: Tensor) -> Tensor:
    """The product of NumPy's `matmul`: `[..., M, K]` and `[..., K, N]` give `[..., M, N]`, 1-D operands are vectors."""
    return torch.matmul(A, B)


@kernel("Gemm", 7)
def gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """`alpha A' B' + beta C`, where a prime is a transpose if it is asked for, and C is broadcast."""
    product = torch.matmul(A.mT if transA else A, B.mT if transB else B)
    product = product if alpha == 1 else alpha * product
    if C is not None and beta != 0:
        product = product + (C if beta == 1 else beta * C)
    return product.to(A.dtype)


@kernel("FusedMatMul", domain=MICROSOFT)
def fused_matmul(
    A: Tensor,
    B: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """`alpha A' B'`, where a prime is a transpose of the last two axes if it is asked for."""
    if transBatchA or transBatchB:
        raise UnsupportedOperator("FusedMatMul with transBatchA or transBatchB is not supported; use a Transpose")
    product = torch.matmul(_transposed(A, transA), _transposed(B, transB))
    return product if alpha == 1 else alpha * product


def _transposed(x: Tensor, wanted: int) -> Tensor:
    return x.mT if wanted and x.dim() > 1 else x


@kernel("Einsum", 12)
def einsum(*Inputs: Tensor, equation: str) -> Tensor:
    """A contraction in Einstein's notation, as NumPy's `einsum` has it.

    Raises:
        InvalidGraph: the equation is not one for these operands.
        TooLarge: the output would be.
    """
    bounded(_einsum_shape(equation, [tuple(t.shape) for t in Inputs]))
    return torch.einsum(equation, *Inputs)


def _einsum_shape(equation: str, shapes: list[tuple[int, ...]]) -> list[int]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes) or not all(re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", t) for t in (*terms, right)):
        raise InvalidGraph(f'Einsum: the equation "{equation}" does not fit {len(shapes)} operands')
    sizes: dict[str, int] = {}
    spread: tuple[int, ...] = ()
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        extra = len(shape) - len(before) - len(after)
        if extra < 0 or (extra and not dots):
            raise InvalidGraph(f'Einsum: the term "{term}" does not fit an operand of rank {len(shape)}')
        spread = np.broadcast_shapes(spread, shape[len(before) : len(before) + extra])
        for label, size in zip(before + after, shape[: len(before)] + shape[len(before) + extra :], strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    if not arrow:
        return [*spread, *(n for label, n in sizes.items() if left.count(label) == 1)]
    return [*(spread if "..." in right else ()), *(sizes.get(label, 1) for label in right.replace(".", ""))]


@kernel("Det", 11)
def det(X: Tensor) -> Tensor:
    """The determinant of each `[..., M, M]`."""
    determinant: Tensor = torch.linalg.det(X.to(floating(X.dtype)))
    return determinant.to(X.dtype)


# --- ai.onnx.ml: floating-point inputs keep their dtype, integers give float32 ----------------------------------------


def _features(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float32)


@kernel("Scaler", domain=ML)
def scaler(X: Tensor, *, offset: tuple[float, ...] | None = None, scale: tuple[float, ...] | None = None) -> Tensor:
    """`(X - offset) scale`, each one number or one for each feature."""
    x = _features(X)
    moved = x if offset is None else x - x.new_tensor(offset)
    return moved if scale is None else moved * x.new_tensor(scale)


@kernel("LinearRegressor", domain=ML)
def linear_regressor(
    X: Tensor,
    *,
    coefficients: tuple[float, ...] | None = None,
    intercepts: tuple[float, ...] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    """`X W' + b`: `[N, C]` gives `[N, targets]`; the coefficients of a target stand together."""
    if post_transform != "NONE":
        raise UnsupportedOperator(f'LinearRegressor: post_transform "{post_transform}" is not supported, only "NONE"')
    if not coefficients or len(coefficients) % targets:
        raise InvalidGraph(f"LinearRegressor: the coefficients must be a positive multiple of {targets} targets")
    x = _features(X)
    scores = x @ x.new_tensor(coefficients).reshape(targets, -1).mT
    return scores if intercepts is None else scores + x.new_tensor(intercepts)


@kernel("Normalizer", domain=ML)
def normalizer(X: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each row `[..., C]` over its norm; a row of zeros stays as it is."""
    x = _features(X)
    match norm:
        case "MAX":
            size = x.abs().amax(-1, keepdim=True)
        case "L1":
            size = x.abs().sum(-1, keepdim=True)
        case "L2":
            size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        case _:
            raise InvalidGraph(f'Normalizer: norm must be "MAX", "L1" or "L2", not "{norm}"')
    return x / torch.where(size == 0, torch.ones_like(size), size)
