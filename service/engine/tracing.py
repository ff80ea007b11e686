"""A pullback traced, split and flattened into plain calls of torch.

`make_fx` records the forward pass and the batched pullback once for a program's shapes and a batch size. What depends
on no cotangent is computed once a point (`keep`); the rest, with the rows as the leading axis, is one generated Python
function (`rows`) of torch calls without the autograd engine and without `vmap`. The derivative formulas are PyTorch's
own, as recorded.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from service.engine.points import Point
from service.engine.targets import target, target_like
from service.link.messages import Function

aten = torch.ops.aten
_COPIES = {aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default}
_TRANSPOSES = {aten.t.default, aten.permute.default, aten.transpose.int}


class Trace:
    """A pullback for batches of one size, at any point of a program.

    Args:
        names: the program's inputs that the trace reads, in order.
        size: cotangents in a batch.
        point: what is kept, from the inputs' values.
        rows: gradients, from cotangents and what is kept.
    """

    def __init__(self, names: Sequence[str], size: int, point: Callable[..., Any], rows: Callable[..., Any]) -> None:
        self._names = tuple(names)
        self._size = size
        self._point = point
        self._rows = rows

    def keep(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The part of a point that its rows need."""
        with torch.inference_mode():
            kept: tuple[Tensor, ...] = self._point(*(inputs[n] for n in self._names))
        return kept

    def rows(self, cotangents: Tensor, kept: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """Gradients of `[R, *x]` for each x, of cotangents `[R, *target]`, R at most the batch's size."""
        count = len(cotangents)
        with torch.inference_mode():
            if count < self._size:
                padding = cotangents.new_zeros((self._size - count, *cotangents.shape[1:]))
                cotangents = torch.cat((cotangents, padding))
            gradients: Sequence[Tensor] = self._rows(cotangents, *kept)
            return [g[:count] for g in gradients] if count < self._size else gradients


def trace(point: Point, function: Function, separate: bool, size: int) -> Trace:
    """Trace the batched pullback of a function for a point's program.

    Raises:
        Exception: whatever tracing meets in a graph that it cannot express.
    """
    program = point.program
    static = program.model.static_of(point.inputs)
    names = [n for n in point.inputs if n not in static]

    def pulled(cotangents: Tensor, *values: Tensor) -> Sequence[Tensor]:
        inputs = {**point.inputs, **dict(zip(names, values, strict=True))}
        of = target(program, inputs, function, separate)
        pullback = torch.func.vjp(of, *(inputs[x] for x in function.xs))[1]
        return tuple(torch.func.vmap(pullback)(cotangents))

    like = target_like(point.inputs, point.values, function)
    cotangents = like.new_zeros((size, *like.shape))
    module = make_fx(pulled)(cotangents, *(point.inputs[n] for n in names))
    _simplify(module.graph)
    return Trace(names, size, *_split(module))


def _simplify(graph: fx.Graph) -> None:
    """Drop copies, and turn every transposed product round, so that rows stay the leading axis.

    `vmap` writes a pullback through `W @ x` as `(W' @ V')'`, which walks memory the wrong way; it is `V @ W`.
    """
    for node in list(graph.nodes):
        if node.target in _COPIES:
            node.replace_all_uses_with(node.args[0])
    for node in list(graph.nodes):
        product = node.args[0] if _is_transpose(node) else None
        if isinstance(product, fx.Node) and product.target is aten.mm.default:
            left, right = product.args
            with graph.inserting_before(node):
                turned = graph.call_function(aten.mm.default, (_transposed(graph, right), _transposed(graph, left)))
            turned.meta = dict(node.meta)
            node.replace_all_uses_with(turned)
    graph.eliminate_dead_code()


def _is_transpose(node: Any) -> bool:
    """Whether the node transposes a matrix."""
    if not (isinstance(node, fx.Node) and node.target in _TRANSPOSES and node.meta["val"].dim() == 2):
        return False
    dims: Any = node.args[1:]
    if node.target is aten.permute.default:
        return [d % 2 for d in dims[0]] == [1, 0]
    return node.target is aten.t.default or {d % 2 for d in dims} == {0, 1}


def _transposed(graph: fx.Graph, node: Any) -> fx.Node:
    if _is_transpose(node):
        inner: fx.Node = node.args[0]
        return inner
    made = graph.call_function(aten.permute.default, (node, [1, 0]))
    made.meta["val"] = node.meta["val"].T
    return made


def _split(module: fx.GraphModule) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions of a trace: `point(inputs) -> kept` and `rows(cotangents, *kept) -> gradients`."""
    graph = module.graph
    cotangents, *inputs = (n for n in graph.nodes if n.op == "placeholder")
    (output,) = (n for n in graph.nodes if n.op == "output")
    constants: dict[fx.Node, Any] = {}
    of_point: list[fx.Node] = []
    of_rows: list[fx.Node] = []
    moving, pointwise = {cotangents}, set(inputs)
    for node in graph.nodes:
        if node.op == "get_attr":
            constants[node] = getattr(module, node.target)
        elif node.op == "call_function":
            if any(n in moving for n in node.all_input_nodes):
                moving.add(node)
                of_rows.append(node)
            elif any(n in pointwise for n in node.all_input_nodes):
                pointwise.add(node)
                of_point.append(node)
            else:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: constants[n])
                value = node.target(*args, **kwargs)
                constants[node] = value.contiguous() if isinstance(value, Tensor) else value
    results = list(output.args[0])
    read = dict.fromkeys(n for node in of_rows for n in node.all_input_nodes)
    read.update(dict.fromkeys(results))
    kept = [n for n in read if n in pointwise]
    return (
        _function("point", inputs, of_point, kept, constants),
        _function("rows", [cotangents, *kept], of_rows, results, constants),
    )


def _function(
    name: str,
    parameters: Sequence[fx.Node],
    body: Sequence[fx.Node],
    results: Sequence[fx.Node],
    constants: Mapping[fx.Node, Any],
) -> Callable[..., Any]:
    """Write the nodes down as one Python function and compile it.

    Every identifier of the source is made here, and every value but small integers and None is bound in the
    function's namespace: nothing that a client wrote is in it.
    """
    namespace: dict[str, Any] = {}
    names: dict[fx.Node, str] = {}

    def bind(value: Any) -> str:
        bound = f"c{len(namespace)}"
        namespace[bound] = value
        return bound

    def word(value: Any) -> str:
        if isinstance(value, fx.Node):
            if value not in names:
                names[value] = bind(constants[value])
            return names[value]
        if value is None or type(value) in (int, bool):
            return repr(value)
        if isinstance(value, list | tuple):
            inside = "".join(word(v) + ", " for v in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        return bind(value)

    names.update((node, f"p{i}") for i, node in enumerate(parameters))
    last = {n: node for node in body for n in node.all_input_nodes if n not in constants}
    lines = [f"def {name}({', '.join(names[p] for p in parameters)}):"]
    calls: dict[Any, str] = {}
    for i, node in enumerate(body):
        called = calls.setdefault(node.target, "") or bind(_plain(node.target))
        calls[node.target] = called
        words = [word(a) for a in node.args] + [f"{k}={word(v)}" for k, v in node.kwargs.items()]
        names[node] = f"v{i}"
        lines.append(f"    v{i} = {called}({', '.join(words)})")
        done = [names[n] for n in node.all_input_nodes if last.get(n) is node and n not in results]
        if done:
            lines.append(f"    del {', '.join(done)}")
    lines.append(f"    return {word(tuple(results))}")
    exec(compile("\n".join(lines), f"<{name}>", "exec"), namespace)  # noqa: S102
    function: Callable[..., Any] = namespace[name]
    return function


def _plain(called: Any) -> Callable[..., Any]:
    """The cheapest way to call an operator: torch's own function of that name, which skips a dispatch in Python."""
    if called is operator.getitem or not isinstance(called, torch._ops.OpOverload):
        found: Callable[..., Any] = called
        return found
    name = called.overloadpacket.__name__
    return getattr(torch._C._VariableFunctions, name, None) or called
