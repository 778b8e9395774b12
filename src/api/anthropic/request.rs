//! A Messages request: bytes in, a [`Prompt`] out, or a 400 that names the field.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::Reader;
use crate::api::{
    ApiError, BuiltInTools, Delivery, Effort, ErrorKind, Parameters, Prompt, Reasoning, Sampling,
    Thinking,
    field::{
        self, Fault, Problem, delivery, is_string, items, number_up_to, object, optional, positive,
        required, string, whole,
    },
    models,
    parameters::{forced, object_schema, stop_list},
};

/// What a request asks, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: Prompt,
    pub(crate) delivery: Delivery,
}

/// A request for a count of its tokens.
#[derive(Debug)]
pub(crate) struct CountRequest {
    pub(crate) prompt: Prompt,
    /// The client's tools as compact JSON, if it has any.
    pub(crate) tools: Option<String>,
}

/// Reads the body of a request whose tokens are to be counted: as [`parse`], without `max_tokens`.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_count(body: &[u8]) -> Result<CountRequest, ApiError> {
    let unlimited = serde_json::value::to_raw_value(&u64::MAX).ok();
    let mut wire: Wire<'_> = field::body(body).map_err(refused)?;
    let tools = wire.tools.take();
    let tools = tools.filter(|raw| !matches!(raw.get(), "null" | "[]"));
    let tools = tools.map(|raw| compact(raw.get()));
    // A count has no limit and no thinking; what these say must not matter.
    wire.max_tokens = unlimited.as_deref();
    wire.thinking = None;
    let mut prompt = wire.prompt()?.prompt;
    prompt.tools = BuiltInTools::Off;
    prompt.parameters = Parameters::default();
    Ok(CountRequest { prompt, tools })
}

/// The same JSON without its layout, which is no content.
fn compact(json: &str) -> String {
    let value: serde_json::Result<serde_json::Value> = serde_json::from_str(json);
    value.map_or_else(|_| json.to_owned(), |it| it.to_string())
}

/// Reads a request body. Fields that this gateway does not know are accepted.
///
/// # Errors
/// 400 with the field's path in the API's wording, 404 for an unknown model.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let wire: Wire<'_> = field::body(body).map_err(refused)?;
    wire.prompt()
}

fn refused(fault: Fault) -> ApiError {
    let path = fault.dotted();
    let message = match fault.problem {
        Problem::Missing => format!("{path}: Field required"),
        Problem::Invalid(text) if path.is_empty() => text,
        Problem::Invalid(text) => format!("{path}: {text}"),
    };
    ApiError::new(ErrorKind::InvalidRequest, message)
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
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<&'a RawValue>,
    #[serde(borrow)]
    output_format: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_sequences: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    top_k: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    container: Option<&'a RawValue>,
    #[serde(borrow)]
    mcp_servers: Option<&'a RawValue>,
    #[serde(borrow)]
    context_management: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Wire<'_> {
    fn prompt(&self) -> Result<Request, ApiError> {
        let model_requested = required("model", self.model, string).map_err(refused)?;
        let model = models::resolve(&model_requested)?;
        self.request(model_requested, model).map_err(refused)
    }

    fn request(&self, model_requested: String, model: String) -> Result<Request, Fault> {
        let delivery = delivery(self.stream)?;
        let max_tokens = required("max_tokens", self.max_tokens, positive)?;
        let thinking = optional("thinking", self.thinking, |raw| thinking(raw, max_tokens))?;
        // As in the API: who does not ask for thinking gets none.
        let (thinking, reasoning) = thinking.unwrap_or((Thinking::Hidden, Reasoning::Off));
        let output = optional("output_config", self.output_config, output_config)?;
        let (effort, format) = output.unwrap_or_default();
        let older = optional("output_format", self.output_format, format_schema)?.flatten();
        let mut parameters = Parameters {
            max_tokens: Some(max_tokens),
            stop_sequences: optional("stop_sequences", self.stop_sequences, stop_sequences)?
                .unwrap_or_default(),
            reasoning,
            schema: format.or(older),
            ..Parameters::default()
        };
        parameters.settle_sampling(self.sampling()?, &model);
        parameters.ignore([
            ("tools", self.tools),
            ("tool_choice", forced(self.tool_choice)),
            ("service_tier", self.service_tier),
            ("container", self.container),
            ("mcp_servers", self.mcp_servers),
            ("context_management", self.context_management),
        ]);
        let prompt = Prompt {
            model_requested,
            model,
            system: optional("system", self.system, system)?.unwrap_or_default(),
            messages: required("messages", self.messages, |it| Reader::new().messages(it))?,
            effort,
            parameters,
            thinking,
            tools: optional("tool_choice", self.tool_choice, tools)?.unwrap_or(BuiltInTools::On),
            conversation: self.metadata.and_then(field::user_id),
        };
        Ok(Request { prompt, delivery })
    }

    fn sampling(&self) -> Result<Sampling, Fault> {
        Ok(Sampling {
            temperature: optional("temperature", self.temperature, number_up_to(1.0))?,
            top_p: optional("top_p", self.top_p, number_up_to(1.0))?,
            top_k: optional("top_k", self.top_k, whole)?,
        })
    }
}

/// An object of which only the `type` and a few more may count.
#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    display: Option<&'a RawValue>,
    #[serde(borrow)]
    budget_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

fn system(raw: &RawValue) -> Result<String, Fault> {
    if is_string(raw) {
        return string(raw);
    }
    let mut system = String::new();
    items(raw, |_, raw| {
        let block: Tagged<'_> = object(raw)?;
        if required("type", block.kind, string)? != "text" {
            return Err(Fault::invalid("Input should be 'text'").at("type"));
        }
        let text = required("text", block.text, field::borrowed)?;
        if !system.is_empty() && !text.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str(&text);
        Ok(())
    })?;
    Ok(system)
}

/// What is shown of the thinking, and how much there may be.
fn thinking(raw: &RawValue, max_tokens: u64) -> Result<(Thinking, Reasoning), Fault> {
    let wire: Tagged<'_> = object(raw)?;
    let kind = required("type", wire.kind, string)?;
    // The client may ask for the model's thinking, but not to be shown its text.
    let shown = match optional("display", wire.display, string)?.as_deref() {
        Some("omitted") => Thinking::Hidden,
        _ => Thinking::Shown,
    };
    match kind.as_str() {
        "disabled" => Ok((Thinking::Hidden, Reasoning::Off)),
        "adaptive" => Ok((shown, Reasoning::Default)),
        "enabled" => {
            let budget = required("budget_tokens", wire.budget_tokens, |raw| {
                budget(raw, max_tokens)
            })?;
            Ok((shown, Reasoning::Budget(budget)))
        }
        _ => Err(Fault::invalid("Input should be 'enabled', 'adaptive' or 'disabled'").at("type")),
    }
}

/// The API's own bounds.
fn budget(raw: &RawValue, max_tokens: u64) -> Result<u64, Fault> {
    match positive(raw)? {
        ..1024 => Err(Fault::invalid(
            "Input should be greater than or equal to 1024",
        )),
        budget if budget >= max_tokens => {
            Err(Fault::invalid("Input should be less than max_tokens"))
        }
        budget => Ok(budget),
    }
}

fn output_config(raw: &RawValue) -> Result<(Option<Effort>, Option<Box<RawValue>>), Fault> {
    let wire: Tagged<'_> = object(raw)?;
    let effort = optional("effort", wire.effort, effort)?;
    let format = optional("format", wire.format, format_schema)?;
    Ok((effort, format.flatten()))
}

fn format_schema(raw: &RawValue) -> Result<Option<Box<RawValue>>, Fault> {
    let wire: Tagged<'_> = object(raw)?;
    match required("type", wire.kind, string)?.as_str() {
        "json_schema" => required("schema", wire.schema, object_schema).map(Some),
        _ => Err(Fault::invalid("Input should be 'json_schema'").at("type")),
    }
}

fn stop_sequences(raw: &RawValue) -> Result<Vec<String>, Fault> {
    let stops = stop_list(raw)?;
    match stops.iter().position(|it| it.trim().is_empty()) {
        Some(at) => Err(Fault::invalid("each stop sequence must contain non-whitespace").item(at)),
        None => Ok(stops),
    }
}

fn effort(raw: &RawValue) -> Result<Effort, Fault> {
    match string(raw)?.as_str() {
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::Xhigh),
        "max" => Ok(Effort::Max),
        _ => Err(Fault::invalid(
            "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        )),
    }
}

fn tools(raw: &RawValue) -> Result<BuiltInTools, Fault> {
    let wire: Tagged<'_> = object(raw)?;
    Ok(match required("type", wire.kind, string)?.as_str() {
        "none" => BuiltInTools::Off,
        _ => BuiltInTools::On,
    })
}

#[cfg(test)]
mod tests;
