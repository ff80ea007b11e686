"""ai.onnx.ml against NumPy, scikit-learn's formulas and ONNX's reference evaluator."""

import math
from statistics import NormalDist

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from service.catalogue import ML
from service.errors import InvalidGraph, Problem, UnsupportedOperator
from tests.operators.cases import apply

A = np.random.default_rng(0).normal(size=(3, 4))
WEIGHTS = (1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0)
SUPPORTS = {
    "support_vectors": tuple(float(v) for v in np.linspace(-1, 1, 8)),
    "coefficients": (0.75, -1.5),
    "n_supports": 2,
    "rho": (0.25,),
    "kernel_params": (0.25, 0.5, 3.0),
}
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def ml(op: str, *inputs: np.ndarray, outputs: int = 1, **attributes: object) -> list[np.ndarray]:
    return apply(op, *inputs, domain=ML, opset=1, outputs=outputs, **attributes)


def test_scaler_keeps_float64_and_gives_float32_for_integers() -> None:
    (result,) = ml("Scaler", A, offset=(0.5,), scale=(1.0, 2.0, 3.0, 4.0))
    np.testing.assert_allclose(result, (A - 0.5) * [1, 2, 3, 4], rtol=1e-15)
    assert ml("Scaler", np.ones((1, 2), np.int64), scale=(0.5,))[0].dtype == np.float32


@pytest.mark.parametrize(("norm", "order"), [("MAX", np.inf), ("L1", 1), ("L2", 2)], ids=["max", "l1", "l2"])
def test_normalizer_leaves_zeros_alone(norm: str, order: float) -> None:
    x = np.concatenate([A, np.zeros((1, 4))])
    expected = A / np.linalg.norm(A, order, axis=1, keepdims=True)
    np.testing.assert_allclose(ml("Normalizer", x, norm=norm)[0], np.concatenate([expected, np.zeros((1, 4))]))


def test_features_of_a_vector_are_a_row() -> None:
    assert ml("ArrayFeatureExtractor", A[0], np.array([2, 0]))[0].tolist() == [[A[0, 2], A[0, 0]]]
    np.testing.assert_array_equal(ml("ArrayFeatureExtractor", A, np.array([[3, 1]]))[0], A[:, [3, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64], ids=lambda d: d.__name__)
def test_binarizer_has_the_dtype_of_its_input(dtype: type) -> None:
    (result,) = ml("Binarizer", np.array([-1, 1, 2], dtype), threshold=1.0)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, [0, 0, 1])


def test_imputer_replaces_a_number_or_what_is_none() -> None:
    x = np.array([[np.nan, 1.0], [2.0, np.nan]])
    result = ml("Imputer", x, imputed_value_floats=(5.0, 7.0), replaced_value_float=math.nan)[0]
    np.testing.assert_array_equal(result, [[5, 1], [2, 7]])
    whole = ml("Imputer", np.array([[-1, 3]]), imputed_value_int64s=(9,), replaced_value_int64=-1)[0]
    np.testing.assert_array_equal(whole, [[9, 3]])
    with pytest.raises(InvalidGraph, match="imputed_value_floats"):
        ml("Imputer", x, imputed_value_int64s=(1,))


def test_feature_vectorizer_fills_and_cuts() -> None:
    (result,) = ml("FeatureVectorizer", A, np.arange(6).reshape(3, 2), inputdimensions=(3, 4))
    expected = np.concatenate([A[:, :3], np.arange(6).reshape(3, 2), np.zeros((3, 2))], 1)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(ml("FeatureVectorizer", A[0], inputdimensions=(4,))[0], A[:1])


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


TRANSFORMS = {
    "NONE": lambda z: z,
    "LOGISTIC": lambda z: 1 / (1 + np.exp(-z)),
    "SOFTMAX": softmax,
    "PROBIT": np.vectorize(NormalDist().inv_cdf),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_linear_models(transform: str) -> None:
    x = A / 100 if transform == "PROBIT" else A
    scores = x @ np.reshape(WEIGHTS, (2, 4)).T + [0.5, 0.25]
    expected = TRANSFORMS[transform](scores)
    given = {"coefficients": WEIGHTS, "intercepts": (0.5, 0.25), "post_transform": transform}
    np.testing.assert_allclose(ml("LinearRegressor", x, targets=2, **given)[0], expected, rtol=1e-12)
    labels, shown = ml("LinearClassifier", x, classlabels_ints=(7, -3), outputs=2, **given)
    np.testing.assert_allclose(shown, expected, rtol=1e-12)
    np.testing.assert_array_equal(labels, np.array([7, -3])[scores.argmax(1)])


@pytest.mark.parametrize("kind", KERNELS)
def test_support_vectors_are_those_of_the_reference(kind: str) -> None:
    node = onnx.helper.make_node("SVMRegressor", ["x"], ["y"], domain=ML, kernel_type=kind, **SUPPORTS)
    info = [onnx.helper.make_tensor_value_info(n, 1, [None, None]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(ML, 1)])
    (expected,) = ReferenceEvaluator(model).run(None, {"x": A})
    np.testing.assert_allclose(ml("SVMRegressor", A, kernel_type=kind, **SUPPORTS)[0], expected, rtol=1e-5)
    one_class = ml("SVMRegressor", A, kernel_type=kind, one_class=1, **SUPPORTS)[0]
    np.testing.assert_array_equal(one_class, np.where(expected > 0, 1, -1))


def test_support_vectors_without_any_are_a_linear_model() -> None:
    (result,) = ml("SVMRegressor", A, coefficients=WEIGHTS[:4], rho=(0.5,))
    np.testing.assert_allclose(result[:, 0], A @ WEIGHTS[:4] + 0.5, rtol=1e-13)


@pytest.mark.parametrize(
    ("op", "attributes", "problem", "text"),
    [
        pytest.param("Normalizer", {"norm": "L3"}, InvalidGraph, "norm must be", id="norm"),
        pytest.param(
            "LinearRegressor", {"coefficients": WEIGHTS, "targets": 3}, InvalidGraph, "multiple of 3", id="targets"
        ),
        pytest.param(
            "LinearRegressor",
            {"coefficients": WEIGHTS, "targets": 2, "post_transform": "SOFTMAX_ZERO"},
            UnsupportedOperator,
            'use "SOFTMAX"',
            id="softmax-zero",
        ),
        pytest.param(
            "LinearClassifier",
            {"coefficients": WEIGHTS, "classlabels_strings": ("a", "b")},
            UnsupportedOperator,
            "use classlabels_ints",
            id="labels-that-are-strings",
        ),
        pytest.param(
            "LinearClassifier",
            {"coefficients": WEIGHTS[:4], "classlabels_ints": (0, 1)},
            UnsupportedOperator,
            "one score for two labels",
            id="one-score",
        ),
        pytest.param("SVMRegressor", SUPPORTS | {"n_supports": 3}, InvalidGraph, "do not fit", id="supports"),
        pytest.param("SVMRegressor", SUPPORTS | {"kernel_type": "COSINE"}, InvalidGraph, "RBF", id="kernel"),
        pytest.param("FeatureVectorizer", {"inputdimensions": (1, 2)}, InvalidGraph, "a number for each", id="sizes"),
    ],
)
def test_refusals(op: str, attributes: dict[str, object], problem: type[Problem], text: str) -> None:
    with pytest.raises(problem, match=text):
        ml(op, A, **attributes)
