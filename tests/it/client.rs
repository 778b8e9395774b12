//! A small raw HTTP/1.1 client: what it sends is what the test wrote, what it reads it checks.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{
    schema,
    sse::{Event, SseReader},
};

/// How long a read may stay silent; far more than any answer of a test takes.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Header lines of a request.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// Sends each request over a connection of its own.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    addr: SocketAddr,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Client {
        Client { addr }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str, headers: Headers<'_>) -> Response {
        self.open("GET", path, headers, None).response()
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, headers: Headers<'_>, body: &Value) -> Response {
        self.open("POST", path, headers, Some(body)).response()
    }

    /// Sends a request that wants a stream and reads its head; panics unless a stream comes.
    #[track_caller]
    pub(crate) fn stream(
        &self,
        path: &str,
        headers: Headers<'_>,
        body: &Value,
    ) -> SseReader<Answer> {
        let answer = self.open("POST", path, headers, Some(body)).answer();
        if answer.status != 200 {
            panic!("no stream, but {:#?}", answer.read_whole());
        }
        let kind = find(&answer.headers, "content-type").unwrap_or_default();
        assert!(
            kind.starts_with("text/event-stream"),
            "a stream of {kind:?}"
        );
        SseReader::of_path(answer, path)
    }

    /// Sends a request and leaves the answer unread.
    #[track_caller]
    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: Option<&Value>,
    ) -> Connection {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.addr);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            request += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
        }
        request += "\r\n";
        request += &body.unwrap_or_default();
        let mut connection = self.connect();
        // A server that refuses early may close before the whole body is sent; its answer decides.
        let _ = connection.send(request.as_bytes());
        connection
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(SILENCE_LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            reader: BufReader::new(stream),
        }
    }
}

/// One connection; dropping it closes it.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Ends the sending side, as a client does that has nothing more to say.
    pub(crate) fn finish_sending(&mut self) {
        self.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads the next whole answer and closes.
    #[track_caller]
    pub(crate) fn response(self) -> Response {
        self.answer().read_whole()
    }

    /// Reads the next whole answer and keeps the connection for more.
    #[track_caller]
    pub(crate) fn next_response(&mut self) -> Response {
        let (status, headers) = read_head(&mut self.reader).unwrap();
        let mut framing = Framing::of(status, &headers);
        let mut body = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match framing.read(&mut self.reader, &mut buffer).unwrap() {
                0 => {
                    return Response::checked(status, headers, body);
                }
                count => body.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Reads the head of the next answer; an interim `100 Continue` is skipped.
    #[track_caller]
    pub(crate) fn answer(mut self) -> Answer {
        loop {
            let (status, headers) = read_head(&mut self.reader).unwrap();
            if status != 100 {
                let framing = Framing::of(status, &headers);
                return Answer {
                    status,
                    headers,
                    reader: self.reader,
                    framing,
                };
            }
        }
    }

    /// Reads until the server closes; what came before a reset counts.
    #[track_caller]
    pub(crate) fn read_to_close(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        match self.reader.read_to_end(&mut all) {
            Ok(_) => all,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => all,
            Err(error) => panic!(
                "the server did not close ({error}) after {:?}",
                String::from_utf8_lossy(&all)
            ),
        }
    }
}

/// An answer whose head was read; its body is what reading it gives.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    framing: Framing,
}

impl Answer {
    #[track_caller]
    pub(crate) fn read_whole(mut self) -> Response {
        let mut body = Vec::new();
        self.read_to_end(&mut body).unwrap();
        Response::checked(self.status, self.headers, body)
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.framing.read(&mut self.reader, buffer)
    }
}

/// How the end of a body is known, and how much of it is left.
enum Framing {
    Length(u64),
    /// Bytes left of the current chunk; `None` after the last one.
    Chunked(Option<u64>),
    Close,
}

impl Framing {
    fn of(status: u16, headers: &[(String, String)]) -> Framing {
        if status == 204 || status == 304 || status < 200 {
            return Framing::Length(0);
        }
        let chunked = find(headers, "transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = find(headers, "content-length").map(|length| length.parse().unwrap());
        match (chunked, length) {
            (true, None) => Framing::Chunked(Some(0)),
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
            (true, Some(_)) => {
                panic!("an answer with both Content-Length and Transfer-Encoding: {headers:?}")
            }
        }
    }

    /// As `Read::read`; a body that ends early is an error, never a quiet end.
    fn read(&mut self, reader: &mut BufReader<TcpStream>, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Framing::Close => reader.read(buffer),
            Framing::Length(left) => read_part(reader, buffer, left),
            Framing::Chunked(None) => Ok(0),
            Framing::Chunked(Some(left)) => {
                if *left == 0 {
                    let line = read_line(reader)?;
                    *left = u64::from_str_radix(&line, 16)
                        .map_err(|_| io::Error::other(format!("chunk size {line:?}")))?;
                    if *left == 0 {
                        expect_blank_line(reader)?;
                        *self = Framing::Chunked(None);
                        return Ok(0);
                    }
                }
                let count = read_part(reader, buffer, left)?;
                if *left == 0 {
                    expect_blank_line(reader)?;
                }
                Ok(count)
            }
        }
    }
}

fn read_part(
    reader: &mut BufReader<TcpStream>,
    buffer: &mut [u8],
    left: &mut u64,
) -> io::Result<usize> {
    let count = reader.take(*left).read(buffer)?;
    if count == 0 && *left > 0 && !buffer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the body ended {left} bytes early"),
        ));
    }
    *left -= count as u64;
    Ok(count)
}

fn expect_blank_line(reader: &mut BufReader<TcpStream>) -> io::Result<()> {
    match read_line(reader)?.as_str() {
        "" => Ok(()),
        line => Err(io::Error::other(format!(
            "{line:?} where a chunk should end"
        ))),
    }
}

/// One line without its CRLF; a bare LF is an error.
fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the line {line:?} has no CRLF"),
        )),
    }
}

type Head = (u16, Vec<(String, String)>);

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Head> {
    let line = read_line(reader)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .or(line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("the status line {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("the header {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

impl Response {
    /// A whole answer; if it is JSON, then JSON as the APIs give it.
    #[track_caller]
    fn checked(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Response {
        let response = Response {
            status,
            headers,
            body,
        };
        if response.header("content-type") == Some("application/json") && !response.body.is_empty()
        {
            schema::check_answer(&response.json());
        }
        response
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self:#?}"))
    }

    /// The answer's text in either format; panics when it is not a 200.
    #[track_caller]
    pub(crate) fn answer_text(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        let body = self.json();
        if let Some(text) = body["choices"][0]["message"]["content"].as_str() {
            return text.to_owned();
        }
        let blocks = body["content"]
            .as_array()
            .unwrap_or_else(|| panic!("no content in {body:#}"));
        blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect()
    }

    /// Checks that this is an error of Anthropic's shape with this status and type.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["type"], "error", "{body:#}");
        assert_eq!(body["error"]["type"], kind, "{body:#}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.len() > 10,
            "an error must say what is wrong and what to do: {body:#}"
        );
    }
}

/// The text of a stream's events in either format.
pub(crate) fn text_of(events: &[Event]) -> String {
    let texts = events.iter().map(|event| {
        let text = event.data["delta"]["text"].as_str();
        text.or_else(|| event.data["choices"][0]["delta"]["content"].as_str())
            .unwrap_or_default()
    });
    texts.collect()
}
