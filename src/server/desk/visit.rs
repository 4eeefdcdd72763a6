//! One connection to the control socket: a line in, an answer out, never waited for.

use super::Request;
use crate::proto::limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, recv, send};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// Somebody at the desk.
pub struct Visit {
    /// Whose it is.
    pub number: u64,
    /// When it ends, whatever has happened.
    pub deadline: Instant,
    socket: OwnedFd,
    stage: Stage,
}

/// How far it has come.
enum Stage {
    /// So much of the line has come.
    Asking(Vec<u8>),
    /// The line has been handed on.
    Asked,
    /// So many bytes of the answer have gone.
    Answering(Vec<u8>, usize),
}

impl Visit {
    /// A visit that has just begun, over a socket that does not block.
    pub fn new(number: u64, socket: OwnedFd, deadline: Instant) -> Self {
        Visit { number, deadline, socket, stage: Stage::Asking(Vec::new()) }
    }

    /// What to poll for.
    pub fn poll_fd(&self) -> PollFd<'_> {
        let events = if matches!(self.stage, Stage::Asking(_)) { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        PollFd::new(self.socket.as_fd(), events)
    }

    /// Takes in or gives out what goes without waiting; `false` when it is over.
    pub fn go_on(&mut self) -> bool {
        match &mut self.stage {
            Stage::Asking(line) => {
                let mut bytes = [0; limits::REQUEST];
                match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                    Ok(0) => false,
                    Ok(n) => {
                        line.extend_from_slice(bytes.get(..n).unwrap_or_default());
                        true
                    }
                    Err(error) => is_later(error),
                }
            }
            Stage::Asked => true,
            Stage::Answering(answer, sent) => {
                let rest = answer.get(*sent..).unwrap_or_default();
                match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                    Ok(n) => {
                        *sent += n;
                        *sent < answer.len()
                    }
                    Err(error) => is_later(error),
                }
            }
        }
    }

    /// What is asked, once, as soon as the line is whole; one that is too long is wrong.
    pub fn request(&mut self) -> Option<Result<Request, String>> {
        let Stage::Asking(line) = &self.stage else { return None };
        let end =
            line.iter().position(|byte| *byte == b'\n').or((line.len() >= limits::REQUEST).then_some(line.len()))?;
        let text = String::from_utf8_lossy(line.get(..end)?);
        let request = text.trim_end_matches('\r').parse();
        self.stage = Stage::Asked;
        Some(request)
    }

    /// Begins to send the answer; `false` when that is all.
    pub fn answer(&mut self, text: &str) -> bool {
        self.stage = Stage::Answering(format!("{text}\n").into_bytes(), 0);
        self.go_on()
    }
}

fn is_later(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::EINTR)
}
