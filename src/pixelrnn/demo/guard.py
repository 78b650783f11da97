"""A guard before the page's server: it passes on the requests of the page itself, and no others."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

Application = Callable[[Any, Any, Any], Awaitable[None]]

HOST = "127.0.0.1"
POSTS = {f"/gradio_api/{name}" for name in ("queue/join", "component_server", "cancel", "reset")}
MOST_BYTES = 2**22  # in a request: enough for 15 RGB samples of 160×160 pixels, a picture and its completion


class Guard:
    """Refuses other origins, uploads and large requests. Answers with one line if Gradio cannot read a request."""

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
    """The reason for refusing a request and the HTTP status, or None for a request to pass on."""
    headers, posted = Headers(scope=scope), scope["method"] not in ("GET", "HEAD")
    origin, host = headers.get("origin"), headers.get("host")
    if origin not in (None, f"http://{host}"):
        return f"the origin is {origin}, expected the page itself", 403
    if posted and scope["path"].removesuffix("/") not in POSTS:
        return f"the page accepts no {scope['method']} at {scope['path']}", 404
    if posted and not headers.get("content-type", "").startswith("application/json"):
        return "the request has another content type, expected application/json", 415
    length = headers.get("content-length", "" if posted else "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return "the request has no Content-Length, expected one", 411
    if int(length) > MOST_BYTES:
        return f"the request has {length} bytes, expected at most {MOST_BYTES}", 413
    return None


MIDDLEWARE = [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(Guard)]
