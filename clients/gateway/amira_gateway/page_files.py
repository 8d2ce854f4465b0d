"""The browser page: plain files, with headers that keep anything foreign out of it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amira_asr import SettingsError

PAGE = Path(__file__).parent / "page"
_HEADERS = {
    # WebAssembly is for the draft recogniser in the page.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_files(draft: Path | None) -> ASGIApp:
    """Return an application that serves the page, and at `draft/` the draft recogniser if there is one.

    Raises:
        SettingsError: the folder is not one of `make draft`.
    """
    if draft is not None and not (draft / "draft.json").is_file():
        raise SettingsError(f"setting 'gateway_draft' is {str(draft)!r}; it should be a folder that `make draft` made")
    for kind, suffix in (("text/javascript", ".mjs"), ("text/javascript", ".js"), ("application/wasm", ".wasm")):
        mimetypes.add_type(kind, suffix)

    async def describe(_request: Request) -> JSONResponse:
        return JSONResponse({"draft": draft is not None})

    routes: list[BaseRoute] = [Route("/page.json", describe), Mount("/", StaticFiles(directory=PAGE, html=True))]
    if draft is not None:
        routes.insert(0, Mount("/draft", StaticFiles(directory=draft)))
    return _with_headers(Router(routes))


def _with_headers(app: ASGIApp) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await app(scope, receive, answer)

    return serve
