//! One request from bytes to last byte: auth, route, ticket, run, frames. The only place where all
//! stages meet.

mod answer;
mod ask;
mod attach;
mod auth;
mod cancel;
mod continuity;
pub(crate) mod conversations;
mod cors;
mod cost;
mod count;
mod flight;
mod guesses;
mod health;
mod job;
mod kept;
mod ledger;
mod limits;
pub(crate) mod live;
mod lookup;
mod parse;
mod prepare;
mod progress;
mod renewal;
mod repeat;
mod room;
mod route;
mod run;
mod served;
mod target;
mod upstream;
mod workers;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use self::{
    answer::error_response,
    auth::Keys,
    conversations::Conversations,
    flight::Flights,
    guesses::Guesses,
    live::Live,
    renewal::Renewals,
    route::{Format, Route},
};
pub(crate) use self::{
    cancel::Reason,
    flight::Flight,
    health::{Busy, LastReload},
    job::{Job, Refusal},
    served::{Prepared, Served, WithoutTenants},
    workers::{CliWorkers, HttpWorkers},
};
use crate::{
    api::{ApiError, ErrorKind},
    claude::{
        command::{Place, User},
        sandbox::Sandboxes,
    },
    config::{self, ConfigDir, Isolation, Reaches},
    egress::Egress,
    http::{Account, AnswerHeader, Head, Refused, Request, Response},
    ids, log, processes,
    relay::Relay,
    scheduler::{self, TenantId},
    state::{self, StateDir, tenants::Stay},
};

/// What every request needs, shared by all threads.
pub(crate) struct Gateway {
    /// What the configuration says now.
    served: RwLock<Arc<Served>>,
    pub(crate) state: StateDir,
    pub(crate) user: User,
    pub(crate) base_env: Vec<(OsString, OsString)>,
    pub(crate) sandboxes: Sandboxes,
    /// None where it could not be opened.
    pub(crate) relay: Option<Relay>,
    /// None where the relay is none, whose place its sockets are in.
    pub(crate) egress: Option<Egress>,
    /// The file of the configuration, which no run may see.
    config_file: PathBuf,
    scheduler: scheduler::Handle,
    live: Live,
    pub(crate) conversations: Conversations,
    flights: Arc<Flights>,
    guesses: Guesses,
    let_in: room::LetIn,
    renewals: Renewals,
    last_reload: Mutex<Option<LastReload>>,
    started: Instant,
    /// Told to stop, and still serving.
    leaving: AtomicBool,
    draining: AtomicBool,
}

/// Who a run is for.
pub(crate) struct Tenant {
    pub(crate) name: String,
    /// Its name, or what tells it from one that had the name before.
    incarnation: String,
    pub(crate) env: Vec<(OsString, OsString)>,
    working_dir: Option<PathBuf>,
    config_dir: ConfigDir,
    isolation: Option<Isolation>,
    mounts: Vec<config::Mount>,
    memory_bytes: Option<config::Memory>,
    cpu_weight: Option<u64>,
    network: Option<Reaches>,
}

/// What [`Gateway::new`] is made from.
pub(crate) struct Parts {
    pub(crate) served: Served,
    pub(crate) state: StateDir,
    pub(crate) base_env: Vec<(OsString, OsString)>,
    pub(crate) config_file: PathBuf,
    pub(crate) scheduler: scheduler::Handle,
    pub(crate) conversations: Conversations,
}

/// The one tenant of a gateway that has none configured.
const ANYBODY: &str = "local";

impl Gateway {
    pub(crate) fn new(parts: Parts) -> Self {
        let user = match rustix::process::geteuid().is_root() {
            true => User::Root,
            false => User::Ordinary,
        };
        let relay = opened_relay(&parts);
        let egress = relay
            .as_ref()
            .and_then(|_| Egress::new(parts.state.relay()).ok());
        Gateway {
            served: RwLock::new(Arc::new(parts.served)),
            relay,
            egress,
            sandboxes: Sandboxes::new(std::env::var_os("PATH"), parts.state.program_copy()),
            state: parts.state,
            user,
            base_env: parts.base_env,
            config_file: parts.config_file,
            scheduler: parts.scheduler,
            live: Live::default(),
            conversations: parts.conversations,
            flights: Arc::default(),
            guesses: Guesses::default(),
            let_in: room::LetIn::default(),
            renewals: Renewals::default(),
            last_reload: Mutex::default(),
            started: Instant::now(),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// Where what is in force was read.
    pub(crate) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// What is in force now. A request takes it once, and so never sees a half of two.
    pub(crate) fn served(&self) -> Arc<Served> {
        // It is only ever replaced whole.
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new configuration in force, for all requests that come from now on.
    pub(crate) fn serve_from_now(&self, served: Served) {
        self.scheduler.limit(served.limits());
        self.conversations.pool.begin_anew(served.config.cli.warm);
        if let Some(relay) = &self.relay {
            relay.follow(&served.config);
        }
        self.follow_networks(&served);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// All that runs and waits, the longest first.
    pub(crate) fn lines(&self) -> Vec<live::Line> {
        let mut lines = self.live.lines();
        let pids: Vec<i32> = lines.iter().filter_map(|it| it.pid).collect();
        let trees = processes::resident_of_trees(&pids);
        for line in &mut lines {
            line.rss_kib = line.pid.and_then(|pid| trees.get(&pid).copied());
        }
        lines.extend(self.scheduler.waiting());
        lines
    }

    /// Ends a request that runs or waits; false when there is none of this id.
    pub(crate) fn cancel(&self, request: &str) -> bool {
        // It may go from the queue to its run between two looks.
        self.live.cancel(request) || self.scheduler.cancel(request) || self.live.cancel(request)
    }

    /// Decides by the head alone, in the listener's thread, whether a request may send its body.
    ///
    /// # Errors
    /// The answer, when it may not.
    pub(crate) fn admit(&self, head: &Head, peer: SocketAddr) -> Result<Account, Response> {
        let refuse = |error: ApiError| refused(head, peer, &error);
        let route = Route::find(head.method(), head.path()).map_err(|error| {
            let allow =
                Route::methods(head.path()).filter(|_| error.kind == ErrorKind::MethodNotAllowed);
            match allow {
                Some(methods) => refuse(error).header("allow", methods.join(", ")),
                None => refuse(error),
            }
        })?;
        match route.needs_key() {
            true => self
                .identified(&self.served(), head, peer)
                .map_err(refuse)
                .map(Account),
            // These have no body that could cost anything.
            false => Ok(Account(usize::MAX)),
        }
    }

    /// Whose key a request has, where its address has not tried too many.
    fn identified(
        &self,
        served: &Served,
        head: &Head,
        peer: SocketAddr,
    ) -> Result<TenantId, ApiError> {
        let found = served.keys.identify(head);
        // Without a key nothing was tried, and without tenants there is none.
        match (&served.keys, auth::has_key(head)) {
            (Keys::Of(_), true) => self.guesses.checked(peer.ip(), found, Instant::now()),
            _ => found,
        }
    }

    /// What every answer to a request carries.
    pub(crate) fn answer_headers(&self, head: &Head) -> Vec<AnswerHeader> {
        cors::answer_headers(&self.served().config.server.cors_origins, head)
    }

    /// Answers a request, or gives it to the scheduler which will see to it.
    pub(crate) fn serve(&self, request: Request) {
        let head = Arc::clone(&request.head);
        let response = match Route::find(head.method(), head.path()) {
            Ok(Route::Messages) => return self.ask(request, Format::Anthropic, parse::anthropic),
            Ok(Route::CountTokens) => return self.ask(request, Format::Anthropic, parse::count),
            Ok(Route::ChatCompletions) => return self.ask(request, Format::OpenAi, parse::openai),
            Ok(Route::Responses) => return self.ask(request, Format::OpenAi, parse::responses),
            Ok(Route::Models) => lookup::models(&head),
            Ok(Route::Model(id)) => lookup::model(&head, id),
            Ok(Route::Health) => Ok(self.health(&request)),
            Ok(Route::Options(methods)) => Ok(self.options(&head, methods)),
            // `admit` has refused these; should it ever not, so does this.
            Err(error) => Err(error),
        };
        let response = response.unwrap_or_else(|error| refused(&head, request.peer, &error));
        request.reply.send(response);
    }

    pub(crate) fn start_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(crate) fn start_draining(&self) {
        self.start_leaving();
        self.draining.store(true, Ordering::Release);
    }

    /// What the listener answers by itself: framing errors and limits.
    pub(crate) fn listener_error(refused: &Refused<'_>) -> Response {
        let &Refused {
            status,
            message,
            head,
            peer,
        } = refused;
        let kind = match status {
            404 => ErrorKind::NoRoute,
            405 => ErrorKind::MethodNotAllowed,
            408 => ErrorKind::RequestTimeout,
            413 => ErrorKind::TooLarge,
            429 => ErrorKind::RateLimited,
            503 => ErrorKind::Unavailable,
            500..=599 => ErrorKind::Internal,
            _ => ErrorKind::InvalidRequest,
        };
        let format = head.map_or(Format::Anthropic, Format::of);
        let request_id = ids::request_id();
        log_refused(&request_id, status, message, head, peer);
        let mut response = error_response(format, &ApiError::new(kind, message), &request_id);
        // HTTP's own statuses (414, 417, 431, 501, 505) are finer than the API's kinds.
        response.status = status;
        response
    }

    /// Keeps a tenant's folders where they are while a run of its own is started. Never twice at a time in one thread: a
    /// reload that waits in between would have both wait for ever.
    ///
    /// # Errors
    /// 401, when another tenant has its name by now: the folders, and all that the name stands for, are that one's.
    fn stay(&self, tenant: &Tenant) -> Result<Stay<'_>, ApiError> {
        let stay = self.state.stay(&tenant.name, &tenant.incarnation);
        stay.ok_or_else(auth::unknown_key)
    }

    /// The directories of a tenant's runs, made at need.
    ///
    /// # Errors
    /// 500, when one cannot be made.
    fn place_of(&self, (served, tenant): (&Served, &Tenant)) -> Result<Place, ApiError> {
        let name = &tenant.name;
        let failed = |what: &str, error: std::io::Error| {
            ApiError::new(
                ErrorKind::Internal,
                format!(
                    "cannot make the {what} of tenant {name} in {} ({error}); it must be there and the gateway's own",
                    self.state.path().display()
                ),
            )
        };
        let working_dir = match &tenant.working_dir {
            Some(dir) => dir.clone(),
            None => self
                .state
                .workspace(name)
                .map_err(|it| failed("workspace", it))?,
        };
        let config_dir = match &tenant.config_dir {
            ConfigDir::Shared => None,
            ConfigDir::Private => Some(
                self.state
                    .cli_config(name)
                    .map_err(|it| failed("CLI config directory", it))?,
            ),
            ConfigDir::Path(path) => Some(path.clone()),
        };
        let skills_plugin = state::skills_of(&served.config.skills.dir, name)
            .map(|skills| self.state.skills_plugin(name, &skills))
            .transpose()
            .map_err(|it| failed("skills plugin", it))?;
        Ok(Place {
            working_dir,
            config_dir,
            skills_plugin,
        })
    }
}

/// The gateway serves without it as well.
fn opened_relay(parts: &Parts) -> Option<Relay> {
    let config = Arc::clone(&parts.served.config);
    match Relay::start(&parts.state.relay(), config) {
        Ok(relay) => Some(relay),
        Err(error) => {
            log::warn("runs have no `openclaw` command", &[("why", &error)]);
            None
        }
    }
}

impl Tenant {
    fn configured(tenant: &config::Tenant, incarnation: String) -> Self {
        Tenant {
            name: tenant.name.clone(),
            incarnation,
            env: tenant
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.expose().into()))
                .collect(),
            working_dir: tenant.working_dir.clone(),
            config_dir: tenant.config_dir.clone(),
            isolation: tenant.isolation,
            mounts: tenant.mounts.clone(),
            memory_bytes: tenant.memory_bytes,
            cpu_weight: tenant.cpu_weight,
            network: tenant.network,
        }
    }

    fn anybody() -> Self {
        Tenant {
            name: ANYBODY.to_owned(),
            incarnation: ANYBODY.to_owned(),
            env: Vec::new(),
            working_dir: None,
            config_dir: ConfigDir::Shared,
            isolation: None,
            mounts: Vec::new(),
            memory_bytes: None,
            cpu_weight: None,
            network: None,
        }
    }
}

/// Nobody's key is known yet, or it is wrong: without a bound a stranger could fill the disk.
static REFUSED: log::Sparing = log::Sparing::new();

/// So much of a path is logged.
const LOGGED_PATH_MAX: usize = 80;

/// The answer to a request that is refused by its head, and the line in the log.
fn refused(head: &Head, peer: SocketAddr, error: &ApiError) -> Response {
    let request_id = ids::request_id();
    let response = error_response(Format::of(head), error, &request_id);
    log_refused(
        &request_id,
        response.status,
        &error.message,
        Some(head),
        peer,
    );
    response
}

fn log_refused(request_id: &str, status: u16, why: &str, head: Option<&Head>, peer: SocketAddr) {
    let method = head.map_or("-", Head::method);
    let path: String = head
        .map_or("-", Head::path)
        .chars()
        .take(LOGGED_PATH_MAX)
        .collect();
    REFUSED.info(
        "refused",
        &[
            ("request", &request_id),
            ("peer", &peer),
            ("method", &method),
            ("path", &path),
            ("status", &status),
            ("why", &why),
        ],
    );
}
