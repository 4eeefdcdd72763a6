//! Keys as variables of the environment: `DFOS_FORKD_`, and the key in capitals with '_' for '-'. A list has commas in between. An empty
//! variable says nothing. One that is no key is an error: a rule that was meant and not understood would guard nothing.

use super::keys::{Key, Keys, Kind};
use super::{Origin, Setting};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// How each variable begins.
const PREFIX: &str = "DFOS_FORKD_";
/// The variable that names the file, as `--config` does.
pub const FILE: &str = "DFOS_FORKD_CONFIG";

/// The variable that a key is.
pub fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.to_uppercase().replace('-', "_"))
}

/// What the variables say. An error is a line for each that is wrong.
pub fn read(variables: &[(OsString, OsString)], keys: &Keys) -> Result<Vec<Setting>, String> {
    let (mut settings, mut problems): (Vec<Setting>, _) = (Vec::new(), Vec::new());
    for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != FILE) else { continue };
        match setting(keys, name, value) {
            Ok((key, values)) => {
                if let Some(other) = settings.iter().find(|setting| keys.conflict(&setting.key, &key)) {
                    problems.push(format!("{name} and {} exclude each other: unset one of them", other.origin));
                }
                settings.push(Setting { key, values, origin: Origin::Environment(name.into()) });
            }
            Err(why) => problems.push(why),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems.join("\n")) }
}

fn setting(keys: &Keys, name: &str, value: &OsStr) -> Result<(String, Vec<OsString>), String> {
    let Some(key) = keys.iter().find(|key| variable(key) == name) else {
        let meant = keys.nearest(&name.trim_start_matches(PREFIX).to_lowercase());
        let hint = meant.map_or(String::new(), |key| format!("; did you mean {}?", variable(key)));
        return Err(format!("the environment variable {name} is no option{hint}"));
    };
    let values = values(key, value).and_then(|values| {
        if matches!(key.kind, Kind::One | Kind::Several) {
            values.iter().try_for_each(|value| keys.judge(key, value))?;
        }
        Ok(values)
    });
    Ok((key.name.clone(), values.map_err(|why| format!("the environment variable {name}: {why}"))?))
}

fn values(key: &Key, value: &OsStr) -> Result<Vec<OsString>, String> {
    match key.kind {
        Kind::Switch => match value.to_str() {
            Some("true" | "1") => Ok(vec!["true".into()]),
            Some("false" | "0") => Ok(vec!["false".into()]),
            _ => Err("write true or false".into()),
        },
        Kind::Count => match value.to_str().and_then(|text| text.parse::<u8>().ok()) {
            Some(n) => Ok(vec![n.to_string().into()]),
            None => Err("write a number from 0 to 255".into()),
        },
        Kind::One => Ok(vec![value.into()]),
        Kind::Several => {
            let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            Ok(parts.filter(|part| !part.is_empty()).map(|part| OsStr::from_bytes(part).into()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Result<Vec<(String, Vec<OsString>)>, String> {
        let settings = read(&[("HOME".into(), "/".into()), (name.into(), value.into())], &Keys::of_serve())?;
        Ok(settings.into_iter().map(|setting| (setting.key, setting.values)).collect())
    }

    #[test]
    fn variables_say_what_flags_would() {
        for (name, value, key, values) in [
            ("DFOS_FORKD_PORT", "9001", "port", &["9001"][..]),
            ("DFOS_FORKD_MAX_CLIENTS_PER_IP", "3", "max-clients-per-ip", &["3"]),
            ("DFOS_FORKD_ALLOW", "10.0.0.0/8, ::1,", "allow", &["10.0.0.0/8", "::1"]),
            ("DFOS_FORKD_REQUIRE_SANDBOX", "1", "require-sandbox", &["true"]),
            ("DFOS_FORKD_REQUIRE_SANDBOX", "false", "require-sandbox", &["false"]),
            ("DFOS_FORKD_VERBOSE", "2", "verbose", &["2"]),
            ("DFOS_FORKD_USERS", "relative", "users", &["relative"]),
        ] {
            let values = values.iter().map(OsString::from).collect();
            assert_eq!(said(name, value), Ok(vec![(key.into(), values)]), "{name}");
        }
        for (name, value) in [("DFOS_FORKD_PORT", ""), (FILE, "/x"), ("DFOS_PASSWORD", "secret"), ("PORT", "x")] {
            assert_eq!(said(name, value), Ok(vec![]), "{name}");
        }
    }

    #[test]
    fn a_variable_that_is_wrong_is_told_by_its_name() {
        for (name, value, why) in [
            (
                "DFOS_FORKD_PROT",
                "1",
                "the environment variable DFOS_FORKD_PROT is no option; did you mean DFOS_FORKD_PORT?",
            ),
            ("DFOS_FORKD_port", "1", "the environment variable DFOS_FORKD_port is no option"),
            ("DFOS_FORKD_", "1", "the environment variable DFOS_FORKD_ is no option"),
            ("DFOS_FORKD_PORT", "x", "the environment variable DFOS_FORKD_PORT: 'x': write a whole number"),
            ("DFOS_FORKD_ALLOW", "::1,x", "the environment variable DFOS_FORKD_ALLOW: 'x' is no network: "),
            ("DFOS_FORKD_VERBOSE", "yes", "the environment variable DFOS_FORKD_VERBOSE: write a number"),
            (
                "DFOS_FORKD_REQUIRE_SANDBOX",
                "on",
                "the environment variable DFOS_FORKD_REQUIRE_SANDBOX: write true or false",
            ),
        ] {
            let told = said(name, value).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }
}
