"""What clients say of a session and see of it: values, no behaviour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from service.link.messages import ValueInfo
from service.tensors.wire import Given


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session as a client asks for it.

    Attributes:
        graph: one of the contract's four forms, `model` possibly as bytes.
        inputs: values by name; all inputs without a default are needed.
        ys: names of outputs, None for all.
        xs: names of inputs, None for all floating-point ones without a default.
        batch_axis: 0 or None.
        dtype: what bare numbers become where the graph leaves it open, None for float64.
        ttl_seconds: how long it lives after each use, None for the service's default.
        cache: whether rows are shared by content within the tenant, or are the session's own.
        label: a word of the client's own.
        precision: `native`, or `float64` to run a graph of lower precision in float64.
    """

    graph: Mapping[str, Any]
    inputs: Mapping[str, Given]
    ys: tuple[str, ...] | None = None
    xs: tuple[str, ...] | None = None
    batch_axis: int | None = None
    dtype: str | None = None
    ttl_seconds: float | None = None
    cache: Literal["shared", "session"] = "shared"
    label: str | None = None
    precision: Literal["native", "float64"] = "native"


@dataclass(frozen=True, slots=True)
class InputInfo:
    """An input of a session: its concrete dtype and shape, and whether it can be an `x`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    differentiable: bool


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A block: the Jacobian of `y` with respect to `x`, its shape, and its rows in all and in the cache."""

    y: str
    x: str
    dtype: str
    shape: tuple[int, ...]
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as clients see it. Times are seconds since the epoch."""

    id: str
    revision: int
    graph_id: str
    label: str | None
    batch_axis: int | None
    device: str
    inputs: tuple[InputInfo, ...]
    outputs: tuple[ValueInfo, ...]
    jacobians: tuple[BlockInfo, ...]
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class SliceResult:
    """A slice of a block.

    Attributes:
        names: the block's names, by parameter: `y` and `x`, or `y`, `x1` and `x2`.
        index: the text of the index, as asked.
        revision: the session's revision that it belongs to; None where it was computed at other values (`at`).
        array: the values, C order.
        computed: rows evaluated for this request.
        cached: rows that were there, or that another request was evaluating already.
        etag: names graph, point, block and index; equal for equal answers of any representation.
        timings: seconds by phase (`queue`, `forward`, `rows`).
        known: where only cached rows were asked, which elements are there, bool of the array's shape; else None.
    """

    names: Mapping[str, str]
    index: str
    revision: int | None
    array: np.ndarray
    computed: int
    cached: int
    etag: str
    timings: Mapping[str, float]
    known: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slice as a client asks for it; names may be left out where there is just one.

    Attributes:
        y: the output.
        x: the input, of a Hessian that of its columns.
        index: as between NumPy's brackets; None for the whole block.
        hessian: whether it is of a Hessian.
        x1: the input of a Hessian's rows.
        place: where the names stand in the request, for faults.
    """

    y: str | None = None
    x: str | None = None
    index: str | None = None
    hessian: bool = False
    x1: str | None = None
    place: str = "#/query"


@dataclass(frozen=True, slots=True)
class Products:
    """Products by name, seconds by phase, and the revision (None where they were computed at other values)."""

    revision: int | None
    arrays: Mapping[str, np.ndarray]
    timings: Mapping[str, float]


def whichever(revision: int) -> None:
    """Any revision will do."""


@dataclass(frozen=True, slots=True)
class Place:
    """The values at which a request is computed: the session's own, unless some are given.

    Attributes:
        inputs: new values of some inputs, to which the session moves.
        at: values of some inputs for this request alone.
        require: refuses a revision that the client does not expect the session to be at.
    """

    inputs: Mapping[str, Given] | None = None
    at: Mapping[str, Given] | None = None
    require: Callable[[int], None] = whichever


OWN = Place()
"""The session's own values."""
