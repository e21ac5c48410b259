"""What outlives a run."""

from pathlib import Path

import pytest

from etl.doubt import WalletMemory
from etl.remembered import AccountMemory, Block, HostMemory, Refusal, Remembered
from tests.values import ASKED

MEMORY = AccountMemory(
    {"f1": "1001"},
    Refusal("f1", "key_refused", "code 100413", 2, ASKED, ASKED),
    Block(ASKED, ASKED),
    wallets=WalletMemory(frozenset({"spot", "grid"}), frozenset({"eran"})),
)


def test_it_comes_back_and_is_private(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "state")
    remembered.keep_account("main", MEMORY)
    remembered.keep_host(HostMemory(-250, ASKED, Block(ASKED, ASKED)))
    again = Remembered(tmp_path / "state")
    assert again.account("main") == MEMORY
    assert again.account("host") == AccountMemory()
    assert again.host() == HostMemory(-250, ASKED, Block(ASKED, ASKED))
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"uids": 1}', b"\xff", b'{"refusal": {"times": "x"}}'])
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    remembered = Remembered(tmp_path)
    remembered.keep_account("main", MEMORY)
    (remembered.accounts_directory / "main.json").write_bytes(content)
    assert remembered.account("main") == AccountMemory()


def test_what_an_earlier_version_remembered_is_read(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path)
    remembered.keep_account("main", MEMORY)
    (remembered.accounts_directory / "main.json").write_text('{"uids": {"f1": "1001"}, "begun_with": "f1"}')
    assert remembered.account("main") == AccountMemory({"f1": "1001"}, begun_with="f1")


def test_a_disk_that_refuses_costs_no_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    Remembered(tmp_path / "file").keep_host(HostMemory(1))
    assert "could not be written" in caplog.text


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path)
    remembered.keep_account("main", MEMORY)
    remembered.forget("main")
    remembered.forget("main")
    assert remembered.account("main") == AccountMemory()
