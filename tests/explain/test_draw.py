import inspect
from collections.abc import Iterable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from pixelrnn import PixelRNN, figures
from pixelrnn.cli import main
from pixelrnn.cli.explain import explain
from pixelrnn.explain import FIGURES, FigureName, context, draw
from pixelrnn.models.pretrained import SHIPPED
from tests.checks import pairwise


@pytest.fixture
def model(tmp_path: Path) -> str:
    PixelRNN(levels=2, hidden=2, size=(6, 5)).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def texts(figure: Figure) -> list[Text]:
    shown = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible()]
    return [text for text in shown if text.get_text()]


def checked(figure: Figure, *, clipped: bool) -> None:
    """Asserts that all texts of a figure lie within it, do not overlap, and fit their boxes."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    if clipped:
        for name, box in boxes:
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, name
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, name
    for k, (name, box) in enumerate(boxes):
        for other, its in boxes[:k]:
            assert not (box.x0 < its.x1 and its.x0 < box.x1 and box.y0 < its.y1 and its.y0 < box.y1), (name, other)


def drawn(name: FigureName, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, frames: int) -> None:
    """Asserts that a figure is legible and a file of this number of frames."""
    save, save_animation = figures.save, figures.save_animation

    def still(path: Path, figure: Figure) -> None:
        checked(figure, clipped=False)  # the file is as large as the drawing
        save(path, figure)

    def animation(path: Path, figures: Iterable[Figure], *, seconds: float) -> None:
        shown = list(figures)
        for figure in (shown[0], shown[len(shown) // 2]):
            checked(figure, clipped=True)
        save_animation(path, shown, seconds=seconds)

    monkeypatch.setattr(figures, "save", still)
    monkeypatch.setattr(figures, "save_animation", animation)
    path = draw(name, folder, models=[model])
    assert path.stem == name
    with Image.open(path) as picture:
        assert 400 < picture.width < 1200
        assert picture.format == path.suffix[1:].upper()
        assert getattr(picture, "n_frames", 1) == frames


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_legible_and_a_file(
    name: FigureName, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {"rows": 5, "diagonals": 11, "skewing": 11, "generation": 6}
    drawn(name, model, tmp_path, monkeypatch, frames=frames.get(name, 1))


@pairwise(name=["influence", "generation"], size=[(6, 5), (4, 16)], of=[(1, 8), (3, 256)])
def test_figures_of_other_models_are_legible(
    name: FigureName, size: tuple[int, int], of: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels, levels = of
    PixelRNN(channels=channels, levels=levels, hidden=3, size=size).save_pretrained(tmp_path / "model")
    drawn(name, str(tmp_path / "model"), tmp_path, monkeypatch, frames=size[0] if name == "generation" else 1)


@pytest.mark.parametrize("name", ["row-step", "diagonal-step"])
def test_a_box_holds_its_text(name: FigureName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def still(path: Path, figure: Figure) -> None:
        figure.draw_without_rendering()
        (axes,) = figure.axes
        boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, Rectangle)]
        for text, box in zip(axes.texts[: len(boxes)], boxes, strict=True):
            extent = text.get_window_extent()
            assert box.x0 < extent.x0 < extent.x1 < box.x1, text.get_text()
            assert box.y0 < extent.y0 < extent.y1 < box.y1, text.get_text()

    monkeypatch.setattr(figures, "save", still)
    draw(name, tmp_path, models=["none"])


def test_what_ships_is_what_is_drawn_unless_told() -> None:
    (model,) = inspect.signature(explain).parameters["model"].default
    assert model in SHIPPED
    assert context.read(model)


def test_the_command(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "figures")]
    assert main(["explain", "shift", "generation", "--format", "svg", "--model", model, *out]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "figures" / name) for name in ("shift.svg", "generation.gif")
    ]
    first = (tmp_path / "figures" / "shift.svg").read_bytes()
    assert first.startswith(b"<?xml")
    assert main(["explain", "shift", "--format", "svg", *out]) == 1
    assert "shift.svg exists: choose another --out, or pass --overwrite" in capsys.readouterr().err
    assert main(["explain", "shift", "--format", "svg", *out, "--overwrite"]) == 0
    assert (tmp_path / "figures" / "shift.svg").read_bytes() == first

    assert main(["explain", "diagonal"]) == 2
    assert 'Did you mean "diagonals"?' in capsys.readouterr().err
    assert main(["explain", "--help"]) == 0
    assert "Example: pixelrnn explain" in " ".join(capsys.readouterr().out.split())
