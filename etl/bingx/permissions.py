"""What BingX says of a key's rights, in any of the forms that its documents and clients know: a list, or flags.

What is not understood is never taken for harmless: a right that nobody knows is one, and a form that leaves a right
unmentioned does not say that the key lacks it.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from etl.bingx.answers import strict_json
from etl.bingx.envelope import code_of
from etl.errors import NotUnderstood

READ = "2"
NUMBERED = {
    "1": "spot trading",
    READ: "reading",
    "3": "futures trading",
    "4": "universal transfer",
    "5": "withdrawal",
    "7": "sub-account transfer",
}
READS = "enableReading"
IS_BOUND = "ipRestrict"
FLAGS = {
    "enableSpotAndMarginTrading": "spot trading",
    "enableFutures": "futures trading",
    "permitsUniversalTransfer": "universal transfer",
}


@dataclass(frozen=True, slots=True)
class Rights:
    """What was said of a key. ``reads`` and ``is_bound`` (to addresses) are None where that was not said, or not clear.

    ``beyond`` are the rights besides reading that it has; ``is_whole`` where those are all, so that none is none.
    """

    reads: bool | None = None
    beyond: frozenset[str] = frozenset()
    is_whole: bool = False
    is_bound: bool | None = None


def parse_rights(body: bytes) -> Rights:
    """The rights in an answer, with an envelope or without one. Raises NotUnderstood where there is nothing of them."""
    answer = strict_json(body)
    if not isinstance(answer, dict) or code_of(answer.get("code", "0")) != 0:
        raise NotUnderstood("not an answer about a key")
    inner = answer.get("data")
    said = inner if isinstance(inner, dict) else answer
    found = [part for part in (_listed(said), _flagged(said)) if part is not None]
    if not found:
        raise NotUnderstood("nothing about a key's rights in the answer")
    return together(found)


def together(parts: Iterable[Rights]) -> Rights:
    """What several answers come to: a right that one of them names is there; where they disagree, nothing is known."""
    there = list(parts)
    return Rights(
        reads=_agreed(part.reads for part in there),
        beyond=frozenset().union(*(part.beyond for part in there)),
        is_whole=any(part.is_whole for part in there),
        is_bound=_agreed(part.is_bound for part in there),
    )


def _listed(said: Mapping[str, object]) -> Rights | None:
    numbers = said.get("permissions")
    if not isinstance(numbers, list):
        return None
    if not all(isinstance(number, str) and re.fullmatch(r"[0-9]{1,4}", number) for number in numbers):
        raise NotUnderstood("a permission that is no number")
    beyond = {NUMBERED.get(number, f"an unknown permission ({number})") for number in numbers if number != READ}
    return Rights(READ in numbers, frozenset(beyond), is_whole=True, is_bound=_bound(said.get("ipAddresses")))


def _flagged(said: Mapping[str, object]) -> Rights | None:
    flags = {name: value for name, value in said.items() if isinstance(value, bool) and name.isascii()}
    rights = {name for name in flags if re.fullmatch(r"(?:enable|permits)[A-Za-z]{1,40}", name)}
    if not rights and IS_BOUND not in flags:
        return None
    beyond = {FLAGS.get(name, f"an unknown right ({name})") for name in rights if name != READS and flags[name]}
    # The flags that are known leave withdrawal out: about that, only one that is named after it says anything.
    is_whole = rights >= {READS, *FLAGS} and any("withdraw" in name.lower() for name in rights)
    return Rights(flags.get(READS), frozenset(beyond), is_whole, flags.get(IS_BOUND))


def _bound(addresses: object) -> bool | None:
    if not isinstance(addresses, list):
        return None
    if not addresses:
        return False
    try:
        networks = [ipaddress.ip_network(str(address), strict=False) for address in addresses]
    except ValueError:
        return None
    return True if all(network.prefixlen for network in networks) else None


def _agreed(values: Iterable[bool | None]) -> bool | None:
    said = {value for value in values if value is not None}
    return said.pop() if len(said) == 1 else None
