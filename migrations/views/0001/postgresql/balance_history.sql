SELECT s.id AS snapshot_id, a.name AS account, s.slot_at, s.taken_at, b.account_type,
  b.usdt_balance, b.usdt_balance AS usdt_balance_exact, s.status, s.provenance
FROM account AS a
JOIN snapshot AS s ON s.account_id = a.id
JOIN balance AS b ON b.snapshot_id = s.id
WHERE s.id NOT IN (SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    ))
