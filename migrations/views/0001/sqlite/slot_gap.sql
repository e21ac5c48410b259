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
  FROM (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    )) AS x
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
) AS g
