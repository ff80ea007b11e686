"""An independent evaluator: ONNX's reference implementation, with NumPy's promotion for `Promote`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from service.graphs.compile import compile_graph
from service.link.messages import Compiled, Limits, SessionNames

LIMITS = Limits()


class Promote(OpRun):
    op_domain = "jacobian"

    def _run(self, *values: Any, weak: Any = None, floating: Any = None) -> tuple[Any, ...]:
        dtype = np.result_type(*(v.item() if i in (weak or ()) else v for i, v in enumerate(values)))
        if floating and dtype.kind in "ib":
            dtype = np.dtype(np.float64)
        return tuple(v.astype(dtype) for v in values)


def compiled(source: dict[str, Any], *ys: str, xs: Sequence[str] = (), inputs: Sequence[str] = ()) -> Compiled:
    """A graph with what a session says of it by name."""
    return compile_graph(source, LIMITS, SessionNames(ys, tuple(xs), tuple(inputs)))


def expression(**outputs: str) -> dict[str, Any]:
    return {"format": "expression", "outputs": outputs}


def evaluate(source: dict[str, Any], inputs: dict[str, Any], *ys: str) -> list[Any]:
    """The outputs of a graph at inputs, by the reference implementation."""
    model = onnx.load_from_string(compiled(source, *ys, inputs=list(inputs)).model)
    names = {i.name for i in model.graph.input}
    given = {name: np.asarray(value) for name, value in inputs.items() if name in names}
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model, new_ops=[Promote]).run(None, given)
