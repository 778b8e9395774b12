//! A Responses request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::input;
use crate::api::{
    ApiError, Block, Delivery, ErrorKind, Message, Parameters, Prompt, Role, Thinking,
    field::{self, Fault, boolean, delivery, object, optional, positive, required, string},
    models,
    openai::request::{Asked, Common, built_in_tools, effort, refused, schema_of},
    parameters::{forced, object_schema},
};

/// What a request asks, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) delivery: Delivery,
    /// The fields of the request that its response repeats, as the inside of a JSON object.
    pub(crate) echo: String,
    /// The same without what is large, for events before the end.
    pub(crate) short_echo: String,
    pub(crate) previous: Option<String>,
    /// What the exchanges that it goes on from are in bytes.
    pub(crate) earlier_bytes: usize,
    /// The request's `input` as JSON, to be kept with the answer; `None` when `store` is false.
    pub(crate) kept_input: Option<String>,
}

/// What was said in one earlier response.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The request's `input` as JSON.
    pub(crate) input: String,
    pub(crate) answer: String,
}

/// Finds the conversation up to a response, oldest first.
pub(crate) type Earlier<'a> = &'a dyn Fn(&str) -> Option<Vec<Arc<Exchange>>>;

/// Reads a request body. Fields that this gateway does not know are accepted.
///
/// # Errors
/// 400 with the field's path in the API's wording or for a response that is not kept, 404 for an
/// unknown model.
pub(crate) fn parse(body: &[u8], earlier: Earlier<'_>) -> Result<Request, ApiError> {
    let wire: Wire<'_> = field::body(body).map_err(refused)?;
    let model_requested = required("model", wire.model, string).map_err(refused)?;
    let model = models::resolve(&model_requested)?;
    let mut request = wire.request(model_requested, model).map_err(refused)?;
    if let Some(id) = &request.previous {
        let said = earlier(id).ok_or_else(|| not_kept(id))?;
        let size = |it: &Arc<Exchange>| it.input.len() + it.answer.len();
        request.earlier_bytes = said.iter().map(size).sum();
        request.prompt.go_on_from(&said).map_err(refused)?;
    }
    Ok(request)
}

/// In OpenAI's words. A client that has the conversation sends all of it then.
fn not_kept(id: &str) -> ApiError {
    let text = format!("Previous response with id '{id}' not found.");
    ApiError::new(ErrorKind::UnknownResponse, text).param("previous_response_id")
}

impl Prompt {
    /// Puts earlier exchanges before its own messages, and their system texts before its own: only
    /// `instructions` are not carried over.
    fn go_on_from(&mut self, said: &[Arc<Exchange>]) -> Result<(), Fault> {
        let (mut system, mut messages) = (Vec::new(), Vec::new());
        for exchange in said {
            let raw: &RawValue = serde_json::from_str(&exchange.input)
                .map_err(|_| Fault::invalid("the kept input cannot be read"))?;
            let (texts, more) = input::read(raw)?;
            system.extend(texts);
            messages.extend(more);
            if !exchange.answer.is_empty() {
                messages.push(Message {
                    role: Role::Assistant,
                    blocks: vec![Block::Text(exchange.answer.clone())],
                });
            }
        }
        messages.append(&mut self.messages);
        self.messages = messages;
        if !self.system.is_empty() {
            system.push(std::mem::take(&mut self.system));
        }
        self.system = system.join("\n\n");
        Ok(())
    }
}

/// The fields that count.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    background: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    truncation: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    include: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tool_calls: Option<&'a RawValue>,
}

impl Wire<'_> {
    fn request(&self, model_requested: String, model: String) -> Result<Request, Fault> {
        optional("conversation", self.conversation, not_stored)?;
        optional("prompt", self.prompt, not_stored)?;
        let previous = optional("previous_response_id", self.previous_response_id, string)?;
        let store = optional("store", self.store, boolean)?.unwrap_or(true);
        optional("background", self.background, foreground)?;
        let instructions = optional("instructions", self.instructions, string)?;
        let (texts, messages) = required("input", self.input, input::read)?;
        let system: Vec<String> = instructions.into_iter().chain(texts).collect();
        let effort = optional("reasoning", self.reasoning, reasoning_effort)?.flatten();
        let parameters = self.parameters(effort, &model)?;
        let prompt = Prompt {
            model_requested,
            model,
            system: system.join("\n\n"),
            messages,
            effort: effort.and_then(Asked::effort),
            parameters,
            // Of thinking the format has summaries only.
            thinking: Thinking::Hidden,
            tools: built_in_tools(self.tool_choice),
            conversation: field::conversation([self.prompt_cache_key, self.user]),
        };
        let delivery = delivery(self.stream)?;
        Ok(Request {
            prompt,
            delivery,
            echo: self.echo(),
            short_echo: self.short_echo(),
            previous,
            earlier_bytes: 0,
            kept_input: self.input.filter(|_| store).map(|it| it.get().to_owned()),
        })
    }

    fn parameters(&self, effort: Option<Asked>, model: &str) -> Result<Parameters, Fault> {
        let common = Common {
            max_tokens: optional("max_output_tokens", self.max_output_tokens, positive)?,
            effort,
            temperature: self.temperature,
            top_p: self.top_p,
        };
        let mut parameters = common.parameters(model)?;
        parameters.schema = optional("text", self.text, text_schema)?.flatten();
        parameters.ignore([
            ("tools", self.tools),
            ("tool_choice", forced(self.tool_choice)),
            ("top_logprobs", self.top_logprobs),
            ("service_tier", self.service_tier),
            ("include", self.include),
            ("max_tool_calls", self.max_tool_calls),
        ]);
        Ok(parameters)
    }

    /// As [`Self::echo`], for events before the end: they repeat as signs of life, and a large one would
    /// not fit a socket that takes nothing at the moment.
    fn short_echo(&self) -> String {
        let short = Wire {
            instructions: short(self.instructions),
            metadata: short(self.metadata),
            text: short(self.text),
            tool_choice: short(self.tool_choice),
            tools: short(self.tools),
            user: short(self.user),
            ..*self
        };
        short.echo()
    }

    /// All fields that a response repeats, with the API's defaults where the request has none.
    fn echo(&self) -> String {
        let fields = [
            ("instructions", self.instructions, "null"),
            ("max_output_tokens", self.max_output_tokens, "null"),
            ("metadata", self.metadata, "{}"),
            ("parallel_tool_calls", self.parallel_tool_calls, "true"),
            ("previous_response_id", self.previous_response_id, "null"),
            (
                "reasoning",
                self.reasoning,
                r#"{"effort":null,"summary":null}"#,
            ),
            ("store", self.store, "true"),
            ("temperature", self.temperature, "1.0"),
            ("text", self.text, r#"{"format":{"type":"text"}}"#),
            ("tool_choice", self.tool_choice, "\"auto\""),
            ("tools", self.tools, "[]"),
            ("top_p", self.top_p, "1.0"),
            ("truncation", self.truncation, "\"disabled\""),
            ("user", self.user, "null"),
        ];
        let fields = fields.iter().map(|(name, raw, default)| {
            let json = raw.map_or(*default, RawValue::get);
            // Between JSON tokens a line break is a space, and inside of strings there is none.
            format!("\"{name}\":{}", json.replace(['\n', '\r'], " "))
        });
        fields.collect::<Vec<_>>().join(",")
    }
}

/// A value that takes little room in an event.
fn short(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|it| it.get().len() <= 256)
}

fn not_stored(_: &RawValue) -> Result<(), Fault> {
    Err(Fault::invalid(
        "nothing is stored under a name here; send previous_response_id, or all of it as input",
    ))
}

fn foreground(raw: &RawValue) -> Result<(), Fault> {
    match boolean(raw)? {
        true => Err(Fault::invalid(
            "responses are not made in the background here",
        )),
        false => Ok(()),
    }
}

fn reasoning_effort(raw: &RawValue) -> Result<Option<Asked>, Fault> {
    #[derive(Deserialize)]
    struct Reasoning<'a> {
        #[serde(borrow)]
        effort: Option<&'a RawValue>,
    }
    let wire: Reasoning<'_> = object(raw)?;
    optional("effort", wire.effort, effort)
}

fn text_schema(raw: &RawValue) -> Result<Option<Box<RawValue>>, Fault> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow)]
        format: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    let text: Text<'_> = object(raw)?;
    let schema = optional("format", text.format, |raw| {
        let format: Format<'_> = object(raw)?;
        schema_of(format.kind, || {
            required("schema", format.schema, object_schema)
        })
    })?;
    Ok(schema.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Effort, Reasoning};

    const NOTHING: Earlier<'_> = &|_| None;

    fn with(fields: &str) -> String {
        format!(r#"{{"model":"claude-sonnet-4-6","input":"x"{fields}}}"#)
    }

    #[test]
    fn fields_are_read() {
        let body = with(
            r#","instructions":"be brief","max_output_tokens":9000,"reasoning":{"effort":"low"},"stream":true,
               "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}},"tools":[{}]"#,
        );
        let Request {
            prompt,
            delivery,
            echo,
            previous,
            kept_input,
            ..
        } = parse(body.as_bytes(), NOTHING).unwrap();
        assert_eq!((previous, kept_input.as_deref()), (None, Some("\"x\"")));
        assert_eq!(
            (prompt.system.as_str(), delivery),
            ("be brief", Delivery::Stream)
        );
        assert_eq!(prompt.effort, Some(Effort::Low));
        let parameters = prompt.parameters;
        assert_eq!(parameters.max_tokens, Some(9000));
        assert_eq!(parameters.reasoning, Reasoning::Default);
        assert!(parameters.schema.is_some());
        assert_eq!(parameters.ignored, ["tools"]);
        let echo: serde_json::Value = serde_json::from_str(&format!("{{{echo}}}")).unwrap();
        assert_eq!(echo["instructions"], "be brief");
        assert_eq!(echo["temperature"], 1.0);
    }

    #[test]
    fn signs_of_life_do_not_repeat_what_is_large() {
        let large = "x".repeat(20_000);
        let body = with(&format!(
            r#","instructions":"{large}","metadata":{{"a":"b"}}"#
        ));
        let request = parse(body.as_bytes(), NOTHING).unwrap();
        assert!(request.echo.contains(&large) && !request.short_echo.contains(&large));
        assert!(request.short_echo.contains(r#""metadata":{"a":"b"}"#));
    }

    #[test]
    fn errors_name_the_field() {
        for (fields, expect) in [
            (
                r#","previous_response_id":"resp_1""#,
                "Previous response with id 'resp_1' not found.",
            ),
            (
                r#","conversation":{"id":"conv_1"}"#,
                "Invalid 'conversation': nothing is stored under a name here; send previous_response_id, or all of it as input.",
            ),
            (
                r#","background":true"#,
                "Invalid 'background': responses are not made in the background here.",
            ),
            (
                r#","reasoning":{"effort":"huge"}"#,
                "Invalid 'reasoning.effort': Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'.",
            ),
            (
                r#","text":{"format":{"type":"json_schema"}}"#,
                "Missing required parameter: 'text.format.schema'.",
            ),
        ] {
            let error = parse(with(fields).as_bytes(), NOTHING).unwrap_err();
            assert_eq!(error.message, expect);
        }
        let error = parse(br#"{"model":"opus"}"#, NOTHING).unwrap_err();
        assert_eq!(error.message, "Missing required parameter: 'input'.");
    }

    #[test]
    fn earlier_exchanges_come_first() {
        let exchange = |input: &str, answer: &str| {
            Arc::new(Exchange {
                input: input.to_owned(),
                answer: answer.to_owned(),
            })
        };
        let said = vec![
            exchange(
                r#"[{"role":"system","content":"s"},{"role":"user","content":"1"}]"#,
                "2",
            ),
            exchange(r#""3""#, ""),
        ];
        let earlier = |id: &str| (id == "resp_1").then(|| said.clone());
        let body = with(r#","instructions":"i","previous_response_id":"resp_1","store":false"#);
        let request = parse(body.as_bytes(), &earlier).unwrap();
        assert_eq!(request.kept_input, None);
        assert_eq!(request.prompt.system, "s\n\ni");
        let mut got = String::new();
        for message in &request.prompt.messages {
            got += &format!("{:?} {:?} ", message.role, message.blocks);
        }
        assert_eq!(
            got,
            r#"User [Text("1")] Assistant [Text("2")] User [Text("3")] User [Text("x")] "#
        );
        let echo: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", request.echo)).unwrap();
        assert_eq!(echo["previous_response_id"], "resp_1");
        assert_eq!(echo["store"], false);
    }
}
