"""One installation that is broken again and again at a chosen system call, and has to account for every answer."""

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl.bingx.client import Client, Credential
from etl.bingx.source import BingXSource
from etl.errors import MalformedAnswer
from etl.grid import slot_of
from etl.model import Environment, Reading
from etl.sandbox.faults import parse_fault
from etl.spool.spool import ABANDONED_AFTER_SECONDS, Spool
from tests.cli.program import Program
from tests.trust.invariants import check, check_drained, check_silence
from tests.trust.tracing import Traced, run_traced, wait_for_new_slot
from tests.trust.witness import Answer, Left, Witness

DRAFT = re.compile(r"/spool/\.[0-9TZ]+\.(\d+)\.(.+)\.[0-9a-f]{8}\.outcome\.unfinished")
KILL = "signal=KILL"


@dataclass
class House:
    """The program, what its exchange has answered, and what of that cannot have been kept."""

    program: Program
    witness: Witness
    lost: set[bytes] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    malformed: int = 0

    @property
    def left(self) -> Left:
        """What there is now."""
        return Left(self.program.state, self.program.database_url)

    def leave_behind(self) -> None:
        """Two answers wait in the spool, as an outage of the database leaves them; one of them makes no sense."""
        self.malformed += 1
        body = f'{{"code":0,"data":{self.malformed}}}'
        readings = [self._read()]
        self.witness.faults.put(parse_fault({"kind": "raw", "body": body, "times": 1}))
        spool = Spool(self.program.state)
        spool.prepare()
        entries, refusal = spool.put([*readings, self._read()])
        assert refusal is None
        assert all(entry.spooled for entry in entries)

    def _read(self) -> Reading:
        account = self.witness.account("main")
        client = Client(self.program.server.url)
        source = BingXSource(client, {"main": Credential(account.api_key, account.api_secret)}, Environment.SANDBOX)
        try:
            fetched = source.balances("main", 0)
            requested_at, latency_ms, body = fetched.requested_at, fetched.latency_ms, fetched.body
        except MalformedAnswer as malformed:
            requested_at, latency_ms, body = malformed.requested_at, malformed.latency_ms, malformed.body
        finally:
            client.close()
        return Reading(
            account="main",
            environment=Environment.SANDBOX,
            slot_at=slot_of(requested_at, 1),
            interval_seconds=1,
            requested_at=requested_at,
            latency_ms=latency_ms,
            clock_offset_ms=None,
            attempts=1,
            key_fingerprint=source.key_fingerprint("main"),
            uid=str(account.uid),
            bodies=(body,),
        )

    def run(self, arguments: Sequence[str], fault: str | None) -> Traced:
        """Run the program, with a fault in its way, and hold what it leaves against what it was answered."""
        before = len(self.witness.answered)
        run = run_traced(self.program, *arguments, fault=fault)
        self.account_for(run, before)
        return run

    def account_for(self, run: Traced, before: int) -> None:
        """Check the invariants after a run that began when there were so many answers."""
        self.said += [run.ran.out, run.ran.err]
        self.lost |= set(lost_by_nature(run, self.witness.answered[before:]))
        assert "Traceback" not in run.ran.err, run.ran.err
        left = self.left
        check(self.witness, left, lost=self.lost)
        check_silence(self.witness, left, self.said)

    def recover(self) -> None:
        """Nothing is in the way any more: the spool drains to nothing, and the next slot has its snapshot."""
        wait_for_new_slot()
        ran = self.program.run("snapshot", "--json")
        self.said += [ran.out, ran.err]
        # 65: what makes no sense was set aside in this very run.
        assert ran.code in (0, 65), ran
        [line] = ran.lines
        assert (line["status"], line["stored"], line.get("duplicate")) == ("complete", True, None), ran
        left = self.left
        check(self.witness, left, lost=self.lost)
        check_drained(left, torn=len(self.lost))

    def close(self) -> None:
        """In the end the torn files of the killed are set aside too, and nothing at all is in the spool."""
        for path in (self.program.state / "spool").iterdir():
            long_ago = time.time() - ABANDONED_AFTER_SECONDS - 60
            os.utime(path, (long_ago, long_ago))
        self.recover()
        left = self.left
        check_drained(left)
        check_silence(self.witness, left, self.said)


def lost_by_nature(run: Traced, answered: Iterable[Answer]) -> list[bytes]:
    """The answers of a run that it cannot have kept: they were not yet written down, whole, when it was killed.

    Or the fault was in hearing the answer, or neither disk nor database took anything and the program said so.
    """
    written: dict[tuple[str, int], bool] = {}
    for call in run.named("write"):
        match = DRAFT.search(call.path)
        if match is not None and call.succeeded:
            written[match[2], int(match[1])] = True
    answered = list(answered)
    kept = set[bytes]()
    for account, at_ms in written:
        mine = [a for a in answered if a.account == account and int(a.at * 1000) >= at_ms - 1]
        kept.update(answer.body for answer in mine[:1])
    unheard = {call.thread for call in run.named("sendto") if "GET /openApi/account/v1/allAccou" in call.arguments} & {
        call.thread for call in run.named("recvfrom", "recvmsg") if call.injected
    }
    if unheard:
        return [answer.body for answer in answered]  # what was written, maybe in the same millisecond, is its failure
    if not (run.killed or "LOST: neither" in run.ran.err):
        return []
    return [answer.body for answer in answered if answer.body not in kept]
