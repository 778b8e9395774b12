//! A Chat Completions request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages;
use crate::api::{
    ApiError, BuiltInTools, Delivery, Effort, ErrorKind, Parameters, Prompt, Reasoning, Sampling,
    Thinking,
    field::{
        self, Fault, Problem, boolean, delivery, is_string, number_up_to, object, optional,
        positive, required, string,
    },
    models,
    parameters::{forced, object_schema, one_stop, stop_list},
};

/// What a request asks, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) delivery: Delivery,
    pub(crate) usage_chunk: UsageChunk,
}

/// Whether a stream ends with a chunk that carries the usage (`stream_options.include_usage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageChunk {
    Wanted,
    Left,
}

/// Reads a request body. Fields that this gateway does not know are accepted.
///
/// # Errors
/// 400 with the field's path in the API's wording, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = field::body(body).map_err(refused)?;
    let model_requested = required("model", wire.model, string).map_err(refused)?;
    let model = models::resolve(&model_requested)?;
    wire.request(model_requested, model).map_err(refused)
}

pub(in crate::api) fn refused(fault: Fault) -> ApiError {
    let path = fault.bracketed();
    let message = match fault.problem {
        Problem::Missing => format!("Missing required parameter: '{path}'."),
        Problem::Invalid(text) if path.is_empty() => text,
        Problem::Invalid(text) => format!("Invalid '{path}': {text}."),
    };
    let error = ApiError::new(ErrorKind::InvalidRequest, message);
    match path.is_empty() {
        true => error,
        false => error.param(path),
    }
}

/// The fields that count.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    stop: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    logit_bias: Option<&'a RawValue>,
    #[serde(borrow)]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    prediction: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    verbosity: Option<&'a RawValue>,
    #[serde(borrow)]
    web_search_options: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

impl Wire<'_> {
    fn request(&self, model_requested: String, model: String) -> Result<Request, Fault> {
        optional("n", self.n, one)?;
        let delivery = delivery(self.stream)?;
        let (system, messages) = required("messages", self.messages, messages::read)?;
        let effort = optional("reasoning_effort", self.reasoning_effort, effort)?;
        let parameters = self.parameters(effort, &model)?;
        let prompt = Prompt {
            model_requested,
            model,
            system,
            messages,
            effort: effort.and_then(Asked::effort),
            parameters,
            // The format has no place for it.
            thinking: Thinking::Hidden,
            tools: built_in_tools(self.tool_choice),
            conversation: field::conversation([self.prompt_cache_key, self.user]),
        };
        Ok(Request {
            prompt,
            delivery,
            usage_chunk: optional("stream_options", self.stream_options, usage_chunk)?
                .unwrap_or(UsageChunk::Left),
        })
    }
}

/// What `reasoning_effort` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Asked {
    NoThinking,
    Effort(Effort),
}

/// Answers of fewer tokens are given without thinking, unless it was asked for.
const ROOM_TO_THINK: u64 = 4096;

/// What both of OpenAI's formats ask alike.
pub(in crate::api) struct Common<'a> {
    pub(in crate::api) max_tokens: Option<u64>,
    pub(in crate::api) effort: Option<Asked>,
    pub(in crate::api) temperature: Option<&'a RawValue>,
    pub(in crate::api) top_p: Option<&'a RawValue>,
}

impl Common<'_> {
    /// The parameters that these make for a model.
    pub(in crate::api) fn parameters(&self, model: &str) -> Result<Parameters, Fault> {
        let sampling = Sampling {
            temperature: optional("temperature", self.temperature, number_up_to(2.0))?,
            top_p: optional("top_p", self.top_p, number_up_to(1.0))?,
            top_k: None,
        };
        let mut parameters = Parameters {
            max_tokens: self.max_tokens,
            reasoning: reasoning(self.effort, &sampling, model, self.max_tokens),
            ..Parameters::default()
        };
        parameters.settle_sampling(sampling, model);
        Ok(parameters)
    }
}

/// Whether the CLI's own tools may run.
pub(in crate::api) fn built_in_tools(tool_choice: Option<&RawValue>) -> BuiltInTools {
    match tool_choice.map(RawValue::get) {
        Some("\"none\"") => BuiltInTools::Off,
        _ => BuiltInTools::On,
    }
}

/// How much the model thinks, for who asks so for effort and sampling.
fn reasoning(
    effort: Option<Asked>,
    sampling: &Sampling,
    model: &str,
    max_tokens: Option<u64>,
) -> Reasoning {
    let room = max_tokens.unwrap_or(u64::MAX);
    let samples = !sampling.clone().without_defaults().is_default();
    match effort {
        Some(Asked::NoThinking) => Reasoning::Off,
        // Who asks for a temperature and not for reasoning is served as by a model without.
        None if samples && models::takes_sampling(model) => Reasoning::Off,
        // Little room is meant for the answer, not for thinking about it.
        None if room < ROOM_TO_THINK => Reasoning::Off,
        // The API refuses less than 1024 tokens of thinking, and as much as there may be in all.
        Some(_) if room <= 1024 => Reasoning::Off,
        _ => Reasoning::Default,
    }
}

impl Asked {
    pub(in crate::api) fn effort(self) -> Option<Effort> {
        match self {
            Asked::Effort(effort) => Some(effort),
            Asked::NoThinking => None,
        }
    }
}

impl Wire<'_> {
    fn parameters(&self, effort: Option<Asked>, model: &str) -> Result<Parameters, Fault> {
        let max_tokens = optional("max_tokens", self.max_tokens, positive)?;
        let max_completion_tokens = optional(
            "max_completion_tokens",
            self.max_completion_tokens,
            positive,
        )?;
        let common = Common {
            max_tokens: max_completion_tokens.or(max_tokens),
            effort,
            temperature: self.temperature,
            top_p: self.top_p,
        };
        let mut parameters = common.parameters(model)?;
        parameters.stop_sequences = optional("stop", self.stop, stop)?.unwrap_or_default();
        let schema = optional("response_format", self.response_format, response_schema)?;
        parameters.schema = schema.flatten();
        parameters.ignore([
            ("tools", self.tools),
            ("tool_choice", forced(self.tool_choice)),
            ("functions", self.functions),
            ("function_call", forced(self.function_call)),
            ("audio", self.audio),
            ("seed", self.seed),
            ("logprobs", self.logprobs),
            ("top_logprobs", self.top_logprobs),
            ("logit_bias", self.logit_bias),
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
            ("prediction", self.prediction),
            ("service_tier", self.service_tier),
            ("verbosity", self.verbosity),
            ("web_search_options", self.web_search_options),
        ]);
        Ok(parameters)
    }
}

/// One sequence, or a list of them.
fn stop(raw: &RawValue) -> Result<Vec<String>, Fault> {
    match is_string(raw) {
        true => one_stop(raw),
        false => stop_list(raw),
    }
}

fn response_schema(raw: &RawValue) -> Result<Option<Box<RawValue>>, Fault> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        json_schema: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    let format: Format<'_> = object(raw)?;
    schema_of(format.kind, || {
        required("json_schema", format.json_schema, |raw| {
            let named: Named<'_> = object(raw)?;
            required("schema", named.schema, object_schema)
        })
    })
}

/// What a format of this type asks the answer to fit; `schema` reads the one that it carries.
pub(in crate::api) fn schema_of(
    kind: Option<&RawValue>,
    schema: impl FnOnce() -> Result<Box<RawValue>, Fault>,
) -> Result<Option<Box<RawValue>>, Fault> {
    match required("type", kind, string)?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(RawValue::from_string(ANY_OBJECT.to_owned()).ok()),
        "json_schema" => schema().map(Some),
        _ => {
            Err(Fault::invalid("Input should be 'text', 'json_object' or 'json_schema'").at("type"))
        }
    }
}

const ANY_OBJECT: &str = r#"{"type":"object"}"#;

fn one(raw: &RawValue) -> Result<(), Fault> {
    match positive(raw)? {
        1 => Ok(()),
        more => Err(Fault::invalid(format!(
            "{more} choices are more than the one that this gateway gives per request; leave n out or set it to 1"
        ))),
    }
}

fn usage_chunk(raw: &RawValue) -> Result<UsageChunk, Fault> {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow)]
        include_usage: Option<&'a RawValue>,
    }
    let options: Options<'_> = object(raw)?;
    Ok(
        match optional("include_usage", options.include_usage, boolean)? {
            Some(true) => UsageChunk::Wanted,
            Some(false) | None => UsageChunk::Left,
        },
    )
}

pub(in crate::api) fn effort(raw: &RawValue) -> Result<Asked, Fault> {
    Ok(Asked::Effort(match string(raw)?.as_str() {
        "none" => return Ok(Asked::NoThinking),
        // The CLI has nothing below low.
        "minimal" | "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        _ => {
            return Err(Fault::invalid(
                "Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'",
            ));
        }
    }))
}

#[cfg(test)]
mod tests;
