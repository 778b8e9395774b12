//! The public route table: which method and path means what. Nothing for operators is in it.

use crate::{
    api::{ApiError, ErrorKind},
    http::Head,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/chat/completions` and, for base URLs without `/v1`, `/chat/completions`
    ChatCompletions,
    /// `POST /v1/responses` and, for base URLs without `/v1`, `/responses`
    Responses,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`, the id still percent-encoded
    Model(&'a str),
    /// `GET /health`
    Health,
    /// `OPTIONS` of any of them, or of `*`
    Options(&'static [&'static str]),
}

/// Which wire format a caller expects, for errors too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Anthropic,
    OpenAi,
}

const READ: &[&str] = &["GET", "HEAD", "OPTIONS"];
const ASK: &[&str] = &["POST", "OPTIONS"];

impl<'a> Route<'a> {
    /// # Errors
    /// 404 for an unknown path, 405 for a known one with another method.
    pub(crate) fn find(method: &str, path: &'a str) -> Result<Route<'a>, ApiError> {
        let Some(methods) = Route::methods(path) else {
            return Err(ApiError::new(ErrorKind::NoRoute, no_such(method, path)));
        };
        match (method, Route::of_path(path)) {
            ("OPTIONS", _) => Ok(Route::Options(methods)),
            (_, Some(route)) if methods.contains(&method) => Ok(route),
            _ => {
                let text = format!("{path} takes {}, not {method}", methods.join(", "));
                Err(ApiError::new(ErrorKind::MethodNotAllowed, text))
            }
        }
    }

    /// The methods of a known path, for `Allow`.
    pub(crate) fn methods(path: &str) -> Option<&'static [&'static str]> {
        if path == "*" {
            return Some(&["GET", "HEAD", "POST", "OPTIONS"]);
        }
        Route::of_path(path).map(|route| match route {
            Route::Messages | Route::CountTokens | Route::ChatCompletions | Route::Responses => ASK,
            Route::Models | Route::Model(_) | Route::Health | Route::Options(_) => READ,
        })
    }

    /// Whether only tenants may use it.
    pub(crate) fn needs_key(self) -> bool {
        matches!(
            self,
            Route::Messages | Route::CountTokens | Route::ChatCompletions | Route::Responses
        )
    }

    fn of_path(path: &'a str) -> Option<Route<'a>> {
        match path {
            "/v1/messages" => Some(Route::Messages),
            "/v1/messages/count_tokens" => Some(Route::CountTokens),
            "/v1/chat/completions" | "/chat/completions" => Some(Route::ChatCompletions),
            "/v1/responses" | "/responses" => Some(Route::Responses),
            "/v1/models" | "/models" => Some(Route::Models),
            "/health" => Some(Route::Health),
            _ => {
                let path = path.strip_prefix("/v1").unwrap_or(path);
                let id = path.strip_prefix("/models/")?;
                (!id.is_empty()).then_some(Route::Model(id))
            }
        }
    }
}

impl Format {
    /// What the sender of a request reads. Where the path does not tell, Anthropic's clients are
    /// known by the version header that all of them send; OpenAI's have a bearer key and no such header.
    pub(crate) fn of(head: &Head) -> Format {
        let path = head.path();
        let is_anthropics = head.header("anthropic-version").is_some();
        match Route::of_path(path) {
            Some(Route::Messages) => Format::Anthropic,
            Some(Route::ChatCompletions | Route::Responses) => Format::OpenAi,
            Some(Route::Models | Route::Model(_)) if !is_anthropics => Format::OpenAi,
            None if path.ends_with("/chat/completions") => Format::OpenAi,
            None if path.starts_with("/v1/responses") => Format::OpenAi,
            None if path.starts_with("/v1/messages") || is_anthropics => Format::Anthropic,
            None if head.header("authorization").is_some() => Format::OpenAi,
            _ => Format::Anthropic,
        }
    }
}

fn no_such(method: &str, path: &str) -> String {
    // The target is the caller's own text; a bound keeps the answer small.
    let path: String = path.chars().take(100).collect();
    format!(
        "no such route: {method} {path}; there are POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/chat/completions, POST /v1/responses, GET /v1/models, GET /v1/models/ID and GET /health"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expect: Result<Route<'_>, ErrorKind>) {
        assert_eq!(
            Route::find(method, path).map_err(|it| it.kind),
            expect,
            "{method} {path}"
        );
    }

    #[test]
    fn route_table() {
        check("POST", "/v1/messages", Ok(Route::Messages));
        check("POST", "/v1/chat/completions", Ok(Route::ChatCompletions));
        check("POST", "/v1/messages/count_tokens", Ok(Route::CountTokens));
        check("POST", "/chat/completions", Ok(Route::ChatCompletions));
        check("POST", "/v1/responses", Ok(Route::Responses));
        check("POST", "/responses", Ok(Route::Responses));
        check("GET", "/v1/models", Ok(Route::Models));
        check("HEAD", "/models", Ok(Route::Models));
        check("GET", "/v1/models/opus", Ok(Route::Model("opus")));
        check("HEAD", "/models/a%2Fopus", Ok(Route::Model("a%2Fopus")));
        check("GET", "/v1/models/a/opus", Ok(Route::Model("a/opus")));
        check("HEAD", "/health", Ok(Route::Health));
        check("OPTIONS", "/health", Ok(Route::Options(READ)));
        check("OPTIONS", "/v1/models/opus", Ok(Route::Options(READ)));
        check("OPTIONS", "/v1/messages", Ok(Route::Options(ASK)));
        check("GET", "/v1/messages", Err(ErrorKind::MethodNotAllowed));
        check("POST", "/v1/models", Err(ErrorKind::MethodNotAllowed));
        check(
            "DELETE",
            "/v1/models/opus",
            Err(ErrorKind::MethodNotAllowed),
        );
        check("POST", "/health", Err(ErrorKind::MethodNotAllowed));
        check("GET", "*", Err(ErrorKind::MethodNotAllowed));
        for path in [
            "/",
            "/v1/messages/",
            "/v1/../v1/messages",
            "/v1/models/",
            "/v1",
        ] {
            check("POST", path, Err(ErrorKind::NoRoute));
            check("OPTIONS", path, Err(ErrorKind::NoRoute));
        }
    }

    #[test]
    fn errors_come_in_the_format_that_the_caller_reads() {
        const VERSION: &str = "anthropic-version: 2023-06-01\r\n";
        const BEARER: &str = "authorization: Bearer x\r\n";
        for (path, headers, expect) in [
            ("/v1/messages", "", Format::Anthropic),
            ("/v1/messages", BEARER, Format::Anthropic),
            ("/v1/messages/batches", BEARER, Format::Anthropic),
            ("/v1/chat/completions", VERSION, Format::OpenAi),
            ("/x/chat/completions", "", Format::OpenAi),
            ("/v1/responses", "", Format::OpenAi),
            ("/v1/responses/resp_1", "", Format::OpenAi),
            ("/v1/models", "", Format::OpenAi),
            ("/v1/models/opus", VERSION, Format::Anthropic),
            ("/v1/embeddings", BEARER, Format::OpenAi),
            ("/v1/files", VERSION, Format::Anthropic),
            ("/", "", Format::Anthropic),
        ] {
            let text = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let head = Head::parse_for_tests(&text);
            assert_eq!(Format::of(&head), expect, "{path} {headers}");
        }
    }
}
