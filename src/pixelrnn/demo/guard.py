"""What stands before the page's server: it lets through what the page itself asks for, and nothing else."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

Application = Callable[[Any, Any, Any], Awaitable[None]]

HOST = "127.0.0.1"
POSTS = {f"/gradio_api/{name}" for name in ("queue/join", "component_server", "cancel", "reset")}
MOST_BYTES = 2**22  # of a request: 15 samples of 200×200 pixels


class Guard:
    """Refuses other origins, uploads, and large requests; answers with one line where Gradio cannot read a request."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = refusal(scope) if scope["type"] == "http" else None
        begun = False

        async def sends(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if answer is None:
                await self.app(scope, receive, sends)
        except Exception as error:  # Gradio indexes its tables with what a request says: a wrong one may raise anything
            if begun:
                raise
            answer = 400, " ".join(f"the page cannot answer this request: {type(error).__name__}: {error}".split())
        if answer is not None:
            await PlainTextResponse(answer[1], answer[0])(scope, receive, send)


def refusal(scope: Any) -> tuple[int, str] | None:
    """The status and the reason for which a request is refused."""
    headers, posted = Headers(scope=scope), scope["method"] not in ("GET", "HEAD")
    origin, host = headers.get("origin"), headers.get("host")
    if origin not in (None, f"http://{host}"):
        return 403, f"the page answers to itself only, not to {origin}"
    if posted and scope["path"] not in POSTS:
        return 404, f"the page takes no {scope['method']} at {scope['path']}"
    if posted and not headers.get("content-type", "").startswith("application/json"):
        return 415, "the page takes JSON only"
    length = headers.get("content-length", "" if posted else "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return 411, "a request must give its length"
    if int(length) > MOST_BYTES:
        return 413, f"a request has {length} bytes, expected at most {MOST_BYTES}"
    return None


MIDDLEWARE = [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(Guard)]
