"""Small smooth examples of every differentiable operator, by (domain, operator): the cases of `check_derivatives`."""

from dataclasses import dataclass, field

import numpy as np

from service.catalogue import MICROSOFT, ML
from tests.operators.cases import check_derivatives

X = np.array([[-1.3, -0.4, 0.7], [0.2, 1.6, -0.9]])
Y = np.array([[0.8, -1.1, 0.3], [-0.6, 0.5, 1.4]])
POSITIVE = np.abs(X)
UNIT = X / 2
ZEROS = np.array([[0.5, 0.0, -0.7], [0.0, 1.6, 0.0]])
ROW = Y[0]
SQUARE = np.array([[[0.4, -1.2, 0.3], [0.9, 0.1, -0.5], [-0.3, 0.8, 1.1]]])
IMAGE = np.linspace(-1, 1, 16).reshape(1, 4, 2, 2) ** 3


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Example:
    """The inputs and attributes of one node; `wrt` as in `check_derivatives`."""

    inputs: tuple[object, ...]
    attributes: dict[str, object] = field(default_factory=dict)
    wrt: tuple[int, ...] | None = None
    opset: int = 28
    outputs: int = 1


def ex(
    *inputs: object, wrt: tuple[int, ...] | None = None, opset: int = 28, outputs: int = 1, **attributes: object
) -> Example:
    return Example(inputs, attributes, wrt, opset, outputs)


def check(domain: str, op: str, example: Example, traced: bool) -> None:
    check_derivatives(
        op,
        *example.inputs,
        wrt=example.wrt,
        opset=example.opset,
        domain=domain,
        outputs=example.outputs,
        traced=traced,
        **example.attributes,
    )


ELEMENTWISE = {
    **{
        op: (ex(X),)
        for op in ("Abs", "Asinh", "Atan", "Cos", "Cosh", "Erf", "Exp", "Identity", "Neg", "Sin", "Sinh", "Tanh")
    },
    **{op: (ex(UNIT),) for op in ("Acos", "Asin", "Atanh", "Tan")},
    **{op: (ex(POSITIVE),) for op in ("Log", "Sqrt")},
    **{op: (ex(X, ROW),) for op in ("Add", "Mul", "Sub")},
    **{op: (ex(X, ROW, 2 * Y),) for op in ("Max", "Min", "Mean", "Sum")},
    "Acosh": (ex(1 + POSITIVE),),
    "Cast": (ex(X, to=11),),
    "CastLike": (ex(X, np.zeros(1)),),
    "Clip": (ex(X, np.array(-1.0), np.array(0.5)), ex(X, None, np.array([0.5])), ex(X, min=-1.0, max=0.5, opset=6)),
    "Div": (ex(X, ROW),),
    "Mod": (ex(X, np.array(0.37), fmod=1), ex(X, np.array(0.37))),
    "Pow": (ex(POSITIVE, Y), ex(X, ints(3)), ex(ZEROS, np.array(2.0), wrt=(0,))),
    "Reciprocal": (ex(X),),
    "Where": (ex(X > 0, X, ROW),),
}
ACTIVATIONS = {
    **{
        op: (ex(X),)
        for op in ("HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish")
    },
    "Celu": (ex(X, alpha=0.5),),
    "Elu": (ex(X, alpha=0.75),),
    "Gelu": (ex(X), ex(X, approximate="tanh")),
    "HardSigmoid": (ex(2 * X, alpha=0.25),),
    "LogSoftmax": (ex(X, axis=0), ex(SQUARE, opset=11)),
    "PRelu": (ex(X, ROW),),
    "Shrink": (ex(X, bias=0.25),),
    "Softmax": (ex(X, axis=0), ex(SQUARE, opset=11)),
    "SwiGLU": (ex(X, Y, alpha=0.5),),
    "ThresholdedRelu": (ex(X, alpha=0.5),),
}
REDUCTIONS = {
    **{
        op: (ex(X, ints(0), keepdims=0), ex(X), ex(X, noop_with_empty_axes=1))
        for op in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare")
    },
    "ReduceLogSum": (ex(POSITIVE, ints(-1)),),
    "ReduceLogSumExp": (ex(X, ints(0, 1)),),
    "ReduceProd": (ex(X), ex(ZEROS, ints(1), keepdims=0)),
    "CumProd": (ex(X, ints(1)), ex(ZEROS, ints(1), exclusive=1, reverse=1)),
    "CumSum": (ex(X, ints(1)), ex(X, ints(0), exclusive=1, reverse=1)),
    "TopK": (ex(X, ints(2), outputs=2), ex(X, ints(1), axis=0, largest=0, outputs=2)),
}
LINEAR = {
    "MatMul": (ex(X, Y.T), ex(SQUARE, ROW), ex(ROW, ROW)),
    "Gemm": (ex(X, Y, np.array([0.3, -0.2]), alpha=0.5, beta=2.0, transB=1),),
    "Einsum": (ex(X, Y, equation="ij,kj->ik"), ex(SQUARE, equation="...ii -> ...")),
    "Det": (ex(SQUARE),),
}
SHAPING = {
    "CenterCropPad": (ex(X, ints(3, 2)),),
    "Concat": (ex(X, Y[:1], axis=0),),
    "DepthToSpace": (ex(IMAGE, blocksize=2), ex(IMAGE, blocksize=2, mode="CRD")),
    "Expand": (ex(ROW, ints(2, 1)),),
    "Flatten": (ex(SQUARE, axis=-1),),
    "Pad": (
        ex(X, ints(1, -1, 0, 2), np.array(0.3)),
        ex(X, ints(3, 4), None, ints(1), mode="reflect"),
        ex(X, ints(1, 4), None, ints(-1), mode="wrap"),
        ex(X, ints(1, 1, -1, 1), mode="edge"),
    ),
    "Reshape": (ex(X, ints(0, 1, -1)),),
    "Slice": (ex(X, ints(5), ints(-9), ints(1), ints(-2)),),
    "SpaceToDepth": (ex(IMAGE, blocksize=2), ex(IMAGE, blocksize=2, mode="CRD")),
    "Split": (ex(X, ints(1, 2), axis=1, outputs=2), ex(X, axis=1, num_outputs=2, outputs=2)),
    "Squeeze": (ex(SQUARE, ints(0)),),
    "Tile": (ex(X, ints(2, 1)),),
    "Transpose": (ex(SQUARE, perm=(1, 2, 0)),),
    "Trilu": (ex(SQUARE, ints(1)), ex(SQUARE, ints(-1), upper=0)),
    "Unsqueeze": (ex(X, ints(0, -1)),),
}
_places = np.array([[0, 1, -1], [0, 0, 1]])
GATHERING = {
    "Compress": (ex(X, np.array([True, False, True]), axis=1), ex(X, np.array([False, True, True]))),
    "Gather": (ex(X, np.array([[0, -1], [2, 0]]), axis=1),),
    "GatherElements": (ex(X, _places, axis=1),),
    "GatherND": (ex(X, np.array([[0, 1], [-1, 2]])), ex(X, np.array([[1], [0]]), batch_dims=1)),
    "OneHot": (ex(ints(0, -1), ints(3), np.array([0.5, 2.0])),),
    "ReverseSequence": (ex(X, ints(2, 3), batch_axis=0, time_axis=1),),
    "Scatter": (ex(X, np.array([[0, 2], [-1, 1]]), Y[:, :2], axis=1, opset=9),),
    "ScatterElements": (
        ex(X, np.array([[0, 2], [-1, 1]]), Y[:, :2], axis=1),
        *(ex(X, _places, Y, axis=1, reduction=r) for r in ("add", "mul", "max", "min")),
        ex(ZEROS, _places, ZEROS[::-1].copy(), axis=1, reduction="mul"),
    ),
    "ScatterND": (
        ex(X, np.array([[1]]), ROW[None]),
        *(ex(X, np.array([[1], [1]]), Y, reduction=r) for r in ("add", "mul", "max", "min")),
    ),
    "TensorScatter": (ex(SQUARE, SQUARE[:, :2] / 2, ints(2), mode="circular"),),
}
QUANTIZATION = {
    "DequantizeLinear": (ex(np.array([[3, -5, 9]], np.int8), ROW, np.array([1, 0, -1], np.int8)),),
    "DynamicQuantizeLinear": (ex(X, outputs=3),),
}
OF_MICROSOFT = {
    "BiasGelu": (ex(X, ROW),),
    "FastGelu": (ex(X), ex(X, ROW)),
    "FusedMatMul": (ex(X, Y, alpha=0.5, transB=1),),
    "Gelu": (ex(X),),
    "QuickGelu": (ex(X),),
}
OF_ML = {
    "ArrayFeatureExtractor": (ex(X, ints(2, 0)), ex(ROW, ints(2, 0))),
    "LinearRegressor": (ex(X, coefficients=(0.5, -1.0, 2.0, 0.25, 1.0, -2.0), intercepts=(1.0, 2.0), targets=2),),
    "Normalizer": (ex(X), ex(X, norm="L1"), ex(X, norm="L2")),
    "Scaler": (ex(X, offset=(0.5, 1.0, -1.0), scale=(2.0,)),),
}
DERIVATIVES: dict[tuple[str, str], tuple[Example, ...]] = {
    (domain, op): examples
    for domain, family in (
        *(("", f) for f in (ELEMENTWISE, ACTIVATIONS, REDUCTIONS, LINEAR, SHAPING, GATHERING, QUANTIZATION)),
        (MICROSOFT, OF_MICROSOFT),
        (ML, OF_ML),
    )
    for op, examples in family.items()
}
