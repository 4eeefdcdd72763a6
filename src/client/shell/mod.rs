//! The shell: commands line by line, with one login and a place on the server. At a terminal with a line editor, history and
//! completion; from a pipe as a batch, which ends at the first line that fails.

pub mod complete;
mod editor;
pub mod words;

use super::cli::{self, Command, LineCommand};
use super::commands;
use super::config::Settings;
use super::console::{Console, Place};
use super::display::escape::{escape, escape_text};
use super::failure::{Exit, Failure};
use super::list::List;
use super::local;
use crate::paper::wrap;
use crate::proto::{EntryKind, RemotePath};
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What comes after a line.
enum Then {
    /// The next one; this one ended so.
    Next(Exit),
    /// Nothing: the user has said goodbye.
    End,
}

/// Runs the shell until its input ends.
pub fn run(mut console: Console) -> Exit {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return run_batch(console, Path::new("-"));
    }
    console.place = Place::Shell;
    match console.ask(|_| Ok(())) {
        Ok(()) => editor::run(console),
        Err(failure) => complain(&console, &failure),
    }
}

/// Runs the commands of a file, `-` for standard input, up to the first that fails.
pub fn run_batch(mut console: Console, file: &Path) -> Exit {
    console.place = Place::Shell;
    // A wrong password is to be said at once, not at the first command.
    let lines = List::open(file, b'\n', true).and_then(|lines| console.ask(|_| Ok(())).map(|()| lines));
    let exit = match lines {
        Ok(lines) => batch(&mut console, lines),
        Err(failure) => complain(&console, &failure),
    };
    console.finish();
    exit
}

/// Runs lines. Of standard input nothing is read beyond the line in hand: what follows may be the content for a `put -`.
fn batch(console: &mut Console, mut lines: List) -> Exit {
    console.unattended = true;
    for number in 1u64.. {
        let line = match console.stop.check().and_then(|()| lines.next(&console.stop)) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(failure) => return complain(console, &failure),
        };
        let (line, may_fail, shown) = prefixes(line.trim_ascii());
        if shown && !line.is_empty() && !line.starts_with(b"#") {
            console.output.detail(&format!("> {}", escape(line)));
        }
        match execute(console, line) {
            Then::End => break,
            Then::Next(Exit::Ok) => {}
            Then::Next(exit) if may_fail && exit != Exit::Interrupted => {}
            Then::Next(exit) => {
                return complain(console, &Failure::new(exit, format!("stopped at line {number} of {}", lines.shown)));
            }
        }
    }
    Exit::Ok
}

/// A line without what may stand before its command, as in sftp(1): a `-` lets the command fail, a `@` keeps it from being shown.
fn prefixes(mut line: &[u8]) -> (&[u8], bool, bool) {
    let (mut may_fail, mut shown) = (false, true);
    loop {
        line = match line.split_first() {
            Some((b'-', rest)) => {
                may_fail = true;
                rest
            }
            Some((b'@', rest)) => {
                shown = false;
                rest
            }
            _ => return (line, may_fail, shown),
        }
        .trim_ascii_start();
    }
}

/// Runs one line.
fn execute(console: &mut Console, line: &[u8]) -> Then {
    if line.trim_ascii_start().starts_with(b"#") {
        return Then::Next(Exit::Ok);
    }
    let words = match words::split(line) {
        Ok(words) if words.is_empty() => return Then::Next(Exit::Ok),
        Ok(words) => words,
        Err(why) => return Then::Next(complain(console, &Failure::new(Exit::Usage, why.to_string()))),
    };
    console.refresh();
    let command = match parse(words, &console.settings) {
        Ok(command) => command,
        Err(Told::Help(text)) => return Then::Next(say(console, &text)),
        Err(Told::Wrong(failure)) => return Then::Next(complain(console, &failure)),
    };
    let result = match command {
        LineCommand::Common(Command::Logout) => return Then::End,
        LineCommand::Common(Command::Help { command }) => commands::help(cli::line_command(), command.as_deref())
            .and_then(|text| console.output.data(wrap::fit(&text, io::stdout().as_fd()).as_bytes())),
        LineCommand::Common(command) => return Then::Next(commands::perform(console, command)),
        LineCommand::Cd { remote } => change_directory(console, remote),
        LineCommand::Pwd => print_directory(console),
        LineCommand::Lcd { local: to } => {
            let to = to.map(|word| console.local(&word));
            local::change_directory(to.as_deref().map(OsStrExt::as_bytes))
        }
        LineCommand::Lls { local: name, long } => {
            let name = name.map(|word| console.local(&word));
            local::list(&console.output, name.as_deref().map(OsStrExt::as_bytes), long)
        }
        LineCommand::Summary => console.summary.tell(&console.output, true),
        LineCommand::Lpwd => local::print_directory(&console.output),
    };
    Then::Next(match result.and_then(|()| console.output.flush()) {
        Ok(()) => Exit::Ok,
        Err(failure) => complain(console, &failure),
    })
}

/// Why a line is no command.
enum Told {
    /// It asked for help.
    Help(String),
    /// It is wrong.
    Wrong(Failure),
}

fn parse(words: Vec<OsString>, settings: &Settings) -> Result<LineCommand, Told> {
    let first = words.first().cloned().unwrap_or_default();
    cli::parse_line(words, settings).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => Told::Help(error.render().to_string()),
        ErrorKind::InvalidSubcommand if cli::line_command().find_subcommand(&first).is_none() => {
            let text = format!("there is no command '{}'; help lists them all", escape(first.as_bytes()));
            Told::Wrong(Failure::new(Exit::Usage, text))
        }
        _ => {
            let text = error.render().to_string();
            let text = text.trim_end().trim_start_matches("error: ");
            Told::Wrong(Failure::new(Exit::Usage, escape_text(text.as_bytes())))
        }
    })
}

fn say(console: &Console, text: &str) -> Exit {
    match console.output.data(wrap::fit(text, io::stdout().as_fd()).as_bytes()).and_then(|()| console.output.flush()) {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.exit,
    }
}

fn complain(console: &Console, failure: &Failure) -> Exit {
    console.output.error(failure);
    failure.exit
}

/// `cd`: only to what is a directory now.
fn change_directory(console: &mut Console, to: Option<OsString>) -> Result<(), Failure> {
    let Some(word) = to else {
        console.here = RemotePath::root();
        return Ok(());
    };
    let to = console.named(&word)?;
    let stat = console.ask(|remote| remote.stat(&to.path))?;
    if stat.kind != EntryKind::Dir {
        return Err(Failure::new(Exit::Conflict, format!("{} is not a directory", escape(to.shown.as_bytes()))));
    }
    console.here = to.path;
    Ok(())
}

fn print_directory(console: &Console) -> Result<(), Failure> {
    console.output.data(&[b"/", &*console.output.name(below_root(&console.here)), b"\n"].concat())
}

/// A path as it follows the `/` that stands for the user's own directory.
fn below_root(path: &RemotePath) -> &[u8] {
    if path.is_root() { b"" } else { path.as_bytes() }
}
