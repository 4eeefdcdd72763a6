//! What the word at the cursor is, found from the definition of the command line itself.

use super::Answer;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// What the word at the cursor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The commands that lead there, the names of the definition.
    pub commands: Vec<String>,
    /// What is due.
    pub due: Due,
    /// Bytes at the beginning of the word that are not part of the value: `--to=`.
    pub lead: usize,
}

/// What is due at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// A subcommand.
    Command,
    /// An option of the last command.
    Option,
    /// A value; its name in the help, and its choices if they are few.
    Value {
        /// `FILE`, `REMOTE`…
        name: String,
        /// What it can be.
        choices: Vec<(String, String)>,
    },
    /// Nothing more.
    Nothing,
}

/// Finds what `current` is behind `words`.
pub fn at_cursor(command: &Command, words: &[OsString], current: &OsString) -> Slot {
    let mut built = command.clone();
    built.build();
    let mut command = &built;
    let mut commands = Vec::new();
    let (mut positionals, mut ended) = (0, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if !ended && text == "--" {
            ended = true;
        } else if !ended && text.len() > 1 && text.starts_with('-') {
            if let Some(arg) = wants_value(command, &text)
                && words.next().is_none()
            {
                return Slot { commands, due: due(arg), lead: 0 };
            }
        } else if let (0, Some(sub)) = (positionals, command.find_subcommand(text.as_ref())) {
            commands.push(sub.get_name().to_owned());
            command = sub;
        } else {
            positionals += 1;
        }
    }
    let text = current.to_string_lossy();
    if !ended && text.starts_with('-') {
        let value = text.strip_prefix("--").and_then(|text| text.split_once('='));
        if let Some((name, _)) = value {
            let lead = name.len() + 3;
            let due = find_long(command, name).map_or(Due::Nothing, due);
            return Slot { commands, due, lead };
        }
        return Slot { commands, due: Due::Option, lead: 0 };
    }
    let due = match command.get_positionals().nth(positionals).or_else(|| command.get_positionals().last()) {
        Some(arg) if positionals == 0 || many(arg) || positionals < command.get_positionals().count() => due(arg),
        None if positionals == 0 && command.has_subcommands() => Due::Command,
        _ => Due::Nothing,
    };
    Slot { commands, due, lead: 0 }
}

fn find_long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// The option of `word` whose value is the next word.
fn wants_value<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let arg = match word.strip_prefix("--") {
        Some(long) => find_long(command, long)?,
        None => {
            // Of letters in a row the first that takes a value takes the rest; only as the last one it takes the next word.
            let letters: Vec<char> = word.chars().skip(1).collect();
            let find = |letter: &char| command.get_arguments().find(|arg| arg.get_short() == Some(*letter));
            let (last, first) = letters.split_last()?;
            if first.iter().any(|letter| find(letter).is_some_and(takes_value)) {
                return None;
            }
            find(last)?
        }
    };
    takes_value(arg).then_some(arg)
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.takes_values())
}

fn many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) || arg.get_num_args().is_some_and(|range| range.max_values() > 1)
}

fn due(arg: &Arg) -> Due {
    let name = arg.get_value_names().and_then(|names| names.first()).map_or(String::new(), ToString::to_string);
    let choices = arg.get_possible_values().into_iter().filter(|choice| !choice.is_hide_set());
    let text = |choice: &clap::builder::PossibleValue| {
        choice.get_help().map_or(String::new(), |help| first_line(&help.to_string()))
    };
    Due::Value { name, choices: choices.map(|choice| (choice.get_name().to_owned(), text(&choice))).collect() }
}

/// What may stand there, as far as the definition tells.
pub fn answer(command: &Command, slot: &Slot, current: &OsString) -> Answer {
    let mut built = command.clone();
    built.build();
    let place = slot.commands.iter().try_fold(&built, |command, name| command.find_subcommand(name));
    let words = match (&slot.due, place) {
        (Due::Command, Some(command)) => commands_of(command),
        (Due::Option, Some(command)) => options_of(command),
        (Due::Value { choices, .. }, _) if !choices.is_empty() => choices.clone(),
        (Due::Value { name, .. }, Some(command)) => match name.as_str() {
            "FILE" | "LOCAL" | "PATH" | "AUDIT" => return Answer::Files,
            "DIR" => return Answer::Directories,
            "COMMAND" => commands_of(&built),
            _ if command.has_subcommands() => commands_of(command),
            _ => return Answer::Nothing,
        },
        _ => return Answer::Nothing,
    };
    matching(words, slot, current)
}

/// Of `words` those that begin as the word at the cursor does.
pub fn matching(mut words: Vec<(String, String)>, slot: &Slot, current: &OsString) -> Answer {
    let (lead, prefix) = current.as_bytes().split_at(slot.lead.min(current.len()));
    words.retain(|(word, _)| word.as_bytes().starts_with(prefix));
    let lead = String::from_utf8_lossy(lead);
    Answer::Words(words.into_iter().map(|(word, meaning)| (format!("{lead}{word}"), meaning)).collect())
}

fn commands_of(command: &Command) -> Vec<(String, String)> {
    let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    let about = |sub: &Command| sub.get_about().map_or(String::new(), |about| first_line(&about.to_string()));
    subs.map(|sub| (sub.get_name().to_owned(), about(sub))).collect()
}

fn options_of(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let about = |arg: &Arg| arg.get_help().map_or(String::new(), |help| first_line(&help.to_string()));
    shown.filter_map(|arg| Some((format!("--{}", arg.get_long()?), about(arg)))).collect()
}

/// A description is one line without tabs.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, value_parser};

    fn command() -> Command {
        let file = Arg::new("config").long("config").global(true).value_name("FILE");
        let loud = Arg::new("loud").long("loud").short('l').action(ArgAction::SetTrue);
        let jobs = Arg::new("jobs").long("jobs").short('j').value_name("N");
        let shade = Arg::new("shade").long("shade").value_parser(["light", "dark"]);
        let local = Arg::new("local").num_args(1..).value_name("LOCAL").value_parser(value_parser!(OsString));
        let put = Command::new("put").about("Upload\nmore").args([loud, jobs, shade, local]);
        let pair = Command::new("mv").arg(Arg::new("from").value_name("REMOTE")).arg(Arg::new("to").value_name("DIR"));
        let user = Command::new("user").subcommand(Command::new("add")).subcommand(Command::new("del"));
        Command::new("prog").arg(file).subcommands([put, pair, user, Command::new("secret").hide(true)])
    }

    fn words(line: &str) -> Answer {
        super::super::complete(&command(), &super::super::line::split(line.as_ref(), "prog"))
    }

    fn names(line: &str) -> Vec<String> {
        match words(line) {
            Answer::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_options_and_values_are_found_from_the_definition() {
        assert_eq!(names("prog "), ["put", "mv", "user"]);
        assert_eq!(words("prog pu"), Answer::Words(vec![("put".into(), "Upload".into())]));
        assert_eq!(names("prog user "), ["add", "del"]);
        assert_eq!(names("prog put --s"), ["--shade"]);
        assert!(names("prog put --").contains(&"--config".to_owned()), "what holds for all commands too");
        assert_eq!(names("prog put --shade d"), ["dark"]);
        assert_eq!(names("prog put --shade=d"), ["--shade=dark"]);
        for line in [
            "prog --config ",
            "prog put ",
            "prog put a b ",
            "prog put -l ",
            "prog put -j 4 ",
            "prog put -lj4 ",
            "prog put -- -",
        ] {
            assert_eq!(words(line), Answer::Files, "{line}");
        }
        for line in ["prog put -j ", "prog put -lj ", "prog mv a b ", "prog nonsense ", "prog mv "] {
            assert_eq!(words(line), Answer::Nothing, "{line}");
        }
        assert_eq!(words("prog mv a "), Answer::Directories);
        assert_eq!(words("prog --config x user del "), Answer::Nothing);
    }
}
