//! What `GET /v1/models` and `GET /v1/models/{id}` answer, in both shapes.

use serde_json::{Value, json};

use super::{
    ApiError, ErrorKind,
    models::{LISTED, resolve},
};

/// Which part of the list is asked for: Anthropic's paging parameters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// How many models a page has when nobody says, and at most.
const PAGE: usize = 20;
const PAGE_MAX: usize = 1000;

/// Release dates are not known here; both formats take 1970 for that.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Page {
    /// Reads the parameters of a query; the last of a name counts, others are ignored.
    ///
    /// # Errors
    /// 400 for a limit that is none, and for an id of no listed model.
    pub(crate) fn read(
        parameters: impl Iterator<Item = (String, String)>,
    ) -> Result<Page, ApiError> {
        let mut page = Page::default();
        for (name, value) in parameters {
            match name.as_str() {
                "limit" => page.limit = Some(limit(&value)?),
                "after_id" => page.after_id = Some(listed("after_id", value)?),
                "before_id" => page.before_id = Some(listed("before_id", value)?),
                _ => {}
            }
        }
        Ok(page)
    }

    /// The asked part of the list, and whether it goes on in the direction of paging.
    fn of_list(&self) -> (&'static [(&'static str, &'static str)], bool) {
        let place = |id: &String| LISTED.iter().position(|(known, _)| known == id);
        let start = self
            .after_id
            .as_ref()
            .and_then(place)
            .map_or(0, |it| it + 1);
        let end = self.before_id.as_ref().and_then(place);
        let end = end.unwrap_or(LISTED.len()).max(start);
        let limit = self.limit.unwrap_or(PAGE).min(end - start);
        let has_more = limit < end - start;
        match (&self.after_id, &self.before_id) {
            // Backwards, a page ends where the one that is known begins.
            (None, Some(_)) => (&LISTED[end - limit..end], has_more),
            _ => (&LISTED[start..start + limit], has_more),
        }
    }
}

fn limit(text: &str) -> Result<usize, ApiError> {
    match text.parse() {
        Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        _ => Err(ApiError::new(
            ErrorKind::InvalidRequest,
            format!("limit: Input should be a whole number from 1 to {PAGE_MAX}"),
        )),
    }
}

fn listed(name: &str, id: String) -> Result<String, ApiError> {
    if LISTED.iter().any(|(known, _)| *known == id) {
        return Ok(id);
    }
    let text = format!("{name}: Input should be the id of a listed model");
    Err(ApiError::new(ErrorKind::InvalidRequest, text))
}

/// The whole list as OpenAI shapes it, which has no pages.
pub(crate) fn list_openai() -> Vec<u8> {
    let data: Vec<_> = LISTED.iter().map(|(id, _)| openai(id)).collect();
    bytes(&json!({"object": "list", "data": data}))
}

/// A page of the list as Anthropic shapes it.
pub(crate) fn list_anthropic(page: &Page) -> Vec<u8> {
    let (models, has_more) = page.of_list();
    let data: Vec<_> = models
        .iter()
        .map(|(id, name)| anthropic(id, name))
        .collect();
    let [first, last] = [models.first(), models.last()].map(|model| model.map(|(id, _)| id));
    bytes(&json!({"data": data, "has_more": has_more, "first_id": first, "last_id": last}))
}

/// One model as OpenAI shapes it, under the id it was asked for by.
///
/// # Errors
/// 404 for an id that no request could name.
pub(crate) fn model_openai(id: &str) -> Result<Vec<u8>, ApiError> {
    resolve(id).map(|_| bytes(&openai(id)))
}

/// One model as Anthropic shapes it, under the id it was asked for by.
///
/// # Errors
/// 404 for an id that no request could name.
pub(crate) fn model_anthropic(id: &str) -> Result<Vec<u8>, ApiError> {
    let resolved = resolve(id)?;
    let known = LISTED.iter().find(|(known, _)| *known == resolved);
    let name = known.map_or(resolved.as_str(), |(_, name)| name);
    Ok(bytes(&anthropic(id, name)))
}

fn openai(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "anthropic"})
}

fn anthropic(id: &str, name: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": name, "created_at": CREATED})
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &[u8]) -> Value {
        serde_json::from_slice(json).unwrap()
    }

    fn page(parameters: &[(&str, &str)]) -> Result<Page, ApiError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Page::read(parameters.iter().map(owned))
    }

    /// Checks which part of the list a page holds, by index, and whether there is more.
    #[track_caller]
    fn check(parameters: &[(&str, &str)], expect: std::ops::Range<usize>, has_more: bool) {
        let list = parsed(&list_anthropic(&page(parameters).unwrap()));
        let ids: Vec<_> = LISTED[expect].iter().map(|(id, _)| *id).collect();
        let data = list["data"].as_array().unwrap();
        let got: Vec<_> = data.iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!((got, &list["has_more"]), (ids.clone(), &json!(has_more)));
        assert_eq!(
            (&list["first_id"], &list["last_id"]),
            (&json!(ids.first()), &json!(ids.last()))
        );
    }

    #[test]
    fn pages_follow_each_other_in_both_directions() {
        let all = LISTED.len();
        let id = |index: usize| LISTED[index].0;
        check(&[], 0..all, false);
        check(&[("limit", "1000"), ("x", "y")], 0..all, false);
        check(&[("limit", "3")], 0..3, true);
        check(&[("limit", "3"), ("after_id", id(2))], 3..6, true);
        check(
            &[("limit", "3"), ("after_id", id(all - 4))],
            all - 3..all,
            false,
        );
        check(&[("after_id", id(all - 1))], 0..0, false);
        check(&[("limit", "2"), ("before_id", id(5))], 3..5, true);
        check(&[("limit", "2"), ("before_id", id(2))], 0..2, false);
        check(&[("before_id", id(0))], 0..0, false);
        check(&[("after_id", id(1)), ("before_id", id(4))], 2..4, false);
        check(&[("after_id", id(4)), ("before_id", id(1))], 0..0, false);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (name, value) in [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", ""),
            ("limit", "x"),
            ("after_id", "gpt-4o"),
            ("before_id", ""),
        ] {
            let error = page(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidRequest);
            assert!(error.message.starts_with(name), "{}", error.message);
        }
    }

    #[test]
    fn lists_have_the_shape_of_their_format() {
        let list = parsed(&list_openai());
        assert_eq!(
            (&list["object"], &list["data"][0]),
            (
                &json!("list"),
                &json!({"id": "claude-opus-5-5", "object": "model", "created": 0, "owned_by": "anthropic"})
            )
        );
        assert_eq!(list["data"].as_array().map(Vec::len), Some(LISTED.len()));
        let list = parsed(&list_anthropic(&Page::default()));
        assert_eq!(
            list["data"][0],
            json!({"type": "model", "id": "claude-opus-5-5", "display_name": "Claude Opus 5.5", "created_at": "1970-01-01T00:00:00Z"})
        );
    }

    #[test]
    fn model_is_found_by_every_id_that_a_request_may_name() {
        for (id, name) in [
            ("claude-opus-5-5", "Claude Opus 5.5"),
            ("anthropic/claude-opus-5-5", "Claude Opus 5.5"),
            ("claude-opus", "Newest Claude Opus"),
            ("sonnet[1m]", "sonnet[1m]"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4-20250514"),
        ] {
            let model = parsed(&model_anthropic(id).unwrap());
            assert_eq!(
                (&model["id"], &model["display_name"]),
                (&json!(id), &json!(name))
            );
            assert_eq!(parsed(&model_openai(id).unwrap())["id"], id);
        }
        for id in ["gpt-4o", "", "claude-opus-5-5/x"] {
            assert_eq!(model_openai(id).unwrap_err().kind, ErrorKind::NotFound);
            assert_eq!(model_anthropic(id).unwrap_err().kind, ErrorKind::NotFound);
        }
    }
}
