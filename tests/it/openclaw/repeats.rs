//! A real OpenClaw that repeats a request while its run goes on, since the connection breaks or says nothing for
//! too long.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(180);

/// How often the connection breaks, or is given up, before the run may end.
const REPEATS: usize = 2;

#[test]
fn storm_of_repeats_is_one_run_of_the_cli() {
    let scenes = [
        ("cut", Api::Anthropic, 60),
        ("cut-completions", Api::OpenAi, 60),
        // The gateway's pings come after each 5 s.
        ("silent", Api::Anthropic, 2),
    ]
    .map(|(name, api, patience)| {
        let model = ScriptedApi::start();
        let ccgw = Setup::with_real_cli(&model).start();
        let cable = Cable::to(ccgw.addr());
        (name, api, patience, model, ccgw, cable)
    });
    let providers = scenes.iter().map(|(name, api, patience, _, ccgw, cable)| {
        let provider = Provider::new(name, *api, ccgw).at(*api, cable.addr);
        provider.timeout_seconds(*patience)
    });
    let openclaw = OpenClaw::start(providers.collect());
    // One after the other: each of OpenClaw's programs takes seconds to start.
    for (name, _, patience, model, ccgw, cable) in &scenes {
        let breaks = *patience > 30;
        storm(&openclaw, name, (model, ccgw), breaks.then_some(cable));
    }
}

/// One question whose tool goes on until OpenClaw has repeated it some times.
fn storm(
    openclaw: &OpenClaw,
    name: &str,
    (model, ccgw): (&ScriptedApi, &Gateway),
    cable: Option<&Cable>,
) {
    let [done, go] = ["done", "go"].map(|it| ccgw.dir.path().join(it));
    let command = format!(
        "echo once >> {}; until [ -e {} ]; do sleep 0.1; done; echo and-done",
        done.display(),
        go.display()
    );
    thread::scope(|scope| {
        let asked =
            scope.spawn(|| openclaw.ask(name, &format!("do it [[bash:{command}]] and tell me")));
        wait_until(PATIENCE, "the tool", || lines(&done) == 1);
        for repeats in 1..=REPEATS {
            if let Some(cable) = cable {
                cable.cut();
            }
            wait_until(PATIENCE, "a repeat", || {
                ccgw.log().matches("a repeat, attached").count() >= repeats
            });
        }
        fs::write(&go, "").unwrap();
        let said = asked.join().unwrap();
        assert!(
            said.text.contains("result: and-done"),
            "{name}: {}",
            said.output
        );
    });
    assert_eq!(lines(&done), 1, "{name}");
    // One with the question, one with the tool's result.
    assert_eq!(model.prompts().len(), 2, "{name}");
    wait_until(PATIENCE, "the run in the log", || ccgw.log().contains(RUN));
    let log = ccgw.log();
    assert_eq!(log.matches(RUN).count(), 1, "{name}: {log}");
    // The conversation holds it once, too.
    let said = openclaw.ask(name, "go on [[text:gone on]]");
    assert!(said.text.contains("gone on"), "{name}: {}", said.output);
    let shown = model.last_prompt().body["messages"].to_string();
    assert_eq!(shown.matches("echo once").count(), 2, "{name}: {shown}");
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// What lies between OpenClaw and the gateway, and can break.
struct Cable {
    addr: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(gateway: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&ends);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A gateway that has ended takes no more.
                let Ok(server) = TcpStream::connect(gateway) else {
                    return;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || carry(from, to));
                }
                own.lock().unwrap().extend([client, server]);
            }
        });
        Cable { addr, ends }
    }

    /// Breaks all connections; new ones can be made.
    fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            // One that has ended already is as good.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Until one of them ends.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    let mut carry = || -> io::Result<()> {
        loop {
            match from.read(&mut bytes)? {
                0 => return Ok(()),
                count => to.write_all(&bytes[..count])?,
            }
        }
    };
    // However it ended, the other side is to hear of it.
    let _ = carry();
    let _ = to.shutdown(Shutdown::Both);
}
