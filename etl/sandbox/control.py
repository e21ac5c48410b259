"""The control interface: another process tells the sandbox to misbehave, and asks what it was asked.

``GET``, ``POST`` and ``DELETE /sandbox/faults`` (a fault or a list of them), ``GET /sandbox/requests``,
``POST /sandbox/reset``; JSON both ways. It is on the sandbox's own port, so on loopback only, and refuses what a web
page could send through its reader's browser.
"""

from json import dumps, loads

from etl.sandbox.exchange import Exchange
from etl.sandbox.faults import parse_fault
from etl.sandbox.replies import JSON, Reply
from etl.sandbox.wire import Incoming

PREFIX = "/sandbox/"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def control(exchange: Exchange, request: Incoming) -> Reply:
    """Do what is asked; HTTP 400 says what is wrong with a fault, 403 and 404 what they always say."""
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    if "origin" in request.headers or host not in LOOPBACK_HOSTS:
        return _json({"error": "not for browsers and other hosts"}, 403)
    asked = (request.method, request.target.removeprefix(PREFIX))
    if asked == ("POST", "faults"):
        try:
            data = loads(request.body)
            faults = [parse_fault(each) for each in (data if isinstance(data, list) else [data])]
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        exchange.faults.put(*faults)
    elif asked == ("DELETE", "faults"):
        exchange.faults.clear()
    elif asked == ("POST", "reset"):
        exchange.reset()
    elif asked == ("GET", "requests"):
        return _json(
            {
                "requests": [request._asdict() for request in exchange.requests],
                "counts": [[path, outcome, number] for (path, outcome), number in sorted(exchange.counts.items())],
                "replays": exchange.replays,
            }
        )
    elif asked != ("GET", "faults"):
        return _json({"error": "GET, POST, DELETE /sandbox/faults, GET /sandbox/requests, POST /sandbox/reset"}, 404)
    return _json({"faults": [fault.as_json() for fault in exchange.faults.active()]})


def _json(content: object, status: int = 200) -> Reply:
    return Reply(dumps(content).encode(), status, JSON)
