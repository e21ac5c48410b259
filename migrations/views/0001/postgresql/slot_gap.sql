WITH grid AS (
  SELECT a.name AS account, w.account_id, w.schedule_id, w.step, w.step * INTERVAL '1 second' AS step_interval,
    w.first, w.last, to_timestamp(w.first) AS first_at, to_timestamp(w.last) AS last_at
  FROM account AS a
  JOIN (
  SELECT p.id AS schedule_id, p.account_id, p.interval_seconds::bigint AS step,
    (extract(epoch FROM p.valid_from)::bigint + p.interval_seconds - 1) / p.interval_seconds * p.interval_seconds
      AS first,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint)
      / p.interval_seconds * p.interval_seconds AS last,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint) AS ends
  FROM schedule AS p
  ) AS w ON w.account_id = a.id
  WHERE w.first <= w.last
),
beginnings(account, account_id, step, last, last_at, begins) AS (
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, p.first_at
  FROM grid AS p
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = p.first_at)
    AND NOT EXISTS (SELECT 1 FROM failure AS k WHERE k.account_id = p.account_id AND k.slot_at = p.first_at)
  UNION ALL
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, s.slot_at + p.step_interval
  FROM grid AS p
  JOIN snapshot AS s ON s.account_id = p.account_id AND s.slot_at >= p.first_at AND s.slot_at < p.last_at
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = s.slot_at + p.step_interval)
    AND NOT EXISTS (SELECT 1 FROM failure AS k WHERE k.account_id = p.account_id AND k.slot_at = s.slot_at + p.step_interval)
    AND extract(epoch FROM s.slot_at)::bigint % p.step = 0
  UNION ALL
  SELECT p.account, p.account_id, p.step, p.last, p.last_at, s.slot_at + p.step_interval
  FROM grid AS p
  JOIN failure AS s ON s.account_id = p.account_id AND s.slot_at >= p.first_at AND s.slot_at < p.last_at
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = s.slot_at + p.step_interval)
    AND NOT EXISTS (SELECT 1 FROM failure AS k WHERE k.account_id = p.account_id AND k.slot_at = s.slot_at + p.step_interval)
    AND extract(epoch FROM s.slot_at)::bigint % p.step = 0
    AND NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = s.slot_at)
),
silent AS (
  SELECT b.account, b.step, extract(epoch FROM b.begins)::bigint AS first,
    least((
      SELECT extract(epoch FROM k.slot_at)::bigint - b.step
      FROM snapshot AS k
      WHERE k.account_id = b.account_id AND k.slot_at > b.begins AND k.slot_at <= b.last_at
        AND extract(epoch FROM k.slot_at)::bigint % b.step = 0
      ORDER BY k.slot_at
      LIMIT 1
    ), (
      SELECT extract(epoch FROM k.slot_at)::bigint - b.step
      FROM failure AS k
      WHERE k.account_id = b.account_id AND k.slot_at > b.begins AND k.slot_at <= b.last_at
        AND extract(epoch FROM k.slot_at)::bigint % b.step = 0
      ORDER BY k.slot_at
      LIMIT 1
    ), b.last) AS last
  FROM beginnings AS b
),
unusable(account, schedule_id, step, slot, reason) AS (
  SELECT p.account, p.schedule_id, p.step, extract(epoch FROM f.slot_at)::bigint, f.reason
  FROM grid AS p
  JOIN failure AS f ON f.account_id = p.account_id AND f.slot_at >= p.first_at AND f.slot_at <= p.last_at
  WHERE NOT EXISTS (SELECT 1 FROM snapshot AS k WHERE k.account_id = p.account_id AND k.slot_at = f.slot_at)
  UNION ALL
  SELECT p.account, p.schedule_id, p.step, extract(epoch FROM s.slot_at)::bigint, 'void'
  FROM (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    )) AS x
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
) AS g
