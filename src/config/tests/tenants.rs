//! Tenants and their keys.

use super::*;

#[test]
fn an_empty_key_is_reported_in_its_own_line() {
    let advice = "write a long random text, for example from `openssl rand -hex 24`";
    for empty in ["", "''", "~", "null"] {
        check(
            &format!("tenants:\n- name: a\n  api_key: {empty}"),
            &[&format!(
                "config.yaml:3: tenants[0].api_key: is missing or empty, {advice}"
            )],
        );
    }
}

#[test]
fn tenants_must_differ_in_name_and_key() {
    check(
        "tenants:\n- {name: a, api_key: 12345678}\n- {name: a, api_key: 'x2345678'}\n- {name: b, api_key: \"12345678\"}",
        &[
            "config.yaml:3: tenants[1].name: `a` is the tenant in line 2 already, write another name",
            "config.yaml:4: tenants[2].api_key: the same key as in line 2, write a long random text, for example from `openssl rand -hex 24`",
        ],
    );
}

#[test]
fn keys_may_be_hashes_and_have_a_previous_one() {
    let text = format!(
        "tenants:\n- name: a\n  api_key_sha256: {ABC}\n  previous_key_sha256: {KEY_OF_B}\n  previous_key_until: 2026-12-31T23:59:59Z\n  container: A.b_c-1\n"
    );
    let tenant = accept(&text, &[]).tenants.remove(0);
    assert_eq!(tenant.key.hash().hex(), ABC);
    assert!(tenant.key.secret().is_none());
    let previous = tenant.previous_key.unwrap();
    assert_eq!(previous.hash, KeyHash::of("key-of-b"));
    assert_eq!(previous.until, Moment(1_798_761_599));
    assert_eq!(tenant.container.as_deref(), Some("A.b_c-1"));

    // A key is known by what it is, however it is written.
    let again = format!("{text}- {{name: b, api_key: key-of-b}}");
    check(
        &again,
        &[
            "config.yaml:7: tenants[1].api_key: the same key as in line 4, write a long random text, for example from `openssl rand -hex 24`",
        ],
    );
    check(
        &format!("{text}- {{name: b, api_key: key-of-c, container: A.b_c-1}}"),
        &[
            "config.yaml:7: tenants[1].container: `A.b_c-1` stands in line 6 already, and is one tenant's only; write another one",
        ],
    );
}

#[test]
fn half_of_a_key_is_refused() {
    #[track_caller]
    fn check_one_of(fields: &str, field: &str, problem: &str) {
        let text = format!("tenants:\n- name: a\n{fields}");
        let found = Folder::new().load(text.as_bytes(), &[]).unwrap_err();
        let start = format!("tenants[0].{field}: {problem}");
        assert!(found.contains(&start), "{found}");
        assert!(!found.contains("ba7816"), "{found}");
    }
    let both = format!("  api_key: key-of-a\n  api_key_sha256: {ABC}\n");
    check_one_of(&both, "api_key_sha256", "`api_key` is here too");
    check_one_of(
        "  api_key_sha256: abc\n",
        "api_key_sha256",
        "is not a SHA-256",
    );
    let key = "  api_key: key-of-a\n";
    let hash = format!("{key}  previous_key_sha256: {ABC}\n");
    check_one_of(
        &hash,
        "previous_key_sha256",
        "`previous_key_until` is missing",
    );
    let until = format!("{key}  previous_key_until: 2026-12-31T23:59:59Z\n");
    check_one_of(
        &until,
        "previous_key_until",
        "`previous_key_sha256` is missing",
    );
    let soon = format!("{hash}  previous_key_until: soon\n");
    check_one_of(&soon, "previous_key_until", "`soon` is not a time in UTC");
    for name in ["a b", "-a", "/a", "a/../b", "é"] {
        let text = format!("{key}  container: {name}\n");
        check_one_of(
            &text,
            "container",
            &format!("`{name}` is not the name of a container"),
        );
    }
}

#[test]
fn without_tenants_only_loopback_is_allowed() {
    let text = "server.host: 0.0.0.0 with no tenants: anybody could use the gateway without a key, add a tenant or set server.host to 127.0.0.1";
    check(
        "server: {host: 0.0.0.0}",
        &[&format!("config.yaml:1: {text}")],
    );
    check(
        "server: {host: 0.0.0.0}\ntenants: [x]",
        &["config.yaml:2: tenants[0]: expected `name:` and `api_key:`, found a single value"],
    );

    #[track_caller]
    fn check_address(text: &str, expect: &str) {
        let expect: IpAddr = expect.parse().unwrap();
        assert_eq!(accept(text, &[]).bind_address(), expect);
    }
    check_address("", "127.0.0.1");
    check_address(ALICE, "0.0.0.0");
    check_address("server: {host: localhost}", "127.0.0.1");
    check_address("server: {host: '::1'}", "::1");
    check_address("server: {host: '::ffff:127.0.0.1'}", "::ffff:127.0.0.1");
    check_address(&format!("server: {{host: '::'}}\n{ALICE}"), "::");
}

#[test]
fn a_tenant_may_not_have_more_runs_than_there_are() {
    let problem = "`4` is more than cli.max_concurrent, write at most 3 or raise that limit";
    check(
        "cli: {max_per_tenant: 4}",
        &[&format!("config.yaml:1: cli.max_per_tenant: {problem}")],
    );
    check_with(
        "",
        &[("MAX_PER_TENANT", "4")],
        &[&format!("environment MAX_PER_TENANT: {problem}")],
    );
    // The second number is not judged by a first that is wrong itself.
    check(
        "cli: {max_concurrent: 0, max_per_tenant: 200}",
        &[
            "config.yaml:1: cli.max_concurrent: `0` is out of range, write a whole number from 1 to 256",
        ],
    );
    assert_eq!(
        accept("cli: {max_concurrent: 1}", &[]).cli.max_per_tenant,
        1
    );
}
