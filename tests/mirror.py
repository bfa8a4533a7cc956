"""A server on loopback from which tests download, and which may misbehave."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror(BaseHTTPRequestHandler):
    """Serves `server.files`, in the way that `server.manner` says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        raw = self.server.files.get(self.path.rpartition("/")[2])
        if raw is None or self.server.manner == "refuses":
            self.send_error(404)
            return
        if self.server.manner == "hangs":
            self.server.released.wait(20)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        half = self.server.manner in ("cuts", "stalls")
        time.sleep(self.server.delay)
        self.wfile.write(raw[: len(raw) // 2] if half else raw)
        if self.server.manner == "stalls":
            self.server.released.wait(20)
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(files, manner="well", delay=0.0):
    """A real server on loopback; yields its address and the list of paths it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.files, server.manner, server.delay = files, manner, delay
    server.requests, server.released = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", server.requests
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
