//! Runs as a system user of their tenant's own, with the real CLI: what the sandbox is tried with is tried here too,
//! and who the run is, whose its files are, and when there is no such user.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    time::Duration,
};

use serde_json::json;

use crate::{
    api::ScriptedApi,
    attempts,
    gateway::{Gateway, prompt},
    process::{DEAD_WITHIN, cmdline, descendants, wait_until},
    relay::{LOCAL, with_instance},
    sandbox::{self, Walls, bash, say},
    setup::{Setup, manage, manage_command},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn own_user_reads_nothing_of_another_tenant_or_of_the_gateway() {
    attempts::try_to_read(Walls::User);
}

#[test]
fn own_user_changes_and_stops_nothing_outside() {
    attempts::try_to_change(Walls::User);
}

#[test]
fn own_user_costs_no_more_than_it_may() {
    sandbox::try_to_cost(Walls::User);
}

#[test]
fn nothing_of_its_own_users_run_stays() {
    sandbox::try_to_stay(Walls::User);
}

#[test]
fn conversation_goes_on_as_its_own_user() {
    sandbox::go_on(Walls::User);
}

fn setup(api: &ScriptedApi) -> Option<Setup> {
    Walls::User.setup(api)
}

#[test]
fn run_is_its_folders_owner_and_has_nothing_of_roots() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let work = setup.dir.create_dir("work");
    chown(&work, Some(61_020), Some(7)).unwrap();
    setup.dir.create_dir("skills/shared");
    setup.dir.create_dir("config.yaml-notes");
    let gateway = setup.working_dir("alpha", &work).start();
    let look = "id -u; id -G; umask; ulimit -c; grep -E 'Cap(Eff|Prm|Inh|Amb)|NoNewPrivs' /proc/self/status; stat -c %a-%u $HOME $TMPDIR $CLAUDE_CONFIG_DIR; touch new; pwd";
    let said = bash(&gateway, "alpha", look);
    let said = said.strip_prefix("result: ").unwrap_or(&said);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        [lines[0], lines[1], lines[3]],
        ["61020", "61020", "0"],
        "{said}"
    );
    // Shells write it with one zero or two.
    assert_eq!(lines[2].trim_start_matches('0'), "77", "{said}");
    for line in &lines[4..8] {
        assert!(line.ends_with("\t0000000000000000"), "{said}");
    }
    assert_eq!(lines[8], "NoNewPrivs:\t1", "{said}");
    assert_eq!(&lines[9..12], ["700-61020"; 3], "{said}");
    assert_eq!(lines[12], work.to_str().unwrap(), "{said}");
    let new = fs::metadata(work.join("new")).unwrap();
    assert_eq!((new.uid(), new.mode() & 0o777), (61_020, 0o600));
    // The folder was open to all.
    assert_eq!(fs::metadata(&work).unwrap().mode() & 0o007, 0);
    // What is beside the configuration and the tenants' skills is nobody's business.
    for beside in ["skills/shared", "config.yaml-notes"] {
        let mode = fs::metadata(gateway.dir.path().join(beside))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o007, 0o005, "{beside}");
    }
    // Who names no folder is a user that nobody else is.
    let said = bash(&gateway, "beta", "id -u");
    let uid: u32 = said["result: ".len()..].parse().unwrap();
    assert!(uid >= 0x7000_0000, "{said}");
}

#[test]
fn its_own_user_has_its_skills_and_its_instance() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let setup = setup.skill(LOCAL, "weather", "tells the weather");
    let gateway = with_instance(setup, "echo \"$1 ${CCGW_RELAY-by-the-gateway}\"").start();
    let said = bash(&gateway, LOCAL, "openclaw status");
    assert_eq!(said, "result: status by-the-gateway");
    assert!(api.last_prompt().mentions("tells the weather"));
}

/// A gateway for whom bubblewrap works nowhere.
fn without_bwrap(setup: Setup) -> Setup {
    let script = "#!/bin/sh\necho no namespaces today >&2\nexit 1\n";
    let broken = setup.dir.write("bin/bwrap", script);
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", setup.dir.path().join("bin").display());
    setup.daemon_env("PATH", &path)
}

#[test]
fn without_bubblewrap_auto_gives_each_tenant_its_own_user_where_that_works() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    // Nothing but the login of the gateway's user.
    let gateway = without_bwrap(setup.isolation("auto"))
        .without_tenant_env("beta", "CLAUDE_CONFIG_DIR")
        .without_tenant_env("beta", "ANTHROPIC_API_KEY")
        .start();
    let line = gateway.log_contains("runs have a system user of their tenant's own");
    assert!(line.contains("tenants=alpha"), "{line}");
    gateway.log_contains("runs of these tenants are not isolated from each other");
    let said = bash(&gateway, "alpha", "id -u");
    assert_ne!(said, "result: 0");
    let path = gateway.dir.path().join("bin").display().to_string() + ":/usr/bin:/bin";
    let doctor = manage_command(&gateway.dir, &["doctor", "--quick", "--json"])
        .env("PATH", path)
        .output()
        .unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        doctor.contains("runs of alpha are a system user of its own"),
        "{doctor}"
    );
    assert!(doctor.contains("runs of beta are not confined"), "{doctor}");
    let status = manage(&gateway.dir, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    for known in [gateway.health(), status] {
        let [alpha, beta] = [0, 1].map(|it| &known["tenants"][it]);
        assert_eq!(alpha["isolation"], "user", "{known}");
        let why = alpha["isolation_why"].as_str().unwrap();
        assert!(why.contains("no namespaces today"), "{why}");
        assert_eq!(beta["isolation"], "none", "{known}");
        let why = beta["isolation_why"].as_str().unwrap();
        assert!(why.contains("a credential of its own"), "{why}");
    }
}

/// Where `auto` would fall back to no walls at all, whoever can make it fall would be root.
#[test]
fn nothing_that_a_tenant_does_to_its_folder_makes_its_runs_roots() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let home = setup.dir.create_dir("of-alpha");
    let (work, aside) = (setup.dir.create_dir("of-alpha/work"), home.join("aside"));
    for dir in [&home, &work] {
        chown(dir, Some(61_070), Some(61_070)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let gateway = without_bwrap(setup.isolation("auto"))
        .working_dir("alpha", &work)
        .start();
    assert_eq!(bash(&gateway, "alpha", "id -u"), "result: 61070");
    let refused = |what: &str| {
        let answer = gateway.ask("alpha", &prompt("[[bash:id -u]]"));
        answer.assert_error(503, "api_error");
        assert!(
            answer.text().contains("must be a user of their own"),
            "{what}: {answer:?}"
        );
    };
    fs::rename(&work, &aside).unwrap();
    refused("no folder");
    std::os::unix::fs::symlink("/", &work).unwrap();
    refused("a link in its place");
    fs::remove_file(&work).unwrap();
    fs::write(&work, "").unwrap();
    refused("a file in its place");
    fs::remove_file(&work).unwrap();
    fs::rename(&aside, &work).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o000)).unwrap();
    refused("no way to it");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    // A container's root chooses the owner: nobody whom this machine knows, and not another tenant.
    chown(&work, Some(65_534), Some(65_534)).unwrap();
    refused("a user with a name");
    let said = bash(&gateway, "beta", "id -u");
    let of_beta = said["result: ".len()..].parse().unwrap();
    chown(&work, Some(of_beta), Some(of_beta)).unwrap();
    refused("beta's user");
    chown(&work, Some(61_070), Some(61_070)).unwrap();
    assert_eq!(bash(&gateway, "alpha", "id -u"), "result: 61070");
}

#[test]
fn in_a_container_auto_gives_each_tenant_its_own_user() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let gateway = setup.isolation("auto").with_a_containers_root().start();
    let line = gateway.log_contains("no sandbox for runs, but a user of their own");
    assert!(line.contains("tenants=alpha,beta"), "{line}");
    let users = ["alpha", "beta"].map(|it| bash(&gateway, it, "id -u"));
    assert!(users[0] != users[1], "{users:?}");
    let blocked = gateway.send("alpha", &prompt("[[bash:setsid tail -f /dev/null]]"));
    let own = || {
        let tree = descendants(gateway.pid());
        let mut tails = tree.into_iter();
        tails.find(|pid| cmdline(*pid).starts_with("tail"))
    };
    wait_until(PATIENCE, "the tool", || own().is_some());
    drop(blocked);
    wait_until(DEAD_WITHIN, "its end", || own().is_none());
}

#[test]
fn doctor_runs_nothing_in_a_directory_that_is_a_tenants() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let dir = setup.dir.create_dir("of-alpha");
    chown(&dir, Some(61_060), Some(61_060)).unwrap();
    let setup = setup
        .without_tenant_env("alpha", "CLAUDE_CONFIG_DIR")
        .tenant_line("alpha", format!("config_dir: {}", dir.display()));
    drop(setup.command());
    let said = manage(&setup.dir, &["doctor", "alpha", "--quick"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("is another user's"), "{said}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

/// What a tenant's request is refused with.
#[track_caller]
fn refused(gateway: &Gateway, tenant: &str, reason: &str) {
    let answer = gateway.ask(tenant, &prompt("hi"));
    answer.assert_error(503, "api_error");
    assert!(answer.text().contains(reason), "{}", answer.text());
}

#[test]
fn who_cannot_be_its_own_user_is_refused_with_the_way_out() {
    let api = ScriptedApi::start();
    let Some(first) = setup(&api) else { return };
    let shared = first.dir.create_dir("shared");
    chown(&shared, Some(61_030), Some(61_030)).unwrap();
    let gateway = first
        .working_dir("alpha", &shared)
        .working_dir("beta", &shared)
        .start();
    refused(
        &gateway,
        "alpha",
        "tenant beta would be the same user (61030)",
    );
    let second = setup(&api).unwrap();
    let roots = second.dir.create_dir("roots");
    fs::write(roots.join("file"), "x").unwrap();
    let system = second.dir.create_dir("system");
    chown(&system, Some(33), Some(33)).unwrap();
    let gateway = second
        .working_dir("alpha", &roots)
        .working_dir("beta", &system)
        .start();
    refused(&gateway, "alpha", "`chown -R 2029441934:2029441934 ");
    assert_eq!(fs::metadata(&roots).unwrap().uid(), 0);
    refused(
        &gateway,
        "beta",
        "belongs to user 33, which is the system's",
    );
    let third = setup(&api).unwrap();
    let private = third.dir.create_dir("private");
    let cli = third.dir.path().join("cli");
    fs::rename(&cli, private.join("cli")).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(private.join("cli"), &cli).unwrap();
    let gateway = third
        .without_tenant_env("beta", "CLAUDE_CONFIG_DIR")
        .without_tenant_env("beta", "ANTHROPIC_API_KEY")
        .start();
    refused(
        &gateway,
        "alpha",
        "install the CLI where every user can run it",
    );
    refused(
        &gateway,
        "beta",
        "`config_dir: private` and a sign-in there",
    );
    gateway.log_contains("requests will be refused");
    assert_eq!(gateway.health()["tenants"][0]["isolation"], "impossible");
}

#[test]
fn links_that_a_run_leaves_give_it_nothing() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let secret = setup.dir.write("private/file", "FILE-OF-THE-HOST");
    let private = secret.parent().unwrap().to_owned();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let parent = setup.dir.create_dir("claw");
    let work = setup.dir.create_dir("claw/workspace");
    chown(&work, Some(61_040), Some(61_040)).unwrap();
    let mut gateway = setup.working_dir("alpha", &work).start();
    let dir = private.display();
    let plant = format!(
        "ln -s {dir} $HOME/l; ln -s {dir} $CLAUDE_CONFIG_DIR/l; ln -s {dir} $TMPDIR/l; rm -rf $CLAUDE_CONFIG_DIR/projects; ln -s {dir} $CLAUDE_CONFIG_DIR/projects"
    );
    bash(&gateway, "alpha", &plant);
    // Where the kernel lets everybody make them (fs.protected_hardlinks=0).
    let home = gateway.dir.path().join("state/tenants/alpha/home");
    fs::hard_link(&secret, home.join("second-name")).unwrap();
    fs::write(home.join("roots-own"), "x").unwrap();
    gateway.stop_only();
    gateway.start_again();
    gateway.ask("alpha", &prompt("hi"));
    let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
    assert_eq!(owner(&home.join("roots-own")), 61_040);
    assert_eq!((owner(&secret), owner(&private)), (0, 0));
    assert_eq!(fs::read_dir(&private).unwrap().count(), 1);
    fs::rename(&work, parent.join("aside")).unwrap();
    std::os::unix::fs::symlink(&private, &work).unwrap();
    refused(&gateway, "alpha", "leads over a link");
}

#[test]
fn sessions_are_not_removed_over_a_link_of_a_tenants() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let mut gateway = setup.set("cli", "warm: off").start();
    gateway.ask("alpha", &prompt("hi")).answer_text();
    gateway.stop_only();
    let projects = gateway.dir.path().join("claude-config-alpha/projects");
    let only = |dir: &Path| {
        let mut entries = fs::read_dir(dir).unwrap();
        entries.next().unwrap().unwrap().path()
    };
    let folder = only(&projects);
    let session = only(&folder);
    // Of the same names, where the tenant could remove nothing.
    let private = gateway.dir.path().join("private");
    let other = private.join(folder.file_name().unwrap());
    fs::create_dir_all(&other).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let other = other.join(session.file_name().unwrap());
    fs::copy(&session, &other).unwrap();
    fs::rename(&projects, projects.with_extension("aside")).unwrap();
    std::os::unix::fs::symlink(&private, &projects).unwrap();
    let path = gateway.dir.path().join("state/sessions.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let at = log.find("\"at\":").unwrap() + 5;
    let end = at + log[at..].find(',').unwrap();
    fs::write(&path, format!("{}1000{}", &log[..at], &log[end..])).unwrap();
    gateway.start_again();
    gateway.log_contains("conversations forgotten");
    assert!(other.exists());
}

#[test]
fn conversation_goes_on_when_the_isolation_is_another() {
    let api = ScriptedApi::start();
    let (Some(_), Some(setup)) = (Walls::Bwrap.setup(&api), setup(&api)) else {
        return;
    };
    let gateway = setup
        .isolation("bwrap")
        .without_tenant_env("alpha", "CLAUDE_CONFIG_DIR")
        .tenant_line("alpha", "config_dir: private")
        .start();
    let mut messages = vec![json!({"role": "user", "content": "one"})];
    let mut last = "bwrap";
    for (number, isolation) in ["bwrap", "user", "none", "user", "bwrap"]
        .iter()
        .enumerate()
    {
        if number > 0 {
            let path = gateway.dir.path().join("config.yaml");
            let text = fs::read_to_string(&path).unwrap();
            let [from, to] = [last, isolation].map(|it| format!("isolation: {it}\n"));
            fs::write(&path, text.replacen(&from, &to, 1)).unwrap();
            let reloaded = manage(&gateway.dir, &["reload"]);
            assert!(reloaded.status.success(), "{reloaded:?}");
        }
        last = isolation;
        let answer = say(&gateway, &messages);
        let expect = if number == 0 { "fresh" } else { "resumed" };
        assert_eq!(answer.header("x-ccgw-session"), Some(expect), "{isolation}");
        let text = answer.answer_text();
        messages.push(json!({"role": "assistant", "content": text}));
        messages.push(json!({"role": "user", "content": format!("more {number}")}));
    }
    assert!(api.last_prompt().mentions("one") && api.last_prompt().mentions("more 2"));
}

#[test]
fn conversation_goes_on_when_the_folder_gets_another_owner() {
    let api = ScriptedApi::start();
    let Some(setup) = setup(&api) else { return };
    let work = setup.dir.create_dir("work");
    let gateway = setup
        .working_dir("alpha", &work)
        .without_tenant_env("alpha", "CLAUDE_CONFIG_DIR")
        .start();
    let mut messages = Vec::new();
    for (user, expect) in [(61_050, "fresh"), (61_051, "resumed")] {
        chown(&work, Some(user), Some(user)).unwrap();
        messages.push(json!({"role": "user", "content": format!("I am {user}")}));
        let answer = say(&gateway, &messages);
        assert_eq!(answer.header("x-ccgw-session"), Some(expect));
        messages.push(json!({"role": "assistant", "content": answer.answer_text()}));
    }
    let said = bash(&gateway, "alpha", "id -u");
    assert_eq!(said, "result: 61051");
}
