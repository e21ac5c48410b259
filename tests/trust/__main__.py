"""The numbers of a long run: ``python -m tests.trust FILE`` adds up what the tests counted into it."""

import sys
from collections import Counter
from pathlib import Path

totals: Counter[str] = Counter()
for line in Path(sys.argv[1]).read_text("utf-8").splitlines():
    number, _, what = line.partition(" ")
    totals[what] += int(number)
for what, total in sorted(totals.items()):
    sys.stdout.write(f"{total:>9,} {what}\n")
