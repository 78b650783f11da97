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
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refused := refusal(scope):
            await PlainTextResponse(*refused)(scope, receive, send)
        else:
            begun = False

            async def sending(message: Any) -> None:
                nonlocal begun
                begun = True
                await send(message)

            try:
                await self.app(scope, receive, sending)
            except Exception as error:  # Gradio looks up whatever a request names: a wrong name may raise anything
                if begun:  # Gradio raises too when it has told the browser, in the stream of answers, what is wrong
                    await send({"type": "http.response.body"})
                    return
                why = " ".join(f"the page cannot answer this request: {type(error).__name__}: {error}".split())
                await PlainTextResponse(why, 400)(scope, receive, send)


def refusal(scope: Any) -> tuple[str, int] | None:
    """The reason for which a request is refused, and the status."""
    headers, posted = Headers(scope=scope), scope["method"] not in ("GET", "HEAD")
    origin, host = headers.get("origin"), headers.get("host")
    if origin not in (None, f"http://{host}"):
        return f"the page answers to itself only, not to {origin}", 403
    if posted and scope["path"].removesuffix("/") not in POSTS:
        return f"the page takes no {scope['method']} at {scope['path']}", 404
    if posted and not headers.get("content-type", "").startswith("application/json"):
        return "the page takes JSON only", 415
    length = headers.get("content-length", "" if posted else "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return "a request must give its length", 411
    if int(length) > MOST_BYTES:
        return f"a request has {length} bytes, expected at most {MOST_BYTES}", 413
    return None


MIDDLEWARE = [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(Guard)]
