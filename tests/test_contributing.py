"""The map of the source in docs/CONTRIBUTING.md names all modules."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pixelrnn"


def modules(folder: Path) -> set[str]:
    """The modules of a folder, without those that Python itself names."""
    return {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}


def the_map() -> tuple[set[str], dict[str, set[str]]]:
    """The modules at the top, and the modules of each folder."""
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (house,) = re.findall(r"^    src/pixelrnn/\n(.*?)^    tests/", text, re.DOTALL | re.MULTILINE)
    top, folders, folder = set[str](), dict[str, set[str]](), ""
    for line in house.splitlines():
        name = line.split()[0]
        if line.startswith(" " * 8):  # the modules of the folder above
            folders[folder] |= set(line.split())
        elif name.endswith("/"):
            folder = name.removesuffix("/")
            folders[folder] = set()
        else:
            top.add(name.removesuffix(".py"))
    return top, folders


def test_the_map_is_that_of_the_source() -> None:
    top, folders = the_map()
    assert top == modules(SOURCE)
    with_files = {path.parent for path in SOURCE.glob("*/*") if path.is_file() and path.parent.name != "__pycache__"}
    assert folders == {folder.name: modules(folder) for folder in with_files} | {"pretrained": set()}
