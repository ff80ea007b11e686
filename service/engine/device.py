"""The device a worker computes on, and the settings of its process."""

import ctypes
import resource

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


def prepare(kind: str, index: int, memory_bytes: int) -> torch.device:
    """Set the process up for a device, once, before anything is computed.

    One intra-op thread: contended threads cost more than they give. On a CPU freed memory is kept (mapping and
    unmapping it again costs up to five times the arithmetic of memory-bound rows) and data memory is bounded, so that
    an allocation fails, as `out-of-memory`, before the machine does.

    Args:
        kind: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        index: the worker's number, which tells it its GPU.
        memory_bytes: the most data memory of the process, 0 for no bound; on a CPU only.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    count = 0 if kind == "cpu" else torch.cuda.device_count()
    device = torch.device("cuda", index % count) if count else torch.device("cpu")
    if kind == "cuda" and not count:
        raise SystemExit("no GPU is visible to torch; choose the device cpu, or install torch with CUDA")
    if device.type == "cpu":
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    else:
        torch.set_default_device(device)
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that an allocation failed, on whichever device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "bad_alloc" in str(error))
    )
