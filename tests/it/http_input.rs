//! Bad and odd requests: a clear error, nothing leaked, and the next request is answered.

use std::thread;

use serde_json::{Value, json};

use crate::{
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, MODEL, key_of, prompt},
    setup::Setup,
    temp::TempDir,
};

pub(crate) fn start(setup: impl FnOnce(Setup) -> Setup) -> Gateway {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    setup(Setup::with_cli(dir, fake.path())).start()
}

#[test]
fn wrong_bodies_are_named() {
    let gateway = start(|setup| setup);
    #[track_caller]
    fn check(gateway: &Gateway, body: &str, names: &str) {
        let length = body.len();
        let key = key_of("alpha");
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let response = raw(gateway, request.as_bytes());
        response.assert_error(400, "invalid_request_error");
        assert!(
            response.text().contains(names),
            "{names} is not in {}",
            response.text()
        );
    }
    let with = |field: &str, value: Value| {
        let mut body = prompt("hi");
        body[field] = value;
        body.to_string()
    };
    let without = |field: &str| {
        let mut body = prompt("hi");
        body.as_object_mut().unwrap().remove(field);
        body.to_string()
    };
    check(&gateway, "", "JSON");
    check(&gateway, "not JSON", "JSON");
    check(&gateway, "{\"model\":", "JSON");
    check(&gateway, "\u{0}\u{1}", "JSON");
    check(&gateway, "[]", "");
    check(&gateway, "null", "");
    check(&gateway, &"[".repeat(100_000), "");
    check(&gateway, &without("model"), "model");
    check(&gateway, &without("max_tokens"), "max_tokens");
    check(&gateway, &without("messages"), "messages");
    check(&gateway, &with("messages", json!([])), "messages");
    check(&gateway, &with("messages", json!("hi")), "messages");
    check(
        &gateway,
        &with("messages", json!([{"role": "user"}])),
        "messages.0",
    );
    check(
        &gateway,
        &with("messages", json!([{"role": "robot", "content": "hi"}])),
        "messages.0",
    );
    check(
        &gateway,
        &with("messages", json!([{"role": "user", "content": 5}])),
        "messages.0",
    );
    check(&gateway, &with("max_tokens", json!(0)), "max_tokens");
    check(&gateway, &with("max_tokens", json!("many")), "max_tokens");
    check(&gateway, &with("stream", json!("yes")), "stream");
    check(&gateway, &with("model", json!(7)), "model");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
}

#[test]
fn unknown_model_route_and_method_are_refused() {
    let gateway = start(|setup| setup);
    let key = key_of("alpha");
    let headers = [("x-api-key", key.as_str())];
    for model in ["gpt-4o", "", "--dangerously-skip-permissions", "claude"] {
        let mut body = prompt("hi");
        body["model"] = model.into();
        gateway
            .ask("alpha", &body)
            .assert_error(404, "not_found_error");
    }
    gateway
        .client()
        .get("/v1/nothing", &headers)
        .assert_error(404, "not_found_error");
    gateway
        .client()
        .post("/v1/messages/batches", &headers, &json!({}))
        .assert_error(404, "not_found_error");
    assert_eq!(gateway.client().get("/v1/messages", &headers).status, 405);
    assert_eq!(
        gateway
            .client()
            .post("/health", &headers, &json!({}))
            .status,
        405
    );
}

#[test]
fn only_a_tenants_own_key_opens_the_door() {
    let gateway = start(|setup| setup);
    let (alpha, beta) = (key_of("alpha"), key_of("beta"));
    let (bearer, other) = (format!("Bearer {alpha}"), format!("Bearer {beta}"));
    let ask = |headers: &[(&str, &str)]| {
        gateway
            .client()
            .post("/v1/messages", headers, &prompt("hi"))
    };
    let good: [&[(&str, &str)]; 4] = [
        &[("x-api-key", &alpha)],
        &[("authorization", &bearer)],
        &[("Authorization", &bearer), ("X-API-Key", &alpha)],
        &[("x-api-key", &beta)],
    ];
    for headers in good {
        assert_eq!(ask(headers).answer_text(), "hello", "{headers:?}");
    }
    let bad: [&[(&str, &str)]; 7] = [
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", "wrong")],
        &[("x-api-key", &alpha[..alpha.len() - 1])],
        &[("authorization", &alpha)],
        &[("authorization", "Bearer ")],
        &[("authorization", &other), ("x-api-key", &alpha)],
    ];
    for headers in bad {
        let refused = ask(headers);
        refused.assert_error(401, "authentication_error");
        assert!(!refused.text().contains("secret-key"), "{}", refused.text());
    }
    assert!(!gateway.log().contains("secret-key"), "{}", gateway.log());
}

#[test]
fn openai_errors_have_openais_shape() {
    let gateway = start(|setup| setup);
    let bearer = format!("Bearer {}", key_of("alpha"));
    let path = "/v1/chat/completions";
    let check = |response: &Response, status: u16| {
        assert_eq!(response.status, status, "{}", response.text());
        let error = &response.json()["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{}",
            response.text()
        );
    };
    check(&gateway.client().post(path, &[], &prompt("hi")), 401);
    check(
        &gateway.client().post(
            path,
            &[("authorization", &bearer)],
            &json!({"model": MODEL}),
        ),
        400,
    );
    let mut body = prompt("hi");
    body["model"] = "gpt-4o".into();
    check(
        &gateway
            .client()
            .post(path, &[("authorization", &bearer)], &body),
        404,
    );
}

#[test]
fn body_over_the_limit_is_413() {
    let gateway = start(|setup| setup.set("server", "max_body_bytes: 2048"));
    gateway
        .ask("alpha", &prompt(&"x".repeat(4096)))
        .assert_error(413, "request_too_large");
    let mut chunked = chunked_post();
    chunked += &format!("1000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1000));
    raw(&gateway, chunked.as_bytes()).assert_error(413, "request_too_large");
    assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello");
}

#[test]
fn stranger_cannot_make_the_daemon_hold_a_body() {
    let gateway = start(|setup| setup);
    let mut connection = gateway.client().connect();
    connection.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\ncontent-length: 30000000\r\n\r\n").unwrap();
    // The answer comes although not one byte of the body was sent.
    connection
        .response()
        .assert_error(401, "authentication_error");
}

pub(crate) fn chunked_post() -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        key_of("alpha")
    )
}

#[test]
fn many_clients_at_once_all_get_their_answer() {
    let gateway = start(|setup| {
        setup
            .set("cli", "max_concurrent: 4")
            .set("cli", "max_per_tenant: 4")
    });
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(gateway.ask("alpha", &prompt("hi")).answer_text(), "hello"));
        }
    });
}

#[track_caller]
pub(crate) fn raw(gateway: &Gateway, request: &[u8]) -> Response {
    let mut connection = gateway.client().connect();
    // The answer may come before all is sent.
    let _ = connection.send(request);
    connection.response()
}
