"""What clients send, as typed dictionaries: the check of a request and its schema in the document are one text.

What is left out is absent, so there are no defaults and no nulls that mean nothing. Tensors are not looked into here:
they go to `service.tensors.wire` as they are.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypeAliasType, TypedDict

from service.tensors.dtypes import NAMES

_strict = with_config(ConfigDict(strict=True, extra="forbid"))

Dtype = TypeAliasType(
    "Dtype",
    Annotated[str, Field(pattern=f"^({'|'.join(NAMES)})$"), WithJsonSchema({"type": "string", "enum": list(NAMES)})],
)
Cache = TypeAliasType("Cache", Literal["shared", "session"])
Precision = TypeAliasType(
    "Precision",
    # No enumeration in the document: Go would have its `float64` twice, here and in Dtype.
    Annotated[Literal["native", "float64"], WithJsonSchema({"type": "string", "examples": ["native", "float64"]})],
)
Names = TypeAliasType(
    "Names",
    Annotated[
        str | list[str],
        WithJsonSchema(
            {
                "title": "Names",
                "description": "A name, or a list of names. A name may stand twice, and its blocks do too.",
                "examples": ["y", ["y", "z"]],
            }
        ),
    ],
)
TensorLike = TypeAliasType(
    "TensorLike",
    Annotated[
        Any,
        WithJsonSchema(
            {
                "title": "TensorLike",
                "description": "A Tensor, a bare number, or a nested list of numbers. "
                'NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".',
                "examples": [[[1, 2], [3, 4]]],
            }
        ),
    ],
)
Values = dict[str, TensorLike]


@_strict
class ExpressionGraph(TypedDict):
    """Infix expressions over the named inputs and over each other."""

    format: Literal["expression"]
    outputs: Annotated[dict[str, str], Field(min_length=1, description="The expression of each output.")]


@_strict
class Node(TypedDict):
    """One ONNX operator."""

    op: Annotated[str, Field(description="ONNX's name of the operator.")]
    inputs: NotRequired[Annotated[list[str], Field(description="An empty name is an input left out.")]]
    outputs: list[str]
    attributes: NotRequired[
        Annotated[dict[str, Any], Field(description="ONNX's names; tensors as Tensor, graphs as nodes.")]
    ]
    domain: NotRequired[Annotated[str, Field(description="Left out for ONNX's own operators.")]]
    name: NotRequired[Annotated[str, Field(description="What errors call the node by.")]]


@_strict
class NodesGraph(TypedDict):
    """ONNX operators in readable JSON, in any order."""

    format: Literal["nodes"]
    opset: NotRequired[Annotated[int, Field(ge=1, description="Of ONNX's operators; left out, version 21.")]]
    nodes: list[Node]
    initializers: NotRequired[Annotated[Values, Field(description="Constants by name.")]]
    outputs: NotRequired[Annotated[list[str], Field(description="May be left out where a session's `ys` name them.")]]


@_strict
class OnnxGraph(TypedDict):
    """A serialized ONNX ModelProto, without external data."""

    format: Literal["onnx"]
    model: Annotated[str, WithJsonSchema({"type": "string", "format": "byte"}), Field(description="In base64.")]


@_strict
class GraphRef(TypedDict):
    """A graph that was registered before."""

    format: Literal["ref"]
    graph_id: Annotated[str, Field(description="As `register_graph` answered it.")]


DEFINITIONS: dict[str, type] = {"expression": ExpressionGraph, "nodes": NodesGraph, "onnx": OnnxGraph}
"""What can be registered, by format."""

GRAPHS: dict[str, type] = {**DEFINITIONS, "ref": GraphRef}
"""What a session can be opened on, by format."""


def _union(title: str, description: str, formats: dict[str, type]) -> dict[str, Any]:
    refs = {name: f"#/components/schemas/{model.__name__}" for name, model in formats.items()}
    return {
        "title": title,
        "description": description,
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "format", "mapping": refs},
    }


GraphDefinition = TypeAliasType(
    "GraphDefinition",
    Annotated[dict[str, Any], WithJsonSchema(_union("GraphDefinition", "A graph, said in full.", DEFINITIONS))],
)
Graph = TypeAliasType(
    "Graph",
    Annotated[dict[str, Any], WithJsonSchema(_union("Graph", "A graph, said in full or by its id.", GRAPHS))],
)


InputValues = Annotated[Values, Field(description="Values by name, for all inputs that have no default.")]
File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


@_strict
class SessionOptions(TypedDict):
    """What a session is besides a graph and values for its inputs."""

    ys: NotRequired[Annotated[Names, Field(description="What to differentiate; all outputs if left out.")]]
    xs: NotRequired[
        Annotated[Names, Field(description="By what; all floating-point inputs without a default if left out.")]
    ]
    batch_axis: NotRequired[
        Annotated[
            Annotated[int, Field(ge=0, le=0)] | None,
            Field(description="0 where the first axis of every `x` and `y` counts samples; null, as if left out."),
        ]
    ]
    dtype: NotRequired[Annotated[Dtype, Field(description="What bare numbers become; the graph's own if left out.")]]
    ttl_seconds: NotRequired[
        Annotated[
            float,
            Field(gt=0, allow_inf_nan=False, description="How long the session lives after each use."),
        ]
    ]
    cache: NotRequired[
        Annotated[
            Cache, Field(description="`shared` (if left out): rows are found by content. `session`: rows are its own.")
        ]
    ]
    label: NotRequired[Annotated[str, Field(max_length=1000, description="A word of your own.")]]
    precision: NotRequired[
        Annotated[Precision, Field(description="`native` (if left out), or `float64` for graphs of lower precision.")]
    ]


@_strict
class SessionCreate(SessionOptions):
    """A graph, values for its inputs, and the choice of what to differentiate by what."""

    graph: Graph
    inputs: InputValues


@_strict
class SessionPart(SessionOptions):
    """As SessionCreate, without what the other parts of a form give."""

    graph: NotRequired[Graph]
    inputs: NotRequired[InputValues]


@_strict
class SessionFiles(TypedDict):
    """A session as a form; the graph and the inputs are each a file or in the part `session`."""

    session: NotRequired[SessionPart]
    graph: NotRequired[Annotated[File, Field(description="A serialized ONNX ModelProto.")]]
    inputs: NotRequired[Annotated[File, Field(description="A safetensors or .npz file of values by name.")]]


@_strict
class InputsUpdate(TypedDict):
    """New values for some of a session's inputs."""

    inputs: Annotated[Values, Field(description="Values by name; the same shapes and dtypes. The others stay.")]


MOST_SLICES = 256

_Moved = Annotated[Values, Field(description="New values of some inputs, to which the session moves.")]
_At = Annotated[Values, Field(description="Values of some inputs for this request alone; not beside `inputs`.")]
_Outputs = Annotated[list[str], Field(description="Outputs whose values are wanted too.")]
_Cotangents = Annotated[
    Values, Field(min_length=1, description="By output, of its shape, or all with one more leading axis.")
]
_Tangents = Annotated[
    Values, Field(min_length=1, description="By input, of its shape, or all with one more leading axis.")
]


@_strict
class SliceRequest(TypedDict):
    """One slice of a Jacobian."""

    y: NotRequired[Annotated[str, Field(description="May be left out where the session has one.")]]
    x: NotRequired[Annotated[str, Field(description="May be left out where the session has one.")]]
    index: NotRequired[
        Annotated[str, Field(description="What stands between the brackets in NumPy; everything if left out.")]
    ]


@_strict
class SlicesRequest(TypedDict):
    """Several slices, and where they are evaluated: at the session's values if nothing else is said."""

    slices: Annotated[list[SliceRequest], Field(max_length=MOST_SLICES)]
    inputs: NotRequired[_Moved]
    at: NotRequired[_At]
    outputs: NotRequired[_Outputs]


@_strict
class VjpRequest(TypedDict):
    """The vectors of a vector-Jacobian product."""

    cotangents: _Cotangents
    inputs: NotRequired[_Moved]
    at: NotRequired[_At]
    outputs: NotRequired[_Outputs]


@_strict
class JvpRequest(TypedDict):
    """The vectors of a Jacobian-vector product."""

    tangents: _Tangents
    inputs: NotRequired[_Moved]
    at: NotRequired[_At]
    outputs: NotRequired[_Outputs]


@_strict
class HvpRequest(TypedDict):
    """The vectors of a Hessian-vector product."""

    vectors: _Tangents
    y: NotRequired[
        Annotated[str, Field(description="An output of one element; may be left out where the session has one.")]
    ]
    cotangents: NotRequired[
        Annotated[Values, Field(description="By output, of its shape, or all with one more leading axis.")]
    ]
    inputs: NotRequired[_Moved]
    at: NotRequired[_At]
    outputs: NotRequired[_Outputs]


@_strict
class EvaluationRequest(TypedDict):
    """A slice to be evaluated in the background: of a Jacobian, or with `x1` and `x2` of a Hessian."""

    y: NotRequired[Annotated[str, Field(description="May be left out where the session has one.")]]
    x: NotRequired[Annotated[str, Field(description="May be left out where the session has one.")]]
    x1: NotRequired[Annotated[str, Field(description="The input of a Hessian's rows.")]]
    x2: NotRequired[Annotated[str, Field(description="The input of a Hessian's columns.")]]
    index: NotRequired[Annotated[str, Field(description="As between NumPy's brackets; everything if left out.")]]


SCHEMAS: tuple[Any, ...] = (
    Graph,
    GraphDefinition,
    *GRAPHS.values(),
    SessionCreate,
    SessionFiles,
    InputsUpdate,
    SlicesRequest,
    VjpRequest,
    JvpRequest,
    HvpRequest,
    EvaluationRequest,
)
"""What the document names of what is sent; what these are made of is named too."""
