//! The operator's side: one question, one answer.

use super::answer::Fault;
use super::{Request, place};
use crate::proto::limits;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Asks the server whose control socket `--control` names, or the one at the usual place. Returns its answer as it is, which is an
/// object of JSON; an error is a sentence.
pub fn ask(option: Option<&Path>, request: &Request) -> Result<String, String> {
    let path = place::of(option)
        .ok_or("no server of yours is known here: ask as root (sudo), or start it and ask it with one and the same --control PATH")?;
    let why = |what: &str, hint: &str| format!("{}: {what}{hint}", path.display());
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => why(
            "no server has a control socket there",
            ": does it run? One that was told another is asked with --control",
        ),
        ErrorKind::ConnectionRefused => why("the server that made it is gone", "; start it again"),
        ErrorKind::PermissionDenied => why("only root and who started the server may ask it", "; try as root"),
        _ => why(&error.to_string(), ""),
    })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(limits::VISIT))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = exchange().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            why("the server does not answer", "; look whether it is stopped")
        }
        // It has been sent away at once.
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            why("only root and who started the server may ask it", "")
        }
        _ => why(&error.to_string(), ""),
    })?;
    if answer.is_empty() {
        return Err(why("the server closed without an answer", "; only root and who started the server may ask it"));
    }
    match serde_json::from_str::<Fault>(&answer) {
        Ok(fault) => Err(fault.error),
        Err(_) => Ok(answer),
    }
}
