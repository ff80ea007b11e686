"""Losses of classification: the negative log-likelihood, by itself and after a softmax."""

import torch
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import kernel


@kernel("NegativeLogLikelihoodLoss", 12)
def negative_log_likelihood_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`-weight[target] * input[target]`, by sample and position.

    Args:
        input: `[N, C, ...]`, log-probabilities.
        target: `[N, ...]`, integers in `[0, C)` or `ignore_index`.
        weight: `[C]`, ones by default.
        ignore_index: the target that costs nothing.
        reduction: none, sum, or mean: the sum over that of the weights.

    Returns:
        `[N, ...]`, or a scalar; dtype of the input.

    Raises:
        ShapeMismatch: the target does not fit the input.
        InvalidGraph: the reduction is unknown.
    """
    if input.ndim < 2 or target.shape != (input.shape[0], *input.shape[2:]):
        raise errors.ShapeMismatch(
            f"NegativeLogLikelihoodLoss: the input is {list(input.shape)} and the target {list(target.shape)}; "
            "[N, C, ...] and [N, ...] are due"
        )
    kept = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    index = torch.where(kept, target, 0).long()
    wide = widened(input)
    shares = kept.to(wide.dtype)
    if weight is not None:
        shares = shares * weight.to(wide.dtype).index_select(0, index.reshape(-1)).reshape(index.shape)
    costs = -shares * wide.gather(1, index[:, None])[:, 0]
    match reduction:
        case "none":
            return costs.to(input.dtype)
        case "sum":
            return costs.sum().to(input.dtype)
        case "mean":
            return (costs.sum() / shares.sum()).to(input.dtype)
    raise errors.InvalidGraph(f"reduction is none, sum or mean, not {reduction!r}")


@kernel("SoftmaxCrossEntropyLoss", 12)
def softmax_cross_entropy_loss(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """The negative log-likelihood of the scores' softmax over axis 1.

    Returns:
        The loss, as NegativeLogLikelihoodLoss has it, and the log-probabilities, of the scores' shape.
    """
    log_probabilities = torch.log_softmax(widened(scores), 1)
    loss = negative_log_likelihood_loss(
        log_probabilities, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return loss.to(scores.dtype), log_probabilities.to(scores.dtype)
