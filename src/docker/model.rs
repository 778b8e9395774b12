//! What the engine tells of a container, as far as it is of use. Unknown fields are skipped, and null
//! is as good as absent: Podman and the engine differ there.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer};

/// One line of the list of containers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Summary {
    pub(crate) id: String,
    /// Each begins with a slash.
    #[serde(deserialize_with = "or_default")]
    pub(crate) names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) state: String,
}

/// One container in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// Begins with a slash.
    pub(crate) name: String,
    pub(crate) path: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) state: State,
    #[serde(deserialize_with = "or_default")]
    pub(crate) config: Config,
    #[serde(deserialize_with = "or_default")]
    pub(crate) host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) paused: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    pub(crate) network_mode: String,
    /// `name:address`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) extra_hosts: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Mount {
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub(crate) kind: String,
    /// On the host; for a volume the directory that the engine keeps it in.
    #[serde(deserialize_with = "or_default")]
    pub(crate) source: PathBuf,
    /// In the container.
    pub(crate) destination: PathBuf,
    #[serde(rename = "RW", default = "yes")]
    pub(crate) writable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    pub(crate) networks: BTreeMap<String, Endpoint>,
}

/// A container's place in one network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Endpoint {
    /// Empty where the network has none, an internal one for example.
    #[serde(deserialize_with = "or_default")]
    pub(crate) gateway: String,
    #[serde(rename = "NetworkID", deserialize_with = "or_default")]
    pub(crate) network_id: String,
}

/// One network in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Network {
    #[serde(rename = "IPAM", deserialize_with = "or_default")]
    pub(crate) ipam: Ipam,
    #[serde(deserialize_with = "or_default")]
    pub(crate) options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipam {
    #[serde(deserialize_with = "or_default")]
    pub(crate) config: Vec<IpamConfig>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IpamConfig {
    #[serde(deserialize_with = "or_default")]
    pub(crate) gateway: String,
}

/// What the engine speaks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Version {
    #[serde(deserialize_with = "or_default")]
    pub(crate) version: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) api_version: String,
    #[serde(rename = "MinAPIVersion", deserialize_with = "or_default")]
    pub(crate) min_api_version: String,
}

impl Container {
    /// Its name without the slash.
    pub(crate) fn plain_name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// The value of one of its variables.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        let pairs = self.config.env.iter().filter_map(|it| it.split_once('='));
        pairs
            .filter(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value)
            .next_back()
    }
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_absent_fields_are_empty() {
        let container: Container = serde_json::from_str(
            r#"{"Id":"1","Name":"/a","Args":null,"Config":{"Env":null,"Labels":null},"HostConfig":null,
                "Mounts":[{"Type":"bind","Source":"/h","Destination":"/c"}],
                "NetworkSettings":{"Networks":{"n":{"Gateway":null,"NetworkID":"x"}}},"Novel":{}}"#,
        )
        .unwrap();
        assert_eq!(container.plain_name(), "a");
        assert!(container.mounts[0].writable);
        assert_eq!(container.network_settings.networks["n"].gateway, "");
    }

    #[test]
    fn last_of_equal_variables_counts() {
        let container = Container {
            config: Config {
                env: ["A=1", "B=x=y", "A=2", "C=", "D"].map(str::to_owned).into(),
                ..Config::default()
            },
            ..Container::default()
        };
        assert_eq!(container.env("A"), Some("2"));
        assert_eq!(container.env("B"), Some("x=y"));
        assert_eq!(container.env("C"), None);
        assert_eq!(container.env("D"), None);
    }
}
