//! The client's side of the Docker Engine API: one request per connection to its Unix socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// How long the engine may be silent: an image is imported within seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What goes with a request.
pub(super) enum Body<'a> {
    Nothing,
    Json(&'a Value),
    Tar(&'a [u8]),
}

/// What the engine answered.
pub(super) struct Reply {
    status: u16,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The document, and null where the engine says nothing.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The two streams of a program, which the engine sends as frames: one byte that names the
    /// stream, three without meaning, four of length, and the content.
    #[track_caller]
    pub(super) fn streams(&self) -> [String; 2] {
        let mut streams = [Vec::new(), Vec::new()];
        let mut rest = &self.body[..];
        while let Some((head, after)) = rest.split_first_chunk::<8>() {
            let [stream, _, _, _, length @ ..] = *head;
            let length = u32::from_be_bytes(length) as usize;
            let (content, after) = after.split_at(length);
            streams[usize::from(stream == 2)].extend(content);
            rest = after;
        }
        streams.map(|stream| String::from_utf8_lossy(&stream).into_owned())
    }
}

/// Sends one request and reads the answer to its end.
pub(super) fn request(socket: &Path, call: (&str, &str), body: Body) -> io::Result<Reply> {
    let (method, path) = call;
    let (kind, content) = match body {
        Body::Nothing => ("application/json", Vec::new()),
        Body::Json(value) => ("application/json", value.to_string().into_bytes()),
        Body::Tar(tar) => ("application/x-tar", tar.to_vec()),
    };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer has no chunks and ends with the connection.
    let length = content.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&content)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parsed(answer).ok_or_else(|| io::Error::other("this is no HTTP answer"))
}

fn parsed(mut answer: Vec<u8>) -> Option<Reply> {
    let head = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let line = str::from_utf8(&answer[..head]).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_off(head + 4);
    Some(Reply { status, body })
}

/// Text as a value of a query.
pub(super) fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let quote = |byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(quote).collect()
}
