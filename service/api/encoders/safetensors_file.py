"""`application/x-safetensors`: several slices and outputs in one file."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.api.responses import Buffer
from service.sessions.session import SliceResult
from service.tensors import files


def encode(slices: Sequence[SliceResult], outputs: Mapping[str, np.ndarray], revision: int | None) -> list[Buffer]:
    """The slices as `slices.0` and so on, the outputs as `outputs.<name>`; the metadata has the revision, if any."""
    arrays = {f"slices.{i}": result.array for i, result in enumerate(slices)}
    arrays |= {f"outputs.{name}": array for name, array in outputs.items()}
    return files.safetensors(arrays, {} if revision is None else {"revision": str(revision)})
