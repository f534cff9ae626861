"""What all pages share: who is asking, how a page is made, and how a refusal is shown."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from facetry.reports.pages import make_environment
from facetry.review.people import TOKEN_HEADER, Person
from facetry.review.reviews import Reviews
from facetry.service.problems import Problem
from facetry.service.responses import invalid_problem

PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


MOST_ROWS: Final = 2**31
"""What numbers of rows and heads are below: the database holds no larger ones."""

Row = Annotated[int, PathParameter(ge=0, lt=MOST_ROWS)]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    # Under "no-referrer" browsers send forms with the origin "null", as pages of other sites could.
    "Referrer-Policy": "same-origin",
}


class PageRoute(APIRoute):
    """A route whose refusals are pages for who asked for one; who is not signed in is asked to be."""

    def get_route_handler(self) -> Handler:
        """The route's own handler, with its refusals shown."""
        own = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await _handled(own, request)
            except Problem as problem:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                if problem.reason == "unauthorized" and request.method == "GET":
                    return RedirectResponse(_way_in(request), status_code=303)
                return page(
                    "problem.html.jinja", title="Refused", problem=problem, status=problem.status
                )

        return handle


async def _handled(handler: Handler, request: Request) -> Response:
    """The response of a handler; a parameter that is not allowed is a problem like others.

    Raises:
        Problem: the request is refused.
    """
    if "\0" in request.scope["path"]:  # no database can be asked for such a name
        raise Problem("not_found", "There is no such page.")
    try:
        return await handler(request)
    except RequestValidationError as error:
        raise invalid_problem(error) from error


def _way_in(request: Request) -> str:
    """The page that asks for a key, and leads on to what was asked for."""
    asked = request.url.path
    return "/review/sign-in" if asked == "/review" else f"/review/sign-in?to={quote(asked, safe='')}"


def make_router() -> APIRouter:
    """A router for pages."""
    return APIRouter(prefix="/review", include_in_schema=False, route_class=PageRoute)


def reviews_of(request: Request) -> Reviews:
    """The reviews that the application has."""
    found: Reviews = request.app.state.reviews
    return found


async def signed_in(request: Request) -> Person:
    """Who a request is from; who changes something must have their page's token."""
    people = reviews_of(request).people
    person = await run_in_threadpool(people.person, request.cookies)
    if request.method != "GET":
        people.require_token(person, request.headers.get(TOKEN_HEADER))
    request.state.key = person.id
    return person


OwnReviews = Annotated[Reviews, Depends(reviews_of)]
SignedIn = Annotated[Person, Depends(signed_in)]


def admin(person: SignedIn) -> Person:
    """A person who may rule.

    Raises:
        Problem: they may not.
    """
    if not person.may_rule:
        raise Problem("forbidden", "Only a key with the scope 'admin' may do this.")
    return person


Admin = Annotated[Person, Depends(admin)]


def moment(seconds: float) -> str:
    """A time as pages show it.

    >>> moment(1_700_000_000)
    '14 Nov 2023, 22:13 UTC'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M UTC").removeprefix("0")


_ENVIRONMENT: Final = make_environment("facetry.review")
_ENVIRONMENT.filters["moment"] = moment


def page(template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """A page, or a part of one."""
    text = _ENVIRONMENT.get_template(template).render(**content)
    return HTMLResponse(text, status, _HEADERS)
