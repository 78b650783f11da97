"""Compiles the C++ when a wheel is built or the package is installed, also by `pip install -e`.

Without a C++ compiler the installation goes on, and the package warns at first use.
"""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileKernels(BuildHookInterface):
    """The build hook that compiles the C++ and adds the libraries to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        path = Path(self.root) / "src" / "pixelrnn" / "ops" / "build.py"
        spec = importlib.util.spec_from_file_location("pixelrnn_build", path)
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            build.build()
        except (build.BuildError, OSError) as error:
            self.app.display_warning(f"pixelrnn is installed without its compiled library: {error}")
            return
        build_data["artifacts"].append("src/pixelrnn/ops/lib/*.so")  # hatch would skip them: git ignores them
        build_data["pure_python"] = False
        # The libraries do not depend on a version of Python.
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
