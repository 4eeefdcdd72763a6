//! The shell: commands line by line, with one login and a place on the server. At a terminal with a line editor, history and
//! completion; from a pipe as a batch, which ends at the first line that fails.

pub mod complete;
mod editor;
pub mod local;
pub mod words;

use super::cli::{self, Command, LineCommand};
use super::commands;
use super::config::Settings;
use super::console::{Console, Place};
use super::display::escape::{escape, escape_text};
use super::failure::{Exit, Failure};
use super::password::StandardInput;
use crate::proto::{EntryKind, RemotePath};
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// The longest line of a batch.
const LINE: usize = 64 * 1024;

/// What comes after a line.
enum Then {
    /// The next one; this one ended so.
    Next(Exit),
    /// Nothing: the user has said goodbye.
    End,
}

/// Runs the shell until its input ends.
pub fn run(mut console: Console) -> Exit {
    console.place = Place::Shell;
    // A wrong password is to be said at once, not at the first command.
    if let Err(failure) = console.ask(|_| Ok(())) {
        console.output.error(&failure);
        return failure.exit;
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() { editor::run(console) } else { batch(console) }
}

/// Runs the lines of a pipe. Nothing is read beyond the line in hand: what follows may be the content for a `put -`.
fn batch(mut console: Console) -> Exit {
    let mut number = 0;
    loop {
        let line = match read_line(&console) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(failure) => {
                console.output.error(&failure);
                return failure.exit;
            }
        };
        number += 1;
        let line = line.trim_ascii_start();
        let (line, may_fail) = match line.strip_prefix(b"-") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        match execute(&mut console, line) {
            Then::End => break,
            Then::Next(Exit::Ok) => {}
            Then::Next(exit) if may_fail && exit != Exit::Interrupted => {}
            Then::Next(exit) => {
                console.output.note(&format!("stopped at line {number}"));
                console.log_out();
                return exit;
            }
        }
    }
    console.log_out();
    Exit::Ok
}

/// The next line of standard input without its end; `None` at the end of the input.
fn read_line(console: &Console) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE {
        console.stop.wait_readable(io::stdin().as_fd())?;
        match StandardInput.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(line)),
            Ok(_) if byte == [b'\n'] => return Ok(Some(line)),
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) => return Err(Failure::new(Exit::Local, format!("cannot read standard input: {error}"))),
        }
    }
    Err(Failure::new(Exit::Usage, format!("a line is longer than {LINE} bytes")))
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
            .and_then(|text| console.output.data(text.as_bytes())),
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
    match console.output.data(text.as_bytes()).and_then(|()| console.output.flush()) {
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
