"""A dlt pipeline with the same source: requests in a resource, SQLite by its SQLAlchemy destination.

dlt_pipeline.py DATABASE PIPELINES_DIRECTORY
"""

import hashlib
import hmac
import os
import sys
import time

import dlt
import requests


@dlt.resource(name="balances", write_disposition="append")
def balances():
    query = f"recvWindow=5000&timestamp={int(time.time() * 1000)}"
    signature = hmac.new(os.environ["API_SECRET"].encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{os.environ['BASE_URL']}/openApi/account/v1/allAccountBalance?{query}&signature={signature}"
    answer = requests.get(url, headers={"X-BX-APIKEY": os.environ["API_KEY"]}, timeout=10).json()
    for row in answer["data"]:
        yield {"captured_at": answer["timestamp"], "account": "main", **row}


if __name__ == "__main__":
    pipeline = dlt.pipeline(
        pipeline_name="bingx",
        pipelines_dir=sys.argv[2],
        destination=dlt.destinations.sqlalchemy("sqlite:///" + sys.argv[1]),
        dataset_name="main",
    )
    pipeline.run(balances())
