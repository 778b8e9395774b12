//! Which configuration a command is about, where none was named.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{operator, owner};

/// What the packaged unit serves with.
const OF_THE_SERVICE: &str = "/etc/ccgw/config.yaml";

/// The one that was named; else config.yaml here; else that of the gateway which runs for this user or as the
/// machine's service; else the service's.
///
/// # Errors
/// When there is none of them, with the way out. A file that nobody reads is never made.
pub(crate) fn find(named: &Path) -> Result<PathBuf, String> {
    if !named.as_os_str().is_empty() {
        return Ok(named.to_owned());
    }
    let here = Path::new("config.yaml");
    if here.exists() {
        return Ok(here.to_owned());
    }
    if let Some((config, uid)) = operator::gateway()
        && owner::may_believe(uid)
    {
        return Ok(config);
    }
    match access(OF_THE_SERVICE, Access::READ_OK) {
        Ok(()) => Ok(OF_THE_SERVICE.into()),
        Err(_) => Err(format!(
            "no config.yaml is here, no gateway runs that this user may ask for its own, and {OF_THE_SERVICE} cannot be read; \
             name one with `ccgw-manage --config FILE`, or be the service's user: `sudo -u ccgw -H ccgw-manage`"
        )),
    }
}

/// The command that starts a gateway with this configuration.
pub(super) fn start_line(path: &Path) -> String {
    match std::path::absolute(path).is_ok_and(|it| it == Path::new(OF_THE_SERVICE)) {
        true => "sudo systemctl enable --now ccgw".to_owned(),
        false => format!("ccgw {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_configuration_is_started_as_the_service() {
        let of_unit = "sudo systemctl enable --now ccgw";
        for (path, expect) in [
            ("/etc/ccgw/config.yaml", of_unit),
            ("/etc/ccgw/./config.yaml", of_unit),
            ("/srv/config.yaml", "ccgw /srv/config.yaml"),
            ("config.yaml", "ccgw config.yaml"),
        ] {
            assert_eq!(start_line(Path::new(path)), expect);
        }
    }
}
