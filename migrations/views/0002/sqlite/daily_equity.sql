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
  (
    SELECT CAST(s.total_usdt AS REAL)
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
    ORDER BY s.slot_at LIMIT 1
  ) AS open_usdt,
  (
    SELECT max(CAST(s.total_usdt AS REAL))
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
  ) AS high_usdt,
  (
    SELECT min(CAST(s.total_usdt AS REAL))
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
  ) AS low_usdt,
  (
    SELECT CAST(s.total_usdt AS REAL)
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
    ORDER BY s.slot_at DESC LIMIT 1
  ) AS close_usdt,
  (
    SELECT s.slot_at
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
    ORDER BY s.slot_at DESC LIMIT 1
  ) AS close_at,
  (
    SELECT CAST(s.total_usdt AS REAL)
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins_before AND s.slot_at <= d.begins
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
    ORDER BY s.slot_at DESC LIMIT 1
  ) AS close_before,
  (
    SELECT count(*)
    FROM snapshot AS s
    WHERE s.account_id = d.account_id AND s.slot_at > d.begins AND s.slot_at <= d.ends
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
  ) AS snapshots,
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
      AND s.status = 'complete' AND s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
  ) AS covered
  FROM days AS d
)
SELECT f.account, f.day, f.open_usdt, f.high_usdt, f.low_usdt, f.close_usdt, f.close_at,
  f.close_usdt - f.close_before AS change_usdt, f.snapshots, f.expected,
  CAST(f.covered AS REAL) / nullif(f.expected, 0) AS coverage
FROM figures AS f
