"""What the tasks of shop.yaml do: they take the same time in each run."""

import time
from pathlib import Path

ATTEMPTS = Path("attempts")


def database():
    print("ready", flush=True)
    time.sleep(3600)


def connect():
    time.sleep(0.5)
    attempts = len(ATTEMPTS.read_text()) if ATTEMPTS.exists() else 0
    ATTEMPTS.write_text("." * (attempts + 1))
    if attempts < 1:
        raise ConnectionError("port 5432 refused the connection")


def fetch(page):
    for part in range(1, 6):
        print(f"reading part {part} of 5 of page {page}", flush=True)
        time.sleep((1 + page * 0.15) / 5)


def load(table):
    print(f"loading {table}", flush=True)
    time.sleep(0.6)
    check(table, 3)
    time.sleep(1.2 if table == "users" else 0.8)


def check(table, rows):
    if table == "orders":
        raise ValueError(f"{table} has {rows} rows, not 4")
