//! What the command line completes beyond its own words: named servers, and names on a server where a session can be had without
//! asking anybody anything.

use super::cli::{self, Options};
use super::config::{self, Settings};
use super::console::{Console, Place};
use super::display::output::{Output, Volume};
use super::failure::{Exit, Failure};
use super::stop::Stop;
use super::{glob, limits, password, whom};
use crate::completion::slot::{self, Due, Slot};
use crate::completion::{Answer, line};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// The program, as its command line begins.
const PROGRAM: &str = "dfos-client";

/// `complete LINE`: prints what may stand at the end of the line. What cannot be known in time is not waited for: whoever pressed
/// Tab types on.
pub fn run(text: &OsStr) -> Exit {
    std::thread::spawn(|| {
        std::thread::sleep(limits::COMPLETION);
        std::process::exit(Exit::Ok as i32)
    });
    let line = line::split(text, PROGRAM);
    let answer = complete(&line.words, &line.current);
    // Nobody is left to complain to.
    let _ = io::stdout().write_all(&answer.print(&line.kept)).and_then(|()| io::stdout().flush());
    Exit::Ok
}

fn complete(words: &[OsString], current: &OsString) -> Answer {
    let mut command = cli::command();
    command.build();
    let slot = slot::at_cursor(&command, words, current);
    let Due::Value { name, .. } = &slot.due else { return slot::answer(&command, &slot, current) };
    let loaded = || config::load(&settled(&command, words), &config::of_process).ok();
    match name.as_str() {
        "SERVER" => slot::matching(loaded().and_then(|all| all.settings.ok()).map_or(vec![], servers), &slot, current),
        "URL" => slot::matching(loaded().map_or(vec![], |all| known(&all.cli.options)), &slot, current),
        "REMOTE" => loaded()
            .and_then(|all| all.settings.ok().and(remote(&all.cli.options, &slot, current)))
            .unwrap_or(Answer::Nothing),
        _ => slot::answer(&command, &slot, current),
    }
}

/// Of the words that stand there the options that hold for every command: they say which server, and as whom.
fn settled(command: &clap::Command, words: &[OsString]) -> Vec<OsString> {
    let mut kept = vec![OsString::from(PROGRAM)];
    let mut words = words.iter().take_while(|word| *word != "--").peekable();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let Some((long, value)) =
            text.strip_prefix("--").map(|text| text.split_once('=').map_or((text, None), |(l, v)| (l, Some(v))))
        else {
            continue;
        };
        let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(long)) else { continue };
        let takes_next = value.is_none() && arg.get_num_args().is_some_and(|range| range.takes_values());
        match (takes_next, words.next_if(|_| takes_next)) {
            (true, Some(value)) => kept.extend([word.clone(), value.clone()]),
            (true, None) => {} // it is just being typed
            (false, _) => kept.push(word.clone()),
        }
    }
    kept
}

fn servers(settings: Settings) -> Vec<(String, String)> {
    let servers = settings.contents.unwrap_or_default().servers.into_iter();
    servers.map(|server| (server.name, server.place.address.to_string())).collect()
}

fn known(options: &Options) -> Vec<(String, String)> {
    let all = options.known_servers().and_then(|known| known.all().ok()).unwrap_or_default();
    all.into_iter().map(|known| (known.address, format!("sha256:{}", known.pin))).collect()
}

/// The names on the server that begin as the word does. `None` where a session would need a question, or a stranger's word.
fn remote(options: &Options, slot: &Slot, current: &OsString) -> Option<Answer> {
    let (lead, typed) = current.as_bytes().split_at_checked(slot.lead)?;
    if glob::is_wild(typed) {
        return None;
    }
    let typed = glob::literal(typed);
    let cut = typed.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let (directory, prefix) = typed.split_at_checked(cut)?;
    let directories_only = matches!(slot.commands.last().map(String::as_str), Some("mkdir" | "rmdir"));
    let names = names_in(options, directory)?;
    let hidden = |name: &[u8]| name.starts_with(b".") && !prefix.starts_with(b".");
    let mut names: Vec<_> = names
        .into_iter()
        .filter(|(name, is_dir)| name.starts_with(prefix) && !hidden(name) && (*is_dir || !directories_only))
        .map(|(name, is_dir)| written(lead, directory, &name, is_dir))
        .collect();
    names.sort();
    Some(Answer::Names(names))
}

/// A name as the command line takes it: a star in it is a letter, and what looks like an option is named from where one stands.
fn written(lead: &[u8], directory: &[u8], name: &[u8], is_dir: bool) -> Vec<u8> {
    let mut whole = [directory, name, if is_dir { b"/" } else { b"" }].concat();
    if whole.starts_with(b"-") {
        whole.splice(..0, *b"./");
    }
    if glob::is_pattern(&whole) {
        whole = whole.iter().flat_map(|b| if b"\\*?".contains(b) { vec![b'\\', *b] } else { vec![*b] }).collect();
    }
    [lead, &whole].concat()
}

fn names_in(options: &Options, directory: &[u8]) -> Option<Vec<glob::Name>> {
    let mut target = whom::target(options, |options, _| {
        password::without_asking(options)?
            .ok_or_else(|| Failure::new(Exit::Login, "a password would have to be asked for"))
    })
    .ok()?;
    if target.address.is_exposed() {
        return None;
    }
    target.trusted = target.trusted.without_strangers();
    let silent = Output::into_writers(Box::new(io::sink()), Box::new(io::sink()), false, Volume::Quiet);
    let mut console = Console::new(silent, target, Stop::deaf(), Place::CommandLine);
    let names = console.names_if_at_hand(directory);
    console.log_out();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn only_what_says_which_server_is_taken_from_an_unfinished_line() {
        let mut command = cli::command();
        command.build();
        let kept = |line: &str| settled(&command, &words(line)).into_iter().skip(1).collect::<Vec<_>>();
        assert_eq!(kept("--server work get -r --user=anna"), words("--server work --user=anna"));
        assert_eq!(kept("get --to x --quiet a"), words("--quiet"));
        assert_eq!(kept("get -- --server evil"), [""; 0]);
        assert_eq!(kept("get --quiet --server"), words("--quiet"));
    }

    #[test]
    fn a_name_is_written_so_that_it_means_itself() {
        for (directory, name, is_dir, written) in [
            ("", "notes", false, "notes"),
            ("a b/", "c d", true, "a b/c d/"),
            ("", "-r", false, "./-r"),
            ("", "a*b", false, r"a\*b"),
            ("", r"a\?", false, r"a\\\?"),
            ("", r"a\b", false, r"a\b"),
        ] {
            let text = super::written(b"", directory.as_bytes(), name.as_bytes(), is_dir);
            assert_eq!(String::from_utf8(text.clone()).unwrap(), written);
            assert_eq!(glob::literal(written.as_bytes()), text.strip_prefix(b"").map(glob::literal).unwrap());
        }
    }
}
