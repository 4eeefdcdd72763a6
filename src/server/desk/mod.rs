//! The operator's desk: what `dfos-forkd status`, `kick` and `drain` ask of a running server, over a Unix socket that nobody else can
//! open. One connection, one line, one answer: a JSON object, and the end.
//!
//! The listener serves it from its own loop and waits for nobody: a few visits at a time, each with a deadline, each holding no more than
//! one line and one answer.

pub mod answer;
pub mod ask;
pub mod place;
pub mod request;
mod visit;

use crate::proto::limits;
use crate::sys::accept::accept;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Uid;
pub use request::Request;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use visit::Visit;

/// How long nobody is let in after that has failed, for want of descriptors as a rule.
const REST: Duration = Duration::from_millis(200);

/// The listener's side of the control socket.
#[derive(Default)]
pub struct Desk {
    /// Where somebody may come; `None` where there is no control socket.
    door: Option<Door>,
    visits: Vec<Visit>,
    rest_until: Option<Instant>,
    /// Whether the last wait has found anything to do here.
    pub woken: bool,
}

/// A socket that listens, and for whom.
pub struct Door {
    socket: OwnedFd,
    path: PathBuf,
    /// Who may come beside root: who has started the server.
    operator: Uid,
}

impl Door {
    /// A socket that listens already.
    pub fn resume(socket: OwnedFd, path: &str, operator: Uid) -> Self {
        Door { socket, path: path.into(), operator }
    }
}

/// Somebody who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

impl From<Option<Door>> for Desk {
    fn from(door: Option<Door>) -> Self {
        Desk { door, ..Desk::default() }
    }
}

impl Desk {
    /// The socket, where it lies and for whom, to be handed over.
    pub fn door(&self) -> Option<(BorrowedFd<'_>, &Path, Uid)> {
        self.door.as_ref().map(|door| (door.socket.as_fd(), door.path.as_path(), door.operator))
    }

    /// What to poll.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let door = self.door.iter().filter(|_| self.rest_until.is_none());
        let door = door.map(|door| PollFd::new(door.socket.as_fd(), PollFlags::POLLIN));
        door.chain(self.visits.iter().map(Visit::poll_fd))
    }

    /// When something is due though nothing may come.
    pub fn due(&self) -> Option<Instant> {
        self.visits.iter().map(|visit| visit.deadline).chain(self.rest_until).min()
    }

    /// Lets in who knocks, takes in and gives out what goes without waiting, and sends away who has had time enough. Returns what is
    /// asked, or what is wrong with that.
    pub fn turn(&mut self, now: Instant) -> Vec<(Ticket, Result<Request, String>)> {
        let due = self.due().is_some_and(|due| due <= now);
        if !std::mem::take(&mut self.woken) && !due {
            return Vec::new();
        }
        self.rest_until = self.rest_until.filter(|until| *until > now);
        self.let_in(now);
        self.visits.retain_mut(|visit| now < visit.deadline && visit.go_on());
        self.visits.iter_mut().filter_map(|visit| Some((Ticket(visit.number), visit.request()?))).collect()
    }

    /// Gives somebody an answer, and begins to send it.
    pub fn answer(&mut self, to: Ticket, text: String) {
        self.visits.retain_mut(|visit| visit.number != to.0 || visit.answer(&text));
    }

    fn let_in(&mut self, now: Instant) {
        let Some(door) = self.door.as_ref().filter(|_| self.rest_until.is_none()) else { return };
        let socket = match accept(door.socket.as_fd()) {
            Ok(socket) => socket,
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ECONNABORTED) => return,
            Err(_) => {
                self.rest_until = Some(now + REST);
                return;
            }
        };
        // The file's mode has kept everybody else out already, unless somebody has changed it.
        let uid = getsockopt(&socket, sockopt::PeerCredentials).map(|who| Uid::from_raw(who.uid()));
        if !uid.is_ok_and(|uid| uid.is_root() || uid == door.operator) {
            return;
        }
        if self.visits.len() >= limits::VISITS {
            self.visits.remove(0); // who has just come is more likely to be there
        }
        let number = self.visits.last().map_or(0, |last| last.number + 1);
        self.visits.push(Visit::new(number, socket, now + limits::VISIT));
    }

    /// Ends it for good: nobody is let in, and the socket's name goes where that is possible. Not for a forked child, which only drops it.
    pub fn close(&mut self) {
        if let Some(door) = self.door.take() {
            let _ = std::fs::remove_file(&door.path); // root's directory, and root has been left
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn desk() -> (tempfile::TempDir, Desk) {
        let dir = tempfile::tempdir().unwrap();
        let door = place::open(&dir.path().join("own/socket"), Uid::effective()).unwrap();
        (dir, Desk::from(Some(door)))
    }

    fn turn(desk: &mut Desk, now: Instant) -> Vec<(Ticket, Result<Request, String>)> {
        desk.woken = true;
        desk.turn(now)
    }

    #[test]
    fn a_line_is_taken_in_pieces_and_answered_once() {
        let (dir, mut desk) = desk();
        let now = Instant::now();
        let mut operator = UnixStream::connect(dir.path().join("own/socket")).unwrap();
        for piece in ["STA", "TUS"] {
            operator.write_all(piece.as_bytes()).unwrap();
            assert_eq!(turn(&mut desk, now), []);
        }
        operator.write_all(b"\nDRAIN\n").unwrap();
        let asked = turn(&mut desk, now);
        assert!(matches!(asked[..], [(_, Ok(Request::Status))]), "{asked:?}");
        let long = "x".repeat(1 << 20);
        desk.answer(asked[0].0, long.clone());
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            operator.read_to_string(&mut text).unwrap();
            text
        });
        while !desk.visits.is_empty() {
            assert_eq!(turn(&mut desk, now), []);
        }
        assert!(reader.join().unwrap() == long + "\n");
    }

    #[test]
    fn who_keeps_still_goes_in_time_and_many_leave_room_for_one_more() {
        let (dir, mut desk) = desk();
        let now = Instant::now();
        let connect = || UnixStream::connect(dir.path().join("own/socket")).unwrap();
        let mut still: Vec<_> = (0..3 * limits::VISITS)
            .map(|_| {
                let one = connect();
                turn(&mut desk, now);
                one
            })
            .collect();
        assert_eq!(desk.visits.len(), limits::VISITS);
        let mut late = connect();
        late.write_all(b"STATUS\n").unwrap();
        assert_eq!(turn(&mut desk, now).len(), 1);
        desk.woken = false;
        assert_eq!(desk.turn(now + limits::VISIT), []);
        assert!(desk.visits.is_empty() && desk.due().is_none());
        assert_eq!(still[0].read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn rubbish_is_answered_and_a_line_without_an_end_is_not_read_for_ever() {
        for rubbish in
            [&b"\n"[..], b"STATUS now\n", b"KICK\n", b"KICK user a b\n", b"\xff\n", b"DRAIN x\n", &[b'x'; 10_000]]
        {
            let (dir, mut desk) = desk();
            let mut operator = UnixStream::connect(dir.path().join("own/socket")).unwrap();
            operator.write_all(rubbish).unwrap();
            let asked = turn(&mut desk, Instant::now());
            assert!(matches!(asked[..], [(_, Err(_))]), "{asked:?}");
        }
    }

    #[test]
    fn somebody_else_is_not_heard_even_where_the_mode_would_let_them() {
        let (dir, mut desk) = desk();
        let door = desk.door.as_mut().unwrap();
        let mine = std::mem::replace(&mut door.operator, Uid::from_raw(12_345));
        let mut stranger = UnixStream::connect(dir.path().join("own/socket")).unwrap();
        stranger.write_all(b"STATUS\n").unwrap();
        assert_eq!(turn(&mut desk, Instant::now()).len(), usize::from(mine.is_root()));
    }
}
