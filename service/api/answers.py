"""What clients get in JSON, as typed dictionaries, and how they are made of what `service.sessions` answers."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field, WithJsonSchema
from typing_extensions import TypeAliasType, TypedDict

from service import catalogue
from service.api.bodies import Dtype
from service.link.messages import GraphInfo, ValueInfo
from service.sessions.evaluations import Evaluation as EvaluationView
from service.sessions.session import BlockInfo, InputInfo, SessionView

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Base64 = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "byte"}),
    Field(description="Little-endian bytes, in the place of `data`: exact, and safe for NaN."),
]
_NOT_FINITE = 'Row-major. NaN and infinities are the strings "NaN", "Infinity" and "-Infinity"; where a typed client '
_NOT_FINITE += "refuses them, ask with `encoding=base64`."
Revision = Annotated[int | None, Field(description="Null where it was computed at other values (`at`).")]
EvaluationState = TypeAliasType("EvaluationState", Literal["queued", "running", "done", "failed", "cancelled"])
Numbers = Annotated[list[float], Field(description=_NOT_FINITE)]


class Tensor(TypedDict):
    """An array of any dtype."""

    dtype: Dtype
    shape: list[int]
    data: NotRequired[Annotated[list[Any], Field(description=_NOT_FINITE)]]
    base64: NotRequired[Base64]


class Derivative(TypedDict):
    """An array of floating-point numbers."""

    dtype: Dtype
    shape: list[int]
    data: NotRequired[Numbers]
    base64: NotRequired[Base64]


class GraphValue(TypedDict):
    """An input or output of a graph."""

    name: str
    dtype: Annotated[Dtype | None, Field(description="Null where the graph leaves it open.")]
    shape: Annotated[
        list[Any] | None,
        Field(description="Sizes; a symbolic one is a string, an unknown one null. Null where the rank is open."),
    ]
    default: NotRequired[Annotated[bool, Field(description="True for an input that has a value of its own.")]]


class RegisteredGraph(TypedDict):
    """A graph as it is registered."""

    graph_id: str
    opset: int
    inputs: list[GraphValue]
    outputs: list[GraphValue]
    operators: Annotated[dict[str, int], Field(description="How often each operator stands in the graph.")]


class Operator(TypedDict):
    """What is supported of an operator."""

    name: str
    domain: Annotated[str, Field(description="Empty for ONNX's own operators.")]
    versions: Annotated[list[int], Field(description="The opset versions at which its meaning changes.")]
    differentiable: bool
    unsupported: Annotated[str, Field(description="What of it is refused; empty if nothing is.")]


class Operators(TypedDict):
    """The operators that graphs may have."""

    operators: list[Operator]


class SessionInput(TypedDict):
    """An input of a session."""

    name: str
    dtype: Dtype
    shape: list[int]
    differentiable: bool


class SessionOutput(TypedDict):
    """An output of a session."""

    name: str
    dtype: Dtype
    shape: list[int]


class BlockRows(TypedDict):
    """The rows of a block."""

    total: int
    cached: int


class Block(TypedDict):
    """The Jacobian of one `y` with respect to one `x`."""

    y: str
    x: str
    dtype: Dtype
    shape: list[int]
    rows: BlockRows


class Session(TypedDict):
    """A graph at a point, and its lazy Jacobians."""

    id: str
    revision: int
    graph_id: str
    label: str | None
    batch_axis: int | None
    device: str
    inputs: list[SessionInput]
    outputs: list[SessionOutput]
    jacobians: list[Block]
    created_at: Time
    expires_at: Time


class Sessions(TypedDict):
    """A page of the caller's sessions, newest first."""

    sessions: list[Session]
    next_cursor: NotRequired[Annotated[str, Field(description="Where the next page begins; left out at the end.")]]


class Rows(TypedDict):
    """The rows that a slice touches."""

    computed: Annotated[int, Field(description="Evaluated for this request.")]
    cached: Annotated[int, Field(description="Already there, or being evaluated for another request.")]


class JacobianSlice(TypedDict):
    """A slice of the Jacobian of `y` with respect to `x`."""

    y: str
    x: str
    index: str
    revision: Revision
    dtype: Dtype
    shape: list[int]
    data: NotRequired[Numbers]
    base64: NotRequired[Base64]
    rows: Rows


class HessianSlice(TypedDict):
    """A slice of the Hessian of `y` with respect to `x1` and `x2`."""

    y: str
    x1: str
    x2: str
    index: str
    revision: Revision
    dtype: Dtype
    shape: list[int]
    data: NotRequired[Numbers]
    base64: NotRequired[Base64]
    rows: Rows


class Slices(TypedDict):
    """Several slices, in the order asked, and values of outputs."""

    revision: Revision
    outputs: dict[str, Tensor]
    slices: list[JacobianSlice]


class Products(TypedDict):
    """The products by name: of a VJP or a Hessian by `x`, of a JVP by `y`."""

    revision: Revision
    outputs: NotRequired[dict[str, Tensor]]
    products: dict[str, Derivative]


class EvaluationRows(TypedDict):
    """The rows that an evaluation has to do with."""

    total: Annotated[int, Field(description="Rows that the slice touches.")]
    done: Annotated[int, Field(description="Of these, the rows that are cached by now.")]


class Fault(TypedDict):
    """One fault that has a place."""

    pointer: Annotated[str, Field(description="A JSON pointer into the body, or `#/query/<name>`, `#/header/<name>`.")]
    detail: str


class Problem(TypedDict):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Field(description="`urn:jacobian:problem:` and the problem's name.")]
    title: str
    status: int
    detail: Annotated[str, Field(description="What was wrong, and what would be right.")]
    instance: Annotated[str, Field(description="The path that was asked for.")]
    request_id: str
    errors: NotRequired[list[Fault]]


class Evaluation(TypedDict):
    """The evaluation of a slice in the background."""

    id: str
    session_id: str
    revision: int
    y: str
    x: NotRequired[Annotated[str, Field(description="Of a Jacobian.")]]
    x1: NotRequired[Annotated[str, Field(description="Of a Hessian: the input of its rows.")]]
    x2: NotRequired[Annotated[str, Field(description="Of a Hessian: the input of its columns.")]]
    index: str
    state: EvaluationState
    rows: EvaluationRows
    eta_seconds: Annotated[float | None, Field(description="By the pace so far; null where that is not known.")]
    problem: Annotated[Problem | None, Field(description="Why it failed.")]
    created_at: Time
    finished_at: Time | None


class Health(TypedDict):
    """How the service is."""

    status: str


SCHEMAS: tuple[Any, ...] = (
    Tensor,
    RegisteredGraph,
    Operators,
    Session,
    Sessions,
    JacobianSlice,
    HessianSlice,
    Slices,
    Products,
    Evaluation,
    Health,
    Problem,
)
"""What the document names of what is answered; what these are made of is named too."""


def registered_graph(info: GraphInfo) -> RegisteredGraph:
    """A graph as clients see it."""
    return {
        "graph_id": info.graph_id,
        "opset": info.opset,
        "inputs": [_graph_value(value) for value in info.inputs],
        "outputs": [_graph_value(value) for value in info.outputs],
        "operators": info.operators,
    }


def operators() -> Operators:
    """The catalogue as clients see it, by domain and name."""
    return {
        "operators": [
            {
                "name": operator.name,
                "domain": operator.domain,
                "versions": list(operator.versions),
                "differentiable": operator.differentiable,
                "unsupported": operator.unsupported,
            }
            for _, operator in sorted(catalogue.OPERATORS.items())
        ]
    }


def session(view: SessionView) -> Session:
    """A session as clients see it."""
    return {
        "id": view.id,
        "revision": view.revision,
        "graph_id": view.graph_id,
        "label": view.label,
        "batch_axis": view.batch_axis,
        "device": view.device,
        "inputs": [_session_input(value) for value in view.inputs],
        "outputs": [_session_output(value) for value in view.outputs],
        "jacobians": [_block(block) for block in view.jacobians],
        "created_at": _time(view.created_at),
        "expires_at": _time(view.expires_at),
    }


def evaluation(view: EvaluationView, problem: Problem | None) -> Evaluation:
    """An evaluation as clients see it."""
    described: Evaluation = {
        "id": view.id,
        "session_id": view.session_id,
        "revision": view.revision,
        "y": view.slice.names["y"],
        "index": view.slice.index,
        "state": view.state,
        "rows": {"total": view.total, "done": view.done},
        "eta_seconds": view.eta_seconds,
        "problem": problem,
        "created_at": _time(view.created_at),
        "finished_at": None if view.finished_at is None else _time(view.finished_at),
    }
    return cast(Evaluation, {**described, **view.slice.names})


def _graph_value(value: ValueInfo) -> GraphValue:
    shape = None if value.shape is None else list(value.shape)
    described: GraphValue = {"name": value.name, "dtype": value.dtype, "shape": shape}
    return {**described, "default": True} if value.default else described


def _session_input(value: InputInfo) -> SessionInput:
    return {
        "name": value.name,
        "dtype": value.dtype,
        "shape": list(value.shape),
        "differentiable": value.differentiable,
    }


def _session_output(value: ValueInfo) -> SessionOutput:
    # The outputs of an open session are concrete: their dtype and every size is known.
    return cast(SessionOutput, {"name": value.name, "dtype": value.dtype, "shape": value.shape})


def _block(block: BlockInfo) -> Block:
    return {
        "y": block.y,
        "x": block.x,
        "dtype": block.dtype,
        "shape": list(block.shape),
        "rows": {"total": block.total, "cached": block.cached},
    }


def _time(seconds: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
