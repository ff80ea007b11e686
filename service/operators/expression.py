"""The one operator that the expression language adds: NumPy's promotion of dtypes."""

import functools

import numpy as np
import torch
from torch import Tensor

from service.catalogue import EXPRESSION
from service.operators.registry import kernel
from service.tensors.dtypes import DTYPES, OF_NUMPY


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _promoted(left: torch.dtype, right: torch.dtype) -> torch.dtype:
    """NumPy's common dtype; bfloat16, which NumPy has not, meets integers as float16 does, and float16 in float32."""
    if torch.bfloat16 in (left, right):
        other = right if left == torch.bfloat16 else left
        if other == torch.float16:
            return torch.float32
        met = torch.float16 if other == torch.bfloat16 else _promoted(torch.float16, other)
        return torch.bfloat16 if met == torch.float16 else met
    found: torch.dtype = getattr(
        torch, OF_NUMPY[np.promote_types(DTYPES[_name(left)].numpy, DTYPES[_name(right)].numpy)].name
    )
    return found


def _with_literals(dtype: torch.dtype, literals: list[torch.dtype]) -> torch.dtype:
    """The dtype of values that meet Python numbers: these give way, unless they are of a higher kind."""
    if not dtype.is_floating_point and torch.float64 in literals:
        return torch.float64
    if dtype == torch.bool and literals:
        return torch.int64
    return dtype


@kernel("Promote", domain=EXPRESSION)
def promote(*values: Tensor, weak: tuple[int, ...] = (), floating: int = 0) -> tuple[Tensor, ...]:
    """All values in their common dtype.

    Args:
        values: of any dtypes of the contract.
        weak: positions of Python's literals, 0-D int64 or float64, which take the dtype of the others; a float
            among integers gives float64, an integer among booleans int64.
        floating: whether an integer or boolean result becomes float64.
    """
    strong = [v.dtype for i, v in enumerate(values) if i not in weak]
    literals = [values[i].dtype for i in weak]
    dtype = functools.reduce(_promoted, strong or literals)
    dtype = _with_literals(dtype, literals)
    if floating and not dtype.is_floating_point:
        dtype = torch.float64
    return tuple(v.to(dtype) for v in values)
