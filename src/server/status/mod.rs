//! `dfos-forkd status`, `kick` and `drain`: what an operator asks of a running server, and how the answer is shown.

mod figures;
pub mod metrics;
pub mod rates;
pub mod table;
mod watch;

use super::desk::answer::{Draining, Kicked, Status, Upgrading};
use super::desk::ask::ask;
use super::desk::request::{Request, Whom};
use super::options::{ControlOption, DrainOptions, KickOptions, StatusOptions, UpgradeOptions};
use crate::proto::limits;
use crate::sys::window;
use serde::de::DeserializeOwned;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it is looked how far an upgrade has come.
const LOOK: Duration = Duration::from_millis(50);

/// `dfos-forkd status`.
pub fn status(options: &StatusOptions) -> Result<ExitCode, String> {
    if let Some(every) = options.watch {
        return watch::watch(&options.server.control, every).map(|()| ExitCode::SUCCESS);
    }
    let answer = ask(options.server.control.control.as_deref(), &Request::Status)?;
    if options.json {
        return print(&answer);
    }
    let status: Status = understood(&answer)?;
    match &options.openmetrics {
        Some(Some(file)) => {
            replace(file, &metrics::text(&status)).map_err(|why| format!("cannot write {}: {why}", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(None) => print(&metrics::text(&status)),
        None => {
            let width = io::stdout().is_terminal().then(|| window::size(io::stdout().as_fd())).flatten();
            let lines =
                table::page(&status, &rates::averages(&status), width.map_or(usize::MAX, |(columns, _)| columns));
            print(&(lines.join("\n") + "\n"))
        }
    }
}

/// `dfos-forkd kick`.
pub fn kick(options: &KickOptions) -> Result<ExitCode, String> {
    let of_user = options.user.map(Whom::User);
    let whom = options.session.clone().or(of_user).ok_or("name a session, or a user with --user")?;
    let Kicked { kicked, .. } = understood(&ask(options.server.control.control.as_deref(), &Request::Kick(whom))?)?;
    match kicked.len() {
        0 => Err("no such session: 'dfos-forkd status' shows those that there are".into()),
        1 => print(&format!("1 session is ended: {}\n", kicked.join(" "))),
        count => print(&format!("{count} sessions are ended: {}\n", kicked.join(" "))),
    }
}

/// `dfos-forkd drain`.
pub fn drain(options: &DrainOptions) -> Result<ExitCode, String> {
    let within = options.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    let asked = ask(options.server.control.control.as_deref(), &Request::Drain(within))?;
    let Draining { sessions, .. } = understood(&asked)?;
    print(&match sessions {
        0 => "the server ends: it has no sessions\n".into(),
        1 => "the server takes nobody new, and ends after 1 session\n".into(),
        _ => format!("the server takes nobody new, and ends after {sessions} sessions\n"),
    })
}

/// `dfos-forkd upgrade`: asks for it, and waits for what comes of it.
pub fn upgrade(options: &UpgradeOptions) -> Result<ExitCode, String> {
    let control = &options.server.control;
    let Upgrading { upgrades: before, .. } = understood(&ask(control.control.as_deref(), &Request::Upgrade)?)?;
    let until = Instant::now() + limits::REHEARSAL + limits::VISIT;
    loop {
        // Between the two programs the socket stays open: whoever asks just then waits for the second one's answer.
        let status = look(control)?;
        if status.upgrades > before {
            let sessions = match status.sessions.len() {
                1 => "1 session goes on".into(),
                count => format!("{count} sessions go on"),
            };
            return print(&format!("upgraded: the server is dfos-forkd {} now, and {sessions}\n", status.version));
        }
        if status.state != "upgrading" {
            let why = status.upgrade_refused.unwrap_or_else(|| "its log says why".into());
            return Err(format!("the server goes on as it was: {why}"));
        }
        if Instant::now() >= until {
            return Err("the server has not gone on as another program in time; its log says why".into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks how a server is.
fn look(control: &ControlOption) -> Result<Status, String> {
    understood(&ask(control.control.as_deref(), &Request::Status)?)
}

fn understood<T: DeserializeOwned>(answer: &str) -> Result<T, String> {
    serde_json::from_str(answer)
        .map_err(|why| format!("the server's answer cannot be understood ({why}): is it of another version?"))
}

/// Whoever has closed the pipe has read enough.
fn print(text: &str) -> Result<ExitCode, String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write: {why}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Puts `text` in the place of a file: whoever reads it sees the old or the new one, whole.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let fresh = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&fresh);
    let done = written.and_then(|mut out| out.write_all(text.as_bytes())).and_then(|()| fs::rename(&fresh, file));
    done.inspect_err(|_| drop(fs::remove_file(&fresh)))
}
