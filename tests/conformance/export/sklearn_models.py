"""Pipelines of scikit-learn by skl2onnx, float64; derivatives by central differences of `predict`."""

import warnings

import numpy as np
import sklearn
from folders import Example, Tolerance, write
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, RationalQuadratic
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVR

Array = NDArray[np.float64]

DIFFERENCES = Tolerance(1e-6, 1e-6)
ROUNDED = Tolerance(1e-5, 1e-5)
"""Of models whose numbers the exporter writes as float32."""
STEP = 1e-3


def example(name: str, title: str, estimator: BaseEstimator, size: int, tolerance: Tolerance = DIFFERENCES) -> Example:
    """An estimator, fitted to a smooth function, at two points."""
    random = np.random.default_rng(0)
    known = random.uniform(-1, 1, (60, size))
    estimator.fit(known, np.sin(2 * known).sum(1) + known[:, 0] * known[:, 1])
    points = random.uniform(-1, 1, (2, size))
    model = to_onnx(estimator, points[:1], target_opset={"": 17, "ai.onnx.ml": 1})
    (y,) = (output.name for output in model.graph.output)
    shape = [d.dim_value or d.dim_param for d in model.graph.output[0].type.tensor_type.shape.dim]

    def predict(x: Array) -> Array:
        value = estimator.predict(x.reshape(points.shape))
        return value.reshape(-1, 1) if len(shape) == 2 else value

    return Example(
        name=name,
        title=title,
        framework=f"scikit-learn {sklearn.__version__}",
        exporter="skl2onnx",
        model=model,
        inputs={"X": points},
        xs=("X",),
        outputs={y: predict(points)},
        jacobians={(y, "X"): differences(predict, points.ravel())},
        tolerance=tolerance,
    )


def differences(function: object, x: Array) -> Array:
    """Central differences of fourth order."""
    columns = []
    for unit in STEP * np.eye(x.size):
        far, near = (function(x + k * unit) - function(x - k * unit) for k in (2, 1))
        columns.append((8 * near - far).ravel() / (12 * STEP))
    return np.stack(columns, axis=1)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    network = MLPRegressor(hidden_layer_sizes=(12, 8), activation="tanh", solver="lbfgs", max_iter=50, random_state=0)
    kernel = ConstantKernel(2.0) * RationalQuadratic(1.2, 0.9)
    support_vectors = SVR(kernel="rbf", gamma=0.3, C=10.0, epsilon=0.02)
    for made in (
        example("skl_mlp", "A scaler and a neural network", make_pipeline(StandardScaler(), network), 4),
        example(
            "skl_polynomial",
            "A cubic ridge regression",
            make_pipeline(PolynomialFeatures(3, include_bias=False), Ridge()),
            3,
        ),
        example(
            "skl_gpr_rational",
            "A Gaussian process with a rational quadratic kernel",
            GaussianProcessRegressor(kernel, alpha=1e-4, optimizer=None),
            3,
        ),
        example(
            "skl_svr",
            "A scaler and support vectors with a radial kernel",
            make_pipeline(StandardScaler(), support_vectors),
            3,
            ROUNDED,
        ),
    ):
        write(made)
