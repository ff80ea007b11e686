"""Models of PyTorch. `python torch_models.py [FAMILY ...]` writes their folders."""

import sys
from collections.abc import Iterator
from itertools import pairwise

import torch
from folders import Example, write
from torch import Tensor, nn
from torch.nn import functional as F
from torch_export import default, example, latest, symbolic, torchscript


class LastStep(nn.Module):
    """A recurrent network and a head on its last step and final state."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.head = network, nn.Linear(size, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps, state = self.network(x)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.head(steps[:, -1]), hidden[-1]


class UNet(nn.Module):
    """Two levels down, two up: one by ConvTranspose, one by bilinear upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = self.block(1, 4), self.block(4, 8), self.block(8, 8)
        self.up, self.third, self.fourth = nn.ConvTranspose2d(8, 8, 2, stride=2), self.block(16, 6), self.block(10, 4)
        self.last = nn.Conv2d(4, 1, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(2, outputs), nn.SiLU())

    def forward(self, image: Tensor) -> Tensor:
        a = self.first(image)
        b = self.second(F.max_pool2d(a, 2))
        c = self.bottom(F.avg_pool2d(b, 2))
        d = self.third(torch.cat([self.up(c), b], 1))
        wide = F.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        return self.last(self.fourth(torch.cat([wide, a], 1)))


class PreActivation(nn.Module):
    """A residual block that normalizes first, so that no exporter folds the BatchNorm into a convolution."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, s, 1, bias=False) for s in (stride, 1))
        self.shortcut = nn.Conv2d(channels, channels, 1, stride, bias=False)
        for norm in self.norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(F.elu(norm(h)))
        return h + self.shortcut(x)


class Flow(nn.Module):
    """Affine couplings with alternating masks: the latent point and the log-density."""

    def __init__(self, size: int = 4, layers: int = 3) -> None:
        super().__init__()
        half = size // 2
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(half, 8), nn.Tanh(), nn.Linear(8, size)) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, -1)
        log_determinant = torch.zeros_like(x[..., 0])
        for network in self.networks:
            scale, shift = network(a).chunk(2, -1)
            scale = torch.tanh(scale)
            a, b = b * torch.exp(scale) + shift, a
            log_determinant = log_determinant + scale.sum(-1)
        z = torch.cat([a, b], -1)
        return z, log_determinant - z.square().sum(-1)


class NeuralODE(nn.Module):
    """A learned vector field, integrated by eight unrolled steps of Runge-Kutta 4."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 3))

    def forward(self, state: Tensor, duration: Tensor) -> tuple[Tensor, Tensor]:
        step = duration / 8
        for _ in range(8):
            k1 = self.field(state)
            k2 = self.field(state + step / 2 * k1)
            k3 = self.field(state + step / 2 * k2)
            k4 = self.field(state + step * k3)
            state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state, state.square().sum()


class GraphNetwork(nn.Module):
    """Messages along edges, gathered at their sources and added at their targets, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(7, 6), nn.Linear(9, 3)

    def forward(self, nodes: Tensor, edges: Tensor, index: Tensor) -> Tensor:
        source, target = index[0], index[1]
        for _ in range(2):
            message = F.softplus(self.message(torch.cat([nodes[source], nodes[target], edges], -1)))
            sums = torch.zeros(nodes.shape[0], 6, dtype=nodes.dtype).index_add(0, target, message)
            nodes = torch.tanh(self.update(torch.cat([nodes, sums], -1)))
        return nodes


class Energy(nn.Module):
    """Morse bonds between all pairs of atoms, screened charges, in a harmonic trap."""

    def __init__(self, atoms: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(atoms, atoms, 1)
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        self.register_buffer("depth", torch.tensor(0.7, dtype=torch.float64))

    def forward(self, positions: Tensor, charges: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(positions[self.first] - positions[self.second], dim=-1)
        bonds = self.depth * (torch.exp(1 - r) - 1).square()
        screened = charges[self.first] * charges[self.second] * torch.exp(-r) / r
        return (bonds + screened).sum() + (0.5 * positions.square()).sum()


class Reactor(nn.Module):
    """The residual of a tubular reactor: reaction, diffusion and convection on a grid, and the heat that it gives."""

    def forward(self, concentration: Tensor, temperature: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        diffusion, velocity, rate, activation, heat = parameters.unbind()
        reaction = rate * concentration * torch.exp(-activation / temperature)

        def transport(u: Tensor) -> Tensor:
            before = torch.cat([u[:1], u[:-1]])
            after = torch.cat([u[1:], u[-1:]])
            return diffusion * (after - 2 * u + before) - velocity * (u - before)

        return transport(concentration) - reaction, transport(temperature) + heat * reaction


class SpatialTransformer(nn.Module):
    """An affine warp of an image by parameters, sampled bilinearly."""

    def forward(self, image: Tensor, theta: Tensor) -> Tensor:
        grid = F.affine_grid(theta, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


class VisionTransformer(nn.Module):
    """Patches, one block of fused attention with RMSNorm and SwiGLU, the mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, 4)
        self.norms = nn.ModuleList(nn.RMSNorm(8) for _ in range(2))
        self.projection, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.gate, self.down, self.head = nn.Linear(8, 32), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(self.norms[0](tokens)).chunk(3, -1)
        )
        tokens = tokens + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        a, b = self.gate(self.norms[1](tokens)).chunk(2, -1)
        return self.head((tokens + self.down(F.silu(a) * b)).mean(1))


class Controlled(nn.Module):
    """A branch on a count and a loop of as many damped fixed-point steps, to be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        state = torch.sin(x) if bool(count > 2) else x.square()
        for _ in range(int(count)):
            state = torch.tanh(self.layer(state)) + x
        return state


class Contrastive(nn.Module):
    """Each sample's similarity to the others: a softmax over the batch mixes samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = F.normalize(torch.tanh(self.layer(x)), dim=-1)
        return F.log_softmax(z @ z.T, dim=-1) @ z


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(4, 8, 2, dilation=2**i) for i in range(3))
        self.first, self.last = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 1, 1)

    def forward(self, signal: Tensor) -> Tensor:
        h = self.first(signal)
        for layer in self.layers:
            filtered, gate = layer(F.pad(h, (layer.dilation[0], 0))).chunk(2, 1)
            h = h + torch.tanh(filtered) * torch.sigmoid(gate)
        return self.last(F.leaky_relu(h))


def mlp(*sizes: int) -> nn.Module:
    """Linear layers with SiLU between them."""
    layers = [layer for m, n in pairwise(sizes) for layer in (nn.Linear(m, n), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


DOUBLE = {"dtype": torch.float64}


def recurrent() -> Iterator[Example]:
    """Sequences."""
    sequence = {"x": torch.randn(1, 6, 3)}
    for exporter, export in (("default", default), ("torchscript", torchscript)):
        lstm = LastStep(nn.LSTM(3, 4, batch_first=True, bidirectional=True), 8)
        yield example(f"lstm_{exporter}", "A bidirectional LSTM", lstm, sequence, ["y", "h"], export)
        gru = LastStep(nn.GRU(3, 4, num_layers=2, batch_first=True), 4)
        yield example(f"gru_{exporter}", "A GRU of two layers", gru, sequence, ["y", "h"], export)
    signal = {"signal": torch.randn(1, 1, 16)}
    yield example("wavenet", "Gated dilated convolutions", WaveNet(), signal, ["next"], torchscript)


def images() -> Iterator[Example]:
    """Images."""
    image = {"image": torch.randn(1, 1, 8, 8)}
    yield example("unet", "A small U-Net", UNet(), image, ["mask"], default)
    stem, pool = nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
    resnet = nn.Sequential(stem, PreActivation(4, 1), PreActivation(4, 2), pool, nn.Flatten())
    yield example("resnet", "A ResNet whose BatchNorm stays", resnet, image, ["features"], default)
    yield example("vision_transformer", "A vision transformer", VisionTransformer(), image, ["logits"], latest)
    warp = {
        "image": torch.randn(1, 2, 6, 5),
        "theta": torch.tensor([[[0.83, 0.21, 0.117], [-0.31, 0.72, 0.053]]]),
    }
    title = "An affine warp by grid_sample"
    yield example("spatial_transformer", title, SpatialTransformer(), warp, ["warped"], default)


def graphs() -> Iterator[Example]:
    """Graphs as data."""
    graph = {
        "nodes": torch.randn(5, 3),
        "edges": torch.randn(8, 1),
        "index": torch.tensor([[0, 1, 2, 3, 4, 0, 2, 2], [1, 2, 3, 4, 0, 2, 0, 2]]),
    }
    yield example("graph_network", "A graph network with index_add", GraphNetwork(), graph, ["updated"], default)


def dynamics() -> Iterator[Example]:
    """Physics, in float64."""
    start = {"state": torch.randn(3, **DOUBLE), "duration": torch.tensor(1.5, **DOUBLE)}
    title = "A neural ODE with unrolled steps, float64"
    ode = NeuralODE().double()
    yield example("neural_ode", title, ode, start, ["final", "cost"], default, hessians=["cost"])
    atoms = {"positions": 1.5 * torch.randn(5, 3, **DOUBLE), "charges": torch.randn(5, **DOUBLE)}
    title = "The energy of five charged atoms, float64"
    yield example("molecule", title, Energy(5), atoms, ["energy"], default, hessians=["energy"])
    fields = {
        "concentration": torch.rand(12, **DOUBLE),
        "temperature": 1 + torch.rand(12, **DOUBLE),
        "parameters": torch.tensor([0.3, 0.8, 2.0, 1.7, 0.9], **DOUBLE),
    }
    title = "The residual of a tubular reactor, float64"
    yield example("reactor", title, Reactor(), fields, ["mass", "heat"], default)
    counted = {"x": torch.randn(4, **DOUBLE), "count": torch.tensor(3)}
    title = "A scripted branch and loop on an integer input, float64"
    scripted = torch.jit.script(Controlled().double())
    yield example("controlled", title, scripted, counted, ["state"], torchscript)


def batches() -> Iterator[Example]:
    """A symbolic first axis that counts samples."""
    single, double = {"x": torch.randn(5, 3)}, {"x": torch.randn(4, 4, **DOUBLE)}
    title = "An MLP with a symbolic batch, one Jacobian a sample"
    yield example("symbolic_batch", title, mlp(3, 8, 2), single, ["y"], symbolic, batched=True)
    title = "Samples mixed by a softmax over the batch, float64"
    yield example("contrastive", title, Contrastive().double(), double, ["y"], symbolic, batched=True)
    title, outputs = "A normalizing flow of affine couplings, float64", ["z", "log_density"]
    flow = Flow().double()
    yield example("flow", title, flow, double, outputs, symbolic, batched=True, hessians=outputs[1:])


FAMILIES = {family.__name__: family for family in (recurrent, images, graphs, dynamics, batches)}

if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        torch.manual_seed(0)
        for made in FAMILIES[name]():
            write(made)
