"""ONNX's own node cases: loading them, and which of them the contract leaves out."""

import base64
import functools
import importlib
import pkgutil
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx.backend.test.case.node as node_cases
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase

POOLS = {"averagepool": "AveragePool", "lppool": "LpPool", "maxpool": "MaxPool"}
"""Modules, and their operators, that make the values expected by loops in Python: 25 s, all the others take 8."""

DTYPES = frozenset(
    {
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.BOOL,
    }
)

DRAWN = frozenset(
    {
        "test_bernoulli_seed",
        "test_bernoulli_seed_expanded",
        "test_training_dropout",
        "test_training_dropout_default",
        "test_training_dropout_default_mask",
        "test_training_dropout_mask",
    }
)
"""Cases whose values are NumPy's draws, which no other library makes: dtypes and shapes are compared."""

UNSUPPORTED = {
    "": {
        "DeformConv": "rarely exported",
        "ImageDecoder": "reads files of images",
        "NonMaxSuppression": "chooses boxes: no derivative, and a shape that depends on data",
        "OptionalGetElement": "optionals",
        "OptionalHasElement": "optionals",
        "RoiAlign": "rarely exported",
        "TfIdfVectorizer": "counts words",
    },
    "ai.onnx.ml": {
        "LabelEncoder": "looks up labels",
        "TreeEnsemble": "piecewise constant",
    },
    "ai.onnx.preview": {"FlexAttention": "a preview, whose meaning may change"},
    "ai.onnx.preview.training": {
        "Adagrad": "training",
        "Adam": "training",
        "Momentum": "training",
    },
}
"""Operators without a kernel, by domain, and why."""


@dataclass(frozen=True)
class Rule:
    """Why cases are out of scope: the service refuses each that the rule holds for."""

    name: str
    reason: str
    holds: Callable[[ModelProto], bool]


def out_of_scope(model: ModelProto) -> Rule | None:
    """The first rule that a case's model falls under, None where the service must run it."""
    return next((rule for rule in OUT_OF_SCOPE if rule.holds(model)), None)


def _has_containers(model: ModelProto) -> bool:
    return any(v.type.WhichOneof("value") != "tensor_type" for v in (*model.graph.input, *model.graph.output))


def _has_foreign_dtypes(model: ModelProto) -> bool:
    held = (a.t.data_type for n in _nodes(model) for a in n.attribute if a.type == AttributeProto.TENSOR)
    declared = (v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output))
    return any(code not in DTYPES for code in (*held, *declared))


def _has_unsupported_operators(model: ModelProto) -> bool:
    return any(n.op_type in UNSUPPORTED.get(n.domain, ()) for n in _nodes(model))


def _draws_without_a_seed(model: ModelProto) -> bool:
    drawing = (n for n in _nodes(model) if n.op_type in {"Bernoulli", "RandomUniformLike"})
    return any(all(a.name != "seed" for a in n.attribute) for n in drawing)


OUT_OF_SCOPE = (
    Rule("container", "an input or output is a sequence or an optional; the contract has tensors", _has_containers),
    Rule("dtype", "a tensor has a dtype that the contract has not", _has_foreign_dtypes),
    Rule("operator", "an operator has no kernel; `UNSUPPORTED` says why", _has_unsupported_operators),
    Rule("seed", "random numbers without a seed would differ at every evaluation", _draws_without_a_seed),
)


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node, those of functions and subgraphs too."""
    pending = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    while pending:
        node = pending.pop()
        yield node
        pending += [n for a in node.attribute for g in (a.g, *a.graphs) for n in g.node]


@functools.cache
def fast_cases() -> list[TestCase]:
    """The cases of all of ONNX's modules but those of `POOLS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(node_cases.__path__, f"{node_cases.__name__}."):
            if module.name.rpartition(".")[2] not in POOLS:
                importlib.import_module(module.name)
    return [case for case in node_cases._NodeTestCases if _operator(case) not in POOLS.values()]


def pool_cases(module: str) -> list[TestCase]:
    """The cases of a module of `POOLS`."""
    importlib.import_module(f"{node_cases.__name__}.{module}")
    return [case for case in node_cases._NodeTestCases if _operator(case) == POOLS[module]]


def in_tenth(case: TestCase) -> bool:
    """Whether a case is one of the tenth that always runs over HTTP; the others run then by their kernels alone."""
    return zlib.crc32(case.name.encode()) % 10 == 0


def _operator(case: TestCase) -> str:
    return case.model.graph.node[0].op_type


# --- values over HTTP -------------------------------------------------------------------------------------------------


def to_array(value: TensorProto | np.ndarray | np.generic) -> np.ndarray:
    return np.asarray(numpy_helper.to_array(value) if isinstance(value, TensorProto) else value)


def to_json(value: np.ndarray) -> dict[str, object]:
    content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"dtype": value.dtype.name, "shape": list(value.shape), "base64": content}


def from_json(answer: dict[str, object]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(answer["base64"]), np.dtype(answer["dtype"])).reshape(answer["shape"])
