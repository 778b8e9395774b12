//! The daemon's life: starts every thread in order, waits for signals, ends every thread in order.
//!
//! What an orderly end (SIGTERM or SIGINT) promises, after `server.drain_delay` where there is one: no new connection is taken; what waits in the
//! queue is answered 503; a run that finishes within `cli.drain_timeout` is answered in full; what
//! is left then is told so and ended with all its processes. A second signal skips the waiting.

mod greeting;
pub(crate) mod parts;
mod waiting;
mod watchdog;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use signal_hook::consts::SIGHUP;

use self::{
    waiting::{IDLE, closed_when_idle, signal_name, wait_for_end},
    watchdog::Watchdog,
};
use crate::{
    args::Demo,
    claude::{keeper, pool::Minder},
    config::{self, Config},
    control::{self, Control, Order},
    gateway::{
        CliWorkers, Gateway, HttpWorkers, Parts, Prepared, Reason, Served, WithoutTenants,
        conversations::{self, Conversations},
    },
    http::{Listener, ListenerConfig, Request},
    log,
    manage::drift,
    reload::Reload,
    scheduler::Scheduler,
    systemd, watch,
};

/// File descriptors of the process beside connections and runs: standard streams, listener, epoll,
/// signals, a file or two being read; and the operator's socket.
pub(crate) const OTHER_FDS: usize = 64 + control::FDS_MAX;

/// File descriptors of a run: its keeper, its pipes and what is being handed over.
pub(crate) const FDS_PER_RUN: usize = 12;

/// How long what is left may take to end after the drain: interrupt, kill and reap.
const END_WAIT: Duration = Duration::from_secs(5);

/// How long requests may still be on their way when no more connections are taken.
const ARRIVAL_WAIT: Duration = Duration::from_secs(1);

/// What the supervisor waits on top of all this before it kills.
const MARGIN: Duration = Duration::from_secs(5);

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
    let passed = systemd::Passed::take()?;
    let signals = waiting::signals().map_err(|it| format!("cannot watch signals: {it}"))?;
    // Its memory and its environment are nobody's business, and no core is written.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    keeper::adopt_orphans().map_err(|it| format!("cannot become a subreaper: {it}"))?;
    let address = SocketAddr::new(config.bind_address(), config.server.port);
    let socket = passed.listener(address)?;
    let threads = Threads::start((config, file), socket, (source, demo))?;
    let changes = watch::start(file, read_at);
    Ok(threads.run(&signals, &changes))
}

/// A trial of the sandbox takes longer than all of the start.
fn announce_isolation(gateway: &Arc<Gateway>) -> io::Result<()> {
    let gateway = Arc::clone(gateway);
    let announce = move || {
        gateway.end_left_over();
        gateway.announce_isolation();
        gateway.announce_limits();
    };
    let thread = std::thread::Builder::new().name("sandbox".to_owned());
    thread.spawn(announce).map(drop)
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
    fn start(
        (config, file): (Config, &Path),
        socket: TcpListener,
        (source, demo): (&str, Demo),
    ) -> Result<Self, String> {
        let config = Arc::new(config);
        let (runs_in, runs) = bounded(config::CONCURRENT_MAX);
        let (refusals_in, refusals) = bounded(config.server.max_connections);
        let (requests_in, requests) = bounded(config.server.max_connections);
        let without = who_without_tenants(&socket);
        let skill_text = parts::skill_text(&config.cli.skill_file)?;
        let state = parts::state()?;
        // Before the first keeper, which asks the CLI for its version.
        keeper::set_up_groups(state.path());
        let base_env = parts::base_env(&state);
        let prepared = Prepared {
            config: Arc::clone(&config),
            cli: parts::cli(&config, demo, (&base_env, &state))?,
            skill_text,
            incarnations: parts::incarnations(&config, &state)?,
        };
        let served = Served::new(prepared, without);
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("cannot start {what}: {error}")
        };
        let scheduler = Scheduler::start(served.limits(), runs_in, refusals_in)
            .map_err(failed("the scheduler"))?;
        let (conversations, minder) = Conversations::start(&config, &state)
            .map_err(failed("the thread for processes that wait"))?;
        let gateway = Arc::new(Gateway::new(Parts {
            served,
            state,
            base_env,
            config_file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
            scheduler: scheduler.handle(),
            conversations,
        }));
        conversations::forget_in_time(&gateway).map_err(failed("the thread that forgets"))?;
        let cli = CliWorkers::start(&gateway, &runs, config.cli.max_concurrent)
            .map_err(failed("the CLI workers"))?;
        let http = HttpWorkers::start(&gateway, &requests, &refusals)
            .map_err(failed("the http workers"))?;
        let listener = listen(&gateway, socket, requests_in)?;
        greeting::announce(&gateway, source, listener.local_addr());
        announce_isolation(&gateway).map_err(failed("the thread that tries the sandbox"))?;
        let connections_max = listener.max_connections();
        greeting::warn_of_fewer_connections(config.server.max_connections, connections_max);
        match demo {
            Demo::Off => {
                let gateway = Arc::clone(&gateway);
                drift::watch(move || Arc::clone(&gateway.served().config));
            }
            Demo::Try => greeting::print_request_to_try(&gateway, listener.local_addr()),
            Demo::On => {}
        }
        let reload = Reload {
            file: file.to_owned(),
            without,
            demo,
            tuner: listener.tuner(),
            connections_max,
            count: 0,
        };
        Ok(Threads {
            gateway,
            listener,
            scheduler,
            http,
            cli,
            minder,
            reload,
        })
    }

    fn run(mut self, signals: &Receiver<i32>, changes: &Receiver<()>) -> ExitCode {
        let (_control, mut orders) = self.control();
        let watchdog = watchdog::start(self.listener.pulse(), self.scheduler.handle());
        if let Err(error) = &watchdog {
            log::error("no signs of life for systemd", &[("why", error)]);
        }
        systemd::ready(&self.status());
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
        self.stop(first, signals, watchdog.ok().flatten())
    }

    /// The operator's socket; without it the gateway serves all the same.
    fn control(&self) -> (Option<Control>, Receiver<Order>) {
        let path = control::locate(|name| std::env::var(name).ok());
        let opened = path.map(|path| {
            (
                Control::start(&path, (&self.gateway, &self.reload.file)),
                path,
            )
        });
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
        systemd::reloading();
        let done = self.reload.again(&self.gateway, &mut self.cli);
        match &done {
            Ok(_) => systemd::ready(&self.status()),
            Err(why) => systemd::ready(&format!(
                "{}; config.yaml is not valid, the old one stays in force: {why}",
                self.status()
            )),
        }
        done
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let tenants = self.gateway.served().config.tenants.len();
        format!(
            "serving {tenants} tenants on http://{}",
            self.listener.local_addr()
        )
    }

    fn stop(
        self,
        first: Option<i32>,
        signals: &Receiver<i32>,
        watchdog: Option<Watchdog>,
    ) -> ExitCode {
        let Threads {
            gateway,
            listener,
            scheduler,
            http,
            cli,
            minder,
            reload: _,
        } = self;
        let served = gateway.served();
        let drain = served.config.cli.drain_timeout;
        let leave = served.config.server.drain_delay.unwrap_or_default();
        drop(served);
        systemd::stopping(leave + ARRIVAL_WAIT + drain + END_WAIT + FLUSH_WAIT + MARGIN);
        take_leave(&gateway, signals);
        // Requests on their way are served like those before them; only those that take their time are refused.
        let arrived = listener.stop_accepting();
        let _ = arrived.recv_timeout(ARRIVAL_WAIT);
        gateway.start_draining();
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
        // What is left is quick, and the scheduler answers no more.
        drop(watchdog);
        cli.join();
        minder.close();
        if let Some(relay) = &gateway.relay {
            relay.close();
        }
        if let Some(egress) = &gateway.egress {
            egress.close();
        }
        if let Err(error) = listener.close(Instant::now() + FLUSH_WAIT) {
            log::error("the listener ended before its time", &[("why", &error)]);
        }
        http.join();
        log::info("stopped", &[]);
        ExitCode::SUCCESS
    }
}

/// Serves on for a while, so that proxies see by `/health` that there will soon be nobody.
/// A second signal skips that, and nothing else.
fn take_leave(gateway: &Gateway, signals: &Receiver<i32>) {
    let Some(delay) = gateway.served().config.server.drain_delay else {
        return;
    };
    gateway.start_leaving();
    log::info(
        "leaving: /health says so, requests are still taken",
        &[("delay_ms", &delay.as_millis())],
    );
    wait_for_end(signals, &never(), Some(Instant::now() + delay));
}

/// The public listener, which gives every whole request to `requests`.
fn listen(
    gateway: &Arc<Gateway>,
    socket: TcpListener,
    requests: Sender<Box<Request>>,
) -> Result<Listener, String> {
    let config = &gateway.served().config;
    let (admitting, heading) = (Arc::clone(gateway), Arc::clone(gateway));
    let waiting = config.cli.warm.map_or(0, |it| it.max_processes);
    let listening = ListenerConfig {
        socket,
        limits: parts::limits_of(&config.server),
        error_body: Gateway::listener_error,
        answer_headers: Box::new(move |head| heading.answer_headers(head)),
        is_proxy: parts::is_proxy(&config.server),
        reserved_fds: OTHER_FDS + FDS_PER_RUN * (config.cli.max_concurrent + waiting),
    };
    let admit = move |head: &_, peer| admitting.admit(head, peer);
    Listener::start(listening, admit, requests)
        .map_err(|error| format!("cannot start the listener: {error}"))
}

/// An address that others can reach is not served without keys, whoever opened the socket there.
fn who_without_tenants(socket: &TcpListener) -> WithoutTenants {
    match socket.local_addr() {
        Ok(it) if it.ip().to_canonical().is_loopback() => WithoutTenants::ThisMachine,
        _ => WithoutTenants::Nobody,
    }
}
