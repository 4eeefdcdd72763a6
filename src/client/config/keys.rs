//! Which options can be said by a file or by the environment: those that hold for every command, and a few of single commands.

use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

/// Options of single commands that make sense once for all. All others, `--yes` first, are said each time.
const OF_COMMANDS: &[&str] = &["jobs", "bwlimit", "summary"];

/// Options that choose the file or a server, and so cannot stand in it: `url` and `default-server` do that.
const CHOOSING: &[&str] = &["config", "server", "ip", "port", "help", "version"];

/// An option as a key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The long option, without its dashes.
    pub name: String,
    /// What clap calls it.
    pub id: String,
    /// How its value is written.
    pub kind: Kind,
    /// What holds where nobody says anything.
    pub default: String,
    /// The commands that have it; none if all have.
    pub commands: Vec<String>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; the text that stands for true.
    Switch(&'static str),
    /// A number of times.
    Count,
    /// A path.
    Path,
    /// Anything else.
    Word,
}

impl Key {
    /// The variable of the environment that says the same.
    pub fn variable(&self) -> String {
        format!("DFOS_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Why `value` cannot be its value, if it cannot: asks the parser of the command line itself.
    pub fn complaint(&self, command: &Command, value: &str) -> Option<String> {
        if matches!(self.kind, Kind::Switch(_)) {
            return None;
        }
        let mut words = vec![OsString::from("dfos-client")];
        words.extend(self.commands.first().map(OsString::from));
        match self.kind {
            Kind::Count => return value.parse::<u8>().err().map(|why| why.to_string()),
            _ => words.push(format!("--{}={value}", self.name).into()),
        }
        let error = command.clone().try_get_matches_from(words).err()?;
        use clap::error::ErrorKind::{InvalidValue, ValueValidation};
        // Whatever else is missing in such a line is no fault of the value.
        matches!(error.kind(), InvalidValue | ValueValidation).then(|| {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
    }

    /// Has `command` take `value` where nothing else is said.
    pub fn apply(&self, command: Command, value: &str) -> Command {
        let value = match self.kind {
            Kind::Switch(yes) if value == "true" => yes.to_owned(),
            Kind::Switch(yes) if yes != "true" => return command, // its absence is all that means no
            _ => value.to_owned(),
        };
        let set = |command: Command| command.mut_arg(&self.id, |arg| arg.default_value(value.clone()));
        if self.commands.is_empty() {
            return set(command);
        }
        self.commands.iter().fold(command, |command, name| command.mut_subcommand(name, set))
    }
}

/// All keys, in the order of the help.
pub fn of(command: &Command) -> Vec<Key> {
    let mut keys: Vec<Key> = command.get_arguments().filter_map(|arg| key(arg, None)).collect();
    for sub in command.get_subcommands() {
        for arg in sub.get_arguments() {
            let Some(new) = key(arg, Some(sub.get_name())) else { continue };
            match keys.iter_mut().find(|known| known.name == new.name) {
                Some(known) => known.commands.extend(new.commands),
                None => keys.push(new),
            }
        }
    }
    keys
}

fn key(arg: &Arg, command: Option<&str>) -> Option<Key> {
    let name = arg.get_long()?;
    let usable = if command.is_some() { OF_COMMANDS.contains(&name) } else { !CHOOSING.contains(&name) };
    let value_name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    let kind = match arg.get_action() {
        ArgAction::SetTrue => Kind::Switch("true"),
        ArgAction::Count => Kind::Count,
        _ if arg.get_num_args().is_some_and(|range| !range.takes_values()) => Kind::Switch("-"),
        _ if value_name == Some("FILE") => Kind::Path,
        _ => Kind::Word,
    };
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let commands = command.map(str::to_owned).into_iter().collect();
    usable.then(|| Key {
        name: name.to_owned(),
        id: arg.get_id().to_string(),
        kind,
        default: defaults.join(" "),
        commands,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cli;

    #[test]
    fn what_holds_for_all_commands_is_a_key_and_what_is_dangerous_is_none() {
        let keys = of(&cli::command());
        let named = |name: &str| keys.iter().find(|key| key.name == name);
        for name in
            ["user", "pin", "ca", "password-file", "password-command", "retries", "timeout", "jobs", "json", "quiet"]
        {
            assert!(named(name).is_some(), "{name}");
        }
        for name in ["yes", "recursive", "force", "to", "config", "server", "password", "help"] {
            assert!(named(name).is_none(), "{name}");
        }
        assert_eq!(named("jobs").unwrap().commands, ["put", "get"]);
        assert_eq!(named("password-file").unwrap().variable(), "DFOS_PASSWORD_FILE");
        assert_eq!(named("password-file").unwrap().kind, Kind::Path);
    }

    #[test]
    fn the_parser_of_the_command_line_judges_values() {
        let command = cli::command();
        let keys = of(&command);
        let complaint =
            |name: &str, value| keys.iter().find(|key| key.name == name).unwrap().complaint(&command, value);
        assert_eq!(complaint("retries", "5"), None);
        assert_eq!(complaint("jobs", "4"), None);
        for (name, value) in
            [("retries", "many"), ("retries", "1001"), ("jobs", "0"), ("pin", "xyz"), ("verbose", "-1")]
        {
            assert!(complaint(name, value).is_some(), "{name} {value}");
        }
    }
}
