//! The public route table: which method and path means what. Nothing for operators is in it.

use crate::api::{ApiError, ErrorKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/chat/completions` and, for base URLs without `/v1`, `/chat/completions`
    ChatCompletions,
    /// `GET /v1/models`
    Models,
    /// `GET /health`
    Health,
}

/// Which wire format a caller expects, for errors too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Anthropic,
    OpenAi,
}

impl Route {
    /// # Errors
    /// 404 for an unknown path, 405 for a known one with another method.
    pub(crate) fn find(method: &str, path: &str) -> Result<Route, ApiError> {
        let route = match path {
            "/v1/messages" => Route::Messages,
            "/v1/messages/count_tokens" => Route::CountTokens,
            "/v1/chat/completions" | "/chat/completions" => Route::ChatCompletions,
            "/v1/models" | "/models" => Route::Models,
            "/health" => Route::Health,
            _ => return Err(ApiError::new(ErrorKind::NotFound, no_such(method, path))),
        };
        match route.methods().contains(&method) {
            true => Ok(route),
            false => Err(ApiError::new(
                ErrorKind::MethodNotAllowed,
                format!(
                    "{path} takes {}, not {method}",
                    route.methods().join(" or ")
                ),
            )),
        }
    }

    /// The methods of a path, for `Allow`.
    pub(crate) fn methods(self) -> &'static [&'static str] {
        match self {
            Route::Messages | Route::CountTokens | Route::ChatCompletions => &["POST"],
            Route::Models | Route::Health => &["GET", "HEAD"],
        }
    }

    /// Whether only tenants may use it.
    pub(crate) fn needs_key(self) -> bool {
        matches!(
            self,
            Route::Messages | Route::CountTokens | Route::ChatCompletions
        )
    }
}

impl Format {
    /// What a path's callers read; paths nobody knows get Anthropic's shape.
    pub(crate) fn of_path(path: &str) -> Format {
        match path.ends_with("/chat/completions") {
            true => Format::OpenAi,
            false => Format::Anthropic,
        }
    }
}

fn no_such(method: &str, path: &str) -> String {
    // The target is the caller's own text; a bound keeps the answer small.
    let path: String = path.chars().take(100).collect();
    format!(
        "no such route: {method} {path}; there are POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/chat/completions, GET /v1/models and GET /health"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expect: Result<Route, ErrorKind>) {
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
        check("GET", "/v1/models", Ok(Route::Models));
        check("HEAD", "/health", Ok(Route::Health));
        check("GET", "/v1/messages", Err(ErrorKind::MethodNotAllowed));
        check("POST", "/health", Err(ErrorKind::MethodNotAllowed));
        check("GET", "/", Err(ErrorKind::NotFound));
        check("POST", "/v1/messages/", Err(ErrorKind::NotFound));
        check("POST", "/v1/../v1/messages", Err(ErrorKind::NotFound));
    }
}
