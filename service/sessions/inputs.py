"""What a session's inputs must be: names, dtypes and shapes, held against the graph before a worker is asked."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from service import errors
from service.link.messages import GraphInfo, ValueInfo
from service.tensors.dtypes import DTYPES, dtype_of
from service.tensors.wire import Given, settle


def bind(info: GraphInfo, given: Mapping[str, Given], dtype: str | None, precision: str) -> dict[str, np.ndarray]:
    """The values of a new session's inputs.

    Args:
        info: the graph.
        given: the client's values, by name.
        dtype: what bare numbers become where the graph leaves it open; None for float64.
        precision: `float64` promotes floating-point values of lower precision.

    Returns:
        The given inputs in the graph's order, in the graph's dtypes.

    Raises:
        InvalidRequest: a name that the graph has not, a missing input, a dtype that does not fit.
        ShapeMismatch: a shape that does not fit, or two sizes for one symbolic dimension.
    """
    known = {v.name: v for v in info.inputs}
    _check_names(given, known, [v.name for v in info.inputs if not v.default], "inputs")
    values = {}
    sizes: dict[str, tuple[str, int]] = {}
    for name, value in known.items():
        if name not in given:
            continue
        pointer = errors.pointer("/inputs", name)
        wanted = value.dtype or (dtype_of(given[name].array).name if given[name].typed else dtype or "float64")
        values[name] = _settle(given[name], wanted, precision, pointer)
        _check_shape(value, values[name].shape, sizes, pointer)
    return values


def rebind(
    info: GraphInfo, current: Mapping[str, np.ndarray], given: Mapping[str, Given], precision: str, member: str
) -> dict[str, np.ndarray]:
    """The values of a session's inputs once some are given anew, in that member of a request: same dtypes and shapes.

    Raises:
        InvalidRequest: a name that the graph has not, a dtype that does not fit.
        ShapeMismatch: another shape than before.
    """
    known = {v.name: v for v in info.inputs}
    _check_names(given, known, (), member)
    values = dict(current)
    for name, value in given.items():
        declared = known[name]
        before = current.get(name)
        pointer = errors.pointer("", member, name)
        wanted = declared.dtype or (dtype_of(before).name if before is not None else "float64")
        values[name] = _settle(value, wanted, precision, pointer)
        if before is not None and values[name].shape != before.shape:
            raise errors.ShapeMismatch(
                f"{name} has shape {list(values[name].shape)}; the session's has {list(before.shape)}", pointer
            )
        _check_shape(declared, values[name].shape, {}, pointer)
    return {name: values[name] for name in known if name in values}


def settle_vectors(
    given: Mapping[str, Given], infos: Mapping[str, ValueInfo], what: str
) -> tuple[dict[str, np.ndarray], int | None]:
    """Cotangents or tangents, and how many of each, None where they are single.

    Args:
        given: the client's vectors, by name.
        infos: what they may be for, by name, with concrete dtypes and shapes.
        what: the member of the request that they stand in.

    Returns:
        The vectors in the dtypes of their values, and the length of the one more axis that all lead with.

    Raises:
        InvalidRequest: a name that is not there, or no vector at all.
        ShapeMismatch: a shape that is neither the value's nor that with one more leading axis.
    """
    if not given:
        raise errors.InvalidRequest(f"no {what} are given; name at least one of {', '.join(infos)}", f"/{what}")
    vectors = {}
    leads: set[int | None] = set()
    for name, value in given.items():
        pointer = errors.pointer("", what, name)
        info = infos.get(name)
        if info is None or info.dtype is None:
            raise errors.InvalidRequest(f"{name} is none of {', '.join(infos)}", pointer)
        shape = value.array.shape
        if shape == info.shape:
            leads.add(None)
        elif shape[1:] == info.shape and shape:
            leads.add(shape[0])
        else:
            raise errors.ShapeMismatch(
                f"{name} has shape {list(info.shape or ())}; a vector for it has that shape, or one more leading axis, "
                f"not {list(shape)}",
                pointer,
            )
        vectors[name] = value.array.astype(DTYPES[info.dtype].numpy)
    if len(leads) > 1:
        raise errors.ShapeMismatch(f"all {what} lead with one more axis of equal length, or none does", f"/{what}")
    return vectors, leads.pop()


def point_id(graph_id: str, precision: str, inputs: Mapping[str, np.ndarray]) -> str:
    """A point's name: a hash of all that its rows depend on."""
    digest = hashlib.blake2b(f"{graph_id} {precision}".encode(), digest_size=24)
    for name, value in sorted(inputs.items()):
        digest.update(f"\0{name}\0{value.dtype.name}{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _settle(given: Given, dtype: str, precision: str, pointer: str) -> np.ndarray:
    """A value in the dtype that it meets; in double precision a floating-point one is promoted in the place of that."""
    if precision == "float64" and DTYPES[dtype].kind == "float":
        if given.typed and dtype_of(given.array).kind == "float":
            return given.array.astype(np.float64)
        dtype = "float64"
    return settle(given, dtype, pointer)


def _check_names(
    given: Mapping[str, Given], known: Mapping[str, ValueInfo], needed: Sequence[str], member: str
) -> None:
    listed = ", ".join(known) or "none"
    faults = [
        errors.Fault(errors.pointer("", member, name), f"the graph has no input {name}; its inputs are {listed}")
        for name in given
        if name not in known
    ]
    faults += [
        errors.Fault(errors.pointer("", member, name), f"the input {name} has no value")
        for name in needed
        if name not in given
    ]
    if faults:
        raise errors.InvalidRequest("; ".join(f.detail for f in faults), faults=faults)


def _check_shape(declared: ValueInfo, shape: Sequence[int], sizes: dict[str, tuple[str, int]], pointer: str) -> None:
    if declared.shape is None:
        return
    wanted = "[" + ", ".join("?" if d is None else str(d) for d in declared.shape) + "]"
    fits = len(shape) == len(declared.shape) and all(
        not isinstance(d, int) or d == s for d, s in zip(declared.shape, shape, strict=True)
    )
    if not fits:
        raise errors.ShapeMismatch(f"{declared.name} has shape {list(shape)}; the graph wants {wanted}", pointer)
    for dimension, size in zip(declared.shape, shape, strict=True):
        if isinstance(dimension, str):
            other, bound = sizes.setdefault(dimension, (declared.name, size))
            if bound != size:
                raise errors.ShapeMismatch(
                    f"the dimension {dimension} is {bound} in {other} and {size} in {declared.name}", pointer
                )
