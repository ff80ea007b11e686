"""Tensors inside a model: checked before they are believed, then read, then written in one form."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from service import errors
from service.link.messages import Limits
from service.tensors.dtypes import DTYPES, OF_NUMPY, OF_ONNX, Dtype

SPARSE_ELEMENTS = 2**24
"""The most elements of a sparse tensor written out: a few bytes of it can ask for any number."""

_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_FIELD_OF = {
    "float32": "float_data",
    "float64": "double_data",
    "int64": "int64_data",
}
"""The typed field of a dtype; `int32_data` for the rest."""


def dtype(code: int, what: str, pointer: str | None = None) -> Dtype:
    """The contract's dtype of an ONNX type number.

    Raises:
        UnsupportedOperator: strings, complex numbers, unsigned integers above 8 bits, float8 and so on.
    """
    found = OF_ONNX.get(code)
    if found is None:
        known = code in onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(code).lower() if known else f"of the unknown ONNX type {code}"
        raise errors.UnsupportedOperator(f"{what} is {name}; supported are {', '.join(DTYPES)}", pointer)
    return found


def check(tensor: onnx.TensorProto, what: str, limits: Limits, pointer: str | None = None) -> None:
    """That a tensor holds what its header says, without making it.

    Args:
        tensor: from a client.
        what: how a message names it.
        limits: for elements and axes.
        pointer: where a fault is.

    Raises:
        InvalidGraph: external data, sizes that are negative or that the content contradicts.
        UnsupportedOperator: a dtype that the contract has not.
        TooLarge: more elements or axes than allowed.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise errors.InvalidGraph(
            f"{what} keeps its data in another file; save the model with its data inside", pointer
        )
    found = dtype(tensor.data_type, what, pointer)
    if tensor.HasField("segment"):
        raise errors.InvalidGraph(f"{what} is a segment of a tensor; store it whole", pointer)
    count = _size(tensor.dims, what, limits.tensor_elements, limits.tensor_rank, pointer)
    field = "raw_data" if tensor.HasField("raw_data") else _FIELD_OF.get(found.name, "int32_data")
    if any(getattr(tensor, other) for other in _FIELDS if other != field):
        raise errors.InvalidGraph(f"{what} has content beside its {field}", pointer)
    held = len(getattr(tensor, field))
    wanted = count * found.numpy.itemsize if field == "raw_data" else count
    if held != wanted:
        unit = "bytes" if field == "raw_data" else "numbers"
        raise errors.InvalidGraph(
            f"{what} of shape {list(tensor.dims)} and dtype {found.name} takes {wanted} {unit}, it has {held}", pointer
        )
    if field == "int32_data":
        _check_range(tensor, found, what, pointer)
    if found.kind == "bool" and field == "raw_data" and tensor.raw_data.strip(b"\x00\x01"):
        raise errors.InvalidGraph(f"{what} is bool; its bytes are 0 and 1", pointer)


def _check_range(tensor: onnx.TensorProto, found: Dtype, what: str, pointer: str | None) -> None:
    if found.kind == "float":
        low, high = 0, 2**16 - 1
    elif found.kind == "bool":
        low, high = 0, 1
    else:
        low, high = int(np.iinfo(found.numpy).min), int(np.iinfo(found.numpy).max)
    if tensor.int32_data and not (low <= min(tensor.int32_data) and max(tensor.int32_data) <= high):
        raise errors.InvalidGraph(f"{what} has numbers that do not fit {found.name}", pointer)


def check_sparse(sparse: onnx.SparseTensorProto, what: str, limits: Limits, pointer: str | None = None) -> None:
    """That a sparse tensor is well-formed and, written out, within the limits.

    Raises:
        InvalidGraph: as for `check`; indices that are out of range, unsorted or of the wrong shape.
        TooLarge: more elements or axes than allowed.
    """
    check(sparse.values, f"the values of {what}", limits, pointer)
    check(sparse.indices, f"the indices of {what}", limits, pointer)
    count = _size(sparse.dims, what, min(limits.tensor_elements, SPARSE_ELEMENTS), limits.tensor_rank, pointer)
    nonzeros = math.prod(sparse.values.dims)
    shapes = ([nonzeros], [nonzeros, len(sparse.dims)])
    if len(sparse.values.dims) != 1 or sparse.indices.data_type != onnx.TensorProto.INT64:
        raise errors.InvalidGraph(f"{what}: sparse values are 1-D and their indices int64", pointer)
    if list(sparse.indices.dims) not in shapes:
        raise errors.InvalidGraph(
            f"{what}: the indices have the shape {list(sparse.indices.dims)}; {shapes[0]} or {shapes[1]} fits", pointer
        )
    indices = array(sparse.indices)
    inside = (indices >= 0) & (indices < (count if indices.ndim == 1 else np.array(sparse.dims, np.int64)))
    if not inside.all() or (np.diff(_linear(indices, sparse.dims)) <= 0).any():
        raise errors.InvalidGraph(f"{what}: the indices are out of range, unsorted or repeated", pointer)


def _size(dims: Sequence[int], what: str, elements: int, rank: int, pointer: str | None) -> int:
    if len(dims) > rank:
        raise errors.TooLarge(f"{what} has {len(dims)} axes; the limit is {rank}", pointer)
    if any(d < 0 for d in dims):
        raise errors.InvalidGraph(f"{what} has the shape {list(dims)}; sizes are 0 or more", pointer)
    count = math.prod(dims)
    if count > elements:
        raise errors.TooLarge(f"{what} has {count} elements; the limit is {elements}", pointer)
    return count


def array(tensor: onnx.TensorProto) -> np.ndarray:
    """The content of a checked tensor, little-endian; read-only where it is a view of the message."""
    found = OF_ONNX[tensor.data_type]
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, found.numpy).reshape(tuple(tensor.dims))
    return np.asarray(numpy_helper.to_array(tensor), found.numpy)


def dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A checked sparse tensor, written out."""
    values = array(sparse.values)
    result = np.zeros(math.prod(sparse.dims), values.dtype)
    result[_linear(array(sparse.indices), sparse.dims)] = values
    return result.reshape(tuple(sparse.dims))


def _linear(indices: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    if indices.ndim == 1:
        return indices
    steps = [math.prod(dims[axis + 1 :]) for axis in range(len(dims))]
    return indices @ np.array(steps, np.int64)


def tensor(content: np.ndarray, name: str = "") -> onnx.TensorProto:
    """The one form of a tensor: dims, type, little-endian `raw_data`."""
    found = OF_NUMPY[content.dtype]
    return onnx.TensorProto(name=name, data_type=found.onnx, dims=content.shape, raw_data=content.tobytes())


def of_node(node: onnx.NodeProto) -> np.ndarray:
    """The value of a checked `Constant` node."""
    attribute = node.attribute[0]
    match attribute.name:
        case "value":
            return array(attribute.t)
        case "sparse_value":
            return dense(attribute.sparse_tensor)
        case "value_float" | "value_floats":
            numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            return np.array(numbers, DTYPES["float32"].numpy)
        case _:
            numbers = attribute.i if attribute.name == "value_int" else list(attribute.ints)
            return np.array(numbers, DTYPES["int64"].numpy)


def attribute_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto | onnx.SparseTensorProto]:
    """Every tensor among a node's attributes; its subgraphs not entered."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
            yield attribute.sparse_tensor
