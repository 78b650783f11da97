"""Commands work in a core installation, or name the extra that they need."""

from pathlib import Path

import pytest

from tests.checks import python


@pytest.mark.slow  # a process: this one has imported everything
def test_commands_run_without_the_extras_or_say_which_they_lack(tmp_path: Path) -> None:
    model = ["mnist-class", "--n", "1"]
    works = [
        ["--help"],
        ["sample", *model],
        ["complete", *model, "--label", "3", "--images", "samples.png"],
        ["evaluate", "mnist-class", "--images", "photos"],
        ["models"],
        ["recipes"],
    ]
    lacks = {
        "pixelrnn train needs the extra 'train': pip install 'pixelrnn[train]'": ["train"],
        "pixelrnn bench --out needs the extra 'train': pip install 'pixelrnn[train]'": ["bench", "--out", "bench.png"],
        "pixelrnn.explain needs the extra 'train': pip install 'pixelrnn[train]'": ["explain"],
        "pixelrnn demo needs the extra 'demo': pip install 'pixelrnn[demo]'": ["demo"],
        "pixelrnn compress needs the extra 'compress': pip install 'pixelrnn[compress]'": [
            *("compress", "mnist-diagonal-1x32", "samples.png", "--out", "samples.pxr")
        ],
        "pixelrnn decompress needs the extra 'compress': pip install 'pixelrnn[compress]'": [
            *("decompress", "samples.pxr", "--out", "samples")
        ],
        "--data.source digits needs the extra 'train': pip install 'pixelrnn[train]'": ["data"],
        "the download of fashion-mnist needs the extra 'train': pip install 'pixelrnn[train]'": [
            *("data", "--data", "fashion-mnist")
        ],
        "--data.source huggingface needs the extra 'hf': pip install 'pixelrnn[hf]'": [
            *("data", "--data", "huggingface", "--data.path", "owner/name")
        ],
    }
    code = f"""
import os
import pixelrnn, pixelrnn.nn
from pixelrnn.cli import main

os.environ.pop("PIXELRNN_DATA", None)
os.makedirs("photos/7")
for tokens in {works!r}:
    assert main(tokens) == 0, tokens
    if tokens[0] == "sample":
        os.link("samples.png", "photos/7/a.png")
for tokens in {[*lacks.values()]!r}:
    assert main(tokens) == 1, tokens
"""
    done = python(code, cwd=tmp_path)
    assert done.stderr.splitlines() == [f"pixelrnn: {message}" for message in lacks]
    assert done.returncode == 0


def test_help_and_the_import_need_no_pytorch() -> None:
    for work in ("import pixelrnn", "from pixelrnn.cli import main; main(['--help']); main(['train', '--help'])"):
        done = python(f"Missing.names |= {{'numpy', 'torch', 'jaxtyping'}}\n{work}")
        assert (done.returncode, done.stderr) == (0, "")
    assert "Serve a web page to play with" in " ".join(
        python("from pixelrnn.cli import main; main(['--help'])").stdout.split()
    )
