SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at, b.account_type,
  b.usdt_balance, b.usdt_balance AS usdt_balance_exact, s.status, s.provenance
FROM account AS a
JOIN snapshot AS s ON s.id = (SELECT l.id
  FROM snapshot AS l
  WHERE l.account_id = a.id AND l.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
  ORDER BY l.slot_at DESC
  LIMIT 1)
JOIN balance AS b ON b.snapshot_id = s.id
