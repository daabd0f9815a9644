"""A small web shop to try a smoke run on: its search needs a warm-up, and its checkout is broken."""

import http.server
import urllib.error
import urllib.request

asked = []


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers as each page of the shop does."""

    def do_GET(self):
        asked.append(self.path)
        status = 200
        if self.path == "/search" and asked.count("/search") == 1:
            status = 503
        elif self.path == "/checkout":
            status = 500
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{self.path}: {status}\n".encode())


def serve(port):
    """Serve until the job ends."""
    http.server.HTTPServer(("127.0.0.1", port), Shop).serve_forever()


def check(url):
    """Fail unless a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            print(answer.read().decode(), end="")
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url} answers {error.code} {error.reason}") from None
