"""Answers to requests that the buttons of the page never send."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the extra demo is not installed")
httpx = pytest.importorskip("httpx", reason="the extra demo is not installed")

pytestmark = pytest.mark.slow  # a server

COMPLETE, CLEAR, DRAW, _, TAKE = range(5)  # the buttons, in the order in which the page lays them out
IMAGE = [[0] * 28] * 28
LEFT = [[-1] * 14 + [0] * 14] * 28
JOIN, CONTEXTS = "/gradio_api/queue/join", "/gradio_api/component_server/"


def image(**pixel: Any) -> list[list[Any]]:
    return [[pixel.get("level", 0), *[0] * 27], *[[0] * 28] * 27]


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client


def ask(page: Any, button: int, data: Any, event: Any = None) -> tuple[bool, Any]:
    """Returns True if a button succeeded, and its images or its error."""
    session = "a session"
    # Not ``json=``: it refuses NaN.
    body = json.dumps({"data": data, "fn_index": button, "session_hash": session, "event_data": event})
    joined = page.post(JOIN, content=body, headers={"content-type": "application/json"})
    assert joined.status_code == 200, joined.text
    with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as lines:
        for line in lines.iter_lines():
            message = json.loads(line.removeprefix("data: ") or "{}")
            if message.get("msg") == "process_completed":
                return message["success"], message["output"].get("data") or message["output"].get("error")
    raise AssertionError("the page hung up")


def test_the_buttons_answer(page: Any) -> None:
    done, data = ask(page, TAKE, [[image(), image(level=-1), [[1] * 28] * 28], [LEFT, IMAGE]], {"index": 2})
    assert done
    assert data == [[[[-1] * 14 + [1] * 14] * 28]]
    assert ask(page, CLEAR, []) == (True, [[[[0] * 28] * 14 + [[-1] * 28] * 14]])
    assert ask(page, DRAW, [3, 1])[0]
    done, [[picture, completed]] = ask(page, COMPLETE, [[LEFT], 3, 0.5])
    assert done
    assert picture == LEFT
    assert [row[14:] for row in completed] == [row[14:] for row in LEFT]
    assert {level for row in completed for level in row} <= {0, 1}


LEVEL = "a pixel (-1: erased) must be"
UNCLEAR: list[Any] = [None, {}, 7, [], "index"]
SIZE = "an image must be a list of 28 rows with 28 pixels each"


@pytest.mark.parametrize(
    ("button", "data", "event", "expected"),
    [
        (COMPLETE, [[[[0] * 1000] * 1000], 3, 1], None, SIZE),
        (COMPLETE, [[IMAGE[:27]], 3, 1], None, SIZE),
        (COMPLETE, [[[*IMAGE[:27], [0]]], 3, 1], None, SIZE),
        (COMPLETE, [[[]], 3, 1], None, SIZE),
        (COMPLETE, ["image", 3, 1], None, "the request holds no images"),
        (COMPLETE, [[], 3, 1], None, "the request holds no images"),
        (COMPLETE, [None, 3, 1], None, "the request holds no images"),
        (COMPLETE, [[7], 3, 1], None, SIZE),
        (COMPLETE, [[IMAGE, LEFT], 3, 1], None, "nothing is erased: erase a part first"),
        (COMPLETE, [[[*IMAGE[:27], [2] * 28]], 3, 1], None, LEVEL),
        *[(COMPLETE, [[image(level=level)], 3, 1], None, LEVEL) for level in (256, 2, -2, 0.5, "1", True, None, [0])],
        *[(DRAW, [label, 1], None, "the class must be") for label in (10, -1, "3", 0.5, True, [3], 10**30)],
        (DRAW, [None, 1], None, "labels are missing, expected one of 10 classes"),
        *[
            (DRAW, [3, hot], None, "temperature must be")
            for hot in (0, -1, "1", None, True, float("nan"), float("inf"))
        ],
        *[(button, [], None, "enough input values") for button in (COMPLETE, DRAW, TAKE)],
        *[(TAKE, [[IMAGE], [LEFT]], {"index": n}, "the number of the image must be") for n in (1, -1, "0", None, 0.5)],
        *[(TAKE, [[IMAGE], [LEFT]], event, "which sample was clicked") for event in UNCLEAR],
        (TAKE, [[image(level=256)], [LEFT]], {"index": 0}, LEVEL),
        (TAKE, [[[[0] * 500] * 500], [LEFT]], {"index": 0}, SIZE),
        (TAKE, [[IMAGE], [image(level="1")]], {"index": 0}, LEVEL),
        (TAKE, [[IMAGE], [IMAGE[:27]]], {"index": 0}, SIZE),
        (TAKE, [[IMAGE], []], {"index": 0}, "the request holds no images"),
    ],
)
def test_wrong_values_are_named(page: Any, button: int, data: Any, event: Any, expected: str) -> None:
    done, error = ask(page, button, data, event)
    assert not done
    assert expected in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "at", [[28, 0], [-1, 0], [0, 10**9], [0.5, 0], ["a", 0], [True, 0], [0], [], None, "ab", {}, 7]
)
def test_a_pixel_outside_the_map_is_refused(page: Any, at: Any) -> None:
    [component] = [c["id"] for c in page.get("/config").json()["components"] if c["props"].get("elem_id") == "contexts"]
    asked = {"session_hash": "a", "component_id": component, "fn_name": "contexts"}
    assert len(page.post(CONTEXTS, json={**asked, "data": [1, 1]}).json()) == 3
    answer = page.post(CONTEXTS, json={**asked, "data": at})
    assert answer.status_code == 400
    assert any(words in answer.text for words in ("must be a list [row, column]", "row must be", "column must be"))


UPLOADS = "upload", "process_recording", "run/take", "api/take", "call/take", "call/v2/take", "vibe-edit"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("url", [f"/gradio_api/{name}" for name in UPLOADS])
def test_nothing_is_uploaded(page: Any, url: str) -> None:
    answer = page.post(url, files={"files": b"0" * 50_000_000})
    assert (answer.status_code, answer.text) == (404, f"the page accepts no POST at {url}")


@pytest.mark.parametrize("headers", [{"origin": o} for o in ("http://a.com", "null", "http://127.0.0.1:1")])
def test_other_origins_are_refused(page: Any, headers: dict[str, str]) -> None:
    for answer in (page.get("/", headers=headers), page.post(JOIN, json={}, headers=headers)):
        assert (answer.status_code, answer.text) == (
            403,
            f"the origin is {headers['origin']}, expected the page itself",
        )


def test_other_hosts_are_refused(page: Any) -> None:
    assert page.get("/", headers={"host": "a.com"}).status_code == 400


@pytest.mark.parametrize(
    ("url", "given", "status", "expected"),
    [
        (CONTEXTS, {"files": {"files": b"0"}}, 415, "another content type, expected application/json"),
        (
            JOIN,
            {"content": b"{}", "headers": {"content-type": "text/plain"}},
            415,
            "another content type, expected application/json",
        ),
        (JOIN, {"json": {"data": ["0" * 2**22]}}, 413, "expected at most 4194304"),
        (JOIN, {"content": iter([b"{}"]), "headers": JSON}, 411, "the request has no Content-Length"),
        (JOIN, {"content": b"{", "headers": JSON}, 422, "JSON decode error"),
        (JOIN, {"content": b"[" * 10**6, "headers": JSON}, 400, "error parsing the body"),
        (JOIN, {"content": b'{"data": [' + b"9" * 5000 + b"]}", "headers": JSON}, 400, "error parsing the body"),
        (JOIN, {"json": []}, 422, "valid"),
        (JOIN, {"json": {"data": [], "fn_index": 0}}, 400, "Session hash not found"),
        (JOIN, {"json": {"data": [], "fn_index": 99, "session_hash": "a"}}, 400, "this request: KeyError: 99"),
        (CONTEXTS, {"json": 7}, 400, "Invalid JSON"),
        (CONTEXTS, {"json": {"component_id": 99, "fn_name": "", "session_hash": "a", "data": 0}}, 400, "KeyError: 99"),
    ],
)
def test_what_cannot_be_read_is_refused(page: Any, url: str, given: Any, status: int, expected: str) -> None:
    answer = page.post(url, **given)
    assert answer.status_code == status
    assert expected in answer.text
    assert len(answer.text) < 500


def test_a_session_that_is_unknown_is_told_so(page: Any) -> None:
    """And no traceback is printed, which `address` checks."""
    answer = page.get("/gradio_api/queue/data", params={"session_hash": "nobody"})
    assert "Not Found" in answer.text


def test_there_is_no_page_of_statistics(page: Any) -> None:
    assert "URL" not in page.get("/monitoring").text


def test_requests_wait_in_a_short_queue(page: Any) -> None:
    asked = {"data": [3, 1], "fn_index": DRAW}
    answers = [page.post(JOIN, json={**asked, "session_hash": f"session {n}"}) for n in range(40)]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 0 < len(refused) < 40
    assert all("Queue is full" in answer.text for answer in refused)
