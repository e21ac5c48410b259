WITH grid AS MATERIALIZED (
  SELECT p.id AS schedule_id, p.account_id, p.interval_seconds::bigint AS step,
    (extract(epoch FROM p.valid_from)::bigint + p.interval_seconds - 1) / p.interval_seconds * p.interval_seconds
      AS first,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint)
      / p.interval_seconds * p.interval_seconds AS last,
    least(extract(epoch FROM p.valid_to)::bigint - 1, floor(extract(epoch FROM now()))::bigint) AS ends
  FROM schedule AS p
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
  (
    SELECT s.total_usdt
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
    SELECT max(s.total_usdt)
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
    SELECT min(s.total_usdt)
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
    SELECT s.total_usdt
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
    SELECT s.total_usdt
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
  f.covered::double precision / nullif(f.expected, 0) AS coverage
FROM figures AS f
