//! The HTTP/1.1 of the scripted API: strict enough to notice a broken client, no more.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::Received;

/// One keep-alive connection from the CLI.
pub(super) struct Connection<'a> {
    reader: BufReader<&'a TcpStream>,
    writer: &'a TcpStream,
    /// Lines for the head of the next answer.
    pub(super) headers: String,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Connection<'a> {
        Connection {
            reader: BufReader::new(stream),
            writer: stream,
            headers: String::new(),
        }
    }

    /// The next request, or `None` when the client has closed between two of them.
    pub(super) fn read_request(&mut self) -> io::Result<Option<Received>> {
        let line = self.read_line()?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Received {
            method,
            path,
            headers,
            body: Value::Null,
        };
        let body = self.read_body(&request)?;
        request.body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Some(request))
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn read_body(&mut self, head: &Received) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding").is_some() {
            loop {
                let line = self.read_line()?;
                let size = u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
                (&mut self.reader).take(size).read_to_end(&mut body)?;
                self.read_line()?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            (&mut self.reader).take(length).read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// A whole answer with a JSON body.
    pub(super) fn send(
        &mut self,
        status: u16,
        retry_after: Option<u32>,
        body: &Value,
    ) -> io::Result<()> {
        let body = body.to_string();
        let retry_after = retry_after
            .map(|seconds| format!("retry-after: {seconds}\r\n"))
            .unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\nrequest-id: req_scripted\r\n\
             {retry_after}{}content-length: {}\r\n\r\n{body}",
            self.headers,
            body.len(),
        );
        self.writer.write_all(answer.as_bytes())
    }

    pub(super) fn start_stream(&mut self) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
             request-id: req_scripted\r\n{}transfer-encoding: chunked\r\n\r\n",
            self.headers
        );
        self.writer.write_all(head.as_bytes())
    }

    pub(super) fn send_chunk(&mut self, data: &str) -> io::Result<()> {
        self.writer
            .write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())
    }

    pub(super) fn finish_stream(&mut self) -> io::Result<()> {
        self.writer.write_all(b"0\r\n\r\n")
    }
}
