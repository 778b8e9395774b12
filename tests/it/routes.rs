//! Routes that answer without a run: models, OPTIONS, what does not exist, and what web pages may read.

use serde_json::{Value, json};

use crate::{
    client::Response,
    fake_cli::FakeCli,
    gateway::{Gateway, key_of, prompt, streaming},
    setup::Setup,
    temp::TempDir,
};

const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

fn start(setup: impl FnOnce(Setup) -> Setup) -> Gateway {
    let dir = TempDir::new();
    let fake = FakeCli::script(&dir, "answer hello; idle");
    setup(Setup::with_cli(dir, fake.path())).start()
}

fn options(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    let connection = gateway.client().open("OPTIONS", path, headers, None);
    connection.answer().read_whole()
}

#[test]
fn model_is_found_by_every_id_that_a_request_may_name() {
    let gateway = start(|setup| setup);
    for (path, id) in [
        ("/v1/models/claude-opus-5-5", "claude-opus-5-5"),
        ("/models/sonnet", "sonnet"),
        (
            "/v1/models/anthropic%2Fclaude-haiku-4-5",
            "anthropic/claude-haiku-4-5",
        ),
        ("/v1/models/claude-max/opus", "claude-max/opus"),
        ("/v1/models/sonnet%5B1m%5D", "sonnet[1m]"),
        ("/v1/models/sonnet[1m]", "sonnet[1m]"),
    ] {
        let model = gateway.client().get(path, &[VERSION]).json();
        assert_eq!(
            (&model["type"], &model["id"]),
            (&json!("model"), &json!(id))
        );
        let model = gateway.client().get(path, &[]).json();
        assert_eq!(
            (&model["object"], &model["id"]),
            (&json!("model"), &json!(id))
        );
        let head = gateway.client().open("HEAD", path, &[], None).answer();
        assert_eq!(head.status, 200, "{path}");
    }
}

#[test]
fn unknown_model_is_a_404_in_the_callers_shape() {
    let gateway = start(|setup| setup);
    let path = "/v1/models/gpt-4o";
    let answer = gateway.client().get(path, &[VERSION]);
    answer.assert_error(404, "not_found_error");
    assert_eq!(
        answer.header("request-id"),
        answer.json()["request_id"].as_str()
    );
    let answer = gateway.client().get(path, &[]);
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
}

#[test]
fn models_come_in_pages() {
    let gateway = start(|setup| setup);
    let page = |query: &str| {
        gateway
            .client()
            .get(&format!("/v1/models{query}"), &[VERSION])
    };
    let all = page("").json();
    let id = |index: usize| all["data"][index]["id"].as_str().unwrap().to_owned();
    let ids = |list: &Value| -> Vec<String> {
        let models = list["data"].as_array().unwrap();
        models
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = page("?limit=2").json();
    assert_eq!(
        (ids(&first), &first["has_more"]),
        (vec![id(0), id(1)], &json!(true))
    );
    let next = page(&format!("?limit=2&after_id={}", id(1))).json();
    assert_eq!(ids(&next), [id(2), id(3)]);
    assert_eq!(
        (&next["first_id"], &next["last_id"]),
        (&json!(id(2)), &json!(id(3)))
    );
    let back = page(&format!("?limit=1&before_id={}", id(2))).json();
    assert_eq!(ids(&back), [id(1)]);
    page("?limit=0").assert_error(400, "invalid_request_error");
    page("?after_id=nobody").assert_error(400, "invalid_request_error");
}

#[test]
fn what_does_not_exist_is_told_apart_from_an_unknown_model() {
    let gateway = start(|setup| setup);
    let bearer = format!("Bearer {}", key_of("alpha"));
    let openai = [("authorization", bearer.as_str())];
    for path in ["/v1/embeddings", "/v1/models/", "/x/chat/completions"] {
        let answer = gateway.client().get(path, &openai);
        assert_eq!(answer.status, 404);
        assert!(answer.header("x-request-id").is_some());
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(
            (&error["param"], &error["code"]),
            (&Value::Null, &json!("unknown_url"))
        );
    }
    gateway
        .client()
        .get("/v1/files", &[VERSION])
        .assert_error(404, "not_found_error");
    let mut unknown = prompt("hi");
    unknown["model"] = "gpt-4o".into();
    let answer = gateway
        .client()
        .post("/v1/chat/completions", &openai, &unknown);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
}

#[test]
fn errors_have_exactly_the_apis_fields() {
    let gateway = start(|setup| setup);
    let client = gateway.client();
    let key = key_of("alpha");
    let no_model = json!({"messages": []});
    let bad_role = json!({"model": "opus", "max_tokens": 5, "messages": [{"role": 7}]});
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    for (body, message, param) in [
        (&no_model, "model: Field required", "model"),
        (
            &bad_role,
            "messages.0.role: Input should be a string",
            "messages[0].role",
        ),
    ] {
        let answer = client.post("/v1/messages", &[("x-api-key", &key)], body);
        answer.assert_error(400, "invalid_request_error");
        let error = answer.json();
        assert_eq!(names(&error), ["error", "request_id", "type"]);
        assert_eq!(names(&error["error"]), ["message", "type"]);
        assert_eq!(error["error"]["message"], message);
        assert_eq!(answer.header("request-id"), error["request_id"].as_str());
        let answer = client.post("/v1/chat/completions", &[("x-api-key", &key)], body);
        assert_eq!(answer.status, 400);
        let error = answer.json();
        assert_eq!(names(&error), ["error"]);
        assert_eq!(names(&error["error"]), ["code", "message", "param", "type"]);
        assert_eq!(error["error"]["param"], param);
    }
}

#[test]
fn options_and_405_tell_what_a_path_takes() {
    let gateway = start(|setup| setup);
    for (path, methods, wrong) in [
        ("/v1/messages", "POST, OPTIONS", "GET"),
        ("/v1/chat/completions", "POST, OPTIONS", "PUT"),
        ("/chat/completions", "POST, OPTIONS", "DELETE"),
        ("/v1/models", "GET, HEAD, OPTIONS", "POST"),
        ("/v1/models/opus", "GET, HEAD, OPTIONS", "DELETE"),
        ("/health", "GET, HEAD, OPTIONS", "POST"),
    ] {
        let answer = options(&gateway, path, &[]);
        assert_eq!(
            (answer.status, answer.header("allow")),
            (204, Some(methods)),
            "{path}"
        );
        let refused = gateway.client().open(wrong, path, &[], None).response();
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some(methods)),
            "{path}"
        );
    }
    assert_eq!(options(&gateway, "*", &[]).status, 204);
    assert_eq!(options(&gateway, "/nothing", &[]).status, 404);
}

const PAGE: (&str, &str) = ("origin", "https://chat.example");
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

#[test]
fn no_page_may_read_answers_unless_configured() {
    let gateway = start(|setup| setup);
    let preflight = [PAGE, ("access-control-request-method", "POST")];
    let answer = options(&gateway, "/v1/messages", &preflight);
    assert_eq!((answer.status, answer.header(ALLOW_ORIGIN)), (204, None));
    let answer = gateway.client().get("/v1/models", &[PAGE]);
    assert_eq!((answer.status, answer.header(ALLOW_ORIGIN)), (200, None));
}

#[test]
fn configured_pages_may_read_every_answer() {
    let gateway = start(|setup| setup.set("server", "cors_origins: [\"https://chat.example\"]"));
    let client = gateway.client();
    let preflight = options(
        &gateway,
        "/v1/messages",
        &[
            PAGE,
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, x-api-key"),
        ],
    );
    assert_eq!(preflight.status, 204);
    for (name, value) in [
        (ALLOW_ORIGIN, "https://chat.example"),
        ("access-control-allow-methods", "POST, OPTIONS"),
        ("access-control-allow-headers", "content-type, x-api-key"),
    ] {
        assert_eq!(preflight.header(name), Some(value), "{preflight:#?}");
    }
    let key = key_of("alpha");
    let asking = [PAGE, ("x-api-key", key.as_str())];
    let body = prompt("hi");
    let whole = client.post("/v1/messages", &asking, &body);
    let streamed = client.open("POST", "/v1/messages", &asking, Some(&streaming(&body)));
    let too_large = [PAGE, ("x-api-key", &key), ("content-length", "99999999999")];
    let answers = [
        (200, whole),
        (200, streamed.answer().read_whole()),
        (200, client.get("/v1/models", &[PAGE])),
        (401, client.post("/v1/messages", &[PAGE], &body)),
        (
            400,
            client.post("/v1/messages", &asking, &json!({"model": 7})),
        ),
        (404, client.get("/nothing", &[PAGE])),
        (405, client.get("/v1/messages", &[PAGE])),
        (
            413,
            client
                .open("POST", "/v1/messages", &too_large, None)
                .response(),
        ),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:#?}");
        assert_eq!(
            answer.header(ALLOW_ORIGIN),
            Some("https://chat.example"),
            "{answer:#?}"
        );
        assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    let health = client.get("/health", &[PAGE]).json();
    assert!(health["tenants"].is_null(), "{health:#}");
    let other = client.get("/v1/models", &[("origin", "https://other.example")]);
    assert_eq!(
        (other.header(ALLOW_ORIGIN), other.header("vary")),
        (None, Some("Origin"))
    );
}
