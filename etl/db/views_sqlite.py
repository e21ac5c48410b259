"""The views in the SQL of SQLite. Other people's SQLite reads them too, so they keep to what 3.35 knows."""

from typing import Final

from etl.db.views_shared import VOIDED

_BALANCE = """\
SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at, b.account_type,
  CAST(b.usdt_balance AS REAL) AS usdt_balance, b.usdt_balance AS usdt_balance_exact, s.status, s.provenance"""

_LAST = f"""\
SELECT l.id
  FROM snapshot AS l
  WHERE l.account_id = a.id AND l.id NOT IN ({VOIDED})
  ORDER BY l.slot_at DESC
  LIMIT 1"""

# CROSS JOIN keeps SQLite to this order, in which a range of slots is found by the index.
SQLITE: Final = {
    "balance_history": f"""\
{_BALANCE}
FROM account AS a
CROSS JOIN snapshot AS s ON s.account_id = a.id
CROSS JOIN balance AS b ON b.snapshot_id = s.id
WHERE s.id NOT IN ({VOIDED})""",
    "latest_balance": f"""\
{_BALANCE}
FROM account AS a
CROSS JOIN snapshot AS s ON s.id = ({_LAST})
CROSS JOIN balance AS b ON b.snapshot_id = s.id""",
    "equity": f"""\
SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at,
  CAST(s.total_usdt AS REAL) AS total_usdt, s.total_usdt AS total_usdt_exact, s.status, s.provenance
FROM account AS a
CROSS JOIN snapshot AS s ON s.account_id = a.id
WHERE s.id NOT IN ({VOIDED})""",
}


def _in_day(what: str, then: str = "", begins: str = "d.begins", ends: str = "d.ends") -> str:
    """A figure of the usable snapshots of a day: midnight, exclusive, to the next one, inclusive."""
    return f"""(
    SELECT {what}
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > {begins} AND s.slot_at <= {ends}
      AND s.status = 'complete' AND s.id NOT IN ({VOIDED}){then}
  )"""


_FIRST_OF_DAY = "\n    ORDER BY s.slot_at LIMIT 1"
_LAST_OF_DAY = "\n    ORDER BY s.slot_at DESC LIMIT 1"

# Days are counted from 1970; the one of second e is (e - 1) / 86400, for midnight belongs to the day that ends with it.
# Snapshots from outside every schedule, which were imported, have their days as well, where nothing was expected.
SQLITE["daily_equity"] = f"""\
WITH RECURSIVE
clock(now) AS (SELECT CAST(strftime('%s', 'now') AS INTEGER)),
grid(account_id, step, first, last, ends, from_at, ends_at) AS (
  SELECT p.account_id, p.interval_seconds,
    (CAST(strftime('%s', p.valid_from) AS INTEGER) + p.interval_seconds - 1) / p.interval_seconds * p.interval_seconds,
    min(coalesce(CAST(strftime('%s', p.valid_to) AS INTEGER) - 1, c.now), c.now)
      / p.interval_seconds * p.interval_seconds,
    min(coalesce(CAST(strftime('%s', p.valid_to) AS INTEGER) - 1, c.now), c.now),
    p.valid_from,
    strftime(
      '%Y-%m-%dT%H:%M:%SZ', min(coalesce(CAST(strftime('%s', p.valid_to) AS INTEGER) - 1, c.now), c.now), 'unixepoch'
    )
  FROM schedule AS p
  CROSS JOIN clock AS c
),
known(account_id, first, last) AS (
  SELECT p.account_id, p.first, p.ends FROM grid AS p WHERE p.first <= p.ends
  UNION ALL
  SELECT a.id, CAST(strftime('%s', (SELECT min(s.slot_at) FROM snapshot AS s WHERE s.account_id = a.id)) AS INTEGER),
    CAST(strftime('%s', (SELECT max(s.slot_at) FROM snapshot AS s WHERE s.account_id = a.id)) AS INTEGER)
  FROM account AS a
),
span(account_id, first_day, last_day) AS MATERIALIZED (
  SELECT k.account_id, (min(k.first) - 1) / 86400, (max(k.last) - 1) / 86400
  FROM known AS k
  GROUP BY k.account_id
),
calendar(n) AS (
  SELECT min(first_day) FROM span WHERE first_day IS NOT NULL
  UNION ALL
  SELECT n + 1 FROM calendar WHERE n < (SELECT max(last_day) FROM span)
),
days(account_id, account, day, starts, begins, ends, begins_before) AS (
  SELECT a.id, a.name, date(c.n * 86400, 'unixepoch'), c.n * 86400,
    strftime('%Y-%m-%dT00:00:00Z', c.n * 86400, 'unixepoch'),
    strftime('%Y-%m-%dT00:00:00Z', (c.n + 1) * 86400, 'unixepoch'),
    strftime('%Y-%m-%dT00:00:00Z', (c.n - 1) * 86400, 'unixepoch')
  FROM account AS a
  CROSS JOIN span AS w ON w.account_id = a.id
  CROSS JOIN calendar AS c ON c.n BETWEEN w.first_day AND w.last_day
),
figures AS (
  SELECT d.account, d.day,
  {_in_day("CAST(s.total_usdt AS REAL)", _FIRST_OF_DAY)} AS open_usdt,
  {_in_day("max(CAST(s.total_usdt AS REAL))")} AS high_usdt,
  {_in_day("min(CAST(s.total_usdt AS REAL))")} AS low_usdt,
  {_in_day("CAST(s.total_usdt AS REAL)", _LAST_OF_DAY)} AS close_usdt,
  {_in_day("s.slot_at", _LAST_OF_DAY)} AS close_at,
  {_in_day("CAST(s.total_usdt AS REAL)", _LAST_OF_DAY, "d.begins_before", "d.begins")} AS close_before,
  {_in_day("count(*)")} AS snapshots,
  (
    SELECT coalesce(sum(max(0, min(p.last, d.starts + 86400) / p.step - max(p.first - p.step, d.starts) / p.step)), 0)
    FROM grid AS p
    WHERE p.account_id = d.account_id
  ) AS expected,
  (
    SELECT count(*)
    FROM grid AS p
    CROSS JOIN snapshot AS s
    WHERE p.account_id = d.account_id AND p.from_at <= d.ends AND p.ends_at > d.begins
      AND s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.slot_at >= p.from_at AND s.slot_at <= p.ends_at
      AND CAST(strftime('%s', s.slot_at) AS INTEGER) % p.step = 0
      AND s.status = 'complete' AND s.id NOT IN ({VOIDED})
  ) AS covered
  FROM days AS d
)
SELECT f.account, f.day, f.open_usdt, f.high_usdt, f.low_usdt, f.close_usdt, f.close_at,
  f.close_usdt - f.close_before AS change_usdt, f.snapshots, f.expected,
  CAST(f.covered AS REAL) / nullif(f.expected, 0) AS coverage
FROM figures AS f"""

SQLITE["slot_gap"] = f"""\
WITH
grid(account, account_id, schedule_id, step, first, last, first_at, last_at, last_but_one_at) AS (
  SELECT w.account, w.account_id, w.schedule_id, w.step, w.first, w.last,
    strftime('%Y-%m-%dT%H:%M:%SZ', w.first, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%SZ', w.last, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%SZ', w.last - w.step, 'unixepoch')
  FROM (
    SELECT a.name AS account, a.id AS account_id, p.id AS schedule_id, p.interval_seconds AS step,
      (CAST(strftime('%s', p.valid_from) AS INTEGER) + p.interval_seconds - 1)
        / p.interval_seconds * p.interval_seconds AS first,
      min(
        coalesce(CAST(strftime('%s', p.valid_to) AS INTEGER) - 1, CAST(strftime('%s', 'now') AS INTEGER)),
        CAST(strftime('%s', 'now') AS INTEGER)
      ) / p.interval_seconds * p.interval_seconds AS last
    FROM account AS a
    CROSS JOIN schedule AS p ON p.account_id = a.id
  ) AS w
  WHERE w.first <= w.last
),
beginnings(account, account_id, step, last, last_at, begins) AS (
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, p.first_at
  FROM grid AS p
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = p.first_at)
    AND NOT EXISTS (SELECT 1 FROM failure AS k WHERE k.account_id = p.account_id AND k.slot_at = p.first_at)
  UNION ALL
  SELECT p.account, p.account_id, p.step, p.last, p.last_at,
    strftime('%Y-%m-%dT%H:%M:%SZ', s.slot_at, p.step || ' seconds')
  FROM grid AS p
  CROSS JOIN snapshot AS s
    ON s.account_id = p.account_id AND s.slot_at >= p.first_at AND s.slot_at <= p.last_but_one_at
  WHERE NOT EXISTS (
      SELECT 1 FROM snapshot AS k
      WHERE k.account_id = s.account_id
        AND k.slot_at = strftime('%Y-%m-%dT%H:%M:%SZ', s.slot_at, p.step || ' seconds')
    )
    AND NOT EXISTS (
      SELECT 1 FROM failure AS k
      WHERE k.account_id = s.account_id
        AND k.slot_at = strftime('%Y-%m-%dT%H:%M:%SZ', s.slot_at, p.step || ' seconds')
    )
    AND CAST(strftime('%s', s.slot_at) AS INTEGER) % p.step = 0
  UNION ALL
  SELECT p.account, p.account_id, p.step, p.last, p.last_at,
    strftime('%Y-%m-%dT%H:%M:%SZ', f.slot_at, p.step || ' seconds')
  FROM grid AS p
  CROSS JOIN failure AS f
    ON f.account_id = p.account_id AND f.slot_at >= p.first_at AND f.slot_at <= p.last_but_one_at
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = f.account_id AND k.slot_at = f.slot_at)
    AND NOT EXISTS (
      SELECT 1 FROM snapshot AS k
      WHERE k.account_id = f.account_id
        AND k.slot_at = strftime('%Y-%m-%dT%H:%M:%SZ', f.slot_at, p.step || ' seconds')
    )
    AND NOT EXISTS (
      SELECT 1 FROM failure AS k
      WHERE k.account_id = f.account_id
        AND k.slot_at = strftime('%Y-%m-%dT%H:%M:%SZ', f.slot_at, p.step || ' seconds')
    )
    AND CAST(strftime('%s', f.slot_at) AS INTEGER) % p.step = 0
),
silent(account, step, first, last) AS (
  SELECT b.account, b.step, CAST(strftime('%s', b.begins) AS INTEGER),
    min(
      coalesce((
        SELECT CAST(strftime('%s', k.slot_at) AS INTEGER) - b.step
        FROM snapshot AS k
        WHERE k.account_id = b.account_id AND k.slot_at > b.begins AND k.slot_at <= b.last_at
          AND CAST(strftime('%s', k.slot_at) AS INTEGER) % b.step = 0
        ORDER BY k.slot_at
        LIMIT 1
      ), b.last),
      coalesce((
        SELECT CAST(strftime('%s', k.slot_at) AS INTEGER) - b.step
        FROM failure AS k
        WHERE k.account_id = b.account_id AND k.slot_at > b.begins AND k.slot_at <= b.last_at
          AND CAST(strftime('%s', k.slot_at) AS INTEGER) % b.step = 0
        ORDER BY k.slot_at
        LIMIT 1
      ), b.last)
    )
  FROM beginnings AS b
),
unusable(account, schedule_id, step, slot, reason) AS (
  SELECT p.account, p.schedule_id, p.step, CAST(strftime('%s', f.slot_at) AS INTEGER), f.reason
  FROM grid AS p
  CROSS JOIN failure AS f ON f.account_id = p.account_id AND f.slot_at >= p.first_at AND f.slot_at <= p.last_at
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = f.account_id AND k.slot_at = f.slot_at)
  UNION ALL
  SELECT p.account, p.schedule_id, p.step, CAST(strftime('%s', s.slot_at) AS INTEGER), 'void'
  FROM ({VOIDED}) AS x
  CROSS JOIN snapshot AS s ON s.id = x.snapshot_id
  CROSS JOIN grid AS p ON p.account_id = s.account_id AND s.slot_at >= p.first_at AND s.slot_at <= p.last_at
),
islands(account, schedule_id, step, slot, reason, island) AS (
  SELECT u.account, u.schedule_id, u.step, u.slot, u.reason,
    u.slot / u.step - row_number() OVER (PARTITION BY u.account, u.schedule_id, u.reason ORDER BY u.slot)
  FROM unusable AS u
  WHERE u.slot % u.step = 0
)
SELECT g.account, strftime('%Y-%m-%dT%H:%M:%SZ', g.first, 'unixepoch') AS gap_from,
  strftime('%Y-%m-%dT%H:%M:%SZ', g.last, 'unixepoch') AS gap_to, (g.last - g.first) / g.step + 1 AS missed, g.reason
FROM (
  SELECT account, step, first, last, NULL AS reason FROM silent
  UNION ALL
  SELECT account, min(step), min(slot), max(slot), reason FROM islands GROUP BY account, schedule_id, reason, island
) AS g"""
