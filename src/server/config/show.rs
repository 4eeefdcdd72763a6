//! The effective configuration as a person reads it, and as the file takes it: each key with its value, and who said so beside it.

use super::keys::{Key, Keys, Kind};
use super::{Configuration, Setting};
use std::ffi::OsString;
use std::fmt::Write as _;

/// How far to the right the origins stand, where the value is short enough.
const COLUMN: usize = 44;

/// Every key: a line of TOML, and its origin as a comment. What is not set stands there as a comment alone.
pub fn show(keys: &Keys, configuration: &Configuration, settings: &[Setting]) -> String {
    let file = configuration.file.as_ref().map_or("none was read".into(), |path| path.display().to_string());
    let mut text = format!("# The configuration and who says so; the file: {file}\n");
    for key in keys.iter() {
        let said = settings.iter().find(|setting| setting.key == key.name);
        let line = match said {
            Some(Setting { values, origin, .. }) => format!("{:<COLUMN$} # {origin}", assignment(key, values)),
            None if key.default.is_empty() => format!("# {} is not set{}", key.name, described_default(key)),
            None => format!("{:<COLUMN$} # default", assignment(key, &defaults(key))),
        };
        let _ = writeln!(text, "{line}"); // into a String
    }
    text
}

/// What the help says of a default that is no value of its own.
fn described_default(key: &Key) -> String {
    let told = key.help.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
    told.map_or(String::new(), |(told, _)| format!(": {told}"))
}

fn defaults(key: &Key) -> Vec<OsString> {
    key.default.iter().map(OsString::from).collect()
}

/// A key and its value as a line of TOML.
fn assignment(key: &Key, values: &[OsString]) -> String {
    format!("{} = {}", key.name, right_side(key, values))
}

/// The default of a key in TOML, if it has one.
#[cfg(test)]
pub(super) fn literal_of_default(key: &Key) -> Option<String> {
    (!key.default.is_empty()).then(|| right_side(key, &defaults(key)))
}

fn right_side(key: &Key, values: &[OsString]) -> String {
    let literals: Vec<_> = values.iter().map(|value| literal(key, &value.to_string_lossy())).collect();
    match key.kind {
        Kind::Several => format!("[{}]", literals.join(", ")),
        _ => literals.concat(),
    }
}

/// A value in TOML: bare where it is a number or true or false, else as a basic string.
fn literal(key: &Key, text: &str) -> String {
    let is_number = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    if is_number || key.kind == Kind::Switch {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c)); // into a String
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Origin;
    use toml::de::DeTable;

    #[test]
    fn every_key_is_shown_with_its_origin_and_all_of_it_is_toml() {
        let keys = Keys::of_serve();
        let setting = |key: &str, values: &[&str], origin| Setting {
            key: key.into(),
            values: values.iter().map(OsString::from).collect(),
            origin,
        };
        let odd = "/a \"b\"\\\n\u{1b}#é";
        let settings = [
            setting("port", &["9001"], Origin::Flag),
            setting("require-sandbox", &["true"], Origin::Environment("DFOS_FORKD_REQUIRE_SANDBOX".into())),
            setting("allow", &["10.0.0.0/8", "::1"], Origin::File("/etc/dfos/forkd.toml".into(), 12)),
            setting("dir", &[odd], Origin::Flag),
        ];
        let text = show(&keys, &Configuration::default(), &settings);
        for line in [
            "port = 9001                                  # flag",
            "require-sandbox = true                       # environment DFOS_FORKD_REQUIRE_SANDBOX",
            "allow = [\"10.0.0.0/8\", \"::1\"]                # /etc/dfos/forkd.toml:12",
            "max-clients = 1024                           # default",
            "log-target = \"stderr\"                        # default",
            "verbose = 0                                  # default",
            "allow-plaintext = false                      # default",
            "# run-as is not set: the owner of the storage directory",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        let parsed = DeTable::parse(&text).unwrap();
        assert_eq!(parsed.get_ref().get("dir").unwrap().get_ref().as_str(), Some(odd));
        for key in keys.iter() {
            assert!(text.contains(&format!("{} = ", key.name)) || text.contains(&format!("# {} is not set", key.name)));
        }
    }
}
