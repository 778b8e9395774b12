//! What a run is started with: the command line, the system prompt, and the words for what goes wrong there.

use std::path::PathBuf;

use super::{Gateway, Tenant, job::Job};
use crate::{
    api::{ApiError, ErrorKind, Prompt},
    claude::{
        command::Recipe,
        keeper::{Launch, SpawnError},
    },
};

/// What a job's process is started with.
pub(super) struct Prepared {
    pub(super) launch: Launch,
    /// The CLI that it runs.
    pub(super) program: PathBuf,
    pub(super) working_dir: PathBuf,
    /// The directory with the tenant's skills.
    pub(super) skills: Option<PathBuf>,
}

/// The command line for a job, made by `launch`.
pub(super) fn prepare(
    gateway: &Gateway,
    job: &Job,
    launch: fn(&Recipe<'_>, &Prompt) -> Launch,
) -> Result<Prepared, ApiError> {
    // It may take time, for which no reload should have to wait.
    let safe = job.served.cli.ensure_safe();
    safe.map_err(|why| ApiError::new(ErrorKind::Unavailable, why))?;
    let _stay = gateway.stay(&job.tenant)?;
    let place = gateway.place_of((&job.served, &job.tenant))?;
    let recipe = Recipe {
        program: &job.served.cli.program,
        permission_mode: job.served.config.cli.permission_mode,
        user: gateway.user,
        effort: job.served.config.cli.effort,
        place: &place,
        base_env: &gateway.base_env,
        tenant_env: &job.tenant.env,
    };
    let launch = launch(&recipe, &job.prompt);
    Ok(Prepared {
        program: launch.program.clone(),
        launch: gateway.confine(job, launch, &place)?,
        working_dir: place.working_dir,
        skills: place.skills_plugin.as_ref().map(|it| it.join("skills")),
    })
}

pub(super) fn unwritable(error: serde_json::Error) -> ApiError {
    let text = format!("the prompt cannot be written as JSON: {error}");
    ApiError::new(ErrorKind::Internal, text)
}

/// The request's own system prompt, then how to reach the tenant's OpenClaw, then whose run it is.
pub(super) fn system_prompt(prompt: &Prompt, skill_text: &str, tenant: &Tenant) -> String {
    let tag = format!("<!-- openclaw-tenant: {} -->", tenant.name);
    let parts = [prompt.system.as_str(), skill_text.trim_end(), &tag];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// The CLI's words without the tenant's secrets: each value of its environment, and each line of one
/// that has several. Values of less than 8 characters are no secrets, and would blot out words.
pub(super) fn redacted(text: &str, tenant: &Tenant) -> String {
    let values = tenant.env.iter().filter_map(|(_, value)| value.to_str());
    let mut secrets: Vec<&str> = values
        .flat_map(|it| it.lines().map(str::trim).chain([it]))
        .collect();
    secrets.retain(|it| it.len() >= 8);
    // A longer one may hold a shorter one.
    secrets.sort_by_key(|it| std::cmp::Reverse(it.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret, "[redacted]")
    })
}

pub(super) fn cannot_start(error: &SpawnError) -> ApiError {
    ApiError::new(
        ErrorKind::Internal,
        format!("cannot start the Claude Code CLI: {error}"),
    )
}
