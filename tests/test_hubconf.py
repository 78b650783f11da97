"""`torch.hub.load` on a clone that is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow  # a process: this one has imported pixelrnn already
@pytest.mark.parametrize("is_installed", [False, True])
def test_models_load_by_torch_hub(is_installed: bool, tmp_path: Path) -> None:
    code = f"""
import importlib.abc, sys, torch

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pixelrnn" and {str(ROOT / "src")!r} not in sys.path:
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, NotInstalled())
model = torch.hub.load({str(ROOT)!r}, "pretrained", "mnist-diagonal-1x32", source="local")
print(*model.sample(2, seed=0).shape)
"""
    own = {"PYTHONPATH": str(ROOT / "src") if is_installed else "", "TORCH_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | own
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 1 28 28\n", "")
