"""Activation functions. What torch lacks a second derivative for is written from primitives."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from service.catalogue import MICROSOFT
from service.operators.numerics import accumulated, axis_of
from service.operators.registry import kernel


@kernel("Relu", 6)
def relu(X: Tensor) -> Tensor:
    """`max(X, 0)`; the gradient at 0 is 0."""
    return torch.relu(X)


# ONNX's attributes are float32, and so are these defaults: the numbers nearest to 0.01, 0.2, 1.67326..., 1.05070...
@kernel("LeakyRelu", 6)
def leaky_relu(X: Tensor, *, alpha: float = 0.009999999776482582) -> Tensor:
    """`X` above 0, else `alpha X`."""
    return functional.leaky_relu(X, alpha)


@kernel("PRelu", 7)
def prelu(X: Tensor, slope: Tensor) -> Tensor:
    """`X` above 0, else `slope X`."""
    return torch.where(X > 0, X, slope * torch.clamp(X, max=0))


@kernel("Elu", 6)
def elu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """`X` above 0, else `alpha (exp(X) - 1)`."""
    return functional.elu(X, alpha)


@kernel("Selu", 6)
def selu(X: Tensor, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Tensor:
    """`gamma` times the ELU."""
    return gamma * functional.elu(X, alpha)


@kernel("Celu", 12)
def celu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """`max(0, X) + min(0, alpha (exp(X / alpha) - 1))`."""
    return functional.celu(X, alpha)


@kernel("Gelu", 20)
def gelu(X: Tensor, *, approximate: str = "none") -> Tensor:
    """`X Phi(X)`, or its approximation by tanh."""
    return functional.gelu(X, approximate=approximate)


@kernel("HardSigmoid", 6)
def hard_sigmoid(X: Tensor, *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> Tensor:
    """`alpha X + beta` limited to `[0, 1]`; the gradient at the limits is 0, as torch has it."""
    return functional.hardtanh(alpha * X + beta, 0.0, 1.0)


@kernel("HardSwish", 14)
def hard_swish(X: Tensor) -> Tensor:
    """`X HardSigmoid(X)` with slope 1/6."""
    return functional.hardswish(X)


@kernel("Mish", 18)
def mish(X: Tensor) -> Tensor:
    """`X tanh(Softplus(X))`."""
    return functional.mish(X)


@kernel("Softplus", 1)
def softplus(X: Tensor) -> Tensor:
    """`log(1 + exp(X))`, by X itself from 40 on, where they agree to the last bit of float64."""
    return functional.softplus(X, threshold=40)


@kernel("Softsign", 1)
def softsign(input: Tensor) -> Tensor:
    """`X / (1 + |X|)`."""
    return functional.softsign(input)


@kernel("Sigmoid", 6)
def sigmoid(X: Tensor) -> Tensor:
    """`1 / (1 + exp(-X))`."""
    return torch.sigmoid(X)


@kernel("Tanh", 6)
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(input)


@kernel("ThresholdedRelu", 10)
def thresholded_relu(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """`X` above `alpha`, else 0."""
    return functional.threshold(X, alpha, 0.0)


@kernel("Shrink", 9)
def shrink(input: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """0 within `[-lambd, lambd]`, beyond it X moved towards 0 by `bias`."""
    outer = torch.where(input > lambd, input - bias, torch.zeros_like(input))
    return torch.where(input < -lambd, input + bias, outer).to(input.dtype)


@kernel("Swish", 24)
def swish(X: Tensor, *, alpha: float = 1.0) -> Tensor:
    """`X sigmoid(alpha X)`."""
    return X * torch.sigmoid(alpha * X)


@kernel("SwiGLU", 28)
def swiglu(A: Tensor, B: Tensor, *, alpha: float = 1.0) -> Tensor:
    """`Swish(A) B`."""
    return swish(A, alpha=alpha) * B


# --- along an axis ----------------------------------------------------------------------------------------------------


def _softmax(x: Tensor, axis: int) -> Tensor:
    return torch.softmax(x, axis, dtype=accumulated(x.dtype)).to(x.dtype)


def _log_softmax(x: Tensor, axis: int) -> Tensor:
    return torch.log_softmax(x, axis, dtype=accumulated(x.dtype)).to(x.dtype)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


def _along_axis(op: str, function: Callable[[Tensor, int], Tensor]) -> None:
    """Since opset 13 along one axis; before, over all axes from `axis` on as if they were one."""

    @kernel(op, 13)
    def along_one(input: Tensor, *, axis: int = -1) -> Tensor:
        return function(input, axis_of(axis, input.dim(), op))

    @kernel(op, 1)
    def over_the_last(input: Tensor, *, axis: int = 1) -> Tensor:
        first = axis % input.dim() if axis < 0 else axis
        rows = input.reshape(math.prod(input.shape[:first]), math.prod(input.shape[first:]))
        return function(rows, 1).reshape(input.shape)


_along_axis("Softmax", _softmax)
_along_axis("LogSoftmax", _log_softmax)
_along_axis("Hardmax", _hardmax)


# --- com.microsoft ----------------------------------------------------------------------------------------------------


@kernel("Gelu", domain=MICROSOFT)
def microsoft_gelu(X: Tensor) -> Tensor:
    """`X Phi(X)`."""
    return functional.gelu(X)


@kernel("BiasGelu", domain=MICROSOFT)
def bias_gelu(A: Tensor, B: Tensor) -> Tensor:
    """The GELU of `A + B`."""
    return functional.gelu(A + B)


@kernel("FastGelu", domain=MICROSOFT)
def fast_gelu(X: Tensor, bias: Tensor | None = None) -> Tensor:
    """The GELU of `X + bias`, approximated by tanh."""
    return functional.gelu(X if bias is None else X + bias, approximate="tanh")


@kernel("QuickGelu", domain=MICROSOFT)
def quick_gelu(X: Tensor, *, alpha: float = 1.7020000219345093) -> Tensor:
    """`X sigmoid(alpha X)`."""
    return swish(X, alpha=alpha)
