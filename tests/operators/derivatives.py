"""Small smooth examples of every differentiable operator, by (domain, operator): the cases of `check_derivatives`."""

from dataclasses import dataclass, field

import numpy as np
import torch

from service.catalogue import EXPRESSION, MICROSOFT, ML
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


def spread(*shape: int) -> np.ndarray:
    """Data of both signs with no two elements close to each other, so that second derivatives are moderate."""
    return 2 * np.sin(1.7 * np.arange(np.prod(shape)) + len(shape)).reshape(shape)


def distinct(*shape: int) -> np.ndarray:
    """Data of both signs, no two elements closer than 0.1 to each other or to 0, in no order."""
    count = int(np.prod(shape))
    return (np.random.default_rng(0).permutation(count).reshape(shape) - count // 2 + 0.5) / 10


@dataclass(frozen=True)
class Example:
    """One node: its inputs and attributes, the rest as in `check_derivatives`; `slow` if it takes seconds."""

    inputs: tuple[object, ...]
    attributes: dict[str, object] = field(default_factory=dict)
    wrt: tuple[int, ...] | None = None
    opset: int = 28
    outputs: int = 1
    captured: tuple[np.ndarray, ...] = ()
    slow: bool = False


def ex(
    *inputs: object,
    wrt: tuple[int, ...] | None = None,
    opset: int = 28,
    outputs: int = 1,
    captured: tuple[np.ndarray, ...] = (),
    slow: bool = False,
    **attributes: object,
) -> Example:
    return Example(inputs, attributes, wrt, opset, outputs, captured, slow)


def check(domain: str, op: str, example: Example, traced: bool) -> None:
    check_derivatives(
        op,
        *example.inputs,
        wrt=example.wrt,
        opset=example.opset,
        domain=domain,
        outputs=example.outputs,
        captured=example.captured,
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


def _convolutions() -> tuple[Example, ...]:
    examples = []
    for rank in (2, 1, 3):
        X, W = spread(1, 2, *(4, 3, 3)[:rank]), spread(2, 1, *(2, 2, 1)[:rank])
        pads = (1,) + (0,) * (2 * rank - 1)
        examples.append(ex(X, W, spread(2), group=2, pads=pads, strides=(2, 1, 1)[:rank], slow=rank == 3))
    return tuple(examples)


CONVOLUTION = {
    "Conv": _convolutions(),
    "ConvTranspose": _convolutions(),
    "Col2Im": (ex(spread(1, 4, 4), ints(3, 3), ints(2, 2), pads=(1, 0, 0, 0), strides=(2, 1)),),
}
POOLED = distinct(1, 2, 3, 4)
POOLING = {
    "MaxPool": (
        ex(POOLED, kernel_shape=(2, 3), strides=(1, 2), pads=(1, 1, 0, 1)),
        ex(POOLED, kernel_shape=(2, 2), dilations=(2, 1), ceil_mode=1),
        ex(distinct(1, 1, 5), kernel_shape=(2,)),
        ex(distinct(1, 1, 3, 2, 2), kernel_shape=(2, 2, 2)),
    ),
    "MaxUnpool": (
        ex(IMAGE[:, :1], ints(5, 7, 13, 15).reshape(1, 1, 2, 2), kernel_shape=(2, 2), strides=(2, 2)),
        ex(ROW[None, None], ints(1, 2, 5)[None, None], ints(1, 1, 8), kernel_shape=(2,), strides=(2,)),
    ),
    "AveragePool": (
        ex(POOLED, kernel_shape=(2, 3), pads=(1, 1, 0, 1)),
        ex(POOLED, kernel_shape=(2, 2), dilations=(2, 1)),
        ex(distinct(1, 1, 5), kernel_shape=(2,)),
        ex(distinct(1, 1, 3, 2, 2), kernel_shape=(2, 2, 2)),
    ),
    "LpPool": (ex(POOLED, kernel_shape=(2, 2), p=3, pads=(1, 0, 0, 0)), ex(POOLED, kernel_shape=(2, 2))),
    "GlobalAveragePool": (ex(POOLED),),
    "GlobalMaxPool": (ex(POOLED),),
    "GlobalLpPool": (ex(POOLED, p=2), ex(POOLED, p=3)),
}
MOMENTS = spread(3, 2, 2), spread(2), spread(2), spread(2), np.array([0.7, 1.4])
NORMALIZATION = {
    "BatchNormalization": (
        ex(*MOMENTS),
        ex(*MOMENTS, training_mode=1, outputs=3),
        ex(*(spread(2, 2), spread(2), spread(2), spread(2), np.array([0.7, 1.4])), opset=9),
    ),
    "GroupNormalization": (
        ex(spread(2, 4, 2), spread(4), spread(4), num_groups=2),
        ex(spread(2, 4, 2), spread(2), spread(2), num_groups=2, opset=18),
    ),
    "InstanceNormalization": (ex(spread(2, 2, 3), spread(2), spread(2)),),
    "LRN": (ex(spread(1, 4, 2), size=3, alpha=0.5),),
    "LayerNormalization": (ex(spread(2, 3), spread(3), spread(3), outputs=3),),
    "LpNormalization": (ex(spread(2, 3), p=1), ex(spread(2, 3), p=2, axis=0)),
    "MeanVarianceNormalization": (ex(spread(2, 2, 2, 2)),),
    "RMSNormalization": (ex(spread(2, 3), spread(3)),),
}


def _recurrent(gates: int, states: int, *more: object, **attributes: object) -> tuple[Example, ...]:
    """A sequence of two steps, and two of unequal lengths both ways."""

    def arrays(directions: int, batch: int) -> tuple[object, ...]:
        lengths = np.array([2, 1], np.int32) if batch == 2 else None
        return (
            spread(2, batch, 2) / 2,
            spread(directions, 2 * gates, 2) / 2,
            spread(directions, 2 * gates, 2)[:, ::-1].copy() / 3,
            spread(directions, 4 * gates) / 4,
            lengths,
            *(spread(directions, batch, 2) / (2 + i) for i in range(states)),
        )

    return (
        ex(*arrays(1, 1), *more, outputs=3, slow=gates > 1, **attributes),
        ex(*arrays(2, 2), wrt=(0, 5), outputs=3, direction="bidirectional", **attributes),
    )


RECURRENT = {
    "GRU": _recurrent(3, 1) + _recurrent(3, 1, linear_before_reset=1)[:1],
    "LSTM": _recurrent(4, 2, np.linspace(-0.6, 0.8, 6)[None]),
    "RNN": _recurrent(1, 1)
    + tuple(
        ex(3 * spread(1, 1, 2), spread(1, 2, 2), spread(1, 2, 2), wrt=(0,), activations=(name,), **given)
        for name, given in {
            "Elu": {"activation_alpha": (0.7,)},
            "HardSigmoid": {"activation_alpha": (0.1,)},
            "LeakyRelu": {"activation_alpha": (0.2,)},
            "Relu": {},
            "ScaledTanh": {"activation_alpha": (1.5,), "activation_beta": (0.5,)},
            "Softplus": {},
            "Softsign": {},
            "ThresholdedRelu": {"activation_alpha": (0.1,)},
        }.items()
    ),
}
RESAMPLING = {
    "Resize": (
        ex(spread(3, 4), None, None, ints(5, 2), mode="linear"),
        ex(spread(3, 4), None, None, ints(5, 2), mode="nearest"),
        ex(spread(3, 4), None, None, ints(5, 2), mode="cubic", exclude_outside=1),
        ex(spread(3, 4), None, None, ints(2, 2), mode="cubic", antialias=1),
        ex(
            spread(4, 4),
            np.array([-0.2, 0.1, 0.8, 1.4], np.float32),
            None,
            ints(3, 5),
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=7.0,
        ),
    ),
    "Upsample": (ex(X, np.array([2.0, 1.5], np.float32), mode="linear", opset=9), ex(X, scales=(2.0, 1.5), opset=7)),
}
GRID = np.array([[[[0.13, -0.27], [0.61, 1.71]]]])
SAMPLING = {
    "AffineGrid": (ex(spread(1, 2, 3), ints(1, 1, 2, 2)),),
    "GridSample": (
        *(ex(SQUARE[None], GRID, padding_mode=padding) for padding in ("zeros", "border", "reflection")),
        *(ex(SQUARE[None], GRID, mode="cubic", padding_mode=padding) for padding in ("zeros", "border", "reflection")),
        ex(SQUARE[None], np.array([[[[0.13, -0.27], [0.61, 0.71]]]]), mode="nearest"),
    ),
}
SIGNAL = {
    "DFT": (
        ex(spread(2, 3, 1), np.array(4)),
        ex(spread(2, 3, 2), np.array(4)),
        ex(spread(2, 3, 1), np.array(4), onesided=1),
        ex(spread(2, 3, 2), np.array(4), inverse=1),
        ex(spread(2, 3, 2), np.array(4), inverse=1, onesided=1),
    ),
    "STFT": (ex(spread(1, 6, 1), np.array(2), np.array([0.4, 1.0, 0.7])),),
}
QKV = spread(1, 2, 2, 2), spread(1, 1, 3, 2)[..., ::-1].copy(), spread(1, 1, 3, 1)
ATTENTION = {
    "Attention": (
        ex(*QKV),
        ex(*QKV, softcap=0.8, scale=0.7),
        ex(*QKV, is_causal=1),
        ex(*QKV, outputs=4, qk_matmul_output_mode=3),
        ex(
            *(spread(1, 1, 2, 2), spread(1, 1, 1, 2), spread(1, 1, 1, 2), spread(2, 3)),
            *(spread(1, 1, 2, 2) / 2, spread(1, 1, 2, 2) / 3),
            outputs=3,
        ),
    ),
    "RotaryEmbedding": (ex(spread(1, 2, 3, 4), spread(5, 2), spread(5, 2) / 2, ints(4, 0, 4)[None]),),
}
KEYS, DECAY, RATE = spread(1, 2, 2) / 3, -np.abs(spread(1, 2, 1)), np.array([[[0.4], [0.8]]])
LINEAR_ATTENTION = {
    "CausalConvWithState": (
        ex(X[None], spread(2, 1, 3), spread(2), spread(1, 2, 2), outputs=2, activation="silu"),
        ex(X[None], spread(2, 1, 2), outputs=2),
    ),
    "LinearAttention": (
        ex(
            *(spread(1, 2, 4), KEYS, KEYS / 2, spread(1, 1, 2, 2), DECAY, RATE),
            outputs=2,
            slow=True,
            q_num_heads=2,
            kv_num_heads=1,
        ),
        ex(KEYS, KEYS, KEYS / 2, q_num_heads=1, kv_num_heads=1, update_rule="linear", scale=0.5),
        ex(KEYS, KEYS, KEYS / 2, None, None, RATE, q_num_heads=1, kv_num_heads=1, update_rule="delta"),
        ex(KEYS, KEYS, KEYS / 2, None, 0.3 * KEYS, q_num_heads=1, kv_num_heads=1, update_rule="gated"),
    ),
}
LABELLED = spread(2, 3, 2), np.array([[0, 2], [1, 1]]), np.array([0.6, 1.2, 0.9])
LOSSES = {
    op: tuple(ex(*LABELLED, reduction=r, ignore_index=2, outputs=outputs) for r in ("mean", "sum", "none"))
    for op, outputs in (("NegativeLogLikelihoodLoss", 1), ("SoftmaxCrossEntropyLoss", 2))
}
CONTROL_FLOW = {
    "If": (
        ex(np.array(True), captured=(X,), then_branch=lambda x: (x**3,), else_branch=lambda x: (x,)),
        ex(np.array(False), captured=(X,), then_branch=lambda x: (x**3,), else_branch=lambda x: (torch.sin(x),)),
    ),
    "Loop": (
        ex(np.array(3), None, X, captured=(Y,), outputs=2, body=lambda i, c, h, w: (c, torch.sin(w * h), h * h)),
        ex(np.array(2), np.array(True), X, body=lambda i, c, h: (c, h * h)),
    ),
    "Scan": (
        ex(
            *(ROW, X, Y),
            outputs=2,
            body=lambda s, a, b: (torch.tanh(s + a * b), s * a),
            num_scan_inputs=2,
        ),
        ex(ROW, X, captured=(ROW,), outputs=2, body=lambda s, a, w: (s * w + a, s * a), num_scan_inputs=1),
    ),
}
RANDOM = {"Dropout": (ex(X), ex(X, np.float32(0.25), np.array(True), seed=3, outputs=2))}
QUANTIZATION = {
    "DequantizeLinear": (ex(np.array([[3, -5, 9]], np.int8), ROW, np.array([1, 0, -1], np.int8)),),
    "DynamicQuantizeLinear": (ex(X, outputs=3),),
}
OF_MICROSOFT = {
    "BiasGelu": (ex(X, ROW),),
    "FastGelu": (ex(X), ex(X, ROW)),
    "FusedMatMul": (ex(X, Y, alpha=0.5, transB=1), ex(spread(2, 1, 3), spread(3, 1, 2), transBatchA=1, transBatchB=1)),
    "Gelu": (ex(X),),
    "QuickGelu": (ex(X),),
    "SimplifiedLayerNormalization": (ex(spread(2, 3), spread(3)),),
    "SkipLayerNormalization": (ex(spread(2, 3), Y, spread(3), spread(3), ROW, outputs=4),),
    "SkipSimplifiedLayerNormalization": (ex(spread(2, 3), Y, spread(3)),),
}
SUPPORTS = {
    "support_vectors": (0.5, -1.0, 2.0, 0.25, 1.0, -0.5),
    "coefficients": (0.75, -1.5),
    "n_supports": 2,
    "rho": (0.3,),
    "kernel_params": (0.25, 0.5, 3.0),
}
WEIGHTS = {"coefficients": (0.5, -1.0, 2.0, 0.25, 1.0, -2.0), "intercepts": (1.0, 2.0)}
OF_ML = {
    "ArrayFeatureExtractor": (ex(X, ints(2, 0)), ex(ROW, ints(2, 0))),
    "FeatureVectorizer": (ex(X, Y, inputdimensions=(2, 4)),),
    "Imputer": (ex(X, imputed_value_floats=(0.5, 1.0, 2.0), replaced_value_float=float("nan")),),
    "LinearClassifier": tuple(
        ex(X, classlabels_ints=(3, 7), outputs=2, post_transform=t, **WEIGHTS) for t in ("SOFTMAX", "LOGISTIC", "NONE")
    ),
    "LinearRegressor": (ex(X, targets=2, **WEIGHTS),),
    "Normalizer": (ex(X), ex(X, norm="L1"), ex(X, norm="L2")),
    "SVMRegressor": (
        *(ex(X, kernel_type=kind, **SUPPORTS) for kind in ("RBF", "POLY", "SIGMOID", "LINEAR")),
        ex(X, coefficients=(0.5, -1.0, 2.0)),
    ),
    "Scaler": (ex(X, offset=(0.5, 1.0, -1.0), scale=(2.0,)),),
}
OF_ONNX = (
    *(ELEMENTWISE, ACTIVATIONS, REDUCTIONS, LINEAR, SHAPING, GATHERING, CONVOLUTION, POOLING, NORMALIZATION, RECURRENT),
    *(RESAMPLING, SAMPLING, SIGNAL, ATTENTION, LINEAR_ATTENTION, LOSSES, CONTROL_FLOW, RANDOM, QUANTIZATION),
)
DERIVATIVES: dict[tuple[str, str], tuple[Example, ...]] = {
    (domain, op): examples
    for domain, family in (
        *(("", f) for f in OF_ONNX),
        (MICROSOFT, OF_MICROSOFT),
        (ML, OF_ML),
        (EXPRESSION, {"Promote": (ex(X, ROW, outputs=2),)}),
    )
    for op, examples in family.items()
}
