"""The way in: signing in, the reviews there are, and the files that all pages load."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from fastapi import Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from facetry.review.people import COOKIE, SESSION_S
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.service.problems import Problem

router = make_router()

OVERVIEW: Final = "/review"
SIGN_IN: Final = "/review/sign-in"

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ASSETS: Final = ("review.css", "queue.js", "try.js", "page.js", "htmx.min.js", "icon.svg")


@router.get("/sign-in")
async def sign_in_page(to: str = OVERVIEW) -> HTMLResponse:
    """The page that asks for a key, and leads on to another."""
    return page("sign_in.html.jinja", title="Sign in", error="", to=_own(to))


@router.post("/sign-in")
async def sign_in(
    request: Request,
    reviews: OwnReviews,
    key: Annotated[str, Form(max_length=200)],
    to: Annotated[str, Form(max_length=1000)] = OVERVIEW,
) -> Response:
    """Exchange a key for a cookie."""
    try:
        cookie = await run_in_threadpool(reviews.people.sign_in, key)
    except Problem as problem:
        shown = {"title": "Sign in", "error": problem.message, "to": _own(to)}
        return page("sign_in.html.jinja", status=problem.status, **shown)
    response = RedirectResponse(_own(to), status_code=303)
    is_secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, cookie, max_age=round(SESSION_S), httponly=True, samesite="strict", secure=is_secure
    )
    return response


@router.post("/sign-out")
async def sign_out(reviews: OwnReviews, person: SignedIn) -> Response:
    """End a person's session; what they hold is free for others."""

    def let_go() -> None:
        for review in reviews.store.all():
            reviews.queue.let_go(review, person.id)

    await run_in_threadpool(let_go)
    response = Response(headers={"HX-Redirect": SIGN_IN})
    response.delete_cookie(COOKIE)
    return response


def _own(path: str) -> str:
    """A path, if it is one of these pages; else the overview: nobody is led to another site."""
    return path if path.startswith(f"{OVERVIEW}/") else OVERVIEW


@router.get("/assets/{name}")
async def asset(name: str) -> Response:
    """A style sheet or a script."""
    if name not in _ASSETS:
        raise Problem("not_found", "There is no such file.")
    folder = files("facetry.review") / "static"
    content = (folder / name).read_text(encoding="utf-8")
    if name == "review.css":
        shared = (files("facetry.reports") / "templates" / "page.css").read_text(encoding="utf-8")
        content = shared + content
    return Response(content, media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": "no-cache"})


@router.get("")
async def overview(reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The reviews there are, with what is left of each."""
    found = await run_in_threadpool(
        lambda: [(each, reviews.store.progress(each)) for each in reviews.store.all()]
    )
    return page("overview.html.jinja", title="Reviews", reviews=found, person=person)
