use super::*;

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

#[test]
fn path_is_written_in_both_notations() {
    let fault = Fault::missing()
        .at("source")
        .item(0)
        .at("content")
        .item(2)
        .at("messages");
    assert_eq!(fault.dotted(), "messages.2.content.0.source");
    assert_eq!(fault.bracketed(), "messages[2].content[0].source");
}

#[test]
fn nesting_is_counted_outside_of_strings_only() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(!is_too_deep(&nested(NESTING_MAX)));
    assert!(is_too_deep(&nested(NESTING_MAX + 1)));
    assert!(!is_too_deep(&format!("\"{}\"", "[".repeat(1000))));
    assert!(is_too_deep(&format!(r#"["\\",{}"#, nested(NESTING_MAX))));
    assert!(!is_too_deep(&format!(r#"["\"{}"]"#, "{".repeat(1000))));
    assert!(!is_too_deep(&"[]".repeat(1000)));
}

#[derive(Debug, Deserialize)]
struct Pair<'a> {
    #[serde(borrow)]
    a: Option<&'a RawValue>,
}

#[track_caller]
fn check_body(body: &[u8], expect: &str) {
    let fault = super::body::<Pair<'_>>(body).unwrap_err();
    assert_eq!(fault.problem, Problem::Invalid(expect.to_owned()));
}

#[test]
fn body_that_is_no_json_is_told_where() {
    check_body(
        b"",
        "The request body is not valid JSON: EOF while parsing a value at line 1 column 0",
    );
    check_body(
        b"{\n\"a\": x}",
        "The request body is not valid JSON: expected value at line 2 column 6",
    );
    check_body(
        b"{} {}",
        "The request body is not valid JSON: trailing characters at line 1 column 4",
    );
    check_body(
        b"\"\xff\"",
        "The request body is not valid JSON: invalid utf-8 sequence of 1 bytes from index 1",
    );
    check_body(
        "\u{feff}{}".as_bytes(),
        "The request body is not valid JSON: expected value at line 1 column 1",
    );
    check_body(
        "[".repeat(100_000).as_bytes(),
        "The request body is not valid JSON: nested deeper than 128 levels",
    );
    check_body(
        b"{\"a\": {\"b\": [1,]}}",
        "The request body is not valid JSON: expected value at line 1 column 16",
    );
    for other in [" [7]", "null", "\"{}\""] {
        check_body(other.as_bytes(), "Input should be an object");
    }
    let pair: Pair<'_> = body(b" {\"b\": 1, \"a\": [ 2]}\n").unwrap();
    assert_eq!(pair.a.map(RawValue::get), Some("[ 2]"));
}

#[track_caller]
fn check<T: fmt::Debug>(result: Result<T, Fault>, expect: &str) {
    assert_eq!(result.unwrap_err().problem, Problem::Invalid(expect.into()));
}

#[test]
fn wrong_types_are_told_what_they_should_be() {
    check(string(raw("7")), "Input should be a string");
    check(borrowed(raw("{}")), "Input should be a string");
    check(boolean(raw("\"true\"")), "Input should be true or false");
    for number in ["0", "-1", "1.5", "1e3", "\"1\"", "18446744073709551616"] {
        check(positive(raw(number)), "Input should be a positive integer");
    }
    check(items(raw("{}"), |_, _| Ok(())), "Input should be a list");
    check(
        items(raw("\"[]\""), |_, _| Ok(())),
        "Input should be a list",
    );
}

#[test]
fn object_is_no_list_and_has_each_field_once() {
    check(object::<Pair<'_>>(raw("[1]")), "Input should be an object");
    check(
        object::<Pair<'_>>(raw(r#"{"a":1,"a":2}"#)),
        "duplicate field `a`",
    );
    let pair: Pair<'_> = object(raw(r#"{"a":null,"b":2}"#)).unwrap();
    assert!(pair.a.is_none());
}

#[test]
fn walk_ends_at_the_first_refused_item() {
    let mut seen = Vec::new();
    let result = items(raw("[1, 2, 3]"), |index, item| {
        seen.push((index, item.get().to_owned()));
        (index < 1).then_some(()).ok_or_else(Fault::missing)
    });
    assert_eq!(result.unwrap_err().dotted(), "1");
    assert_eq!(seen, [(0, "1".to_owned()), (1, "2".to_owned())]);
}

#[test]
fn text_cut_in_an_emoji_is_kept() {
    assert!(string(raw(r#""cut \ud83d""#)).is_ok_and(|it| it.starts_with("cut \u{FFFD}")));
    assert_eq!(
        string(raw(r#""\ud83d\ude00""#)).ok(),
        Some("\u{1F600}".into())
    );
}

#[test]
fn plain_text_is_borrowed_from_the_body() {
    assert!(matches!(borrowed(raw("\"abc\"")), Ok(Cow::Borrowed("abc"))));
    assert!(matches!(borrowed(raw(r#""a\/b""#)), Ok(Cow::Owned(it)) if it == "a/b"));
}

#[test]
fn allowance_ends() {
    let mut allowance = Allowance::new();
    assert!((0..Allowance::PIECES_MAX).all(|_| allowance.take().is_ok()));
    assert!(allowance.take().is_err());
}
