//! The keys that there are: the long options of `dfos-forkd serve`, as the command line defines them.

use super::Setting;
use crate::server::options::ServeOptions;
use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command, FromArgMatches};
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::num::ParseIntError;

/// Options that are no keys: a file does not say which file it is.
const NO_KEYS: &[&str] = &["config", "help", "version"];

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Switch,
    /// How often a flag is given.
    Count,
    /// One value.
    One,
    /// A list of values.
    Several,
}

/// A key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name: the option's, without dashes before it.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// Whether it names a place in the file system.
    pub is_path: bool,
    /// What it is where nobody says; empty where it is not set then.
    pub default: Vec<String>,
    /// What it does, as the command line's help says.
    pub help: String,
    /// How the command line's definition calls it.
    pub(super) id: String,
    conflicts: Vec<String>,
}

/// All keys.
pub struct Keys {
    command: Command,
    keys: Vec<Key>,
}

impl Keys {
    /// The keys that the options of `serve` are.
    pub fn of_serve() -> Keys {
        let mut command = ServeOptions::augment_args(Command::new("dfos-forkd").no_binary_name(true));
        command.build();
        let keys = command.get_arguments().filter_map(|arg| key(&command, arg)).collect();
        Keys { command, keys }
    }

    /// Each, in the order of the help.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// The key of a name.
    pub fn get(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The key that was meant by a name that is none, as the command line would guess.
    pub fn nearest(&self, name: &str) -> Option<&Key> {
        let why = self.command.clone().try_get_matches_from([format!("--{}=", name.replace('_', "-"))]).err()?;
        match why.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => self.get(flag.trim_start_matches('-')),
            _ => self.get(&name.replace('_', "-")), // only the dash was wrong
        }
    }

    /// Whether two keys exclude each other.
    pub fn conflict(&self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (self.get(one), self.get(other)) else { return false };
        one.conflicts.contains(&other.name) || other.conflicts.contains(&one.name)
    }

    /// Has the option's own parser judge a value: what is wrong with it.
    pub fn judge(&self, key: &Key, value: &OsStr) -> Result<(), String> {
        if value.is_empty() {
            return Err("a value is missing; leave the key out for the default".into());
        }
        match self.command.clone().try_get_matches_from([flag(&key.name, value)]) {
            // What else an option needs is seen when all are there.
            Err(why) if why.kind() != ErrorKind::MissingRequiredArgument => {
                let (value, why) = (format!("'{}'", value.to_string_lossy().escape_debug()), reason(&why));
                Err(if why.contains(&value) { why } else { format!("{value}: {why}") })
            }
            _ => Ok(()),
        }
    }

    /// Settings as words of a command line. What is off says nothing there.
    pub fn words<'a>(&self, settings: impl IntoIterator<Item = &'a Setting>) -> Vec<OsString> {
        let words = settings.into_iter().map(|setting| match self.get(&setting.key) {
            Some(key) => key.words(&setting.values),
            None => Vec::new(),
        });
        words.flatten().collect()
    }

    /// The options that words of a command line are.
    pub fn options(&self, words: &[OsString]) -> Result<ServeOptions, String> {
        let mut matches = self.command.clone().try_get_matches_from(words).map_err(|why| reason(&why))?;
        ServeOptions::from_arg_matches_mut(&mut matches).map_err(|why| reason(&why))
    }
}

impl Key {
    fn words(&self, values: &[OsString]) -> Vec<OsString> {
        let bare = OsString::from(format!("--{}", self.name));
        let text = values.first().and_then(|value| value.to_str()).unwrap_or_default();
        match self.kind {
            Kind::Switch => vec![bare; usize::from(text == "true")],
            Kind::Count => vec![bare; text.parse::<u8>().unwrap_or_default().into()],
            Kind::One | Kind::Several => values.iter().map(|value| flag(&self.name, value)).collect(),
        }
    }
}

/// The name of the key that a word of [`Keys::words`] gives a value to.
pub fn key_of(word: &OsStr) -> &str {
    let bytes = word.as_encoded_bytes();
    let bytes = bytes.strip_prefix(b"--").unwrap_or(bytes);
    let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

fn flag(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

fn key(command: &Command, arg: &Arg) -> Option<Key> {
    let name = arg.get_long().filter(|name| !NO_KEYS.contains(name))?;
    let kind = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => Kind::Switch,
        ArgAction::Count => Kind::Count,
        ArgAction::Append => Kind::Several,
        _ => Kind::One,
    };
    let conflicts = command.get_arg_conflicts_with(arg).into_iter().filter_map(Arg::get_long).map(str::to_owned);
    let default = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    Some(Key {
        name: name.into(),
        kind,
        is_path: matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath),
        default: default.collect(),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        id: arg.get_id().to_string(),
        conflicts: conflicts.collect(),
    })
}

/// What the command line's parser says, in one line.
pub(super) fn reason(why: &clap::Error) -> String {
    if let Some(source) = why.source() {
        if source.is::<ParseIntError>() {
            return "write a whole number".into();
        }
        return source.to_string().replace('\n', " ");
    }
    if let (ErrorKind::InvalidValue, Some(ContextValue::Strings(words))) =
        (why.kind(), why.get(ContextKind::ValidValue))
        && !words.is_empty()
    {
        return format!("write one of {}", words.join(", "));
    }
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(words))) =
        (why.kind(), why.get(ContextKind::InvalidArg))
    {
        return format!("{} is missing: what is set needs it as well", words.join(", "));
    }
    let text = why.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_option_of_serve_is_a_key_and_nothing_else() {
        let keys = Keys::of_serve();
        let command = ServeOptions::augment_args(Command::new("x"));
        let options: Vec<_> =
            command.get_arguments().filter_map(Arg::get_long).filter(|name| *name != "config").collect();
        assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), options);
        assert!(options.len() > 20);
        for (name, kind) in [
            ("listen", Kind::Several),
            ("allow", Kind::Several),
            ("port", Kind::One),
            ("verbose", Kind::Count),
            ("require-sandbox", Kind::Switch),
        ] {
            assert_eq!(keys.get(name).unwrap().kind, kind, "{name}");
        }
        let paths: Vec<_> = keys.iter().filter(|key| key.is_path).map(|key| key.name.as_str()).collect();
        assert!(
            ["dir", "users", "user-limits", "tls-cert", "tls-key", "state-dir"].iter().all(|key| paths.contains(key))
        );
        assert!(keys.conflict("listen", "port") && keys.conflict("port", "listen") && !keys.conflict("ip", "port"));
    }

    #[test]
    fn a_value_is_judged_by_its_options_own_parser_and_needs_no_other_option_for_that() {
        let keys = Keys::of_serve();
        for (key, value, why) in [
            ("port", "70000", "'70000': 70000 is not in 0..=65535"),
            ("port", "", "a value is missing"),
            ("grace", "0", "'0': a number of seconds from 1 on"),
            ("log-target", "paper", "'paper': write one of stderr, syslog"),
            ("allow", "all", "'all' is no network"),
            ("max-clients", "many", "'many': write a whole number"),
            ("quota", "20 gigs", "'20 gigs': write a number of bytes, or a size like 500MB or 20GiB"),
        ] {
            let told = keys.judge(keys.get(key).unwrap(), value.as_ref()).unwrap_err();
            assert!(told.starts_with(why) && !told.contains('\n'), "{told}");
        }
        for (key, value) in [("tls-cert", "/x"), ("port", "0"), ("quota", "1.5GiB"), ("listen", "unix:/x")] {
            assert_eq!(keys.judge(keys.get(key).unwrap(), value.as_ref()), Ok(()), "{key}");
        }
        let why = keys.options(&["--tls-cert=/x".into()]).unwrap_err();
        assert_eq!(why, "--tls-key <FILE> is missing: what is set needs it as well");
    }

    #[test]
    fn a_misspelt_key_finds_its_right_word() {
        let keys = Keys::of_serve();
        for (wrong, right) in [
            ("max-client", Some("max-clients")),
            ("max_clients_per_ip", Some("max-clients-per-ip")),
            ("lisen", Some("listen")),
            ("idel-timeout", Some("idle-timeout")),
            ("colour", None),
            ("", None),
            ("a b\0=-", None),
        ] {
            assert_eq!(keys.nearest(wrong).map(|key| key.name.as_str()), right, "{wrong}");
        }
    }
}
