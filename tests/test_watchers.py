"""Who is told what becomes of each slot."""

import logging
from collections.abc import Sequence

import pytest

from etl.recorder import Slot, Stored
from etl.watchers import Watcher, Watchers


class Notebook(Watcher):
    def __init__(self) -> None:
        self.told: list[object] = []

    def begins(self) -> None:
        self.told.append("begins")

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        self.told.append((list(slots), stored))

    def fails(self, error: Exception) -> None:
        self.told.append(error)

    def finish(self) -> None:
        self.told.append("finish")

    def leave(self) -> None:
        self.told.append("leave")


class Broken(Watcher):
    def begins(self) -> None:
        raise RuntimeError("begins")

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        raise RuntimeError("ends")

    def fails(self, error: Exception) -> None:
        raise RuntimeError("fails")

    def finish(self) -> None:
        raise RuntimeError("finish")

    def leave(self) -> None:
        raise RuntimeError("leave")


def test_each_is_told_everything_whatever_befalls_another(caplog: pytest.LogCaptureFixture) -> None:
    slot, stored, error = Slot(), Stored(), ValueError("x")
    notebook = Notebook()
    watchers = Watchers([Watcher(), Broken(), notebook])
    watchers.begins()
    watchers.ends([slot], stored)
    watchers.fails(error)
    watchers.finish()
    watchers.leave()
    assert notebook.told == ["begins", ([slot], stored), error, "finish", "leave"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 5
    assert all("a defect of Broken: recording goes on" in record.getMessage() for record in caplog.records)
