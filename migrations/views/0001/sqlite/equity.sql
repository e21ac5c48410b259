SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at,
  CAST(s.total_usdt AS REAL) AS total_usdt, s.total_usdt AS total_usdt_exact, s.status, s.provenance
FROM account AS a
CROSS JOIN snapshot AS s ON s.account_id = a.id
WHERE s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
