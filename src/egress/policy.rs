//! Which hosts a tenant's runs may reach: its API, by what its environment says, and what the operator wrote. Pure.

use super::{
    address::Trust,
    host::{Host, Name, Reach, Target},
};

/// For one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    allowed: Vec<(Host, Trust)>,
    /// The proxy through which this machine itself reaches others.
    proxy: Option<Target>,
    /// `NO_PROXY`, by which it reaches some hosts without.
    direct: Vec<String>,
}

const API: &str = "api.anthropic.com";

/// Where the CLI (2.1.330, `TOKEN_URL`) renews a login.
const LOGIN: &str = "platform.claude.com";

/// With one of these there is no login to renew.
const CREDENTIALS: [&str; 3] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
];

/// Where the CLI and the SDKs of the clouds that it brings get tokens.
const GOOGLE: [&str; 3] = [
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
];
const MICROSOFT: &str = "login.microsoftonline.com";

impl Policy {
    /// `get` is the environment of the tenant's runs.
    ///
    /// # Errors
    /// What is wrong with the environment, and the way out; without its values, which may be secret.
    pub(crate) fn new(
        get: &dyn Fn(&str) -> Option<String>,
        hosts: &[Host],
    ) -> Result<Policy, String> {
        let get = |name: &str| get(name).filter(|it| !it.is_empty());
        let either = |name: &str| get(name).or_else(|| get(&name.to_ascii_lowercase()));
        let mut policy = Policy {
            allowed: hosts.iter().map(|it| (it.clone(), trust_of(it))).collect(),
            proxy: either("HTTPS_PROXY")
                .or_else(|| either("ALL_PROXY"))
                .map(|it| proxy(&it))
                .transpose()?,
            direct: no_proxy(&either("NO_PROXY").unwrap_or_default()),
        };
        let is_on =
            |name: &str| get(name).is_some_and(|it| !matches!(&*it, "0" | "false" | "no" | "off"));
        if is_on("CLAUDE_CODE_USE_BEDROCK") {
            policy.allow_bedrock(&get)
        } else if is_on("CLAUDE_CODE_USE_VERTEX") {
            policy.allow_vertex(&get)
        } else if is_on("CLAUDE_CODE_USE_FOUNDRY") {
            policy.allow_foundry(&get)
        } else {
            policy.allow_url("ANTHROPIC_BASE_URL", &get)?;
            if get("ANTHROPIC_BASE_URL").is_none() {
                policy.allow_names([API.to_owned()]);
            }
            if !CREDENTIALS.iter().any(|it| get(it).is_some()) {
                policy.allow_names([LOGIN.to_owned()]);
            }
            Ok(())
        }?;
        Ok(policy)
    }

    /// How far a target is trusted; `None` when it is not for these runs.
    pub(super) fn trust(&self, target: &Target) -> Option<Trust> {
        let covering = self.allowed.iter().filter(|(host, _)| host.covers(target));
        covering.map(|(_, trust)| *trust).max()
    }

    /// Whether a host of this machine's loopback is among them.
    pub(super) fn reaches_loopback(&self) -> bool {
        self.allowed
            .iter()
            .any(|(host, _)| is_loopback(&host.target.name))
    }

    /// The proxy on the way to a target.
    pub(super) fn proxy_to(&self, target: &Target) -> Option<&Target> {
        let name = target.name.to_string();
        let is_direct = is_loopback(&target.name)
            || self.direct.iter().any(|it| {
                let below = name
                    .strip_suffix(it.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                it == "*" || name == *it || below
            });
        self.proxy.as_ref().filter(|_| !is_direct)
    }

    fn allow_names(&mut self, names: impl IntoIterator<Item = String>) {
        // A region that makes no name of a host makes no request either.
        let targets = names
            .into_iter()
            .filter_map(|it| Target::parse(&it, Some(443)).ok());
        let public = targets.filter(|it| matches!(it.name, Name::Dns(_)));
        self.allowed
            .extend(public.map(|it| (Host::itself(it), Trust::Public)));
    }

    fn allow_url(
        &mut self,
        name: &str,
        get: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let Some(url) = get(name) else { return Ok(()) };
        let target = of_url(&url).ok_or_else(|| {
            format!("{name} is no http:// or https:// address of a host; mend it, or write `network: shared`")
        })?;
        let host = Host::itself(target);
        let trust = trust_of(&host);
        self.allowed.push((host, trust));
        Ok(())
    }

    fn allow_bedrock(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        self.allow_url("ANTHROPIC_BEDROCK_BASE_URL", get)?;
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        let small = get("ANTHROPIC_SMALL_FAST_MODEL_AWS_REGION");
        for region in [Some(region.unwrap_or("us-east-1".to_owned())), small]
            .into_iter()
            .flatten()
        {
            let end = if region.starts_with("cn-") {
                "amazonaws.com.cn"
            } else {
                "amazonaws.com"
            };
            let services = ["bedrock-runtime", "bedrock", "sts", "oidc", "portal.sso"];
            self.allow_names(services.map(|it| format!("{it}.{region}.{end}")));
            self.allow_names([format!("bedrock-mantle.{region}.api.aws")]);
        }
        self.allow_names(["sts.amazonaws.com".to_owned()]);
        Ok(())
    }

    fn allow_vertex(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        self.allow_url("ANTHROPIC_VERTEX_BASE_URL", get)?;
        let region = get("CLOUD_ML_REGION").unwrap_or("us-east5".to_owned());
        self.allow_names([match &*region {
            "global" => "aiplatform.googleapis.com".to_owned(),
            "us" | "eu" => format!("aiplatform.{region}.rep.googleapis.com"),
            _ => format!("{region}-aiplatform.googleapis.com"),
        }]);
        self.allow_names(GOOGLE.map(str::to_owned));
        Ok(())
    }

    fn allow_foundry(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        self.allow_url("ANTHROPIC_FOUNDRY_BASE_URL", get)?;
        let resource = get("ANTHROPIC_FOUNDRY_RESOURCE");
        self.allow_names(resource.map(|it| format!("{it}.services.ai.azure.com")));
        self.allow_names([MICROSOFT.to_owned()]);
        Ok(())
    }
}

fn trust_of(host: &Host) -> Trust {
    match (&host.target.name, host.reach) {
        (Name::Address(_), _) => Trust::Literal,
        (Name::Dns(_), Reach::Itself) => Trust::Named,
        (Name::Dns(_), Reach::Below) => Trust::Public,
    }
}

fn is_loopback(name: &Name) -> bool {
    match name {
        Name::Address(it) => it.is_loopback(),
        Name::Dns(it) => it == "localhost" || it.ends_with(".localhost"),
    }
}

/// The host of an address on the web.
fn of_url(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match &*scheme.to_ascii_lowercase() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    // What stands before an @ is a name and a password.
    let host = authority.rsplit('@').next()?;
    Target::parse(host, Some(usual)).ok()
}

fn proxy(url: &str) -> Result<Target, String> {
    let way_out = "network: api goes through a proxy only if HTTPS_PROXY (or ALL_PROXY) is `http://HOST:PORT`";
    let other = |what: &str| {
        Err(format!(
            "{way_out}, and this one {what}; write another, or `network: shared`"
        ))
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    match (scheme, rest.contains('@')) {
        ("http", false) => {}
        ("http", true) => return other("has a name and a password"),
        _ => return other("is of another kind"),
    }
    match of_url(&format!("http://{rest}")) {
        Some(target) => Ok(target),
        None => other("has no host"),
    }
}

fn no_proxy(text: &str) -> Vec<String> {
    let entries = text
        .split(',')
        .map(|it| it.trim().trim_start_matches("*.").trim_start_matches('.'));
    let entries = entries.filter(|it| !it.is_empty());
    entries.map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(env: &[(&str, &str)], hosts: &[&str]) -> Result<Policy, String> {
        let hosts: Vec<Host> = hosts.iter().map(|it| Host::parse(it).unwrap()).collect();
        let get = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Policy::new(&get, &hosts)
    }

    #[track_caller]
    fn check(env: &[(&str, &str)], hosts: &[&str], expect: &[(&str, Option<Trust>)]) {
        let policy = policy(env, hosts).unwrap();
        for (target, trust) in expect {
            let target = Target::parse(target, None).unwrap();
            assert_eq!(policy.trust(&target), *trust, "{target}");
        }
    }

    const PUBLIC: Option<Trust> = Some(Trust::Public);
    const NAMED: Option<Trust> = Some(Trust::Named);
    const LITERAL: Option<Trust> = Some(Trust::Literal);

    #[test]
    fn runs_reach_their_api_and_what_renews_their_login() {
        check(
            &[],
            &[],
            &[
                ("api.anthropic.com:443", PUBLIC),
                ("platform.claude.com:443", PUBLIC),
                ("api.anthropic.com:80", None),
                ("example.com:443", None),
                ("localhost:443", None),
            ],
        );
        check(
            &[
                ("ANTHROPIC_API_KEY", "x"),
                ("CLAUDE_CODE_USE_BEDROCK", "0"),
                ("ANTHROPIC_BASE_URL", ""),
            ],
            &[],
            &[
                ("api.anthropic.com:443", PUBLIC),
                ("platform.claude.com:443", None),
            ],
        );
        check(
            &[("ANTHROPIC_BASE_URL", "https://u:p@llm.corp:8443/v1?x")],
            &[],
            &[
                ("llm.corp:8443", NAMED),
                ("llm.corp:443", None),
                ("api.anthropic.com:443", None),
                ("platform.claude.com:443", PUBLIC),
            ],
        );
        check(
            &[("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000")],
            &[],
            &[("127.0.0.1:4000", LITERAL), ("127.0.0.1:4001", None)],
        );
    }

    #[test]
    fn clouds_are_reached_in_the_region_that_is_configured() {
        check(
            &[
                ("CLAUDE_CODE_USE_BEDROCK", "1"),
                ("AWS_REGION", "eu-west-1"),
            ],
            &[],
            &[
                ("bedrock-runtime.eu-west-1.amazonaws.com:443", PUBLIC),
                ("sts.eu-west-1.amazonaws.com:443", PUBLIC),
                ("bedrock-runtime.us-east-1.amazonaws.com:443", None),
                ("s3.eu-west-1.amazonaws.com:443", None),
                ("api.anthropic.com:443", None),
            ],
        );
        check(
            &[
                ("CLAUDE_CODE_USE_BEDROCK", "1"),
                ("AWS_REGION", "x.evil.com/"),
            ],
            &[],
            &[("bedrock-runtime.us-east-1.amazonaws.com:443", None)],
        );
        check(
            &[
                ("CLAUDE_CODE_USE_BEDROCK", "true"),
                ("AWS_DEFAULT_REGION", "cn-north-1"),
            ],
            &[],
            &[("bedrock-runtime.cn-north-1.amazonaws.com.cn:443", PUBLIC)],
        );
        for (region, host) in [
            ("europe-west1", "europe-west1-aiplatform.googleapis.com:443"),
            ("global", "aiplatform.googleapis.com:443"),
            ("eu", "aiplatform.eu.rep.googleapis.com:443"),
        ] {
            let env = [("CLAUDE_CODE_USE_VERTEX", "1"), ("CLOUD_ML_REGION", region)];
            check(
                &env,
                &[],
                &[
                    (host, PUBLIC),
                    ("oauth2.googleapis.com:443", PUBLIC),
                    ("storage.googleapis.com:443", None),
                ],
            );
        }
        check(
            &[
                ("CLAUDE_CODE_USE_FOUNDRY", "1"),
                ("ANTHROPIC_FOUNDRY_RESOURCE", "mine"),
            ],
            &[],
            &[
                ("mine.services.ai.azure.com:443", PUBLIC),
                ("other.services.ai.azure.com:443", None),
            ],
        );
    }

    #[test]
    fn hosts_of_the_operators_are_trusted_as_far_as_they_were_written() {
        check(
            &[],
            &[
                "github.com",
                "*.npmjs.org",
                "10.0.0.5:80",
                "packages.example.org",
            ],
            &[
                ("github.com:443", NAMED),
                ("x.npmjs.org:443", PUBLIC),
                ("packages.example.org:443", NAMED),
                ("10.0.0.5:80", LITERAL),
            ],
        );
    }

    #[track_caller]
    fn check_refused(name: &str, value: &str, expect: &str) {
        let error = policy(&[(name, value)], &[]).unwrap_err();
        assert!(
            error.contains(expect) && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn environments_that_lead_nowhere_are_refused_without_their_values() {
        check_refused(
            "ANTHROPIC_BASE_URL",
            "secret.example.com",
            "ANTHROPIC_BASE_URL is no http",
        );
        check_refused("HTTPS_PROXY", "socks5://secret:1080", "of another kind");
        check_refused(
            "https_proxy",
            "http://u:secret@proxy:1",
            "a name and a password",
        );
        check_refused("ALL_PROXY", "http://", "has no host");
    }

    #[test]
    fn proxy_of_this_machine_is_on_the_way_but_where_it_is_not_meant() {
        let env = [
            ("HTTPS_PROXY", "http://10.0.0.1:3128/"),
            ("NO_PROXY", "a.com, .b.com,*.c.com"),
        ];
        let policy = policy(&env, &[]).unwrap();
        for (target, expect) in [
            ("api.anthropic.com:443", true),
            ("a.com:443", false),
            ("x.a.com:443", false),
            ("xa.com:443", true),
            ("x.b.com:443", false),
            ("x.c.com:443", false),
            ("127.0.0.1:80", false),
            ("localhost:80", false),
        ] {
            let target = Target::parse(target, None).unwrap();
            assert_eq!(policy.proxy_to(&target).is_some(), expect, "{target}");
        }
    }
}
