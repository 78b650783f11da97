import shutil
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from pixelrnn import PixelRNN
from pixelrnn.demo.buttons import contexts
from pixelrnn.explain.context import SIZE

gradio = pytest.importorskip("gradio", reason="the extra demo is not installed")


def test_classes_are_shown_where_there_are_some() -> None:
    from pixelrnn.demo.page import page

    for classes in (["a", "b"], None):
        blocks = page(PixelRNN(levels=4, hidden=2, size=(6, 4), classes=classes), "a model")
        [radio] = [block for block in blocks.blocks.values() if isinstance(block, gradio.Radio)]
        assert radio.visible is (classes is not None)
        assert radio.value == (0 if classes else None)
        assert not blocks.analytics_enabled


@pytest.mark.parametrize(
    ("orders", "expected"),
    [(1, "erasing the lower part works best"), (2, "The upper and the lower part"), (8, "Any side works")],
)
def test_the_page_says_which_side_to_erase(orders: int, expected: str) -> None:
    from pixelrnn.demo.page import page

    blocks = page(PixelRNN(levels=4, hidden=2, size=(6, 4), orders=orders), "a model")
    texts = [block.value for block in blocks.blocks.values() if isinstance(block, gradio.Markdown)]
    assert any(text.startswith("**Complete**") and expected in text for text in texts)


GREYS = """canvas => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [...all].filter((_, k) => k % 4 === 0);
}"""
EMPTY = 220
HALF = 14 * 28


@pytest.mark.slow  # needs a server and a browser to see what the page does and which hosts it asks
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_in_a_browser(address: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    hosts: set[str | None] = set()
    said: list[str] = []
    with api.sync_playwright() as playwright:
        # No sandbox: it does not start for root, the user of containers. The page is our own.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("websocket", lambda websocket: hosts.add(urlsplit(websocket.url).hostname))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        picture, samples = page.locator("#picture canvas"), page.locator("#samples canvas")
        api.expect(samples).to_have_count(15)

        def shown() -> list[int]:
            """The greys of the picture, 28×28."""
            greys: list[int] = picture.evaluate(GREYS)
            return greys

        def until(done: Callable[[], bool]) -> set[int]:
            """Waits for an event, at most about ten seconds. Returns the numbers of erased pixels seen meanwhile."""
            seen = set()
            for _ in range(500):
                seen.add(shown().count(EMPTY))
                if done():
                    return seen
                page.wait_for_timeout(20)
            raise AssertionError(f"the event did not happen, the numbers of erased pixels were {seen}")

        def erased(wanted: int) -> set[int]:
            return until(lambda: shown().count(EMPTY) == wanted)

        def press(name: str) -> None:
            page.get_by_role("button", name=name, exact=True).click()

        def completed() -> list[int]:
            """Presses Complete, and waits until the pixels have appeared row by row."""
            press("Complete")
            until(lambda: EMPTY in shown())  # the page may show an earlier completion
            assert len(erased(0)) > 3
            page.wait_for_timeout(200)  # the server sends the last image twice
            return shown()

        def stroke(*, right: float, down: float) -> None:
            """Moves a tool to the right and down from a place in the upper left, by fractions of the picture."""
            box = picture.bounding_box()
            x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.25
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + box["width"] * right, y + box["height"] * down)
            page.mouse.up()

        given = shown()[:HALF]
        assert erased(HALF) == {HALF}
        whole = completed()
        assert whole[:HALF] == given
        assert set(whole) <= {0, 255}

        stroke(right=0.2, down=0.6)
        drawn = shown()
        assert drawn != whole
        assert all(new in (old, 255) for new, old in zip(drawn, whole, strict=True))
        whole = completed()  # draws the same half again, without the stroke
        assert whole[:HALF] == drawn[:HALF]
        cut = 18 * 28 + 12  # a pixel below the middle of the stroke
        assert drawn[cut] == whole[cut] == 255

        page.get_by_label("Eraser").check()
        stroke(right=0.2, down=0.6)
        hole = shown()
        assert 100 < hole.count(EMPTY) < 200
        assert completed() == [new if old == EMPTY else old for old, new in zip(hole, shown(), strict=True)]

        press("Clear")
        erased(HALF)
        assert set(shown()[:HALF]) == {0}
        press("left")
        erased(HALF + HALF // 2)

        before = samples.nth(3).evaluate(GREYS)
        page.get_by_label("7", exact=True).click()
        until(lambda: samples.nth(3).evaluate(GREYS) != before)
        sample = samples.nth(3).evaluate(GREYS)
        samples.nth(3).click()
        expected = [grey if p < HALF and p % 28 >= 14 else EMPTY for p, grey in enumerate(sample)]
        until(lambda: shown() == expected)
        assert page.locator("#picture path").get_attribute("d").count("M") == 28  # edges between kept and erased pixels

        at = (10, 11)
        pixel = at[0] * SIZE[1] + at[1]
        page.locator(".cells").nth(1).locator("i").nth(pixel).hover()
        for k, seen in enumerate(contexts([*at])):
            count = page.locator(".count").nth(k)
            api.expect(count).to_have_text(f"{len(seen)} of {pixel} earlier pixels")
            api.expect(page.locator(".cells").nth(k).locator(".seen")).to_have_count(len(seen))
        browser.close()
    assert hosts == {"127.0.0.1"}
    assert said == []
