//! Which of an instance's variables its runs get, and as what. Pure.

use std::path::Path;

use super::mounts::host_path;
use crate::docker::Mount;

/// Variables that make a program what it is on its own machine; another's would break the CLI here.
const SYSTEM: &[&str] = &[
    "PATH",
    "HOME",
    "HOSTNAME",
    "TERM",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TMPDIR",
    "MAIL",
    "_",
    "BASH_ENV",
    "ENV",
    "IFS",
    "CI",
    "PORT",
    "HOST",
    "LOG_FORMAT",
    "GPG_KEY",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "BROWSER",
    "DEBIAN_FRONTEND",
    "container",
];

/// Files that the CLI, or what it asks for credentials, reads: they would be shown to the tenant's runs, and an instance
/// must not say which.
const FILES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

const SYSTEM_PREFIXES: &[&str] = &[
    "LC_",
    "LD_",
    "NODE_",
    "NPM_",
    "npm_",
    "YARN_",
    "PNPM_",
    "BUN_",
    "COREPACK_",
    "XDG_",
    "DBUS_",
    "PLAYWRIGHT_",
    "PUPPETEER_",
    "OPENCLAW_",
    "CLAWDBOT_",
    "MOLTBOT_",
    "DOCKER_",
    "SSH_",
    "SYSTEMD_",
    // What other programs run, load, trust or send everything through.
    "GIT_",
    "PYTHON",
    "PERL",
    "RUBY",
    "JAVA_",
    "JDK_",
    "_JAVA",
    "SSL_CERT_",
    "CURL_",
    "WGET",
    "REQUESTS_CA_",
    "NODE",
    "PIP_",
    "CARGO_",
    "GIO_",
    "GTK_",
    "QT_",
    "GLIBC_",
    "MALLOC_",
];

/// Variables that choose a model provider or pay for one. The gateway is the provider now, and the
/// CLI would take some of them for its own.
const PROVIDER_PREFIXES: &[&str] = &[
    "ANTHROPIC_",
    "CLAUDE_",
    "CLAUDECODE",
    "OPENAI_",
    "AZURE_OPENAI_",
    "OPENROUTER_",
    "GEMINI_",
    "GOOGLE_GENERATIVE_AI_",
    "GROQ_",
    "MISTRAL_",
    "XAI_",
    "DEEPSEEK_",
    "MOONSHOT_",
    "KIMI_",
    "MINIMAX_",
    "ZAI_",
    "TOGETHER_",
    "FIREWORKS_",
    "CEREBRAS_",
    "OLLAMA_",
    "HF_",
    "HUGGINGFACE_",
    "PERPLEXITY_",
    "LITELLM_",
    "VLLM_",
    "AI_GATEWAY_",
    "COPILOT_",
];

/// Whether an instance's variable is its own: neither the system's nor a provider's.
pub(crate) fn is_own(name: &str) -> bool {
    let is_proxy = name.to_ascii_uppercase().ends_with("_PROXY");
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    !is_proxy
        && !SYSTEM.contains(&name)
        && !FILES.contains(&name)
        && !begins(SYSTEM_PREFIXES)
        && !begins(PROVIDER_PREFIXES)
}

/// So many variables, and so many bytes of them, does a tenant get from its instance: a configuration
/// must stay readable, whatever somebody puts into theirs.
const VARIABLES_MAX: usize = 256;
const BYTES_MAX: usize = 256 << 10;

/// The variables for a tenant: `container` as `NAME=value`, with `settings` from openclaw.json over
/// them, in order and once each. Values that are paths of the container become the host's.
pub(crate) fn of_tenant(
    container: &[String],
    settings: &[(String, String)],
    mounts: &[Mount],
) -> Vec<(String, String)> {
    let pairs = container.iter().filter_map(|it| it.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for (name, value) in pairs.chain(settings.iter().cloned()) {
        if !is_own(&name) || !is_usable(&name, &value) {
            continue;
        }
        let value = mapped(&value, mounts);
        bytes += name.len() + value.len();
        if bytes > BYTES_MAX || all.len() >= VARIABLES_MAX {
            break;
        }
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// What a configuration file can hold and a process can get.
fn is_usable(name: &str, value: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = !name.is_empty()
        && name.bytes().all(is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    is_name && !value.is_empty() && !value.contains('\0') && value.len() < 64 << 10
}

fn mapped(value: &str, mounts: &[Mount]) -> String {
    match host_path(mounts, Path::new(value)) {
        Some(path) => path.to_string_lossy().into_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(owned).collect()
    }

    #[test]
    fn system_and_provider_variables_stay_behind() {
        for name in [
            "PATH",
            "HOME",
            "LC_ALL",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "OPENCLAW_GATEWAY_TOKEN",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "CLAUDE_CODE_USE_BEDROCK",
            "OPENAI_API_KEY",
            "GIT_SSH_COMMAND",
            "https_proxy",
            "PYTHONPATH",
            "AWS_CONFIG_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ] {
            assert!(!is_own(name), "{name}");
        }
        for name in ["NOTION_TOKEN", "TZ", "GITHUB_TOKEN", "AWS_PROFILE", "PATHS"] {
            assert!(is_own(name), "{name}");
        }
    }

    #[test]
    fn endless_variables_are_cut_off() {
        let many: Vec<_> = (0..5000)
            .map(|it| (format!("V{it}"), "x".to_owned()))
            .collect();
        assert_eq!(of_tenant(&[], &many, &[]).len(), VARIABLES_MAX);
        let large: Vec<_> = (0..50)
            .map(|it| (format!("V{it}"), "x".repeat(60_000)))
            .collect();
        assert_eq!(of_tenant(&[], &large, &[]).len(), 4);
    }

    #[test]
    fn settings_win_and_paths_are_the_hosts() {
        let container = [
            "A=1",
            "PATH=/bin",
            "B=/home/node/x",
            "BAD NAME=1",
            "C",
            "D=",
        ]
        .map(str::to_owned);
        let settings = pairs(&[("A", "2"), ("E", "x=y"), ("ANTHROPIC_API_KEY", "k")]);
        let mounts = [Mount {
            kind: "bind".to_owned(),
            source: "/srv".into(),
            destination: "/home/node".into(),
            writable: true,
        }];
        assert_eq!(
            of_tenant(&container, &settings, &mounts),
            pairs(&[("A", "2"), ("B", "/srv/x"), ("E", "x=y")])
        );
    }
}
