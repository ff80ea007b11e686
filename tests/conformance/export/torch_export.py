"""From a PyTorch module to an `Example`: both exporters, and torch.autograd in float64."""

import copy
import io
from collections.abc import Callable, Sequence

import onnx
import torch
from folders import DOUBLE, SINGLE, Example
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

Export = Callable[[nn.Module, dict[str, Tensor], Sequence[str]], onnx.ModelProto]


def torchscript(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """The older exporter, from a TorchScript trace."""
    file = io.BytesIO()
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        file,
        dynamo=False,
        opset_version=17,
        input_names=list(inputs),
        output_names=list(outputs),
    )
    return onnx.load_from_string(file.getvalue())


def default(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """The default exporter, from torch.export."""
    return _default(module, inputs, outputs, 20, None)


def latest(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """The default exporter at opset 23, which has Attention and RMSNormalization whole."""
    return _default(module, inputs, outputs, 23, None)


def symbolic(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """The default exporter, the first axis of every input a symbolic dimension."""
    return _default(module, inputs, outputs, 20, tuple({0: "batch"} for _ in inputs))


def _default(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    opset: int,
    dynamic_shapes: tuple[dict[int, str], ...] | None,
) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        dynamo=True,
        opset_version=opset,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=dynamic_shapes,
        verbose=False,
    )
    return program.model_proto


def example(
    name: str,
    title: str,
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    export: Export,
    *,
    batched: bool = False,
    hessians: Sequence[str] = (),
) -> Example:
    """A module at a point; every floating-point input is an x.

    Args:
        name: the folder's name.
        title: what the model is.
        module: takes the inputs in order and gives a tensor or a tuple of tensors.
        inputs: by name, in the dtypes that are exported.
        outputs: the names of the outputs.
        export: makes the model.
        batched: whether the first axis counts samples.
        hessians: the outputs, of one element (in each sample), whose Hessians are stored.
    """
    module.eval()
    xs = tuple(x for x, value in inputs.items() if value.is_floating_point())
    point = tuple(inputs[x].double() for x in xs)
    reference = copy.deepcopy(module).double()

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        result = reference(*(inputs | dict(zip(xs, values, strict=True))).values())
        return result if isinstance(result, tuple) else (result,)

    def second(y: str) -> list[tuple[tuple[Tensor, ...], ...]]:
        """The Hessian of each element of y."""
        position = outputs.index(y)
        size = function(*point)[position].numel()
        return [hessian(lambda *v, e=e: function(*v)[position].reshape(-1)[e], point) for e in range(size)]

    values = [value.detach().numpy() for value in function(*point)]
    first = jacobian(function, point)
    sizes = [p.numel() for p in point]
    return Example(
        name=name,
        title=title,
        framework=f"torch {torch.__version__.partition('+')[0]}",
        exporter=f"torch.onnx.export, {'TorchScript' if export is torchscript else 'torch.export'}",
        model=export(module, inputs, outputs),
        inputs={x: value.numpy() for x, value in inputs.items()},
        xs=xs,
        outputs=dict(zip(outputs, values, strict=True)),
        jacobians={
            (y, x): first[i][j].reshape(values[i].size, sizes[j]).numpy()
            for i, y in enumerate(outputs)
            for j, x in enumerate(xs)
        },
        hessians={
            (y, x1, x2): torch.stack([h[i][j].reshape(sizes[i], sizes[j]) for h in whole]).numpy()
            for y, whole in ((y, second(y)) for y in hessians)
            for i, x1 in enumerate(xs)
            for j, x2 in enumerate(xs)
        },
        batch_axis=0 if batched else None,
        tolerance=DOUBLE if all(inputs[x].dtype == torch.float64 for x in xs) else SINGLE,
    )
