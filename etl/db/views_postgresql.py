"""The views in the SQL of PostgreSQL 14 and newer. Nothing in them depends on the time zone of who reads them."""

from typing import Final

from etl.db.views_shared import VOIDED

_BALANCE = """\
SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at, b.account_type,
  b.usdt_balance, b.usdt_balance AS usdt_balance_exact, s.status, s.provenance"""

_LAST = f"""\
SELECT l.id
  FROM snapshot AS l
  WHERE l.account_id = a.id AND l.id NOT IN ({VOIDED})
  ORDER BY l.slot_at DESC
  LIMIT 1"""

POSTGRESQL: Final = {
    "balance_history": f"""\
{_BALANCE}
FROM account AS a
JOIN snapshot AS s ON s.account_id = a.id
JOIN balance AS b ON b.snapshot_id = s.id
WHERE s.id NOT IN ({VOIDED})""",
    "latest_balance": f"""\
{_BALANCE}
FROM account AS a
JOIN snapshot AS s ON s.id = ({_LAST})
JOIN balance AS b ON b.snapshot_id = s.id""",
    "equity": f"""\
SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at,
  s.total_usdt, s.total_usdt AS total_usdt_exact, s.status, s.provenance
FROM account AS a
JOIN snapshot AS s ON s.account_id = a.id
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

# Per schedule, in seconds since 1970: its first slot, the last that has begun, and where it ends or now is.
_GRID = """\
SELECT p.id AS schedule_id, p.account_id, p.interval_seconds::bigint AS step,
    (extract(epoch FROM p.valid_from)::bigint + p.interval_seconds - 1) / p.interval_seconds * p.interval_seconds
      AS first,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint)
      / p.interval_seconds * p.interval_seconds AS last,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint) AS ends
  FROM schedule AS p"""

# Days are counted from 1970; the one of second e is (e - 1) / 86400, for midnight belongs to the day that ends with it.
# Snapshots from outside every schedule, which were imported, have their days as well, where nothing was expected.
POSTGRESQL["daily_equity"] = f"""\
WITH grid AS MATERIALIZED (
  {_GRID}
),
days AS (
  SELECT a.id AS account_id, a.name AS account, DATE '1970-01-01' + c.n::integer AS day, c.n * 86400 AS starts,
    to_timestamp(c.n * 86400) AS begins, to_timestamp((c.n + 1) * 86400) AS ends,
    to_timestamp((c.n - 1) * 86400) AS begins_before
  FROM account AS a
  CROSS JOIN LATERAL (
    SELECT
      least(
        (SELECT min(p.first) FROM grid AS p WHERE p.account_id = a.id AND p.first <= p.ends),
        (SELECT extract(epoch FROM min(s.slot_at))::bigint FROM snapshot AS s WHERE s.account_id = a.id)
      ) AS first,
      greatest(
        (SELECT max(p.ends) FROM grid AS p WHERE p.account_id = a.id AND p.first <= p.ends),
        (SELECT extract(epoch FROM max(s.slot_at))::bigint FROM snapshot AS s WHERE s.account_id = a.id)
      ) AS last
  ) AS w
  CROSS JOIN LATERAL generate_series((w.first - 1) / 86400, (w.last - 1) / 86400) AS c(n)
),
figures AS (
  SELECT d.account, d.day,
  {_in_day("s.total_usdt", _FIRST_OF_DAY)} AS open_usdt,
  {_in_day("max(s.total_usdt)")} AS high_usdt,
  {_in_day("min(s.total_usdt)")} AS low_usdt,
  {_in_day("s.total_usdt", _LAST_OF_DAY)} AS close_usdt,
  {_in_day("s.slot_at", _LAST_OF_DAY)} AS close_at,
  {_in_day("s.total_usdt", _LAST_OF_DAY, "d.begins_before", "d.begins")} AS close_before,
  {_in_day("count(*)")} AS snapshots,
  (
    SELECT coalesce(
      sum(greatest(0, least(p.last, d.starts + 86400) / p.step - greatest(p.first - p.step, d.starts) / p.step)), 0
    )::bigint
    FROM grid AS p
    WHERE p.account_id = d.account_id
  ) AS expected,
  (
    SELECT count(*)
    FROM grid AS p
    JOIN snapshot AS s ON s.account_id = p.account_id
    WHERE p.account_id = d.account_id AND p.first <= d.starts + 86400 AND p.last > d.starts
      AND s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.slot_at >= to_timestamp(p.first) AND s.slot_at <= to_timestamp(p.last)
      AND extract(epoch FROM s.slot_at)::bigint % p.step = 0
      AND s.status = 'complete' AND s.id NOT IN ({VOIDED})
  ) AS covered
  FROM days AS d
)
SELECT f.account, f.day, f.open_usdt, f.high_usdt, f.low_usdt, f.close_usdt, f.close_at,
  f.close_usdt - f.close_before AS change_usdt, f.snapshots, f.expected,
  f.covered::double precision / nullif(f.expected, 0) AS coverage
FROM figures AS f"""


def _known(table: str, slot: str) -> str:
    return f"EXISTS (SELECT 1 FROM {table} AS k WHERE k.account_id = p.account_id AND k.slot_at = {slot})"


def _next(table: str) -> str:
    """The last slot before the next known one in a table, on the same grid."""
    return f"""(
      SELECT extract(epoch FROM k.slot_at)::bigint - b.step
      FROM {table} AS k
      WHERE k.account_id = b.account_id AND k.slot_at > b.begins AND k.slot_at <= b.last_at
        AND extract(epoch FROM k.slot_at)::bigint % b.step = 0
      ORDER BY k.slot_at
      LIMIT 1
    )"""


def _after(table: str, only: str = "") -> str:
    """Slots of a grid whose predecessor is in a table, and which are in none."""
    successor = "s.slot_at + p.step_interval"
    return f"""\
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, {successor}
  FROM grid AS p
  JOIN {table} AS s ON s.account_id = p.account_id AND s.slot_at >= p.first_at AND s.slot_at < p.last_at
  WHERE NOT {_known("snapshot", successor)}
    AND NOT {_known("failure", successor)}
    AND extract(epoch FROM s.slot_at)::bigint % p.step = 0{only}"""


POSTGRESQL["slot_gap"] = f"""\
WITH grid AS (
  SELECT a.name AS account, w.account_id, w.schedule_id, w.step, w.step * INTERVAL '1 second' AS step_interval,
    w.first, w.last, to_timestamp(w.first) AS first_at, to_timestamp(w.last) AS last_at
  FROM account AS a
  JOIN (
  {_GRID}
  ) AS w ON w.account_id = a.id
  WHERE w.first <= w.last
),
beginnings(account, account_id, step, last, last_at, begins) AS (
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, p.first_at
  FROM grid AS p
  WHERE NOT {_known("snapshot", "p.first_at")}
    AND NOT {_known("failure", "p.first_at")}
  UNION ALL
{_after("snapshot")}
  UNION ALL
{
    _after(
        "failure",
        f'''
    AND NOT {_known("snapshot", "s.slot_at")}''',
    )
}
),
silent AS (
  SELECT b.account, b.step, extract(epoch FROM b.begins)::bigint AS first,
    least({_next("snapshot")}, {_next("failure")}, b.last) AS last
  FROM beginnings AS b
),
unusable(account, schedule_id, step, slot, reason) AS (
  SELECT p.account, p.schedule_id, p.step, extract(epoch FROM f.slot_at)::bigint, f.reason
  FROM grid AS p
  JOIN failure AS f ON f.account_id = p.account_id AND f.slot_at >= p.first_at AND f.slot_at <= p.last_at
  WHERE NOT {_known("snapshot", "f.slot_at")}
  UNION ALL
  SELECT p.account, p.schedule_id, p.step, extract(epoch FROM s.slot_at)::bigint, 'void'
  FROM ({VOIDED}) AS x
  JOIN snapshot AS s ON s.id = x.snapshot_id
  JOIN grid AS p ON p.account_id = s.account_id AND s.slot_at >= p.first_at AND s.slot_at <= p.last_at
),
islands AS (
  SELECT u.account, u.schedule_id, u.step, u.slot, u.reason,
    u.slot / u.step - row_number() OVER (PARTITION BY u.account, u.schedule_id, u.reason ORDER BY u.slot) AS island
  FROM unusable AS u
  WHERE u.slot % u.step = 0
)
SELECT g.account, to_timestamp(g.first) AS gap_from, to_timestamp(g.last) AS gap_to,
  (g.last - g.first) / g.step + 1 AS missed, g.reason
FROM (
  SELECT account, step, first, last, NULL::text AS reason FROM silent
  UNION ALL
  SELECT account, min(step), min(slot), max(slot), reason FROM islands GROUP BY account, schedule_id, reason, island
) AS g"""
