import shutil
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


GREYS = """canvas => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [...all].filter((_, k) => k % 4 === 0);
}"""
EMPTY = 232


@pytest.mark.slow  # needs a server and a browser to see what the page does and which hosts it asks
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_in_a_browser(address: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    hosts: set[str | None] = set()
    said: list[str] = []
    with api.sync_playwright() as playwright:
        # No sandbox: it does not start for root, the user of containers. The page is our own.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("websocket", lambda websocket: hosts.add(urlsplit(websocket.url).hostname))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        picture, samples = page.locator("#picture canvas"), page.locator("#samples canvas")
        api.expect(samples).to_have_count(15)

        def halves() -> tuple[list[int], list[int]]:
            """The picture as the page shows it, 28×28."""
            greys = picture.evaluate(GREYS)
            return greys[: 14 * 28], greys[14 * 28 :]

        def lower_rows(wanted: int) -> set[int]:
            """Waits until this many rows of the lower half are not empty. Returns the counts seen meanwhile."""
            counts = {-1}
            while wanted not in counts:
                counts.add(sum(grey != EMPTY for grey in halves()[1]) // 28)
                page.wait_for_timeout(20)
            return counts

        given = halves()[0]
        assert lower_rows(0) == {-1, 0}
        page.get_by_role("button", name="Complete").click()
        assert len(lower_rows(14)) > 3  # rows appear one after the other
        assert halves()[0] == given
        assert set(halves()[1]) <= {0, 255}

        page.get_by_role("button", name="Clear").click()
        lower_rows(0)
        assert set(halves()[0]) == {0}
        box = picture.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 4)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9)
        page.mouse.up()
        drawn = halves()[0]
        assert set(drawn) == {0, 255}
        assert set(halves()[1]) == {EMPTY}  # the user cannot draw on the model's half
        page.get_by_role("button", name="Complete").click()
        lower_rows(14)
        assert halves()[0] == drawn

        before = samples.nth(3).evaluate(GREYS)
        page.get_by_label("7", exact=True).click()
        while (sample := samples.nth(3).evaluate(GREYS)) == before:
            page.wait_for_timeout(20)
        samples.nth(3).click()
        lower_rows(0)
        assert halves()[0] == sample[: 14 * 28]

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
