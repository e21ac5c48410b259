"""What the views have in common in both dialects."""

# Without a later unvoid, the void is the last word on its snapshot.
VOIDED = """\
SELECT v.snapshot_id
  FROM annotation AS v
  WHERE v.kind = 'void'
    AND NOT EXISTS (
      SELECT 1 FROM annotation AS u WHERE u.snapshot_id = v.snapshot_id AND u.kind = 'unvoid' AND u.id > v.id
    )"""
