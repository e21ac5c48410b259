"""What everybody writes first: requests and sqlite3, the same request, the same rows, no check of anything.

bare.py DATABASE         one snapshot of $BASE_URL with $API_KEY and $API_SECRET
bare.py DATABASE FILE    one snapshot of each account in FILE (a line each: name, key, secret), one commit at the end
bare.py DATABASE -       a round of snapshots for each number read from stdin; prints seconds and CPU seconds of it
"""

import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from datetime import datetime, timezone

import requests


def fetch(get, base_url, key, secret):
    query = f"recvWindow=5000&timestamp={int(time.time() * 1000)}"
    signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{base_url}/openApi/account/v1/allAccountBalance?{query}&signature={signature}"
    return get(url, headers={"X-BX-APIKEY": key}, timeout=10).text


def open_database(path):
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY, account TEXT, requested_at TEXT, taken_at TEXT,"
        " total REAL)"
    )
    database.execute("CREATE TABLE IF NOT EXISTS balance (snapshot_id INTEGER, account_type TEXT, usdt_balance TEXT)")
    database.execute("CREATE TABLE IF NOT EXISTS payload (snapshot_id INTEGER, body TEXT)")
    return database


def store(database, account, requested_at, body):
    answer = json.loads(body)
    taken_at = datetime.fromtimestamp(answer["timestamp"] / 1000, timezone.utc).isoformat()
    total = sum(float(row["usdtBalance"]) for row in answer["data"])
    number = database.execute(
        "INSERT INTO snapshot (account, requested_at, taken_at, total) VALUES (?, ?, ?, ?)",
        (account, requested_at, taken_at, total),
    ).lastrowid
    database.executemany(
        "INSERT INTO balance VALUES (?, ?, ?)",
        [(number, row["accountType"], row["usdtBalance"]) for row in answer["data"]],
    )
    database.execute("INSERT INTO payload VALUES (?, ?)", (number, body))


def snapshot(database, get, account, key, secret):
    requested_at = datetime.now(timezone.utc).isoformat()
    store(database, account, requested_at, fetch(get, os.environ["BASE_URL"], key, secret))


def main():
    database = open_database(sys.argv[1])
    if len(sys.argv) == 2:
        snapshot(database, requests.get, "main", os.environ["API_KEY"], os.environ["API_SECRET"])
        database.commit()
        return
    session = requests.Session()
    if sys.argv[2] == "-":
        for line in sys.stdin:
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(line)):
                snapshot(database, session.get, "main", os.environ["API_KEY"], os.environ["API_SECRET"])
                database.commit()
            print(time.perf_counter() - began, time.process_time() - cpu, flush=True)
        return
    with open(sys.argv[2]) as accounts:
        for line in accounts:
            snapshot(database, session.get, *line.split())
    database.commit()


main()
