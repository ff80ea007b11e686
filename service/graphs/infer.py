"""Types: what ONNX allows at a node, and what its own inference knows of a typed model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx
from onnx.defs import OpSchema

from service import errors
from service.graphs import attributes, constants
from service.graphs.model import label, operator
from service.tensors.dtypes import DTYPES, OF_ONNX

_ONNX_NAMES = {
    **{f"tensor({name})": name for name in DTYPES},
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_HALVES = frozenset({"float16", "bfloat16"})
LARGE = 1024
"""Elements from which on an initializer cannot matter to shapes."""


@dataclass(frozen=True, slots=True)
class Formal:
    """A parameter in an operator's schema.

    Attributes:
        name: ONNX's.
        variable: its type variable, "" where the type stands on its own.
        allowed: the contract's dtypes that it takes; half precision wherever float32.
    """

    name: str
    variable: str
    allowed: frozenset[str]


@cache
def formals(op: str, opset: int, domain: str) -> tuple[tuple[Formal, ...], bool] | None:
    """The inputs of an operator and whether the last may repeat; None where ONNX does not describe it."""
    described = attributes.schema(op, opset, domain)
    if described is None:
        return None
    variables = {c.type_param_str for c in described.type_constraints}
    variadic = bool(described.inputs) and described.inputs[-1].option == OpSchema.FormalParameterOption.Variadic
    return tuple(_formal(p, variables) for p in described.inputs), variadic


def _formal(parameter: OpSchema.FormalParameter, variables: set[str]) -> Formal:
    allowed = frozenset(_ONNX_NAMES[t] for t in parameter.types if t in _ONNX_NAMES)
    if "float32" in allowed:
        allowed |= _HALVES
    shared = parameter.type_str in variables and parameter.is_homogeneous
    return Formal(parameter.name, parameter.type_str if shared else "", allowed)


def formal_at(node: onnx.NodeProto, opset: int, position: int) -> Formal | None:
    """The parameter that a node's input falls under, None where ONNX does not say."""
    described = formals(node.op_type, opset, node.domain)
    if described is None:
        return None
    parameters, variadic = described
    if position < len(parameters):
        return parameters[position]
    return parameters[-1] if variadic else None


def check_types(node: onnx.NodeProto, opset: int, dtypes: Sequence[str | None], named: str | None = None) -> None:
    """That a node's inputs have types that ONNX allows together.

    Args:
        node: of a canonical model.
        opset: the version of its domain.
        dtypes: the contract's dtype of each input; None for one that is left out or unknown.
        named: how a message names the node; the default is by its name, else its first output, and operator.

    Raises:
        InvalidGraph: an input has a dtype that the operator does not take, or two that must agree do not.
    """
    first: dict[str, tuple[str, str]] = {}
    for position, dtype in enumerate(dtypes):
        formal = formal_at(node, opset, position)
        if dtype is None or formal is None:
            continue
        if dtype not in formal.allowed:
            wanted = ", ".join(name for name in DTYPES if name in formal.allowed)
            raise errors.InvalidGraph(
                f"{named or _label(node)}: {formal.name} is {dtype}; at opset {opset} it is one of: {wanted}"
            )
        if not formal.variable:
            continue
        other, met = first.setdefault(formal.variable, (formal.name, dtype))
        if met != dtype:
            raise errors.InvalidGraph(
                f"{named or _label(node)}: {other} is {met} and {formal.name} is {dtype}; "
                "ONNX wants one type; insert a Cast"
            )


def _label(node: onnx.NodeProto) -> str:
    return f'node "{node.name or node.output[0]}" ({operator(node)})'


def is_typed(graph: onnx.GraphProto) -> bool:
    """Whether all inputs say their dtype."""
    return all(i.type.tensor_type.elem_type for i in graph.input)


def infer(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """The types of a canonical model's values as far as ONNX's inference knows them; those declared are not asked.

    Raises:
        InvalidGraph: the inference finds a contradiction that it cannot pass over.
    """
    outline = _outline(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, data_prop=True)
    except Exception as fault:  # whatever the C++ library throws at a model that our own checks passed
        raise errors.InvalidGraph(f"the types do not fit: {_first_line(fault)}") from fault
    graph = inferred.graph
    types = {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}
    given = {d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim}
    for value in types.values():
        for dim in value.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param not in given:
                dim.Clear()
    return {name: t for name, t in types.items() if t.tensor_type.elem_type}


def check_model(model: onnx.ModelProto, types: dict[str, onnx.TypeProto]) -> None:
    """That the types known of a canonical model agree at every node of its main graph.

    Raises:
        InvalidGraph: as `check_types`.
    """
    versions = {o.domain: o.version for o in model.opset_import}
    known = {name: OF_ONNX.get(t.tensor_type.elem_type) for name, t in types.items()}
    known |= {tensor.name: OF_ONNX[tensor.data_type] for tensor in model.graph.initializer}
    for position, node in enumerate(model.graph.node):
        found = (known.get(name) for name in node.input)
        dtypes = [dtype.name if dtype else None for dtype in found]
        check_types(node, versions[node.domain], dtypes, label(node, position))


def refine(declared: onnx.TypeProto, inferred: onnx.TypeProto) -> None:
    """Replace a declared type by the inferred one, which keeps the declared sizes that inference does not know."""
    was = onnx.TypeProto()
    was.CopyFrom(declared)
    tensor = inferred.tensor_type
    if not tensor.HasField("shape"):
        declared.tensor_type.elem_type = tensor.elem_type
        return
    declared.CopyFrom(inferred)
    declared.ClearField("denotation")
    known = was.tensor_type.shape.dim if len(was.tensor_type.shape.dim) == len(tensor.shape.dim) else tensor.shape.dim
    for dim, old in zip(declared.tensor_type.shape.dim, known, strict=True):
        dim.ClearField("denotation")
        if dim.WhichOneof("value") is None:
            dim.CopyFrom(old)


def _outline(model: onnx.ModelProto) -> onnx.ModelProto:
    """What inference needs of a model: large constants become inputs, outputs are undeclared."""
    graph = model.graph
    outline = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    outline.graph.name = graph.name
    outline.graph.node.extend(graph.node)
    outline.graph.input.extend(graph.input)
    outline.graph.output.extend(onnx.ValueInfoProto(name=o.name) for o in graph.output)
    inputs = {i.name for i in graph.input}
    for tensor in graph.initializer:
        if tensor.name in inputs:
            continue
        if len(tensor.raw_data) <= LARGE * constants.dtype(tensor.data_type, tensor.name).numpy.itemsize:
            outline.graph.initializer.append(tensor)
        else:
            outline.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return outline


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:300]
