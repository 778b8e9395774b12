"""A scripted Anthropic API on loopback for packaging/test.sh: every prompt is answered with one sentence."""

import http.server
import json
import os
import sys

TEXT = "hello from the scripted API"


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if self.path.startswith("/v1/messages/count_tokens"):
            return self.send("application/json", json.dumps({"input_tokens": 9}))
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", "x"), "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1},
        }
        events = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 6}},
            {"type": "message_stop"},
        ]
        if not body.get("stream"):
            whole = message | {"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn"}
            return self.send("application/json", json.dumps(whole))
        self.send("text/event-stream", "".join(f"event: {it['type']}\ndata: {json.dumps(it)}\n\n" for it in events))

    def do_GET(self):
        self.send("application/json", "{}")

    do_HEAD = do_GET

    def send(self, kind, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
