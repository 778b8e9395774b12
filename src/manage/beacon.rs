//! A small listener in the gateway's place while it does not run: it shows whether an instance reaches
//! this machine under an address, before anything is changed, and whether a silent stream survives.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::ids;

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Beacon {
    pub(crate) port: u16,
    /// What every answer holds, so that nobody else's is taken for it.
    pub(crate) word: String,
    /// Closing it ends the thread.
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// How long a stream at `/silent` says nothing.
pub(crate) const SILENCE: Duration = Duration::from_secs(15);

const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
const CLIENTS_MAX: usize = 64;

impl Beacon {
    /// # Errors
    /// When the address is taken, or the system is out of something.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Beacon> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let word = ids::random_hex::<12>();
        let (ended, stop) = io::pipe()?;
        let said = word.clone();
        let thread = thread::Builder::new()
            .name("beacon".to_owned())
            .spawn(move || listen(&listener, &ended, &said))?;
        Ok(Beacon {
            port,
            word,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was told when it happened.
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, ended: &io::PipeReader, word: &str) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
        ];
        // Interrupted or not: what is there is looked at below.
        let _ = poll(&mut watched, None);
        if !watched[1].revents().is_empty() {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (count, word) = (Arc::clone(&clients), word.to_owned());
        let answer = move || {
            // A client that leaves early has nothing to be told.
            let _ = serve(stream, &word);
            count.fetch_sub(1, Ordering::Relaxed);
        };
        if thread::Builder::new().spawn(answer).is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: TcpStream, word: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|it| it == b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    let body = format!("{{\"status\":\"ok\",\"beacon\":\"{word}\"}}");
    let is_silent = head.starts_with(b"GET /silent ");
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
    )?;
    if is_silent {
        stream.write_all(b" ")?;
        thread::sleep(SILENCE);
    }
    stream.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::ask::{Ask, from_here};

    #[test]
    fn beacon_answers_with_its_word_and_gives_the_port_back() {
        let beacon = Beacon::open(([127, 0, 0, 1], 0).into()).unwrap();
        let port = beacon.port;
        let url = format!("http://127.0.0.1:{port}/health");
        let ask = Ask {
            url: &url,
            key: None,
            body: None,
            timeout: Duration::from_secs(10),
        };
        let said = from_here(&ask).unwrap();
        assert!(said.body.contains(&beacon.word), "{}", said.body);
        drop(beacon);
        assert!(from_here(&ask).is_err());
        Beacon::open(([127, 0, 0, 1], port).into()).unwrap();
    }
}
