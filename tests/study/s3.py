"""A real S3 server, moto's, in this process, which also has buckets of stores that lack something."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SECRET = "moto-takes-any-secret-0123456789"

BUCKETS = ("runs", "denied", "strict", "old")
"""One like S3's; one that denies access; one that refuses a condition as unknown; one that does not heed it."""

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
UNKNOWN = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"


class Server:
    """The requests are served one by one: moto looks and then writes, where S3 does both at once.

    Attributes:
        url: Its address.
        environment: What its users need.
        asked: Method and path of each request.
        denies: Below which path it denies access.
    """

    def __init__(self) -> None:
        self._moto, self._lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "moto-takes-any-key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.asked = list[tuple[str, str]]()
        self.denies = "/denied/"

    def __call__(self, request: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = request["PATH_INFO"]
        self.asked.append((request["REQUEST_METHOD"], path))
        if path.startswith(self.denies):
            respond("403 Forbidden", [("Content-Type", "application/xml")])
            return [DENIED]
        if path.startswith("/strict/") and "HTTP_IF_NONE_MATCH" in request:
            respond("501 Not Implemented", [("Content-Type", "application/xml")])
            return [UNKNOWN]
        if path.startswith("/old/"):
            request.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:
            return self._moto(request, respond)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve until the end."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
