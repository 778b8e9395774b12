//! The daemon's life: starts every thread in order, waits for signals, ends every thread in order.
//!
//! What an orderly end (SIGTERM or SIGINT) promises: no new connection is taken; what waits in the
//! queue is answered 503; a run that finishes within `cli.drain_timeout` is answered in full; what
//! is left then is told so and ended with all its processes. A second signal skips the waiting.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded, never, select};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    args::Demo,
    claude::{
        command, keeper,
        pool::Minder,
        probe::Cli,
        program::{self, Kind, Program},
    },
    config::{self, Config},
    control::{self, Control, Order},
    gateway::{
        CliWorkers, Gateway, HttpWorkers, Parts, Reason, Served, WithoutTenants,
        continuity::{self, Conversations},
    },
    http::{self, Listener, ListenerConfig},
    log,
    manage::drift,
    reload::Reload,
    scheduler::{self, Scheduler},
    state::StateDir,
    watch,
};

/// File descriptors of the process beside connections and runs: standard streams, listener, epoll,
/// signals, a file or two being read.
pub(crate) const OTHER_FDS: usize = 64;

/// File descriptors of a run: its keeper, its pipes and what is being handed over.
pub(crate) const FDS_PER_RUN: usize = 12;

/// How long what is left may take to end after the drain: interrupt, kill and reap.
const END_WAIT: Duration = Duration::from_secs(5);

/// How long the last bytes may take to leave once everything is answered.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps the daemon from starting, as a text for the operator.
///
/// `file` is read again when it is no longer as it was before it was read, whether or not there is one yet.
pub(crate) fn serve(
    config: Config,
    (file, read_at): (&Path, watch::Look),
    source: &str,
    demo: Demo,
) -> Result<ExitCode, String> {
    let signals = signals().map_err(|it| format!("cannot watch signals: {it}"))?;
    keeper::adopt_orphans().map_err(|it| format!("cannot become a subreaper: {it}"))?;
    let parts = Threads::start((config, file), source, demo)?;
    let changes = watch::start(file, read_at);
    Ok(parts.run(&signals, &changes))
}

struct Threads {
    gateway: Arc<Gateway>,
    listener: Listener,
    scheduler: Scheduler,
    http: HttpWorkers,
    cli: CliWorkers,
    minder: Minder,
    reload: Reload,
}

impl Threads {
    fn start((config, file): (Config, &Path), source: &str, demo: Demo) -> Result<Self, String> {
        let config = Arc::new(config);
        let (runs_in, runs) = bounded(config::CONCURRENT_MAX);
        let (refusals_in, refusals) = bounded(config.server.max_connections);
        let (requests_in, requests) = bounded(config.server.max_connections);
        let without = match config.bind_address().to_canonical().is_loopback() {
            true => WithoutTenants::ThisMachine,
            false => WithoutTenants::Nobody,
        };
        let served = Served::new(
            Arc::clone(&config),
            skill_text(&config.cli.skill_file)?,
            without,
        );
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("cannot start {what}: {error}")
        };
        let scheduler = Scheduler::start(served.limits(), runs_in, refusals_in)
            .map_err(failed("the scheduler"))?;
        let (gateway, minder) = gateway(served, demo, scheduler.handle())?;
        let gateway = Arc::new(gateway);
        continuity::forget_in_time(&gateway).map_err(failed("the thread that forgets"))?;
        let cli = CliWorkers::start(&gateway, &runs, config.cli.max_concurrent)
            .map_err(failed("the CLI workers"))?;
        let http = HttpWorkers::start(&gateway, &requests, &refusals)
            .map_err(failed("the http workers"))?;
        let address = SocketAddr::new(config.bind_address(), config.server.port);
        let admitting = Arc::clone(&gateway);
        let heading = Arc::clone(&gateway);
        let listener = Listener::start(
            ListenerConfig {
                addr: address,
                limits: limits_of(&config.server),
                error_body: Gateway::listener_error,
                answer_headers: Box::new(move |head| heading.answer_headers(head)),
                reserved_fds: OTHER_FDS + FDS_PER_RUN * config.cli.max_concurrent,
            },
            move |head, peer| admitting.admit(head, peer),
            requests_in,
        )
        .map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another server.port (or PORT) or server.host")
        })?;
        announce(&gateway, source, listener.local_addr());
        if demo == Demo::Off {
            let gateway = Arc::clone(&gateway);
            drift::watch(move || Arc::clone(&gateway.served().config));
        }
        if demo == Demo::Try {
            print_request_to_try(&gateway, listener.local_addr());
        }
        let connections_max = listener.max_connections();
        if connections_max < config.server.max_connections {
            log::warn(
                "fewer connections than server.max_connections: the limit on open files is too low (ulimit -Hn, LimitNOFILE)",
                &[
                    ("wanted", &config.server.max_connections),
                    ("possible", &connections_max),
                ],
            );
        }
        Ok(Threads {
            gateway,
            listener,
            scheduler,
            http,
            cli,
            minder,
            reload: Reload {
                file: file.to_owned(),
                without,
                connections_max,
                count: 0,
            },
        })
    }

    fn run(mut self, signals: &Receiver<i32>, changes: &Receiver<()>) -> ExitCode {
        let (_control, mut orders) = self.control();
        let first = loop {
            select! {
                recv(signals) -> signal => match signal {
                    Ok(SIGHUP) => drop(self.reload()),
                    Ok(signal) => break Some(signal),
                    Err(_) => break None,
                },
                recv(changes) -> _ => drop(self.reload()),
                recv(orders) -> order => match order {
                    Ok(Order::Reload(answer)) => {
                        // Who asked may have left.
                        let _ = answer.send(self.reload());
                    }
                    Ok(Order::Drain) => break None,
                    // A closed channel would be ready for ever.
                    Err(_) => orders = never(),
                },
            }
        };
        // Who orders now is told at once that it is too late.
        drop(orders);
        self.stop(first, signals)
    }

    /// The operator's socket; without it the gateway serves all the same.
    fn control(&self) -> (Option<Control>, Receiver<Order>) {
        let path = control::locate(|name| std::env::var(name).ok());
        let opened = path.map(|path| (Control::start(&path, &self.gateway), path));
        match opened {
            Some((Ok((control, orders)), path)) => {
                log::info(
                    "the operator's socket is open",
                    &[("path", &path.display())],
                );
                return (Some(control), orders);
            }
            Some((Err(error), path)) => log::warn(
                "no operator's socket: ccgw-manage cannot ask this gateway",
                &[("path", &path.display()), ("why", &error)],
            ),
            // Without a place for state there is no gateway either.
            None => {}
        }
        (None, never())
    }

    fn reload(&mut self) -> Result<String, String> {
        self.reload.again(&self.gateway, &mut self.cli)
    }

    fn stop(self, first: Option<i32>, signals: &Receiver<i32>) -> ExitCode {
        let Threads {
            gateway,
            listener,
            scheduler,
            http,
            cli,
            minder,
            reload: _,
        } = self;
        listener.stop_accepting();
        gateway.start_draining();
        let drain = gateway.served().config.cli.drain_timeout;
        log::info(
            "stopping: no new connections, runs may finish",
            &[
                ("signal", &signal_name(first)),
                ("drain_ms", &drain.as_millis()),
            ],
        );
        let idle = closed_when_idle(scheduler);
        if wait_for_end(signals, &idle, Some(Instant::now() + drain)) != Some(IDLE) {
            log::warn("ending the runs that are left", &[]);
            cli.cancel_all(Reason::Shutdown);
            if wait_for_end(&never(), &idle, Some(Instant::now() + END_WAIT)) != Some(IDLE) {
                // The keepers end what is left when this process ends.
                log::error("some runs did not end in time", &[]);
                return ExitCode::SUCCESS;
            }
        }
        cli.join();
        minder.close();
        if let Err(error) = listener.close(Instant::now() + FLUSH_WAIT) {
            log::error("the listener ended before its time", &[("why", &error)]);
        }
        http.join();
        log::info("stopped", &[]);
        ExitCode::SUCCESS
    }
}

fn limits_of(server: &config::Server) -> http::Limits {
    http::Limits {
        max_body_bytes: server.max_body_bytes,
        max_connections: server.max_connections,
        max_connections_per_ip: server.max_connections_per_ip,
        head_timeout: server.head_timeout,
        body_timeout: server.body_timeout,
        write_timeout: server.write_timeout,
        ..http::Limits::default()
    }
}

/// What [`wait_for_end`] returns when the last run is over.
const IDLE: i32 = 0;

/// Waits for a signal that ends the daemon, for `idle` to close, or for the deadline (`None`).
fn wait_for_end(
    signals: &Receiver<i32>,
    idle: &Receiver<()>,
    until: Option<Instant>,
) -> Option<i32> {
    let deadline = until.map_or_else(never, crossbeam_channel::at);
    loop {
        select! {
            recv(signals) -> signal => match signal {
                // It would only have been for requests that no longer come.
                Ok(SIGHUP) => {}
                Ok(signal) => return Some(signal),
                Err(_) => return None,
            },
            recv(idle) -> _ => return Some(IDLE),
            recv(deadline) -> _ => return None,
        }
    }
}

/// Closes the scheduler; the channel closes when its last permit is back.
fn closed_when_idle(scheduler: Scheduler) -> Receiver<()> {
    scheduler.handle().close();
    let (idle_in, idle) = bounded::<()>(0);
    let waiter = thread::Builder::new()
        .name("drain".to_owned())
        .spawn(move || {
            scheduler.join();
            drop(idle_in);
        });
    if let Err(error) = waiter {
        // The sender went with the thread, so the drain is over at once: harsh, but it ends.
        log::error("cannot wait for the runs", &[("why", &error)]);
    }
    idle
}

fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(8);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                // Eight unread signals say all there is to say.
                let _ = sender.try_send(signal);
            }
        })?;
    Ok(receiver)
}

fn signal_name(signal: Option<i32>) -> &'static str {
    match signal {
        Some(SIGTERM) => "SIGTERM",
        Some(SIGINT) => "SIGINT",
        _ => "none",
    }
}

fn gateway(
    served: Served,
    demo: Demo,
    scheduler: scheduler::Handle,
) -> Result<(Gateway, Minder), String> {
    let path = StateDir::locate(|name| std::env::var(name).ok())
        .ok_or("no place for state: set STATE_DIRECTORY, XDG_STATE_HOME or HOME")?;
    let state = StateDir::open(&path)
        .map_err(|error| format!("cannot use the state directory {}: {error}", path.display()))?;
    let base_env = command::base_environment(|name| std::env::var_os(name), &path);
    let cli = Cli::start(program(&served.config, demo)?, base_env.clone(), &path);
    let (conversations, minder) = Conversations::start(&served.config, &state)
        .map_err(|it| format!("cannot start the thread for processes that wait: {it}"))?;
    let gateway = Gateway::new(Parts {
        served,
        cli,
        state,
        base_env,
        scheduler,
        conversations,
    });
    Ok((gateway, minder))
}

fn program(config: &Config, demo: Demo) -> Result<Program, String> {
    let found = || program::find(&config.cli.bin, std::env::var_os("PATH").as_ref());
    let path = match demo {
        Demo::On => return stand_in(),
        Demo::Off => found()?,
        Demo::Try => match found() {
            Ok(path) => path,
            Err(why) => {
                log::warn(&why, &[]);
                return stand_in();
            }
        },
    };
    Ok(Program {
        path,
        kind: Kind::ClaudeCode,
    })
}

fn stand_in() -> Result<Program, String> {
    let path = std::env::current_exe().map_err(|it| format!("cannot find this program: {it}"))?;
    log::warn(
        "DEMO: answers are made up by a built-in stand-in, no model is asked",
        &[],
    );
    Ok(Program {
        path,
        kind: Kind::StandIn,
    })
}

/// A request for a newcomer to send. Without tools its answer streams as it is made, whatever
/// `cli.stream` says.
fn print_request_to_try(gateway: &Gateway, address: SocketAddr) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    let address = SocketAddr::new(host, address.port());
    let mut text = String::from("\n");
    if gateway.cli.program.kind == Kind::StandIn {
        text +=
            "  *** No Claude Code CLI here: a built-in STAND-IN answers, no model is asked. ***\n";
        text += "  *** Install the real one: npm install -g @anthropic-ai/claude-code           ***\n\n";
    }
    text += "  In another terminal:\n\n";
    let has_tenants = !gateway.served().config.tenants.is_empty();
    if has_tenants {
        text += "  KEY=...  # a tenant's api_key from the configuration\n";
    }
    text +=
        &format!("  curl -N http://{address}/v1/messages -H 'content-type: application/json' \\\n");
    if has_tenants {
        text += "    -H \"x-api-key: $KEY\" \\\n";
    }
    text += r#"    -d '{"model":"sonnet","max_tokens":1024,"stream":true,"tool_choice":{"type":"none"},"messages":[{"role":"user","content":"Say hello"}]}'"#;
    // A closed stdout has nobody to tell.
    let _ = writeln!(io::stdout(), "{text}\n");
}

/// The built-in text, for a daemon that was installed without the file.
const SKILL_TEXT: &str = include_str!("../openclaw-skill.md");

/// A skill file is a page of text; more than this is a mistake.
const SKILL_TEXT_MAX: u64 = 1 << 20;

pub(crate) fn skill_text(path: &Path) -> Result<String, String> {
    let bad = |why: String| format!("cli.skill_file {}: {why}", path.display());
    match std::fs::metadata(path) {
        Ok(it) if it.len() > SKILL_TEXT_MAX => return Err(bad("is larger than 1 MiB".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info(
                "no skill file; the built-in text is used",
                &[("path", &path.display())],
            );
            return Ok(SKILL_TEXT.to_owned());
        }
        Err(error) => return Err(bad(error.to_string())),
    }
    std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))
}

fn announce(gateway: &Gateway, source: &str, address: SocketAddr) {
    let config = &gateway.served().config;
    log::info(
        &format!("listening on http://{address}"),
        &[
            ("version", &env!("CARGO_PKG_VERSION")),
            ("config", &source),
            ("tenants", &config.tenants.len()),
            ("max_concurrent", &config.cli.max_concurrent),
        ],
    );
    if config.tenants.is_empty() {
        log::warn(
            "no tenants: only programs on this host are served, without a key",
            &[],
        );
    } else if let IpAddr::V4(ip) = address.ip()
        && ip.is_unspecified()
    {
        log::info(
            "listening on all addresses: keep the port off the public internet (no TLS here)",
            &[],
        );
    }
    if config.tenants.len() > 1 {
        log::warn(
            "runs of different tenants are not isolated from each other or from this host",
            &[],
        );
    }
    let lent = std::env::var_os("ANTHROPIC_API_KEY").is_some();
    let used = |tenant: &config::Tenant| {
        tenant
            .env
            .iter()
            .any(|(name, _)| name == "ANTHROPIC_API_KEY")
    };
    if lent && !config.tenants.iter().any(used) {
        log::info(
            "ANTHROPIC_API_KEY of the gateway's environment is not given to runs; set it in a tenant's env",
            &[],
        );
    }
}
