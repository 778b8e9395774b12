//! What a delta costs on its way through, in the daemon's own processor time.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use crate::{Gateway, post};

const DELTAS: u32 = 1_000_000;

/// A long answer to a client that throws it away, with and without stop sequences to look for.
pub(crate) fn pass_through() {
    let plain = events_per_second("");
    let scanned = events_per_second(r#""stop_sequences":["</never>","NEVER SEEN"],"#);
    let row = |what: &str, value: String, target: &str| {
        println!("{what:48} {value:>12} {:>12}   {target}", "");
    };
    row(
        "deltas a second of processor time",
        format!("{plain:.0}"),
        ">= 500000",
    );
    row(
        "the same, looking for two stop sequences",
        format!("{scanned:.0}"),
        "",
    );
    let cost = (plain / scanned - 1.0) * 100.0;
    row("looking for them adds", format!("{cost:.1} %"), "< 10 %");
}

/// The best of three: other work on the machine only ever adds.
fn events_per_second(fields: &str) -> f64 {
    let gateway = Gateway::start("");
    let best = (0..3)
        .map(|_| {
            let before = gateway.processor_time();
            drain(&gateway, fields);
            gateway.processor_time() - before
        })
        .fold(f64::INFINITY, f64::min);
    f64::from(DELTAS) / best
}

fn drain(gateway: &Gateway, fields: &str) {
    let body = format!(
        r#"{{"model":"sonnet","max_tokens":9,"stream":true,"tool_choice":{{"type":"none"}},{fields}"messages":[{{"role":"user","content":"[[deltas:{DELTAS}]]"}}]}}"#
    );
    let mut socket = TcpStream::connect(gateway.address).unwrap();
    socket.write_all(post(&body).as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut end = Vec::new();
    while !end.ends_with(b"\r\n0\r\n\r\n") {
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream broke off");
        end.extend_from_slice(&buffer[count.saturating_sub(8)..count]);
        let start = end.len().saturating_sub(8);
        end.drain(..start);
    }
}

impl Gateway {
    /// Of the daemon alone, without its children, in seconds; counted in hundredths.
    fn processor_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let ticks = rest.split(' ').skip(11).take(2);
        ticks.map(|it| it.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }
}
