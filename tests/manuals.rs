//! The manuals tell of everything that the programs know: each option, each key, each exit status, each verb.

#[path = "../examples/manuals/expand.rs"]
mod expand;
#[path = "../examples/manuals/pages.rs"]
mod pages;
#[path = "../examples/manuals/roff.rs"]
#[allow(dead_code)]
mod roff;

use clap::Command;
use dfos::auth::limits_file;
use dfos::client::failure::Exit;
use dfos::proto::verb::TABLE;
use std::io::Write;
use std::process::{Command as Process, Stdio};

/// A page's text, without what is for the typesetter.
fn page(name: &str) -> String {
    let page = pages::all().into_iter().find(|page| page.name == name).unwrap();
    page.render().replace("\\-", "-").replace("\\fB", "").replace("\\fP", "").replace("\\&", "")
}

#[track_caller]
fn tells(page: &str, text: &str, what: &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let found = page.match_indices(text).any(|(at, _)| {
        !page[..at].chars().next_back().is_some_and(is_word)
            && !page[at + text.len()..].chars().next().is_some_and(is_word)
    });
    assert!(found, "no page tells of {what} {text}");
}

/// The names of all commands below one.
fn all_commands(command: &Command) -> Vec<String> {
    let told = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    told.flat_map(|sub| std::iter::once(sub.get_name().to_owned()).chain(all_commands(sub))).collect()
}

/// The options of all commands below one, and its own.
fn all_options(command: &Command) -> Vec<String> {
    let own = expand::told(command).filter_map(|arg| arg.get_long()).map(|long| format!("--{long}"));
    own.chain(command.get_subcommands().filter(|sub| !sub.is_hide_set()).flat_map(all_options)).collect()
}

#[test]
fn each_option_stands_in_its_manual() {
    for (name, command) in [("dfos-forkd", expand::server("")), ("dfos-client", expand::client(""))] {
        let page = page(name);
        for option in all_options(&command) {
            tells(&page, &option, "the option");
        }
        for command in all_commands(&command) {
            tells(&page, &command, "the command");
        }
    }
}

/// Options of the same name would hide it if a command were left out.
#[test]
fn each_command_of_the_server_has_a_place_of_its_own() {
    let page = pages::all().into_iter().find(|page| page.name == "dfos-forkd").unwrap();
    for command in expand::server("").get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let name = command.get_name();
        let places = ["options", "own", "tree"].map(|kind| format!("\n### {name}\n|{{{{server-{kind} {name}}}}}\n"));
        let has = |place: &String| place.split('|').all(|part| page.source.contains(part));
        assert!(places.iter().any(has), "dfos-forkd(8) has no section '{name}' with its options");
    }
}

#[test]
fn each_key_stands_in_its_manual() {
    let serve = expand::server("serve");
    for arg in expand::told(&serve).filter(|arg| arg.get_id() != "config") {
        tells(&page("forkd.toml"), arg.get_long().unwrap(), "the key");
    }
    for key in limits_file::key_names() {
        tells(&page("user_limits.toml"), key, "the key");
    }
}

#[test]
fn what_the_programs_say_of_themselves_loses_nothing_on_the_way() {
    for (name, text) in [
        ("dfos-client", "patterns (*, ? and **, {a,b} beside one of them)"),
        ("dfos-forkd", "The users file [default: the one that the configuration names, else ./id_passwd.txt]\n"),
        ("forkd.toml", "192.0.2.0/24, 2001:db8::/32 or one address\n"),
        ("forkd.toml", "Where syslogd listens, for log-target syslog "),
    ] {
        assert!(page(name).contains(text), "{name}: {text}");
    }
}

#[test]
fn each_exit_status_and_each_verb_stands_in_its_manual() {
    for (exit, _) in Exit::TABLE {
        assert!(page("dfos-client").contains(&format!(".TP\n{}\n", *exit as u8)), "the exit status {exit:?}");
    }
    for row in TABLE {
        tells(&page("dfos-protocol"), row.name, "the verb");
    }
}

#[test]
fn no_page_offends_the_typesetter() {
    if Process::new("mandoc").arg("-V").output().is_err() && Process::new("mandoc").output().is_err() {
        println!("skipped: the pages are not checked (needs mandoc)");
        return;
    }
    for page in pages::all() {
        let mut lint = Process::new("mandoc");
        lint.args(["-T", "lint", "-W", "warning"]);
        let mut lint = lint.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        lint.stdin.take().unwrap().write_all(page.render().as_bytes()).unwrap();
        let said = lint.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        let grave: Vec<_> = said
            .lines()
            .filter(|line| !line.contains("missing date")) // the version is what a page is of
            .collect();
        assert!(grave.is_empty(), "{}: {grave:#?}", page.file_name());
    }
}
