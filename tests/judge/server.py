"""A small server on localhost that speaks OpenAI's chat completions, and fails where a text asks it to.

What it is asked is answered by the rule of `scripted.by_words`, unless the judged text holds one of

    429  a rate limit        slow  no answer in time        cut  JSON that breaks off        wrong  a label that is none

with `-once` or `-always`: `429-once says-A` is refused at first and answered then. `heal` ends all failures.

With a `context` it refuses, in vLLM's words, a request whose words and `max_tokens` together are more.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from inspect_ai.model import GenerateConfig, Model, get_model

from tests.judge.scripted import by_words

FAILURE = re.compile(r"(429|slow|cut|wrong)-(once|always)")


CONTEXT = (
    "This model's maximum context length is {context} tokens. However, you requested {limit} output tokens and your"
    " prompt contains {prompt} input tokens, for a total of {total} tokens. Please reduce the length of the input"
    " prompt or the number of requested output tokens."
)
"""What vLLM says."""


class LocalServer:
    """A server on localhost, as a context."""

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(*server.post(self.path, body))

            def do_GET(self) -> None:
                self._send(*server.get())

            def _send(self, status: int | None, content: dict[str, Any]) -> None:
                if status is None:
                    return
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def get(self) -> tuple[int, dict[str, Any]]:
        """Answer what is asked without a body."""
        return 404, {}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
        """Status and content of an answer; None for none at all."""
        raise NotImplementedError


class JudgeServer(LocalServer):
    """The server of a judge. `requests` holds the bodies of all requests."""

    def __init__(self, context: int | None = None, refusal: str = CONTEXT) -> None:
        os.environ.setdefault("LOCAL_API_KEY", "none")  # the server takes any
        self._context, self._refusal = context, refusal
        self.requests: list[dict[str, Any]] = []
        self.healed = False
        self._asked = Counter[str]()
        self._lock, self._closing = threading.Lock(), threading.Event()

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        super().__exit__()

    def heal(self) -> None:
        """From now on answer everything."""
        self.healed = True

    @property
    def name(self) -> str:
        """The judge behind the server, as a command line or a study names it; one retry of the client."""
        arguments = f"{{base_url: '{self.url}', max_retries: 1}}"
        return f"{{model: openai-api/local/judge, max_retries: 0, attempt_timeout: 3, model_args: {arguments}}}"

    def model(self, retries: int = 0, **settings: Any) -> Model:
        """The judge behind the server, as Inspect calls it; each attempt has a second."""
        return get_model(
            "openai-api/local/judge",
            memoize=False,
            base_url=self.url,
            api_key="none",
            max_retries=retries,  # of the client; what is left goes to Inspect's own, of which there are none
            config=GenerateConfig(max_retries=0, attempt_timeout=3, **settings),
        )

    def post(self, path: str, body: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": f"no {path} here"}}
        question = body["messages"][0]["content"]
        with self._lock:
            self.requests.append(body)
            self._asked[question] += 1
            first = self._asked[question] == 1
        prompt, limit = len(question.split()), body.get("max_tokens") or 1
        if self._context and prompt + limit > self._context:
            numbers = {"context": self._context, "limit": limit, "prompt": prompt, "total": prompt + limit}
            message = self._refusal.format(**numbers)
            return 400, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}
        failure = FAILURE.search(question)
        failing = failure is not None and not self.healed and (first or failure[2] == "always")
        match failure[1] if failure and failing else "":
            case "429":
                return 429, {"error": {"message": "too many requests", "code": "rate_limit_exceeded"}}
            case "slow":
                self._closing.wait(5)
                return None, {}
            case "cut":
                return 200, _completion('{"reason": "it says', "length")
            case "wrong":
                return 200, _completion('{"reason": "it says so", "label": "E"}', "stop")
        return 200, _completion(by_words(question), "stop")


def _completion(content: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
