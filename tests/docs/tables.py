"""docs/tables.md as data."""

import re
from dataclasses import dataclass

from tests.docs.sql import ROOT

PAGE = ROOT / "docs" / "tables.md"


@dataclass(frozen=True, slots=True)
class Column:
    """What the page says of a column; ``null`` tells when it is null."""

    name: str
    sqlite: str
    postgresql: str
    null: str
    meaning: str


def documented() -> dict[str, list[Column]]:
    """The columns of each table and view, in the order of the page."""
    found: dict[str, list[Column]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        heading, _, text = section.partition("\n")
        rows = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| `", line)]
        [name] = re.findall(r"^`([a-z_]+)`$", heading)
        assert name not in found, f"{name} is documented twice"
        found[name] = [Column(*(cell.strip() for cell in row)) for row in rows]
    return {name: [_without_marks(column) for column in columns] for name, columns in found.items()}


def _without_marks(column: Column) -> Column:
    return Column(column.name.strip("`"), column.sqlite, column.postgresql, column.null, column.meaning)
