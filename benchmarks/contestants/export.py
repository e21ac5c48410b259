"""The balances as CSV, as one writes it in a minute. export.py URL"""

import csv
import sqlite3
import sys

import psycopg

url = sys.argv[1]
if url.startswith("sqlite:///"):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
else:
    connection = psycopg.connect(url)
cursor = connection.cursor()
cursor.execute(
    "SELECT a.name, s.slot_at, s.taken_at, b.account_type, b.usdt_balance, s.total_usdt, s.status, s.provenance,"
    " s.reason, b.raw_type, a.environment"
    " FROM account a JOIN snapshot s ON s.account_id = a.id JOIN balance b ON b.snapshot_id = s.id"
)
writer = csv.writer(sys.stdout)
writer.writerow(column[0] for column in cursor.description)
writer.writerows(cursor)
