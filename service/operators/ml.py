"""ai.onnx.ml: scalers, linear models, support vectors. Floating-point data keeps its dtype, integers give float32."""

import torch
from torch import Tensor

from service.catalogue import ML
from service.errors import InvalidGraph, UnsupportedOperator
from service.operators.registry import kernel


def _features(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float32)


def _transformed(scores: Tensor, post_transform: str, op: str) -> Tensor:
    """Scores `[N, E]` as a model's last step has them."""
    match post_transform:
        case "NONE":
            return scores
        case "LOGISTIC":
            return torch.sigmoid(scores)
        case "SOFTMAX":
            return torch.softmax(scores, 1)
        case "PROBIT":
            quantiles: Tensor = torch.special.ndtri(scores)
            return quantiles
        case "SOFTMAX_ZERO":
            raise UnsupportedOperator(f'{op}: post_transform "SOFTMAX_ZERO" is not supported; use "SOFTMAX"')
    raise InvalidGraph(f'{op}: post_transform is "NONE", "LOGISTIC", "SOFTMAX" or "PROBIT", not "{post_transform}"')


# --- data -------------------------------------------------------------------------------------------------------------


@kernel("Scaler", domain=ML)
def scaler(X: Tensor, *, offset: tuple[float, ...] | None = None, scale: tuple[float, ...] | None = None) -> Tensor:
    """`(X - offset) scale`, each one number or one for each feature."""
    x = _features(X)
    moved = x if offset is None else x - x.new_tensor(offset)
    return moved if scale is None else moved * x.new_tensor(scale)


@kernel("Normalizer", domain=ML)
def normalizer(X: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each row `[..., C]` over its norm; a row of zeros stays as it is."""
    x = _features(X)
    match norm:
        case "MAX":
            size = x.abs().amax(-1, keepdim=True)
        case "L1":
            size = x.abs().sum(-1, keepdim=True)
        case "L2":
            size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        case _:
            raise InvalidGraph(f'Normalizer: norm must be "MAX", "L1" or "L2", not "{norm}"')
    return x / torch.where(size == 0, torch.ones_like(size), size)


@kernel("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(X: Tensor, Y: Tensor) -> Tensor:
    """The features with the indices Y along the last axis; a vector gives one row."""
    picked = X.index_select(-1, Y.reshape(-1))
    return picked.unsqueeze(0) if X.dim() == 1 else picked


@kernel("Binarizer", domain=ML)
def binarizer(X: Tensor, *, threshold: float = 0.0) -> Tensor:
    """1 where an element is above the threshold, else 0."""
    return (threshold < X).to(X.dtype)


@kernel("Imputer", domain=ML)
def imputer(
    X: Tensor,
    *,
    imputed_value_floats: tuple[float, ...] | None = None,
    imputed_value_int64s: tuple[int, ...] | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """The data with one value (which may be NaN) replaced: by one number, or by one for each feature."""
    whole = not X.is_floating_point()
    imputed = imputed_value_int64s if whole else imputed_value_floats
    if not imputed:
        raise InvalidGraph(f"Imputer: data in {X.dtype} needs imputed_value_{'int64s' if whole else 'floats'}")
    replaced = replaced_value_int64 if whole else replaced_value_float
    missing = X.isnan() if replaced != replaced else torch.eq(X, replaced)
    return torch.where(missing, X.new_tensor(imputed), X)


@kernel("FeatureVectorizer", domain=ML)
def feature_vectorizer(*X: Tensor, inputdimensions: tuple[int, ...] | None = None) -> Tensor:
    """Features side by side, each `[N, C]` (`[C]` is one row), cut or filled with zeros to its number of dimensions."""
    parts = [_features(x)[None] if x.dim() == 1 else _features(x) for x in X]
    if inputdimensions is None or len(inputdimensions) != len(parts) or any(p.dim() != 2 for p in parts):
        raise InvalidGraph("FeatureVectorizer takes matrices or vectors, and inputdimensions has a number for each")
    sized = zip(parts, inputdimensions, strict=True)
    return torch.cat([torch.nn.functional.pad(p, (0, size - p.shape[1])) for p, size in sized], 1)


# --- models -----------------------------------------------------------------------------------------------------------


@kernel("LinearRegressor", domain=ML)
def linear_regressor(
    X: Tensor,
    *,
    coefficients: tuple[float, ...] | None = None,
    intercepts: tuple[float, ...] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    """`X W' + b`: `[N, C]` gives `[N, targets]`; the coefficients of a target stand together."""
    scores = _linear(X, coefficients, intercepts, targets, "LinearRegressor")
    return _transformed(scores, post_transform, "LinearRegressor")


@kernel("LinearClassifier", domain=ML)
def linear_classifier(
    X: Tensor,
    *,
    classlabels_ints: tuple[int, ...] | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
    coefficients: tuple[float, ...],
    intercepts: tuple[float, ...] | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """The label with the largest score, int64 `[N]`, and the scores `[N, E]`: `X W' + b`, then the transform.

    Raises:
        UnsupportedOperator: labels that are strings, or two labels with one score.
    """
    if classlabels_strings or not classlabels_ints:
        raise UnsupportedOperator("LinearClassifier: labels that are strings are not supported; use classlabels_ints")
    if len(classlabels_ints) == 2 and len(coefficients) == X.shape[-1]:
        raise UnsupportedOperator("LinearClassifier: one score for two labels is not supported; give both classes' own")
    linear = _linear(X, coefficients, intercepts, len(classlabels_ints), "LinearClassifier")
    scores = _transformed(linear, post_transform, "LinearClassifier")
    labels = torch.tensor(classlabels_ints, device=X.device)
    return labels[scores.detach().argmax(1)], scores


def _linear(
    X: Tensor, coefficients: tuple[float, ...] | None, intercepts: tuple[float, ...] | None, rows: int, op: str
) -> Tensor:
    if not coefficients or len(coefficients) % rows:
        raise InvalidGraph(f"{op}: the coefficients must be a positive multiple of {rows} targets")
    x = _features(X)
    scores = x @ x.new_tensor(coefficients).reshape(rows, -1).mT
    return scores if intercepts is None else scores + x.new_tensor(intercepts)


@kernel("SVMRegressor", domain=ML)
def svm_regressor(
    X: Tensor,
    *,
    coefficients: tuple[float, ...] | None = None,
    kernel_params: tuple[float, ...] | None = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: tuple[float, ...] | None = None,
    support_vectors: tuple[float, ...] | None = None,
) -> Tensor:
    """`sum over supports s of a_s k(X, s) + rho`: `[N, C]` gives `[N, 1]`; its sign for one class.

    The kernels are LIBSVM's, with the parameters gamma, coef0 and degree. Without supports it is `X w + rho`.

    Raises:
        InvalidGraph: the vectors do not fit the features, or the kernel is unknown.
    """
    x = _features(X)
    weights = x.new_tensor(coefficients or ())
    vectors = x.new_tensor(support_vectors or ())
    count = n_supports or 1
    width = vectors.numel() if n_supports else weights.numel()
    if x.dim() != 2 or width != count * x.shape[1] or (n_supports and weights.numel() != count):
        raise InvalidGraph(
            f"SVMRegressor: {weights.numel()} coefficients and {vectors.numel()} numbers of {n_supports} "
            f"support vectors do not fit data of shape {list(X.shape)}"
        )
    if n_supports:
        gamma, coef0, degree = kernel_params or (0.0, 0.0, 0.0)
        sums = _kernel(x, vectors.reshape(n_supports, -1), kernel_type, gamma, coef0, int(degree)) @ weights[:, None]
    else:
        sums = x @ weights[:, None]
    scores = sums + x.new_tensor(rho) if rho else sums
    if one_class:
        return torch.where(scores > 0, torch.ones_like(scores), -torch.ones_like(scores))
    return _transformed(scores, post_transform, "SVMRegressor")


def _kernel(x: Tensor, vectors: Tensor, kind: str, gamma: float, coef0: float, degree: int) -> Tensor:
    """LIBSVM's kernels between the rows of `x [N, C]` and of `vectors [S, C]`: `[N, S]`."""
    match kind:
        case "LINEAR":
            return x @ vectors.mT
        case "POLY":
            return (gamma * (x @ vectors.mT) + coef0) ** degree
        case "SIGMOID":
            return torch.tanh(gamma * (x @ vectors.mT) + coef0)
        case "RBF":
            apart = x[:, None] - vectors
            return torch.exp(-gamma * (apart * apart).sum(2))
    raise InvalidGraph(f'SVMRegressor: kernel_type is "LINEAR", "POLY", "RBF" or "SIGMOID", not "{kind}"')
