"""What operators there are: the one table behind validation, `GET /v1/operators` and the documentation.

Imports neither torch nor onnx, so that the serving process can read it; a test holds that every line has its kernels
in `service.operators`, one for each version, and the other way round.
"""

from dataclasses import dataclass

MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"
EXPRESSION = "jacobian"
"""The domain of the one operator that the expression language adds (`Promote`)."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        name: ONNX's name.
        versions: the opset versions at which its meaning changes; the first is the oldest that is understood.
        differentiable: whether a gradient flows through any of its inputs.
        unsupported: what of it is refused, a sentence; empty if nothing.
        domain: ONNX's domain, "" for ai.onnx.
    """

    name: str
    versions: tuple[int, ...] = (1,)
    differentiable: bool = True
    unsupported: str = ""
    domain: str = ""


_NO_SEED = "Leaving the seed out."

# Each family below names the file of `service/operators/` that has its kernels.
ELEMENTWISE: tuple[Operator, ...] = (
    Operator("Abs", (6,)),
    Operator("Acos", (7,)),
    Operator("Acosh", (9,)),
    Operator("Add", (7,)),
    Operator("And", (7,), differentiable=False),
    Operator("Asin", (7,)),
    Operator("Asinh", (9,)),
    Operator("Atan", (7,)),
    Operator("Atanh", (9,)),
    Operator("BitCast", (26,), differentiable=False),
    Operator("BitShift", (11,), differentiable=False),
    Operator("BitwiseAnd", (18,), differentiable=False),
    Operator("BitwiseNot", (18,), differentiable=False),
    Operator("BitwiseOr", (18,), differentiable=False),
    Operator("BitwiseXor", (18,), differentiable=False),
    Operator("Cast", (6,)),
    Operator("CastLike", (15,)),
    Operator("Ceil", (6,), differentiable=False),
    Operator("Clip", (6, 11)),
    Operator("Cos", (7,)),
    Operator("Cosh", (9,)),
    Operator("Div", (7,)),
    Operator("Equal", (7,), differentiable=False),
    Operator("Erf", (9,)),
    Operator("Exp", (6,)),
    Operator("Floor", (6,), differentiable=False),
    Operator("Greater", (7,), differentiable=False),
    Operator("GreaterOrEqual", (12,), differentiable=False),
    Operator("Identity", (1,)),
    Operator("IsInf", (10,), differentiable=False),
    Operator("IsNaN", (9,), differentiable=False),
    Operator("Less", (7,), differentiable=False),
    Operator("LessOrEqual", (12,), differentiable=False),
    Operator("Log", (6,)),
    Operator("Max", (6,)),
    Operator("Mean", (6,)),
    Operator("Min", (6,)),
    Operator("Mod", (10,)),
    Operator("Mul", (7,)),
    Operator("Neg", (6,)),
    Operator("Not", (1,), differentiable=False),
    Operator("Or", (7,), differentiable=False),
    Operator("Pow", (7,)),
    Operator("Reciprocal", (6,)),
    Operator("Round", (11,), differentiable=False),
    Operator("Sign", (9,), differentiable=False),
    Operator("Sin", (7,)),
    Operator("Sinh", (9,)),
    Operator("Sqrt", (6,)),
    Operator("Sub", (7,)),
    Operator("Sum", (6,)),
    Operator("Tan", (7,)),
    Operator("Where", (9,)),
    Operator("Xor", (7,), differentiable=False),
)
ACTIVATIONS: tuple[Operator, ...] = (
    Operator("Celu", (12,)),
    Operator("Elu", (6,)),
    Operator("Gelu", (20,)),
    Operator("HardSigmoid", (6,)),
    Operator("HardSwish", (14,)),
    Operator("Hardmax", (1, 13), differentiable=False),
    Operator("LeakyRelu", (6,)),
    Operator("LogSoftmax", (1, 13)),
    Operator("Mish", (18,)),
    Operator("PRelu", (7,)),
    Operator("Relu", (6,)),
    Operator("Selu", (6,)),
    Operator("Shrink", (9,)),
    Operator("Sigmoid", (6,)),
    Operator("Softmax", (1, 13)),
    Operator("Softplus", (1,)),
    Operator("Softsign", (1,)),
    Operator("SwiGLU", (28,)),
    Operator("Swish", (24,)),
    Operator("Tanh", (6,)),
    Operator("ThresholdedRelu", (10,)),
    Operator("BiasGelu", (1,), domain=MICROSOFT),
    Operator("FastGelu", (1,), domain=MICROSOFT),
    Operator("Gelu", (1,), domain=MICROSOFT),
    Operator("QuickGelu", (1,), domain=MICROSOFT),
)
REDUCTIONS: tuple[Operator, ...] = (
    Operator("ArgMax", (1,), differentiable=False),
    Operator("ArgMin", (1,), differentiable=False),
    Operator("CumProd", (26,)),
    Operator("CumSum", (11,)),
    Operator("ReduceL1", (1, 18)),
    Operator("ReduceL2", (1, 18)),
    Operator("ReduceLogSum", (1, 18)),
    Operator("ReduceLogSumExp", (1, 18)),
    Operator("ReduceMax", (1, 18)),
    Operator("ReduceMean", (1, 18)),
    Operator("ReduceMin", (1, 18)),
    Operator("ReduceProd", (1, 18)),
    Operator("ReduceSum", (1, 13)),
    Operator("ReduceSumSquare", (1, 18)),
    Operator("TopK", (1, 10)),
)
LINEAR: tuple[Operator, ...] = (
    Operator("Det", (11,)),
    Operator("Einsum", (12,)),
    Operator("Gemm", (7,)),
    Operator("MatMul", (1,)),
    Operator("FusedMatMul", (1,), domain=MICROSOFT),
)
MACHINE_LEARNING: tuple[Operator, ...] = (
    Operator("ArrayFeatureExtractor", (1,), domain=ML),
    Operator("Binarizer", (1,), differentiable=False, domain=ML),
    Operator("FeatureVectorizer", (1,), domain=ML),
    Operator("Imputer", (1,), domain=ML),
    Operator(
        "LinearClassifier",
        (1,),
        unsupported="Labels that are strings; one score for two labels; the post_transform SOFTMAX_ZERO.",
        domain=ML,
    ),
    Operator("LinearRegressor", (1,), unsupported="The post_transform SOFTMAX_ZERO.", domain=ML),
    Operator("Normalizer", (1,), domain=ML),
    Operator("SVMRegressor", (1,), unsupported="The post_transform SOFTMAX_ZERO.", domain=ML),
    Operator("Scaler", (1,), domain=ML),
)
SHAPING: tuple[Operator, ...] = (
    Operator("CenterCropPad", (18,)),
    Operator("Concat", (4,)),
    Operator("DepthToSpace", (1,)),
    Operator("Expand", (8,)),
    Operator("Flatten", (1,)),
    Operator("Pad", (2, 11)),
    Operator("Reshape", (5,)),
    Operator("Shape", (1,), differentiable=False),
    Operator("Size", (1,), differentiable=False),
    Operator("Slice", (1, 10)),
    Operator("SpaceToDepth", (1,)),
    Operator("Split", (2, 13)),
    Operator("Squeeze", (1, 13)),
    Operator("Tile", (6,)),
    Operator("Transpose", (1,)),
    Operator("Trilu", (14,)),
    Operator("Unsqueeze", (1, 13)),
)
GATHERING: tuple[Operator, ...] = (
    Operator("Compress", (9,), unsupported="A condition that depends on a differentiated input."),
    Operator("Gather", (1,)),
    Operator("GatherElements", (11,)),
    Operator("GatherND", (11,)),
    Operator("NonZero", (9,), differentiable=False, unsupported="Elements that depend on a differentiated input."),
    Operator("OneHot", (9,)),
    Operator("ReverseSequence", (10,)),
    Operator("Scatter", (9,)),
    Operator("ScatterElements", (11,)),
    Operator("ScatterND", (11,)),
    Operator("TensorScatter", (24,)),
    Operator("Unique", (11,), differentiable=False, unsupported="Elements that depend on a differentiated input."),
)
CREATION: tuple[Operator, ...] = (
    Operator("BlackmanWindow", (17,), differentiable=False),
    Operator("Constant", (1,), differentiable=False, unsupported="Strings and sparse tensors."),
    Operator("ConstantOfShape", (9,), differentiable=False),
    Operator("EyeLike", (9,), differentiable=False),
    Operator("HammingWindow", (17,), differentiable=False),
    Operator("HannWindow", (17,), differentiable=False),
    Operator("Range", (11,), differentiable=False, unsupported="Limits that depend on a differentiated input."),
)
CONVOLUTION: tuple[Operator, ...] = (
    Operator("Col2Im", (18,)),
    Operator("Conv", (1,), unsupported="More than three spatial axes."),
    Operator("ConvTranspose", (1,), unsupported="More than three spatial axes."),
)
POOLING: tuple[Operator, ...] = (
    Operator("AveragePool", (7,)),
    Operator("GlobalAveragePool", (1,)),
    Operator("GlobalLpPool", (2,)),
    Operator("GlobalMaxPool", (1,)),
    Operator("LpPool", (2,)),
    Operator("MaxPool", (1,)),
    Operator("MaxUnpool", (9,)),
)
NORMALIZATION: tuple[Operator, ...] = (
    Operator("BatchNormalization", (7, 9, 14), unsupported="Training mode before opset 14."),
    Operator("GroupNormalization", (18, 21)),
    Operator("InstanceNormalization", (6,)),
    Operator("LRN", (1,)),
    Operator("LayerNormalization", (17,)),
    Operator("LpNormalization", (1,)),
    Operator("MeanVarianceNormalization", (9,)),
    Operator("RMSNormalization", (23,)),
    Operator("SimplifiedLayerNormalization", (1,), domain=MICROSOFT),
    Operator("SkipLayerNormalization", (1,), domain=MICROSOFT),
    Operator("SkipSimplifiedLayerNormalization", (1,), domain=MICROSOFT),
)
RECURRENT: tuple[Operator, ...] = (
    Operator("GRU", (7,)),
    Operator("LSTM", (7,)),
    Operator("RNN", (7,)),
)
RESAMPLING: tuple[Operator, ...] = (
    Operator("Resize", (10, 11, 18)),
    Operator("Upsample", (7, 9)),
)
SAMPLING: tuple[Operator, ...] = (
    Operator("AffineGrid", (20,)),
    Operator("GridSample", (16, 20)),
)
SIGNAL: tuple[Operator, ...] = (
    Operator("DFT", (17, 20)),
    Operator("MelWeightMatrix", (17,), differentiable=False),
    Operator("STFT", (17,)),
)
ATTENTION: tuple[Operator, ...] = (
    Operator("Attention", (23, 24, 25)),
    Operator("RotaryEmbedding", (23,)),
)
LINEAR_ATTENTION: tuple[Operator, ...] = (
    Operator("CausalConvWithState", (27,)),
    Operator("LinearAttention", (27,)),
)
LOSSES: tuple[Operator, ...] = (
    Operator("NegativeLogLikelihoodLoss", (12,)),
    Operator("SoftmaxCrossEntropyLoss", (12,)),
)
CONTROL_FLOW: tuple[Operator, ...] = (
    Operator("If", (1,), unsupported="Branches that give sequences or optionals."),
    Operator("Loop", (1,), unsupported="Carried sequences or optionals; more than 100,000 trips."),
    Operator("Scan", (8, 9), unsupported="More than 100,000 trips."),
)
RANDOM: tuple[Operator, ...] = (
    Operator("Bernoulli", (15,), differentiable=False, unsupported=_NO_SEED),
    Operator("Dropout", (7, 10, 12), unsupported="Training mode without a seed, unless the ratio is 0."),
    Operator("Multinomial", (7,), differentiable=False, unsupported=_NO_SEED),
    Operator("RandomNormal", (1,), differentiable=False, unsupported=_NO_SEED),
    Operator("RandomNormalLike", (1,), differentiable=False, unsupported=_NO_SEED),
    Operator("RandomUniform", (1,), differentiable=False, unsupported=_NO_SEED),
    Operator("RandomUniformLike", (1,), differentiable=False, unsupported=_NO_SEED),
)
QUANTIZATION: tuple[Operator, ...] = (
    Operator("ConvInteger", (10,), differentiable=False, unsupported="More than three spatial axes."),
    Operator("DequantizeLinear", (10,), unsupported="8-bit floats, uint16 and narrower integers than 8 bits."),
    Operator("DynamicQuantizeLinear", (11,)),
    Operator("MatMulInteger", (10,), differentiable=False),
    Operator("QLinearConv", (10,), differentiable=False, unsupported="More than three spatial axes."),
    Operator("QLinearMatMul", (10,), differentiable=False, unsupported="8-bit floats."),
    Operator(
        "QuantizeLinear",
        (10,),
        differentiable=False,
        unsupported="8-bit floats, uint16 and narrower integers than 8 bits.",
    ),
)
EXPRESSIONS: tuple[Operator, ...] = (Operator("Promote", (1,), domain=EXPRESSION),)

FAMILIES: dict[str, tuple[Operator, ...]] = {
    "elementwise": ELEMENTWISE,
    "activations": ACTIVATIONS,
    "reductions": REDUCTIONS,
    "linear": LINEAR,
    "ml": MACHINE_LEARNING,
    "shaping": SHAPING,
    "gathering": GATHERING,
    "creation": CREATION,
    "convolution": CONVOLUTION,
    "pooling": POOLING,
    "normalization": NORMALIZATION,
    "recurrent": RECURRENT,
    "resampling": RESAMPLING,
    "sampling": SAMPLING,
    "signal": SIGNAL,
    "attention": ATTENTION,
    "linear_attention": LINEAR_ATTENTION,
    "losses": LOSSES,
    "control_flow": CONTROL_FLOW,
    "random": RANDOM,
    "quantization": QUANTIZATION,
    "expression": EXPRESSIONS,
}
OPERATORS: dict[tuple[str, str], Operator] = {(o.domain, o.name): o for family in FAMILIES.values() for o in family}
"""(domain, name) -> the operator. In a model, the domain "ai.onnx" is written ""."""

SEEDED = frozenset(o.name for o in RANDOM if o.unsupported == _NO_SEED)
"""Operators that are refused where their attribute `seed` is left out."""

_SEQUENCES = "let its elements be tensors of their own: Split, Concat, or the scan outputs of a Loop"
_OPTIONALS = "leave the optional value out, or make it an input of the graph"
_TEXT = "encode text and categories as numbers before the graph"
_BOXES = "sample each box with GridSample"
_TREES = "trees are constant between their thresholds and have no derivative; end the graph before them"
_TRAINING = "a session gives the derivative; keep to the part of the graph that makes the loss"
INSTEAD: dict[str, str] = {
    "Adagrad": _TRAINING,
    "Adam": _TRAINING,
    "CastMap": _TEXT,
    "CategoryMapper": _TEXT,
    "ConcatFromSequence": _SEQUENCES,
    "DeformConv": "sample with GridSample, then use Conv",
    "DictVectorizer": _TEXT,
    "FlexAttention": "use Attention of opset 23",
    "Gradient": _TRAINING,
    "GroupQueryAttention": "use Attention of opset 23",
    "ImageDecoder": "decode images before the graph, and make their pixels an input",
    "LabelEncoder": _TEXT,
    "MaxRoiPool": _BOXES,
    "Momentum": _TRAINING,
    "MultiHeadAttention": "use Attention of opset 23",
    "NonMaxSuppression": "end the graph at the boxes and their scores, and choose among them outside",
    "OneHotEncoder": "use OneHot",
    "Optional": _OPTIONALS,
    "OptionalGetElement": _OPTIONALS,
    "OptionalHasElement": _OPTIONALS,
    "RegexFullMatch": _TEXT,
    "RoiAlign": _BOXES,
    "SVMClassifier": "use SVMRegressor for each decision value",
    "SequenceAt": _SEQUENCES,
    "SequenceConstruct": _SEQUENCES,
    "SequenceEmpty": _SEQUENCES,
    "SequenceErase": _SEQUENCES,
    "SequenceInsert": _SEQUENCES,
    "SequenceLength": _SEQUENCES,
    "SequenceMap": _SEQUENCES,
    "SplitToSequence": _SEQUENCES,
    "StringConcat": _TEXT,
    "StringNormalizer": _TEXT,
    "StringSplit": _TEXT,
    "TfIdfVectorizer": _TEXT,
    "TreeEnsemble": _TREES,
    "TreeEnsembleClassifier": _TREES,
    "TreeEnsembleRegressor": _TREES,
    "ZipMap": "let the classifier's scores, a tensor, be the output",
}
"""Operators that are refused -> what to do instead."""
INSTEAD_OF_DOMAIN = {
    MICROSOFT: "export the graph without ONNX Runtime's optimizations, in ONNX's own operators",
    "org.pytorch.aten": "export the graph without falling back to ATen, in ONNX's own operators",
}
"""Domains of which all or most operators are refused -> what to do instead."""


def instead_of(domain: str, name: str) -> str:
    """What to do in the place of an operator that is not in the catalogue; empty where nothing can be said."""
    return INSTEAD.get(name) or INSTEAD_OF_DOMAIN.get(domain, "")
