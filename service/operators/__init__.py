"""ONNX operators as torch functions, one small pure function each, in files by family.

Importing this package registers every kernel. A kernel's signature is its specification (see `registry`).
"""

from service.operators import (
    activations,
    attention,
    control_flow,
    convolution,
    creation,
    elementwise,
    expression,
    gathering,
    linear,
    linear_attention,
    losses,
    ml,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reductions,
    resampling,
    sampling,
    shaping,
    signal,
)

__all__ = [
    "activations",
    "attention",
    "control_flow",
    "convolution",
    "creation",
    "elementwise",
    "expression",
    "gathering",
    "linear",
    "linear_attention",
    "losses",
    "ml",
    "normalization",
    "pooling",
    "quantization",
    "random",
    "recurrent",
    "reductions",
    "resampling",
    "sampling",
    "shaping",
    "signal",
]
