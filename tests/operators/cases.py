"""What the tests of operators share: calling a kernel, ONNX's own node cases, derivatives against differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import service.operators  # noqa: F401  (registers the kernels)
from service.operators.registry import Kernel, resolve
from service.tensors.dtypes import OF_NUMPY, OF_ONNX
from tests.conformance.onnx_cases import fast_cases, in_tenth

NEWEST = onnx.defs.onnx_opset_version()
Values = tuple[Tensor, ...]


def to_tensor(array: np.ndarray) -> Tensor:
    array = np.array(array)
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def found(op: str, opset: int, domain: str) -> Kernel:
    kernel = resolve(op, opset, domain)
    assert kernel is not None, f"no kernel for {domain}.{op} at opset {opset}"
    return kernel


def apply(
    op: str,
    *arrays: object,
    opset: int = NEWEST,
    domain: str = "",
    outputs: int = 1,
    captured: Sequence[np.ndarray] = (),
    **attributes: object,
) -> list[np.ndarray]:
    """The operator's outputs at inputs that are arrays or Python numbers; None is an input left out.

    An attribute that is a function is a subgraph; it is given the captured values after its own inputs.
    """
    inputs = [None if a is None else to_tensor(np.asarray(a)) for a in arrays]
    given = bound(attributes, [to_tensor(a) for a in captured])
    return [to_array(t) for t in found(op, opset, domain)(inputs, given, outputs)]


def bound(attributes: Mapping[str, object], captured: Sequence[Tensor]) -> dict[str, object]:
    """Attributes as kernels take them: arrays as tensors, subgraphs with the outer values that they read."""

    def value(attribute: object) -> object:
        if callable(attribute):
            return lambda *inputs: attribute(*inputs, *captured)
        return to_tensor(attribute) if isinstance(attribute, np.ndarray) else attribute

    return {name: value(attribute) for name, attribute in attributes.items()}


# --- ONNX's node cases ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NodeCase:
    """A node of ONNX's own suite with inputs and expected outputs (None where the node leaves one out)."""

    name: str
    node: onnx.NodeProto
    opsets: Mapping[str, int]
    inputs: list[np.ndarray | None]
    expected: list[np.ndarray | None]
    rtol: float
    atol: float


def node_cases(op: str, domain: str = "") -> list[NodeCase]:
    """ONNX's cases of one operator, those whose every dtype is in the contract's table.

    Left out is the tenth that `tests/conformance` sends over HTTP in the same run.
    """
    cases = []
    for case in fast_cases():
        nodes = case.model.graph.node
        if len(nodes) != 1 or (nodes[0].op_type, nodes[0].domain) != (op, domain) or "_expanded" in case.name:
            continue
        if in_tenth(case):
            continue
        opsets = {o.domain: o.version for o in case.model.opset_import}
        for given, expected in case.data_sets:
            arrays = [_array(v) for v in (*given, *expected)]
            if all(a is not None for a in arrays):
                inputs = _placed(nodes[0].input, arrays[: len(given)])
                wanted = _placed(nodes[0].output, arrays[len(given) :])
                cases.append(NodeCase(case.name, nodes[0], opsets, inputs, wanted, case.rtol, case.atol))
    return cases


def _array(value: object) -> np.ndarray | None:
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value) if value.data_type in OF_ONNX else None
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype in OF_NUMPY:
        return np.asarray(value)
    return None


def _placed(names: Sequence[str], arrays: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    present = iter(arrays)
    return [next(present) if name else None for name in names]


def run_node(node: onnx.NodeProto, opsets: Mapping[str, int], inputs: Sequence[Tensor | None], scope: dict) -> Values:
    """Apply a node; its subgraphs see `scope`, the values of the graph around it."""
    attributes = {a.name: _attribute(a, opsets, scope) for a in node.attribute}
    return found(node.op_type, opsets[node.domain], node.domain)(inputs, attributes, len(node.output))


def _attribute(proto: onnx.AttributeProto, opsets: Mapping[str, int], scope: dict) -> object:
    value = onnx.helper.get_attribute_value(proto)
    match value:
        case onnx.TensorProto():
            return to_tensor(numpy_helper.to_array(value))
        case onnx.GraphProto():
            return _body(value, opsets, scope)
        case bytes():
            return value.decode()
        case str() | int() | float():
            return value
        case _:
            return tuple(v.decode() if isinstance(v, bytes) else v for v in value)


def _body(graph: onnx.GraphProto, opsets: Mapping[str, int], scope: dict) -> Callable[..., Values]:
    def run(*arguments: Tensor) -> Values:
        values = {"": None, **scope}
        values |= {i.name: to_tensor(numpy_helper.to_array(i)) for i in graph.initializer}
        values |= {i.name: a for i, a in zip(graph.input, arguments, strict=False)}
        for node in graph.node:
            outputs = run_node(node, opsets, [values[n] for n in node.input], values)
            values |= dict(zip(node.output, outputs, strict=False))
        return tuple(values[o.name] for o in graph.output)

    return run


def check_node_case(case: NodeCase) -> None:
    """The kernel's outputs have the case's dtypes, shapes and values."""
    inputs = [None if a is None else to_tensor(a) for a in case.inputs]
    scope = dict(zip(case.node.input, inputs, strict=True))
    results = [to_array(t) for t in run_node(case.node, case.opsets, inputs, scope)]
    assert len(results) >= len(case.expected), case.name
    for i, expected in enumerate(case.expected):
        if expected is None:
            continue
        result = results[i]
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape), f"{case.name}, output {i}"
        wide = np.float64 if result.dtype in (np.float16, ml_dtypes.bfloat16) else result.dtype
        np.testing.assert_allclose(
            result.astype(wide),
            expected.astype(wide),
            rtol=max(case.rtol, 1e-2 if result.dtype == ml_dtypes.bfloat16 else 0),
            atol=case.atol,
            err_msg=f"{case.name}, output {i}",
        )


def check_node_cases(op: str, domain: str = "", excluded: Mapping[str, str] | None = None) -> None:
    """Every case of an operator holds, but for those excluded (name -> reason)."""
    for case in node_cases(op, domain):
        if case.name not in (excluded or {}):
            check_node_case(case)


# --- derivatives ------------------------------------------------------------------------------------------------------


def check_derivatives(
    op: str,
    *arrays: object,
    wrt: Sequence[int] | None = None,
    opset: int = NEWEST,
    domain: str = "",
    outputs: int = 1,
    captured: Sequence[np.ndarray] = (),
    traced: bool = True,
    **attributes: object,
) -> None:
    """First and second derivatives of an operator at a smooth point, in every way that the service takes them.

    Args:
        op: the operator.
        arrays: its inputs, floating-point ones in float64; None is an input left out.
        wrt: positions of the inputs to differentiate by; all float64 ones by default.
        opset: the version of the operator set.
        domain: the operator's domain.
        outputs: the number of outputs that the node names; those that are not float64 are ignored.
        captured: outer values that subgraphs read, to differentiate by as well.
        traced: whether to trace the pullbacks too, which takes most of the time.
        attributes: the operator's attributes; an array stands for a tensor, a function for a subgraph.
    """
    kernel = found(op, opset, domain)
    fixed = [None if a is None else to_tensor(np.asarray(a)) for a in (*arrays, *captured)]
    floating = [i for i, t in enumerate(fixed) if t is not None and t.dtype == torch.float64]
    places = floating if wrt is None else list(wrt)

    def function(*xs: Tensor) -> Values:
        inputs = list(fixed)
        for place, x in zip(places, xs, strict=True):
            inputs[place] = x
        given = bound(attributes, inputs[len(arrays) :])
        results = kernel(inputs[: len(arrays)], given, outputs)[:outputs]
        return tuple(t for t in results if t.dtype == torch.float64)

    _check(function, [fixed[i] for i in places], traced)


def _check(function: Callable[..., Values], xs: Sequence[Tensor], traced: bool) -> None:
    """That of `check_derivatives`, of any function from float64 tensors to a tuple of float64 tensors."""
    generator = torch.Generator().manual_seed(0)

    def random_like(values: Sequence[Tensor]) -> Values:
        return tuple(torch.randn(v.shape, dtype=v.dtype, generator=generator) for v in values)

    ys, pullback = torch.func.vjp(function, *xs)
    assert ys, "no output is float64"
    cotangents, tangents = random_like(ys), random_like(xs)
    pulled = pullback(cotangents)

    differences = tuple(_along(function, xs, i) for i in range(len(xs)))
    for i in range(len(xs)):
        rows = [
            torch.tensordot(c.reshape(-1), d.reshape(c.numel(), -1), 1)
            for c, d in zip(cotangents, differences[i], strict=True)
        ]
        _close(pulled[i].reshape(-1), sum(rows), f"VJP by input {i} against differences")

    _, pushed = torch.func.jvp(function, tuple(xs), tangents)
    _close(_dot(pushed, cotangents), _dot(pulled, tangents), "JVP against VJP", scale=_norms(pulled, tangents))

    batch = tuple(torch.stack([c, 2 * c, torch.zeros_like(c)]) for c in cotangents)
    batched = torch.func.vmap(pullback)(batch)
    for one, many in zip(pulled, batched, strict=True):
        _close(many, torch.stack([one, 2 * one, torch.zeros_like(one)]), "batched pullbacks against one")

    def gradient(*at: Tensor) -> Values:
        return torch.func.vjp(function, *at)[1](cotangents)

    _, second = torch.func.jvp(gradient, tuple(xs), tangents)
    expected = _difference(lambda h: gradient(*(x + h * t for x, t in zip(xs, tangents, strict=True))))
    for i, (result, wanted) in enumerate(zip(second, expected, strict=True)):
        _close(result, wanted, f"second derivative by input {i}", scale=_largest((*expected, *pulled)))

    if traced:

        def rows_at(rows: Values, *at: Tensor) -> Values:
            return torch.func.vmap(torch.func.vjp(function, *at)[1])(rows)

        nearby = [x + 1e-3 * t for x, t in zip(xs, tangents, strict=True)]
        program = make_fx(rows_at)(batch, *xs)
        for one, other in zip(program(batch, *nearby), rows_at(batch, *nearby), strict=True):
            _close(one, other, "pullbacks traced at one point against those at another")


def _along(function: Callable[..., Values], xs: Sequence[Tensor], which: int) -> list[Tensor]:
    """The Jacobians of each output by one input, by differences: `[*y.shape, x.numel()]`."""
    x = xs[which]
    columns = []
    for unit in torch.eye(x.numel(), dtype=x.dtype):
        step = unit.reshape(x.shape)
        columns.append(_difference(lambda h, step=step: function(*xs[:which], x + h * step, *xs[which + 1 :])))
    return [torch.stack(parts, -1) for parts in zip(*columns, strict=True)]


def _difference(function: Callable[[float], Values], step: float = 1e-3) -> Values:
    """The derivative at 0 by central differences, extrapolated (Richardson): the error is of order step^4."""

    def central(h: float) -> list[Tensor]:
        return [(a - b) / (2 * h) for a, b in zip(function(h), function(-h), strict=True)]

    return tuple((4 * fine - coarse) / 3 for coarse, fine in zip(central(step), central(step / 2), strict=True))


def _dot(left: Values, right: Values) -> Tensor:
    return sum((torch.sum(a * b) for a, b in zip(left, right, strict=True)), torch.zeros((), dtype=torch.float64))


def _norms(left: Values, right: Values) -> float:
    return float(
        sum(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b) for a, b in zip(left, right, strict=True))
    )


def _largest(values: Values) -> float:
    return max((float(v.abs().max()) for v in values if v.numel()), default=0.0)


def _close(result: Tensor, expected: Tensor, what: str, scale: float | None = None) -> None:
    assert result.shape == expected.shape, f"{what}: shapes {tuple(result.shape)} and {tuple(expected.shape)}"
    bound = 1e-8 * max(_largest((expected,)) if scale is None else scale, 1e-3)
    error = _largest((result - expected,))
    assert error <= bound, f"{what}: off by {error:.3g}, allowed {bound:.3g}"
