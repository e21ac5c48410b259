"""One file of the spool: an outcome as bytes, and back; and its name.

Format 1: a line ``bingx-etl-spool 1 <SHA-256 of the rest>``, a line of JSON with the fields, then the raw bodies, byte
for byte, so that a person can read them with ``cat``.
"""

import hashlib
import itertools
import re
import secrets
from dataclasses import replace
from datetime import UTC

import msgspec

from etl.errors import NotUnderstood
from etl.grid import to_ms
from etl.model import Failure, Outcome, Reading
from etl.spool.unfinished import SUFFIX

MAGIC = b"bingx-etl-spool"
HEAD = re.compile(rb"%s ([0-9]{1,9}) ([0-9a-f]{64})" % MAGIC)
FORMAT = 1
KINDS: dict[str, type[Outcome]] = {"reading": Reading, "failure": Failure}


class FromTheFuture(NotUnderstood):
    """A spool file of a later program than this one: it waits in place until the program is upgraded."""


def name_of(outcome: Outcome) -> str:
    """A name for its file: the order of names, by slot and then by the time it was read, is that in which they win."""
    slot = outcome.slot_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    at = outcome.requested_at if isinstance(outcome, Reading) else outcome.last_at
    return f"{slot}.{to_ms(at):015d}.{outcome.account}.{secrets.token_hex(4)}{SUFFIX}"


def encode(outcome: Outcome) -> bytes:
    """An outcome in the present format."""
    bodies: tuple[bytes, ...] = ()
    if isinstance(outcome, Reading):
        bodies, outcome = outcome.bodies, replace(outcome, bodies=())
    fields = msgspec.to_builtins(outcome)
    fields["kind"] = next(kind for kind, cls in KINDS.items() if isinstance(outcome, cls))
    fields["bodies"] = [len(body) for body in bodies]
    rest = msgspec.json.encode(fields) + b"\n" + b"".join(bodies)
    return b"%s %d %s\n" % (MAGIC, FORMAT, hashlib.sha256(rest).hexdigest().encode()) + rest


def decode(data: bytes) -> Outcome:
    """An outcome read back; NotUnderstood where a byte is missing or changed, FromTheFuture for a later format."""
    head, _, rest = data.partition(b"\n")
    match = HEAD.fullmatch(head)
    if match is None:
        raise NotUnderstood("not a spool file, or its first line is damaged")
    if int(match[1]) > FORMAT:
        raise FromTheFuture(f"format {int(match[1])} is newer than this program's {FORMAT}")
    if hashlib.sha256(rest).hexdigest().encode() != match[2]:
        raise NotUnderstood("damaged: its checksum does not match")
    line, _, raw = rest.partition(b"\n")
    try:
        fields = msgspec.json.decode(line)
        lengths = fields.pop("bodies")
        if fields["kind"] == "reading":
            ends = list(itertools.accumulate(lengths))
            fields["bodies"] = tuple(raw[end - size : end] for size, end in zip(lengths, ends, strict=True))
            return msgspec.convert(fields, Reading, builtin_types=(bytes,))
        return msgspec.convert(fields, KINDS[fields["kind"]])
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise NotUnderstood(f"whole, but not an outcome: {type(error).__name__}") from None
