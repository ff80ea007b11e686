"""The table of dtypes: the contract's names, NumPy's, ONNX's numbers. torch's name is the contract's."""

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np


@dataclass(frozen=True, slots=True)
class Dtype:
    """One dtype of the contract.

    Attributes:
        name: the contract's name, which is also torch's.
        numpy: the little-endian NumPy dtype (bfloat16 by ml_dtypes).
        onnx: the number in ONNX's `TensorProto.DataType`.
        kind: whether it can be differentiated (`float`), counted with (`int`) or is `bool`.
    """

    name: str
    numpy: np.dtype
    onnx: int
    kind: Literal["float", "int", "bool"]


DTYPES: dict[str, Dtype] = {
    d.name: d
    for d in (
        Dtype("float16", np.dtype("<f2"), 10, "float"),
        Dtype("bfloat16", np.dtype(ml_dtypes.bfloat16), 16, "float"),
        Dtype("float32", np.dtype("<f4"), 1, "float"),
        Dtype("float64", np.dtype("<f8"), 11, "float"),
        Dtype("int8", np.dtype("i1"), 3, "int"),
        Dtype("int16", np.dtype("<i2"), 5, "int"),
        Dtype("int32", np.dtype("<i4"), 6, "int"),
        Dtype("int64", np.dtype("<i8"), 7, "int"),
        Dtype("uint8", np.dtype("u1"), 2, "int"),
        Dtype("bool", np.dtype("?"), 9, "bool"),
    )
}
OF_ONNX: dict[int, Dtype] = {d.onnx: d for d in DTYPES.values()}
OF_NUMPY: dict[np.dtype, Dtype] = {d.numpy: d for d in DTYPES.values()}
NAMES: tuple[str, ...] = tuple(DTYPES)


def dtype_of(array: np.ndarray) -> Dtype:
    """The contract's dtype of a NumPy array.

    Raises:
        KeyError: where the contract has no such dtype (complex, strings, uint64, ...).
    """
    return OF_NUMPY[array.dtype]
