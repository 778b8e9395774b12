//! `server.cors_origins`.

use super::*;
use crate::config::CorsOrigins;

#[track_caller]
fn check_origins(value: &str, expect: CorsOrigins) {
    let text = format!("server:\n  cors_origins: {value}\n{ALICE}");
    assert_eq!(accept(&text, &[]).server.cors_origins, expect, "{value}");
}

#[track_caller]
fn check_problem(value: &str, expect: &str) {
    let text = format!("server:\n  cors_origins: {value}\n{ALICE}");
    check(
        &text,
        &[&format!("config.yaml:2: server.cors_origins: {expect}")],
    );
}

#[test]
fn origins_are_a_list_or_one_or_all() {
    let these =
        |origins: &[&str]| CorsOrigins::These(origins.iter().map(|it| (*it).to_owned()).collect());
    assert_eq!(accept("", &[]).server.cors_origins, CorsOrigins::Nobody);
    for empty in ["", "[]", "\"\"", "null"] {
        check_origins(empty, CorsOrigins::Nobody);
    }
    check_origins("\"*\"", CorsOrigins::Anybody);
    check_origins("[\"*\"]", CorsOrigins::Anybody);
    for origin in [
        "https://chat.example",
        "http://localhost:5173",
        "http://[::1]:80801",
        "chrome-extension://abcdef",
        "http://x:443",
    ] {
        check_origins(&format!("\"{origin}\""), these(&[origin]));
    }
    check_origins(
        "[https://a.example, https://b.example]",
        these(&["https://a.example", "https://b.example"]),
    );
}

#[test]
fn wrong_origins_are_told_apart() {
    const ADVICE: &str =
        "write scheme://host or scheme://host:port such as https://chat.example, or \"*\"";
    for (value, why) in [
        ("chat.example", "is not an origin"),
        (
            "https://chat.example/",
            "has a path or a slash at its end, which no origin has",
        ),
        (
            "https://chat.example/x",
            "has no host in small letters and nothing else",
        ),
        (
            "https://Chat.example",
            "has no host in small letters and nothing else",
        ),
        ("https://", "has no host in small letters and nothing else"),
        ("HTTPS://chat.example", "has no scheme in small letters"),
        (
            "https://u@chat.example",
            "has no host in small letters and nothing else",
        ),
        (
            "https://chat.example:443",
            "has its scheme's own port, which browsers leave out",
        ),
        (
            "http://[::1]:80",
            "has its scheme's own port, which browsers leave out",
        ),
    ] {
        check_problem(
            &format!("\"{value}\""),
            &format!("`{value}` {why}, {ADVICE}"),
        );
    }
    check_problem(
        "\"null\"",
        &format!("`null` is the origin of every sandboxed page, {ADVICE}"),
    );
    check_problem(
        "[\"*\", https://a.example]",
        "`*` is every origin already, leave it or the others out",
    );
    check_problem("[[]]", "expected an origin, found a list");
    check_problem("{a: b}", "expected a list, found a map of keys");
    check(
        "server:\n  cors_origins: \"*\"\n",
        &[
            "config.yaml:2: server.cors_origins: no tenants: without keys no web page is served, add a tenant or leave it out",
        ],
    );
}
