//! Two gateways behind a real HAProxy with the shipped configuration, killed and drained under load.

mod proxy;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use self::proxy::{Proxy, answered, behind_proxy};
use crate::{
    api::ScriptedApi,
    client::{Answer, Client},
    fake_cli::{FakeCli, Gate},
    gateway::{Gateway, MODEL, key_of, prompt, streaming},
    process::{DEAD_WITHIN, signal, wait_until, wait_until_gone},
    setup::Setup,
    sse::SseReader,
    temp::TempDir,
};

const PATIENCE: Duration = Duration::from_secs(60);
const TENANTS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// Writes down each request that it gets, works for a moment, and answers with the request's id. One that is told to
/// begins its answer and then waits.
const CLI: &str = r#"id=${line##*id=}; id=${id%%;*}
echo "$id" >> "$here/ids"
case $line in
  *open*) begin "half-"; read -r _ < "$here/gate"; end "half-" ;;
  *wait*) read -r _ < "$here/gate"; answer "did-$id" ;;
  *) sleep 0.2; answer "did-$id" ;;
esac
idle"#;

struct Host {
    gateway: Gateway,
    fake: FakeCli,
}

impl Host {
    fn start() -> Host {
        let dir = TempDir::new();
        let fake = FakeCli::script(&dir, CLI);
        let mut setup = Setup::with_cli(dir, fake.path())
            .set("cli", "max_concurrent: 12")
            .set("cli", "max_per_tenant: 4")
            .set("cli", "stream: live");
        for name in &TENANTS[2..] {
            setup = setup.and(name);
        }
        let gateway = behind_proxy(setup);
        Host { gateway, fake }
    }

    /// The requests that its CLI was given.
    fn ids(&self) -> Vec<String> {
        let ids = self.fake.note("ids");
        ids.lines().map(str::to_owned).collect()
    }

    fn has(&self, id: &str) -> bool {
        self.ids().iter().any(|it| it == id)
    }
}

/// What clients have asked for and got, all of them together.
#[derive(Default)]
struct Clients {
    next: AtomicUsize,
    over: AtomicBool,
    /// Each request's id and how each try that failed did.
    asked: Mutex<Vec<(String, Vec<String>)>>,
}

impl Clients {
    fn id(&self) -> String {
        format!("r{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks as this tenant until there is an answer, as its user would.
    fn ask(&self, client: &Client, tenant: &str, how: &str) -> String {
        let id = self.id();
        let mut body = prompt(&format!("{how} id={id};"));
        if id.ends_with(['0', '2', '4', '6', '8']) {
            body = streaming(&body);
        }
        let mut failed = Vec::new();
        loop {
            match answered(client, &key_of(tenant), &body) {
                Ok((200, text)) if text.contains(&format!("did-{id}\"")) => break,
                Ok((200, text)) => panic!("not the answer to {id}: {text}"),
                Ok((status, text)) => failed.push(format!("{status} {text}")),
                Err(broken) => failed.push(format!("broken: {broken}")),
            }
            assert!(failed.len() < 5, "{id} of {tenant}: {failed:#?}");
        }
        self.asked.lock().unwrap().push((id.clone(), failed));
        id
    }

    fn go_on(&self, client: &Client, tenant: &str) {
        while !self.over.load(Ordering::Relaxed) {
            self.ask(client, tenant, "quick");
        }
    }

    fn failed(&self) -> Vec<(String, Vec<String>)> {
        let asked = self.asked.lock().unwrap();
        let failed = asked.iter().filter(|(_, failed)| !failed.is_empty());
        failed.cloned().collect()
    }
}

/// Which of two hosts a tenant's requests go to.
fn home_of(tenant: &str, clients: &Clients, client: &Client, hosts: &[Host; 2]) -> usize {
    let id = clients.ask(client, tenant, "quick");
    let home = hosts.iter().position(|host| host.has(&id));
    home.expect("one of them has got it")
}

/// Waits until a tenant's requests go to this host again.
#[track_caller]
fn wait_for_return(tenant: &str, clients: &Clients, client: &Client, hosts: (&[Host; 2], usize)) {
    wait_until(PATIENCE, "the tenant's return", || {
        home_of(tenant, clients, client, hosts.0) == hosts.1
    });
}

#[test]
fn no_answer_is_lost_or_doubled_when_gateways_are_killed_and_drained_under_load() {
    let mut hosts = [Host::start(), Host::start()];
    let Some(proxy) = Proxy::start(&hosts[0].gateway, &hosts[1].gateway) else {
        return;
    };
    let (client, clients) = (&proxy.client(), &Clients::default());
    let homes = TENANTS.map(|tenant| home_of(tenant, clients, client, &hosts));
    let of = |home| {
        TENANTS[homes
            .iter()
            .position(|it| *it == home)
            .expect("each has some")]
    };
    let (first, second) = (of(0), of(1));
    for (tenant, home) in TENANTS.iter().zip(homes) {
        assert_eq!(home_of(tenant, clients, client, &hosts), home, "{tenant}");
    }
    let gates = [hosts[0].fake.gate(), hosts[1].fake.gate()];
    thread::scope(|scope| {
        let _end = EndOfLoad(clients);
        for tenant in TENANTS {
            scope.spawn(move || clients.go_on(client, tenant));
        }
        killed(first, clients, client, &mut hosts);
        let kept = clients.failed();
        let mut gates = gates.into_iter();
        for (home, tenant) in [(1, second), (0, first)] {
            let gate = gates.next_back().unwrap();
            drained((tenant, home), clients, client, (&mut hosts, gate));
        }
        assert_eq!(clients.failed(), kept, "draining costs nobody anything");
    });
    check_books(clients, &hosts);
    let log = proxy.log.text();
    for tenant in TENANTS {
        assert!(!log.contains(&key_of(tenant)), "a key is in HAProxy's log");
    }
}

/// Ends the load however the test ends, so that its threads do.
struct EndOfLoad<'a>(&'a Clients);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// A whole and a streamed answer on their way, the second with its first words out.
struct InFlight {
    ids: [String; 2],
    whole: JoinHandle<Result<(u16, String), String>>,
    stream: SseReader<Answer>,
}

impl InFlight {
    #[track_caller]
    fn begin(tenant: &str, clients: &Clients, client: &Client, host: &Host) -> InFlight {
        let key = key_of(tenant);
        let (whole, open) = (clients.id(), clients.id());
        let body = prompt(&format!("wait id={whole};"));
        let (other, other_key) = (*client, key.clone());
        let ask = move || answered(&other, &other_key, &body);
        let asking = thread::Builder::new().name("ask".to_owned()).spawn(ask);
        let body = streaming(&prompt(&format!("open id={open};")));
        let mut stream = client.stream("/v1/messages", &[("x-api-key", &key)], &body);
        stream.read_until_text();
        wait_until(PATIENCE, "both runs", || {
            host.has(&whole) && host.has(&open)
        });
        InFlight {
            ids: [whole, open],
            whole: asking.unwrap(),
            stream,
        }
    }
}

/// The gateway that this tenant is on dies in the middle of two answers.
fn killed(tenant: &str, clients: &Clients, client: &Client, hosts: &mut [Host; 2]) {
    let in_flight = InFlight::begin(tenant, clients, client, &hosts[0]);
    hosts[0].gateway.kill();
    let (status, text) = in_flight.whole.join().unwrap().unwrap();
    assert_eq!(status, 502, "{text}");
    crate::schema::check_answer(&serde_json::from_str(&text).unwrap());
    let stream = AssertUnwindSafe(|| in_flight.stream.events());
    assert!(
        catch_unwind(stream).is_err(),
        "it broke off, and did not end"
    );
    let id = clients.ask(client, tenant, "quick");
    assert!(hosts[1].has(&id), "the other serves the tenant at once");
    // Nothing of what broke off went elsewhere by itself.
    assert!(in_flight.ids.iter().all(|id| !hosts[1].has(id)));
    hosts[0].gateway.start_again();
    wait_for_return(tenant, clients, client, (hosts, 0));
}

/// The gateway that this tenant is on is told to stop: it finishes what it has, and the other takes over.
fn drained(
    (tenant, home): (&str, usize),
    clients: &Clients,
    client: &Client,
    (hosts, mut gate): (&mut [Host; 2], Gate),
) {
    let in_flight = InFlight::begin(tenant, clients, client, &hosts[home]);
    signal(hosts[home].gateway.pid(), "TERM");
    wait_for_return(tenant, clients, client, (hosts, 1 - home));
    // So nothing comes any more when it stops listening.
    let leaving = &hosts[home].gateway;
    assert!(!leaving.log().contains("stopping"), "{}", leaving.log());
    signal(leaving.pid(), "TERM");
    hosts[home]
        .gateway
        .log_contains("stopping: no new connections");
    gate.let_through(2);
    let (status, text) = in_flight.whole.join().unwrap().unwrap();
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains(&format!("did-{}", in_flight.ids[0])),
        "{text}"
    );
    let end = in_flight.stream.events().pop().unwrap();
    assert_eq!(end.event, "message_stop");
    assert_eq!(hosts[home].gateway.wait().code(), Some(0));
    hosts[home].gateway.start_again();
    wait_for_return(tenant, clients, client, (hosts, home));
}

/// Every request was answered once, and run once but for those that were in flight on the one that was killed.
#[track_caller]
fn check_books(clients: &Clients, hosts: &[Host; 2]) {
    let ran = [hosts[0].ids(), hosts[1].ids()].concat();
    let asked = clients.asked.lock().unwrap();
    assert!(asked.len() > 50, "this is no load: {}", asked.len());
    for (id, failed) in asked.iter() {
        let runs = ran.iter().filter(|it| *it == id).count();
        let expect = 1..=1 + failed.len();
        assert!(expect.contains(&runs), "{id} ran {runs} times: {failed:?}");
        // More than one where the client asked again while the kernel was still ending the gateway: until it has closed
        // the last of its sockets HAProxy cannot know.
        for failure in failed {
            let is_clear = failure.starts_with("502") || failure.starts_with("broken");
            assert!(is_clear, "{id}: {failure}");
        }
    }
    let failed = asked.iter().filter(|(_, it)| !it.is_empty()).count();
    assert!(failed <= TENANTS.len(), "{failed} failed");
}

/// What a client with a conversation sends, and how its history reached the model.
struct Chat(Vec<Value>);

impl Chat {
    #[track_caller]
    fn ask(&mut self, client: &Client, text: &str) -> String {
        self.0.push(json!({"role": "user", "content": text}));
        let body = json!({"model": MODEL, "max_tokens": 1000, "messages": self.0});
        let answer = client.post("/v1/messages", &[("x-api-key", &key_of("alpha"))], &body);
        let said = answer.answer_text();
        self.0
            .push(json!({"role": "assistant", "content": [{"type": "text", "text": said}]}));
        answer.header("x-ccgw-session").unwrap_or("none").to_owned()
    }
}

#[test]
fn conversation_goes_on_at_the_other_gateway_and_comes_back() {
    let api = ScriptedApi::start();
    let start = || behind_proxy(Setup::with_real_cli(&api));
    let (mut one, mut two) = (start(), start());
    let Some(proxy) = Proxy::start(&one, &two) else {
        return;
    };
    let client = proxy.client();
    let mut chat = Chat(Vec::new());
    assert_eq!(chat.ask(&client, "first"), "fresh");
    assert_eq!(chat.ask(&client, "second"), "warm");
    let is_at_one = one.log().contains("request=req_");
    let (home, name) = match is_at_one {
        true => (&mut one, "one"),
        false => (&mut two, "two"),
    };
    home.kill();
    assert_eq!(chat.ask(&client, "third"), "reseeded");
    let body = api.last_prompt().body;
    for text in ["first", "OK: first", "second", "OK: second", "third"] {
        assert!(body.to_string().contains(text), "{text}: {body}");
    }
    assert_eq!(chat.ask(&client, "fourth"), "warm");
    proxy
        .log
        .wait_for(&format!("Server gateways/{name} is DOWN"), PATIENCE);
    home.start_again();
    proxy
        .log
        .wait_for(&format!("Server gateways/{name} is UP"), PATIENCE);
    assert_eq!(chat.ask(&client, "fifth"), "reseeded");
    assert_eq!(chat.ask(&client, "sixth"), "warm");
    assert!(home.log().contains("request=req_"), "it is at home again");
    assert_eq!(api.prompts().len(), 6);
}

#[test]
fn client_that_leaves_ends_its_run_behind_the_proxy_too() {
    let hosts = [Host::start(), Host::start()];
    let Some(proxy) = Proxy::start(&hosts[0].gateway, &hosts[1].gateway) else {
        return;
    };
    let (client, clients) = (proxy.client(), Clients::default());
    let home = &hosts[home_of("alpha", &clients, &client, &hosts)];
    let _gate = home.fake.gate();
    let key = key_of("alpha");
    for how in ["wait", "open"] {
        let id = clients.id();
        let body = streaming(&prompt(&format!("{how} id={id};")));
        let headers = [("x-api-key", &*key)];
        let connection = client.open("POST", "/v1/messages", &headers, Some(&body));
        wait_until(PATIENCE, "the run", || home.has(&id));
        drop(connection);
        wait_until_gone(DEAD_WITHIN, &home.gateway.mark_of("alpha"));
    }
}

/// A body much larger than HAProxy's buffers, which pass it on in pieces.
#[test]
fn large_request_goes_through_the_proxy_whole() {
    let hosts = [Host::start(), Host::start()];
    let Some(proxy) = Proxy::start(&hosts[0].gateway, &hosts[1].gateway) else {
        return;
    };
    let id = "large";
    let body = prompt(&format!("{} id={id};", "quick ".repeat(500_000)));
    let (status, text) = answered(&proxy.client(), &key_of("alpha"), &body).unwrap();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("did-large"), "{text}");
    let prompts = [hosts[0].fake.prompts(), hosts[1].fake.prompts()].concat();
    assert!(prompts.iter().any(|it| it.len() > 3_000_000));
}

/// The file's own words about what each gateway needs are a configuration.
#[test]
fn shipped_file_says_what_gateways_need() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/haproxy/haproxy.cfg");
    let text = fs::read_to_string(file).unwrap();
    for line in ["proxy_protocol_from: [", "drain_delay: 5000"] {
        assert!(text.contains(line), "{line}");
    }
}

/// The recipe copies the file over the package's own, and the service starts it as root.
#[test]
fn root_serves_nobody() {
    let hosts = [Host::start(), Host::start()];
    let Some(proxy) = Proxy::start(&hosts[0].gateway, &hosts[1].gateway) else {
        return;
    };
    let clients = Clients::default();
    clients.ask(&proxy.client(), "alpha", "quick");
    assert_ne!(proxy.uid(), 0, "HAProxy serves as root");
    if rustix::process::geteuid().is_root() {
        assert_eq!(proxy.root().to_str(), Some("/var/lib/haproxy"));
    }
    // The log goes on from in there.
    proxy.log.wait_for("POST /v1/messages", PATIENCE);
}
