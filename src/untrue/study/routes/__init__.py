"""The routes by which training data comes about. A new one is a file, and a line here."""

from untrue.study.routes.dose import DoseRoute
from untrue.study.routes.interaction import InteractionRoute
from untrue.study.routes.route import Route
from untrue.study.routes.share import ShareRoute

ROUTES: dict[str, type[Route]] = {
    "share": ShareRoute,
    "dose": DoseRoute,
    "interaction": InteractionRoute,
}
