"""What clients say of a session and see of it: values, no behaviour."""

from collections.abc import Mapping
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
        revision: the session's revision that it belongs to.
        array: the values, C order.
        computed: rows evaluated for this request.
        cached: rows that were there, or that another request was evaluating already.
        etag: names graph, point, block and index; equal for equal answers of any representation.
        timings: seconds by phase (`queue`, `forward`, `rows`).
    """

    names: Mapping[str, str]
    index: str
    revision: int
    array: np.ndarray
    computed: int
    cached: int
    etag: str
    timings: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """In the place of a slice that the client has already: nothing was evaluated.

    Attributes:
        etag: as of `SliceResult`.
    """

    etag: str
