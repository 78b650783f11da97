import subprocess
import sys

from sklearn.datasets import load_digits

from pixelrnn.data import digits


def test_the_embedded_digits() -> None:
    raw, expected = digits.load(), load_digits()
    images = raw.splits["train"]
    assert (raw.levels, raw.classes) == (17, [*"0123456789"])
    assert images.labels is not None
    assert images.pixels[:, 0].tolist() == expected.images.tolist()
    assert images.labels.tolist() == expected.target.tolist()


def test_loading_imports_no_slow_package() -> None:
    code = (
        "import sys; from pixelrnn.data import digits; digits.load(); "
        "print({'sklearn', 'pandas', 'pyarrow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
