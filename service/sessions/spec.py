"""The spec of a session as it is kept, and what follows from it without a worker."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from service import errors
from service.lazy.block import BlockShape, block_shape
from service.lazy.rows import Operand
from service.link.messages import Function, GraphInfo, Point, ValueInfo
from service.sessions.graphs import RegisteredGraph
from service.sessions.session import InputInfo, NewSession
from service.stores.base import SessionRecord
from service.tensors.dtypes import DTYPES, dtype_of
from service.workers.pool import PointSource


class Spec(msgspec.Struct, frozen=True):
    """What creation fixed.

    Attributes:
        graph_id: the graph.
        ys: names of the blocks' outputs, in the order asked, repeats kept.
        xs: names of the blocks' inputs, likewise.
        batch_axis: 0 or None.
        cache: whether rows are shared by content within the tenant.
        precision: `native` or `float64`.
        label: the client's own word.
    """

    graph_id: str
    ys: tuple[str, ...]
    xs: tuple[str, ...]
    batch_axis: int | None
    cache: Literal["shared", "session"]
    precision: Literal["native", "float64"]
    label: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session at one revision. A new point is a new value; who holds this one finishes with it.

    Attributes:
        record: as it is kept.
        spec: what creation fixed.
        graph: its graph.
        inputs: dtypes and shapes of all inputs, defaults included.
        outputs: dtypes and shapes of all outputs at this point.
        point_id: the point's name, by content.
        steady: whether dtypes and shapes of the outputs are known to stay where only floating-point inputs change.
        detached: whether it stands at other values than the session's own, for one request.
    """

    record: SessionRecord
    spec: Spec
    graph: RegisteredGraph
    inputs: Mapping[str, InputInfo]
    outputs: Mapping[str, ValueInfo]
    point_id: str
    steady: bool = False
    detached: bool = False

    @property
    def revision(self) -> int | None:
        """Its revision; None where it is detached."""
        return None if self.detached else self.record.revision

    @property
    def source(self) -> PointSource:
        """Its point, for a worker."""
        point = Point(self.spec.graph_id, self.point_id, self.spec.precision)
        return PointSource(point, lambda: (self.graph.model, self.record.inputs))

    def function(self, y: str, x1: str | None = None) -> Function:
        """The function whose rows are those of `y`, or of `dy/dx1`."""
        return Function(y, self.operands, x1, self.spec.batch_axis)

    def key(self, function: Function) -> Hashable:
        """What its rows are found by: all that they depend on, whose they are, and whether they are shared."""
        owner = self.record.id if self.spec.cache == "session" else ""
        return (owner, self.record.tenant, self.point_id, function)

    @property
    def operands(self) -> tuple[str, ...]:
        """The xs that rows are evaluated for: each once, in an order that sessions share."""
        return tuple(sorted(set(self.spec.xs)))

    @property
    def samples(self) -> int | None:
        """B, None without a batch."""
        if self.spec.batch_axis is None:
            return None
        return batch_size(self.spec.ys[0], self.outputs)

    def shape_of(self, y: str, x: str) -> BlockShape:
        """The shape of the block of `y` and `x`."""
        return block_shape(concrete(self.outputs[y]), self.inputs[x].shape, self.spec.batch_axis)

    def hessian_shape(self, x1: str, x2: str) -> BlockShape:
        """The shape of the Hessian block of `x1` and `x2`."""
        return block_shape(self.inputs[x1].shape, self.inputs[x2].shape, self.spec.batch_axis)

    def row_operands(self) -> tuple[Operand, ...]:
        """Dtype and row size of each operand."""
        lead = 0 if self.spec.batch_axis is None else 1
        infos = [self.inputs[x] for x in self.operands]
        return tuple(Operand(DTYPES[i.dtype].numpy, math.prod(i.shape[lead:])) for i in infos)


def inputs_of(graph: GraphInfo, values: Mapping[str, np.ndarray], precision: str) -> dict[str, InputInfo]:
    """Dtypes and shapes of all inputs as they are evaluated; those that are not given have their defaults."""
    infos = {}
    for declared in graph.inputs:
        if declared.name in values:
            value = values[declared.name]
            dtype, shape = dtype_of(value), value.shape
        else:
            dtype = DTYPES[declared.dtype or "float64"]
            if precision == "float64" and dtype.kind == "float":
                dtype = DTYPES["float64"]
            shape = tuple(d for d in declared.shape or () if isinstance(d, int))
        infos[declared.name] = InputInfo(declared.name, dtype.name, shape, dtype.kind == "float")
    return infos


def choose_blocks(
    new: NewSession, graph: GraphInfo, inputs: Mapping[str, InputInfo], outputs: Mapping[str, ValueInfo]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ys and xs of a new session, defaults filled in and held against the batch.

    Raises:
        InvalidRequest: a name that is no output, or no input.
        NotDifferentiable: an x that is no floating-point input.
        ShapeMismatch: a y or an x that does not have the batch as its first axis.
    """
    ys = tuple(outputs) if new.ys is None else new.ys
    for y in ys:
        if y not in outputs:
            raise errors.InvalidRequest(f"{y} is no output of the graph; its outputs are {_listed(outputs)}", "/ys")
    floating = [name for name, info in inputs.items() if info.differentiable]
    for x in new.xs or ():
        if x not in inputs:
            raise errors.InvalidRequest(f"{x} is no input of the graph; its inputs are {_listed(inputs)}", "/xs")
        if x not in floating:
            raise errors.NotDifferentiable(
                f"{x} is {inputs[x].dtype}; a derivative needs a floating-point input, of which there are "
                f"{_listed(floating)}",
                "/xs",
            )
    defaults = {v.name for v in graph.inputs if v.default}
    xs = tuple(name for name in floating if name not in defaults) if new.xs is None else new.xs
    if new.batch_axis is not None and ys:
        samples = batch_size(ys[0], outputs)
        if new.xs is None:
            xs = tuple(x for x in xs if not inputs[x].shape or inputs[x].shape[0] == samples)
        check_batches(ys, xs, inputs, outputs)
    return ys, xs


def concrete(info: ValueInfo) -> tuple[int, ...]:
    """The shape of a value of which all is known."""
    return tuple(d for d in info.shape or () if isinstance(d, int))


def batch_size(y: str, outputs: Mapping[str, ValueInfo]) -> int:
    """B, by the first axis of an output. Raises: ShapeMismatch: it has none."""
    shape = concrete(outputs[y])
    if not shape:
        raise errors.ShapeMismatch(f"{y} is 0-D; with batch_axis 0 its first axis is the batch", "/ys")
    return shape[0]


def check_batches(
    ys: Sequence[str], xs: Sequence[str], inputs: Mapping[str, InputInfo], outputs: Mapping[str, ValueInfo]
) -> None:
    """Hold every y and x against the batch.

    Raises:
        ShapeMismatch: one is 0-D, or its first axis is not the batch's.
    """
    samples = batch_size(ys[0], outputs)
    shapes = [(y, concrete(outputs[y]), "/ys") for y in ys] + [(x, inputs[x].shape, "/xs") for x in xs]
    for name, shape, pointer in shapes:
        if not shape:
            raise errors.ShapeMismatch(f"{name} is 0-D; with batch_axis 0 its first axis is the batch", pointer)
        if shape[0] != samples:
            detail = f"{name} has shape {list(shape)}; its first axis must be the batch of {samples}"
            raise errors.ShapeMismatch(detail, pointer)


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(names) or "none"
