"""The serving process is light: what computes lives in the workers."""

import subprocess
import sys


def test_the_serving_process_loads_neither_torch_nor_onnx() -> None:
    script = "import sys, service.app, service.cli; print(*({'torch', 'onnx', 'service.engine'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
