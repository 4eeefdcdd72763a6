//! Fills the places of a page with what the program itself knows.

use clap::{Arg, ArgAction, Command, CommandFactory};
use dfos::auth::limits_file;
use dfos::client::cli;
use dfos::client::failure::Exit;
use dfos::server::config::running::LIVE;
use dfos::server::options::Options;

/// The text with its places filled: a line `{{NAME ARGUMENT}}` each.
pub fn expand(source: &str) -> String {
    let mut out = String::new();
    for line in source.lines() {
        match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
            Some(place) => out.push_str(&fill(place)),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn fill(place: &str) -> String {
    let (name, argument) = place.split_once(' ').unwrap_or((place, ""));
    match name {
        "server-options" => options(&server(argument), false),
        "server-own" => options_beyond(&server(argument), &server("serve")),
        "server-tree" => tree(&server(argument)),
        "server-keys" => keys(&server("serve")),
        "client-options" => options(&client(""), false),
        "client-commands" => client_commands(),
        "client-exit" => exit_statuses(),
        "limit-keys" => limits_file::key_names().map(|name| format!("- `{name}`\n")).collect(),
        _ => panic!("there is no list {place:?}"),
    }
}

/// The server's command of this name.
pub fn server(name: &str) -> Command {
    let mut all = Options::command();
    all.build();
    if name.is_empty() { all } else { all.find_subcommand(name).expect(name).clone() }
}

/// The client's command of this name.
pub fn client(name: &str) -> Command {
    let mut all = cli::command();
    all.build();
    if name.is_empty() { all } else { all.find_subcommand(name).expect(name).clone() }
}

/// What a reader is told of.
pub fn told(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()))
}

/// The arguments of a command as terms with their explanations; those that all commands share only where they are asked for.
fn options(command: &Command, own_alone: bool) -> String {
    let mut out = String::new();
    for arg in told(command).filter(|arg| !own_alone || !arg.is_global_set()) {
        out.push_str(&format!(": {}\n{}\n\n", term(arg), help_of(arg)));
    }
    out
}

/// The options that a command has beside those of another.
fn options_beyond(command: &Command, other: &Command) -> String {
    let shared: Vec<_> = told(other).filter_map(Arg::get_long).collect();
    let own = told(command)
        .filter(|arg| arg.get_long().is_none_or(|long| command.get_name() != "check" || !shared.contains(&long)));
    own.map(|arg| format!(": {}\n{}\n\n", term(arg), help_of(arg))).collect()
}

/// The commands below one, and the options that they share.
fn tree(command: &Command) -> String {
    let mut out = String::new();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let arguments: String = sub.get_positionals().map(|arg| format!(" {}", term(arg))).collect();
        out.push_str(&format!(": **{}**{arguments}\n{}\n\n", sub.get_name(), about(sub)));
    }
    out + &options(command, false)
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    literal(&about.replace('\n', " "))
}

/// A text in which an asterisk means itself: in the programs' own texts, unlike in a page's prose, it always does.
fn literal(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        let is_code = at % 2 == 1;
        if at > 0 {
            out.push('`');
        }
        let mut stars = 0;
        for character in part.chars().map(Some).chain([None]) {
            match character {
                Some('*') => stars += 1,
                _ => {
                    let mark = if stars > 0 && !is_code { "`" } else { "" };
                    out.push_str(&format!("{mark}{}{mark}", "*".repeat(stars)));
                    stars = 0;
                    out.extend(character);
                }
            }
        }
    }
    out
}

/// `**-j**, **--jobs** N`.
fn term(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default().join(" ");
    if arg.is_positional() {
        let more = if matches!(arg.get_action(), ArgAction::Append)
            || arg.get_num_args().is_some_and(|n| n.max_values() > 1)
        {
            "..."
        } else {
            ""
        };
        return format!("**{names}**{more}");
    }
    let short = arg.get_short().map(|short| format!("**-{short}**"));
    let long = arg.get_long().map(|long| format!("**--{long}**"));
    let flags: Vec<_> = short.into_iter().chain(long).collect();
    let takes = arg.get_action().takes_values() && arg.get_num_args().is_none_or(|n| n.max_values() > 0);
    let optional = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
    let value = match (takes, optional) {
        (false, _) => String::new(),
        (true, false) => format!(" {names}"),
        (true, true) if arg.is_require_equals_set() => format!("[={names}]"),
        (true, true) => format!(" [{names}]"),
    };
    format!("{}{value}", flags.join(", "))
}

fn help_of(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = literal(&help.replace('\n', " "));
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let takes = arg.get_action().takes_values();
    let values: Vec<_> =
        arg.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name().to_owned()).collect();
    let mut out = help;
    if takes && !values.is_empty() {
        out.push_str(&format!(" [one of: {}]", values.join(", ")));
    }
    if takes && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        out.push_str(&format!(" [default: {}]", defaults.join(" ")));
    }
    out
}

/// The same options as keys of the configuration file.
fn keys(command: &Command) -> String {
    let mut out = String::new();
    for arg in told(command).filter(|arg| arg.get_long().is_some() && arg.get_id() != "config") {
        let name = arg.get_long().unwrap_or_default();
        let value = arg.get_value_names().unwrap_or_default().join(" ").to_lowercase();
        let value = match arg.get_action() {
            ArgAction::Append => format!("[*{value}*, ...]"),
            ArgAction::Count => "*n*".into(),
            action if !action.takes_values() => "*true* or *false*".into(),
            _ => format!("*{value}*"),
        };
        let when = if LIVE.contains(&name) { "" } else { " (restart)" };
        out.push_str(&format!(": `{name}` = {value}\n{}{when}\n\n", of_a_key(&help_of(arg))));
    }
    out
}

/// What a flag's explanation says, said of a key: keys have no dashes, and are given once.
fn of_a_key(help: &str) -> String {
    help.replace("; may be given several times", "").replace(" --", " ")
}

/// Each command of the client: its usage, what it does, its own options.
fn client_commands() -> String {
    let mut out = String::new();
    for command in client("").get_subcommands().filter(|command| !command.is_hide_set()) {
        let aliases: Vec<_> = command.get_visible_aliases().collect();
        let also = if aliases.is_empty() { String::new() } else { format!(" (also: {})", aliases.join(", ")) };
        out.push_str(&format!("### {}\n\n", command.get_name()));
        let usage = usage(command);
        out.push_str(&format!("    {usage}\n\n"));
        out.push_str(&format!("{}{also}.\n\n", about(command).trim_end_matches('.')));
        out.push_str(&options(command, true));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            out.push_str(&format!("    {}\n\n{}.\n\n", self::usage(sub), about(sub).trim_end_matches('.')));
            out.push_str(&options(sub, true));
        }
    }
    out
}

fn usage(command: &Command) -> String {
    let text = command.clone().render_usage().to_string();
    let usage = text.trim_start_matches("Usage:").trim();
    usage.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn exit_statuses() -> String {
    Exit::TABLE.iter().map(|(exit, meaning)| format!(": **{}**\n{meaning}\n\n", *exit as u8)).collect()
}
