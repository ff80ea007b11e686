"""Products of matrices, contractions, determinants."""

import re

import numpy as np
import torch
from torch import Tensor

from service.catalogue import MICROSOFT
from service.errors import InvalidGraph
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
    """`alpha A' B'`, a prime being the transposes asked for: of the first axis and the batch, then of the last axes."""
    product = torch.matmul(_transposed(A, transA, transBatchA), _transposed(B, transB, transBatchB))
    return product if alpha == 1 else alpha * product


def _transposed(x: Tensor, last: int, batch: int) -> Tensor:
    if x.dim() < 2:
        return x
    moved = x.movedim(0, -2) if batch else x
    return moved.mT if last else moved


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
