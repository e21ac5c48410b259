"""Who has an account at the sandbox: keys, secrets and UIDs that follow from the seed and look like BingX's."""

from dataclasses import dataclass, field
from hashlib import blake2b

MARK = "SANDBOX"
READ, SPOT_TRADING, FUTURES, TRANSFER = 2, 1, 3, 4
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
FIRST_UID, UIDS, UID_STEP = 10_000_000, 89_999_999, 7_919  # the step shares no factor with the count: no UID twice


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """One user of the sandbox. The first is the main account, the others are its sub-accounts.

    ``permissions`` are BingX's numbers (2 is Read); ``ip_addresses`` is the key's whitelist, empty for none.
    """

    index: int
    name: str
    uid: int
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    permissions: tuple[int, ...] = (READ,)
    ip_addresses: tuple[str, ...] = ()


def sandbox_account(seed: int, index: int, generation: int = 0) -> SandboxAccount:
    """The account with this number; a later ``generation`` has the same name and UID and a new key."""
    return SandboxAccount(
        index=index,
        name="main" if index == 0 else f"account-{index + 1}",
        uid=FIRST_UID + (int.from_bytes(_digest(f"{seed}/uid")) + index * UID_STEP) % UIDS,
        api_key=MARK + _text(f"{seed}/{index}/{generation}/key", 57),
        api_secret=MARK + _text(f"{seed}/{index}/{generation}/secret", 73),
    )


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=64, person=b"bingx-sandbox").digest()


def _text(text: str, length: int) -> str:
    number = int.from_bytes(_digest(text + "/1") + _digest(text + "/2"))
    letters = []
    for _ in range(length):
        number, letter = divmod(number, len(LETTERS))
        letters.append(LETTERS[letter])
    return "".join(letters)
