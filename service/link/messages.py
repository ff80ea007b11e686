"""The messages between the serving process and a worker: frozen values, no I/O.

A request is answered by one message, rows by several `RowsPart`s of which the last says so. Arrays travel beside a
message, not in it (see `channel`); a field that names arrays is a tuple of names, in the arrays' order.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class Limits:
    """What a graph may be at most. Each is refused as `too-large`, `invalid-graph` or `invalid-request`, by its name.

    Attributes:
        graph_nodes: nodes of a graph, those of its subgraphs and local functions included.
        graph_depth: nesting of subgraphs and of parentheses in an expression.
        expression_length: characters of an expression.
        tensor_elements: elements of one tensor in a request or an initializer.
        tensor_rank: axes of a tensor.
    """

    graph_nodes: int = 20_000
    graph_depth: int = 64
    expression_length: int = 20_000
    tensor_elements: int = 2**28
    tensor_rank: int = 16


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """An input or output of a graph.

    Attributes:
        name: its name.
        dtype: the contract's name of its dtype, None where the graph leaves it open.
        shape: sizes; a symbolic dimension is a string, an unknown one None; None where the rank is open.
        default: an input that has a value of its own (an initializer), which a session may override.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None
    default: bool = False


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What a client sees of a registered graph.

    Attributes:
        graph_id: `sha256:` and the hash of the canonical model.
        opset: the version of the ai.onnx operator set.
        inputs: those that a session gives, and those with defaults.
        outputs: in the graph's order.
        operators: operator -> how often it stands in the graph and its subgraphs.
    """

    graph_id: str
    opset: int
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    operators: dict[str, int]


# --- what the serving process asks -----------------------------------------------------------------------------------


class SessionNames(Struct, frozen=True, array_like=True):
    """What a session says by name of the graph that it brings along. A graph that is registered by itself has none.

    Attributes:
        ys: of a `nodes` graph any value; it becomes an output.
        xs: of a graph without types any given input; it becomes an input where nothing reads it.
        inputs: those given; in an expression they hide the constants `e` and `pi`.
    """

    ys: tuple[str, ...] = ()
    xs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


NO_SESSION = SessionNames()
"""A graph by itself."""


class Compile(Struct, frozen=True, tag=True, array_like=True):
    """Make the one model of a graph. `source` is the contract's JSON, or its `model` as bytes."""

    source: dict[str, Any]
    names: SessionNames


class Point(Struct, frozen=True, tag=True, array_like=True):
    """A graph at values for its inputs, by content. The arrays of `Open` and of a resent request are its values.

    Attributes:
        graph_id: the graph's.
        point_id: hash of the graph and of every value.
        precision: `native` or `float64`.
    """

    graph_id: str
    point_id: str
    precision: str = "native"


class Content(Struct, frozen=True, tag=True, array_like=True):
    """What a worker needs to make a point again: the model, and its inputs as the arrays beside the message."""

    model: bytes
    inputs: tuple[str, ...]


class Question(Struct, frozen=True, tag=True, array_like=True):
    """What a request about a point bears: the point, and its content where the worker is not known to hold it.

    Where a worker answers `Missing`, the same request is sent again with the content.
    """

    point: Point
    content: Content | None = None


class Function(Struct, frozen=True, tag=True, array_like=True):
    """The function whose Jacobian is taken at a point.

    Attributes:
        y: the output; the rows' origin.
        xs: the inputs, each row is evaluated for all of them.
        x1: for a Hessian, the input whose gradient `dy/dx1` the rows are taken of; else None.
        batch_axis: 0 or None.
    """

    y: str
    xs: tuple[str, ...]
    x1: str | None = None
    batch_axis: int | None = None


class Open(Struct, frozen=True, tag=True, array_like=True):
    """Evaluate a point forwards and say the dtypes and shapes of its outputs. No row."""

    question: Question


class Rows(Struct, frozen=True, tag=True, array_like=True):
    """Rows of a function's Jacobian, at least one. Answered by `RowsPart`s in the order asked, batch by batch."""

    question: Question
    function: Function
    rows: tuple[int, ...]


class Values(Struct, frozen=True, tag=True, array_like=True):
    """The values of outputs, as arrays."""

    question: Question
    outputs: tuple[str, ...]


class Product(Struct, frozen=True, tag=True, array_like=True):
    """A product without a Jacobian: with cotangents by y a VJP, answered by x; with tangents by x a JVP, answered by y.

    With both it is the derivative of the VJP along the tangents, answered by x: a Hessian's product. The arrays are
    the cotangents, the tangents, then the point's values where the content is sent. `batched` is whether every vector
    and answer leads with one more axis.
    """

    question: Question
    ys: tuple[str, ...]
    xs: tuple[str, ...]
    cotangents: tuple[str, ...] = ()
    tangents: tuple[str, ...] = ()
    batched: bool = False


class Check(Struct, frozen=True, tag=True, array_like=True):
    """Hold a pushforward against a pullback of the function `xs -> ys`, or of its gradient by `x1s`.

    The arrays are the cotangents of that gradient (ones where there are none), then the point's values where the
    content is sent.
    """

    question: Question
    ys: tuple[str, ...]
    xs: tuple[str, ...]
    x1s: tuple[str, ...] = ()
    cotangents: tuple[str, ...] = ()


class Cancel(Struct, frozen=True, tag=True, array_like=True):
    """Nobody waits for that request any more."""

    request: int


# --- what a worker answers -------------------------------------------------------------------------------------------


class Ready(Struct, frozen=True, tag=True, array_like=True):
    """The worker has warmed up."""

    device: str


class Beat(Struct, frozen=True, tag=True, array_like=True):
    """A sign of life, once a second, whatever is being computed."""


class Compiled(Struct, frozen=True, tag=True, array_like=True):
    """The answer to `Compile`: the canonical model and what a client sees of it."""

    model: bytes
    info: GraphInfo


class Opened(Struct, frozen=True, tag=True, array_like=True):
    """The answer to `Open`: what a point's outputs are, concretely.

    Attributes:
        outputs: their dtypes and shapes.
        steady: whether these stay so whatever values the floating-point inputs take.
    """

    outputs: tuple[ValueInfo, ...]
    steady: bool


class RowsPart(Struct, frozen=True, tag=True, array_like=True):
    """Some rows, complete for every x. Arrays: one for each of the function's xs, `[R, N]` or `[B, R, N]`.

    Attributes:
        rows: their numbers, in the order asked.
        last: whether the request is answered with them.
        seconds: what they took to evaluate.
        forward: seconds of the forward pass, where the point was new to the worker.
    """

    rows: tuple[int, ...]
    last: bool
    seconds: float
    forward: float = 0.0


class Done(Struct, frozen=True, tag=True, array_like=True):
    """The request is answered; the arrays beside this message have these names. Seconds as of `RowsPart`."""

    names: tuple[str, ...]
    seconds: float
    forward: float = 0.0


class Checked(Struct, frozen=True, tag=True, array_like=True):
    """The answer to `Check`: the relative residual of the adjoint identity."""

    residual: float


class Missing(Struct, frozen=True, tag=True, array_like=True):
    """The worker does not hold the point (any more): ask again with its content."""


class Refused(Struct, frozen=True, tag=True, array_like=True):
    """A problem, by name."""

    name: str
    detail: str
    faults: tuple[tuple[str, str], ...] = ()


Message: TypeAlias = (
    Compile
    | Open
    | Rows
    | Values
    | Product
    | Check
    | Cancel
    | Ready
    | Beat
    | Compiled
    | Opened
    | RowsPart
    | Done
    | Checked
    | Missing
    | Refused
)
