"""The bodies of the endpoints, built for speed, and what faults put in their place."""

from base64 import b64decode
from collections.abc import Sequence
from json import dumps
from typing import Any

from etl.sandbox.accounts import FUTURES, READ, SPOT_TRADING, TRANSFER, SandboxAccount
from etl.sandbox.faults import Fault
from etl.sandbox.replies import JSON, TEXT, Headers, Reply, error_body
from etl.sandbox.wallets import Wallets, wallets_at

HTML = "text/html;charset=UTF-8"
PAGE = """<!DOCTYPE html>
<html><head><title>ERROR</title></head><body><h1>The request could not be satisfied.</h1></body></html>
"""
CREATED_MS = 1_700_000_000_000
# Codes of an exchange that is unwell or busy: nothing the caller could verify and fix, so not counted against him.
NOT_THE_CALLERS_FAULT = {100409, 100410, 109429, 100500, 100503, 101500, 80012, 109500, 109701}


def balances(wallets: Wallets, only: str | None, at_ms: int, faults: Sequence[Fault]) -> bytes:
    """The overview, one wallet of it where ``only`` names one, as changed by faults."""
    rows: list[tuple[str, Any]] = list(wallets)
    if only is not None:
        rows = [row for row in rows if row[0] == ("sopt" if only == "spot" else only)]
    page = False
    for fault in faults:
        if fault.kind == "balances":
            rows = _changed(rows, fault)
        elif fault.kind == "envelope":
            page = fault.options["form"] == "page"
    listed = _rows(rows)
    data = f'{{"result":{listed},"pageId":1,"total":1}}' if page else listed
    return f'{{"code":0,"timestamp":{at_ms},"data":{data}}}'.encode()


def sub_balances(seed: int, accounts: Sequence[SandboxAccount], page: int, size: int, at_ms: int) -> bytes:
    """One page of the sub-accounts' overviews."""
    result = ",".join(
        f'{{"subUid":"{account.uid}","accountBalances":{_rows(wallets_at(seed, account.index, at_ms))}}}'
        for account in accounts[(page - 1) * size : page * size]
    )
    data = f'{{"result":[{result}],"pageId":{page},"total":{len(accounts)}}}'
    return f'{{"code":0,"timestamp":{at_ms},"data":{data}}}'.encode()


def server_time(at_ms: int) -> bytes:
    """The server's clock."""
    return f'{{"code":0,"msg":"","data":{{"serverTime":{at_ms}}}}}'.encode()


def uid(account: SandboxAccount, at_ms: int, faults: Sequence[Fault]) -> bytes:
    """Who is behind the key: a number, or whatever a fault says."""
    shown: int | str = account.uid
    for fault in faults:
        if fault.kind == "uid":
            shown = fault.options["uid"]
    return f'{{"code":0,"timestamp":{at_ms},"data":{{"uid":{dumps(shown)}}}}}'.encode()


def permissions(account: SandboxAccount) -> bytes:
    """Flat, without an envelope, and with the key in it, as BingX does."""
    return dumps(
        {
            "apiKey": account.api_key,
            "permissions": list(account.permissions),
            "ipAddresses": list(account.ip_addresses),
            "note": "sandbox",
        }
    ).encode()


def restrictions(account: SandboxAccount) -> bytes:
    """The same as flags."""
    return dumps(
        {
            "ipRestrict": bool(account.ip_addresses),
            "createTime": CREATED_MS,
            "permitsUniversalTransfer": TRANSFER in account.permissions,
            "enableReading": READ in account.permissions,
            "enableFutures": FUTURES in account.permissions,
            "enableSpotAndMarginTrading": SPOT_TRADING in account.permissions,
        }
    ).encode()


def instead(fault: Fault, at_ms: int, headers: Headers) -> Reply:
    """The answer that a fault gives in place of the right one."""
    options = fault.options
    status = options.get("status", 200)
    if fault.kind == "error":
        fields = "".join(f",{dumps(name)}:{dumps(value)}" for name, value in options.get("fields", {}).items())
        return Reply(error_body(options["code"], options.get("msg", ""), at_ms, fields), status, JSON, headers)
    if fault.kind == "html":
        return Reply(options.get("body", PAGE).encode(), status, HTML, headers)
    if fault.kind == "redirect":
        return Reply(b"", options.get("status", 302), TEXT, (*headers, ("Location", options["location"])))
    if fault.kind == "raw":
        body = (
            b64decode(options["base64"])
            if "base64" in options
            else options.get("body", "").encode(errors="surrogatepass")
        )
        return Reply(body, status, options.get("content_type", JSON), headers)
    given = tuple((name, str(value)) for name, value in options.get("headers", {}).items())
    named = {name.lower(): value for name, value in given}
    rest = tuple(header for header in given if header[0].lower() != "content-type")
    return Reply(options.get("body", "").encode(), status, named.get("content-type", TEXT), (*headers, *rest))


def counted_code(faults: Sequence[Fault]) -> int:
    """The code by which these faults refuse, if it counts against a caller who gets it again and again; else 0."""
    codes = [fault.options["code"] for fault in faults if fault.kind == "error"]
    return codes[0] if codes and codes[0] not in NOT_THE_CALLERS_FAULT else 0


def _changed(rows: list[tuple[str, Any]], fault: Fault) -> list[tuple[str, Any]]:
    values = {**dict.fromkeys(fault.options.get("null", ())), **fault.options.get("set", {})}
    kept = [(name, values.get(name, amount)) for name, amount in rows if name not in fault.options.get("drop", ())]
    return kept + [(name, value) for name, value in values.items() if name not in dict(rows)]


def _rows(rows: Sequence[tuple[str, Any]]) -> str:
    return (
        "[" + ",".join(f'{{"accountType":{_text(name)},"usdtBalance":{_text(amount)}}}' for name, amount in rows) + "]"
    )


def _text(value: object) -> str:
    # What the sandbox itself says needs no escapes, and leaving json out makes a balance answer twice as fast.
    plain = isinstance(value, str) and value.isascii() and value.replace(".", "").isalnum()
    return f'"{value}"' if plain else dumps(value)
