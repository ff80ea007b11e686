"""Random numbers, drawn from a seed that the graph gives: the same at every evaluation, and constants to derivatives.

What is drawn is a function of the seed alone, so that two nodes with one seed and one shape have the same draws.
"""

import struct

import numpy as np
import torch
from torch import Tensor

from service.errors import InvalidGraph, UnsupportedOperator
from service.operators.numerics import floating
from service.operators.registry import Floats, Ints, Static, bounded, kernel, torch_dtype


def _generator(op: str, seed: float | None) -> np.random.Generator:
    if seed is None:
        raise UnsupportedOperator(f"{op} without a seed is random; give it a seed, or its sample as an input")
    return np.random.default_rng(struct.unpack("<Q", struct.pack("<d", seed)))


@kernel("RandomNormal", 1)
def random_normal(
    *, dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None, shape: Ints
) -> Tensor:
    """Numbers of the normal distribution with a mean and a standard deviation.

    Raises:
        UnsupportedOperator: without a seed.
    """
    drawn = _generator("RandomNormal", seed).normal(mean, scale, bounded(shape))
    return torch.tensor(drawn, dtype=torch_dtype(dtype))


@kernel("RandomNormalLike", 1)
def random_normal_like(
    input: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    """As RandomNormal, of the input's shape, and of its dtype unless another is named."""
    drawn = _generator("RandomNormalLike", seed).normal(mean, scale, tuple(input.shape))
    return torch.tensor(drawn, dtype=_dtype_like(input, dtype), device=input.device)


@kernel("RandomUniform", 1)
def random_uniform(
    *, dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None, shape: Ints
) -> Tensor:
    """Numbers spread evenly over `[low, high)`.

    Raises:
        UnsupportedOperator: without a seed.
    """
    drawn = _generator("RandomUniform", seed).uniform(low, high, bounded(shape))
    return torch.tensor(drawn, dtype=torch_dtype(dtype))


@kernel("RandomUniformLike", 1)
def random_uniform_like(
    input: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    """As RandomUniform, of the input's shape, and of its dtype unless another is named."""
    drawn = _generator("RandomUniformLike", seed).uniform(low, high, tuple(input.shape))
    return torch.tensor(drawn, dtype=_dtype_like(input, dtype), device=input.device)


def _dtype_like(input: Tensor, dtype: int | None) -> torch.dtype:
    return input.dtype if dtype is None else torch_dtype(dtype)


@kernel("Bernoulli", 15)
def bernoulli(input: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """1 with the probability that the input says, else 0.

    Raises:
        UnsupportedOperator: without a seed.
    """
    drawn = torch.tensor(_generator("Bernoulli", seed).random(tuple(input.shape)), device=input.device)
    return (drawn < input).to(_dtype_like(input, dtype))


@kernel("Multinomial", 7)
def multinomial(input: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Tensor:
    """Classes drawn by their logarithms of probabilities up to a constant: `[B, C]` gives `[B, sample_size]`.

    Raises:
        UnsupportedOperator: without a seed.
        InvalidGraph: the input is no matrix with a class.
    """
    if input.dim() != 2 or not input.shape[1]:
        raise InvalidGraph(f"Multinomial takes a matrix [batch, classes], not a tensor of shape {list(input.shape)}")
    shape = bounded((input.shape[0], sample_size, input.shape[1]))
    drawn = torch.tensor(_generator("Multinomial", seed).random((*shape[:2], 1)), device=input.device)
    up_to = torch.softmax(input.to(floating(input.dtype)), 1).cumsum(1)[:, None, :-1]
    return (drawn >= up_to).sum(2).to(torch_dtype(dtype))


@kernel("Dropout", 12)
def dropout(
    data: Tensor,
    ratio: Floats | None = None,
    training_mode: Static | None = None,
    *,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The data, of which training drops a share `ratio` and magnifies the rest by `1 / (1 - ratio)`; and what is kept.

    Raises:
        UnsupportedOperator: in training mode without a seed, unless the ratio is 0.
        InvalidGraph: in training mode with a ratio outside of `[0, 1)`.
    """
    share = 0.5 if ratio is None else ratio[0]
    if training_mode is None or not bool(training_mode) or share == 0:
        return data, torch.ones_like(data, dtype=torch.bool)
    if seed is None:
        raise UnsupportedOperator("Dropout in training mode is random; give it a seed, or set training_mode to false")
    if not 0 <= share < 1:
        raise InvalidGraph(f"Dropout: the ratio is {share}; in training mode it is at least 0 and below 1")
    drawn = _generator("Dropout", seed).random(tuple(data.shape))
    kept = torch.tensor(drawn >= share, device=data.device)
    return torch.where(kept, data / (1 - share), 0), kept


@kernel("Dropout", 10)
def dropout_10(data: Tensor, *, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """The data itself, and a mask of ones; until opset 12 there is no training mode."""
    return data, torch.ones_like(data, dtype=torch.bool)


@kernel("Dropout", 7)
def dropout_7(data: Tensor, *, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """The data itself, and a mask of ones of its dtype."""
    return data, torch.ones_like(data)
