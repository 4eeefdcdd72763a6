//! Records in: the end of a socket on which the kernel names the sender of each.

use crate::proto::limits;
use crate::sys::peek::{bytes_waiting, walk_on};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg};
use nix::unistd::Pid;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What a process reads records from, until nobody is left who could send any.
pub struct Inlet {
    socket: Option<OwnedFd>,
    /// Whether records stay where they are until what is made of them is safe ([`Inlet::done`]).
    keeps: bool,
    /// How many were taken of those that leave the queue later, and how many of them have left it.
    taken: u64,
    left: u64,
    /// Of a record that is longer than any should be: its end is still to be passed over.
    within: bool,
}

impl Inlet {
    /// Reads from `socket`, which asks for its senders' credentials (`SO_PASSCRED`).
    pub fn new(socket: OwnedFd) -> Self {
        Inlet { socket: Some(socket), keeps: false, taken: 0, left: 0, within: false }
    }

    /// The same, but what is taken leaves the queue only when it is [`done`](Self::done): whoever reads after this process has been killed
    /// finds it again. Where the kernel cannot do that, it leaves at once.
    pub fn keeping(socket: OwnedFd) -> Self {
        let keeps = walk_on(socket.as_fd()).is_ok();
        Inlet { keeps, ..Inlet::new(socket) }
    }

    /// Whether nobody is left who could send.
    pub fn is_over(&self) -> bool {
        self.socket.is_none()
    }

    /// What to poll for input; nothing once everybody has gone, nor while what has been taken is still there.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let socket = self.socket.as_ref().filter(|_| self.taken == self.left);
        socket.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
    }

    /// Takes what has come, but no more than [`limits::LOG_TURN`]: who sent it, and what `decode` makes of it.
    pub fn take<R>(&mut self, buffer: &mut [u8], decode: impl Fn(&[u8]) -> Option<R>) -> Result<Vec<(Pid, R)>, Errno> {
        let mut taken = Vec::new();
        let (mut left, mut hung_up) = (limits::LOG_TURN, false);
        let flags = if self.keeps { MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC } else { MsgFlags::empty() };
        while let (Some(socket), true) = (&self.socket, left > 0) {
            match receive_with(socket, buffer, flags) {
                Ok(Some((sender, length))) => {
                    left = left.saturating_sub(length.min(buffer.len()) + limits::LOG_RECORD);
                    let is_rest = self.within;
                    // What is cut off of a record that was only looked at is what the next look finds.
                    self.within = self.keeps && length > buffer.len();
                    self.taken += u64::from(self.keeps && !self.within && length > 0);
                    let bytes = buffer.get(..length.min(buffer.len())).filter(|_| !is_rest);
                    taken.extend(bytes.and_then(&decode).map(|record| (sender, record)));
                }
                // The last record may have come, and its sender gone, between the look that found none and the one that found nobody.
                Ok(None) if !hung_up => hung_up = true,
                Ok(None) => self.socket = None,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// The place in the queue of what is taken next, for [`done`](Self::done).
    pub fn place(&self) -> u64 {
        self.taken
    }

    /// What has been taken before this place is safe, and leaves the queue. Empty records, which are worth nothing, do not count: the kernel
    /// shows one that somebody has looked at before to nobody else.
    pub fn done(&mut self, place: u64) {
        let Some(socket) = self.socket.as_ref().filter(|_| self.keeps) else { return };
        while self.left < place.min(self.taken) || is_empty(socket) {
            match recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) | Ok(0) => {}
                _ => self.left += 1,
            }
        }
    }
}

/// Whether nothing but empty records waits.
fn is_empty(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let waits = poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].revents() == Some(PollFlags::POLLIN);
    waits && bytes_waiting(socket.as_fd()).is_ok_and(|bytes| bytes == 0)
}

/// Receives one record: its sender and its length. `None` when nobody is left to send.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<(Pid, usize)>> {
    receive_with(socket, buffer, MsgFlags::empty())
}

fn receive_with(socket: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<Option<(Pid, usize)>> {
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let sender = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmCredentials(who) => Some(Pid::from_raw(who.pid())),
        _ => None,
    });
    match (message.bytes, sender) {
        (0, _) if hung_up(socket) => Ok(None),
        (length, Some(sender)) => Ok(Some((sender, length))),
        (_, None) => Err(Errno::EAGAIN),
    }
}

/// Whether the other end is closed everywhere: an empty record alone does not say so, any session can send one.
fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::record::LARGEST;
    use nix::sys::socket::send;
    use std::cell::Cell;

    fn pair() -> (OwnedFd, Inlet) {
        let (mouth, ear) = crate::server::scribe::way().unwrap();
        (mouth, Inlet::new(ear))
    }

    fn say(mouth: &OwnedFd, record: &[u8]) -> nix::Result<usize> {
        send(mouth.as_raw_fd(), record, MsgFlags::MSG_DONTWAIT)
    }

    #[test]
    fn the_kernel_names_the_sender_and_an_empty_record_is_no_end() {
        let (mouth, mut inlet) = pair();
        for record in [&b"hello"[..], b"", b"world"] {
            say(&mouth, record).unwrap();
        }
        let mut take = || inlet.take(&mut [0; 100], |bytes| Some(bytes.to_vec())).unwrap();
        let taken: Vec<_> = [&b"hello"[..], b"", b"world"].map(|record| (Pid::this(), record.to_vec())).into();
        assert_eq!(take(), taken);
        drop(mouth);
        assert_eq!(take(), []);
        assert!(inlet.poll_fd().is_none());
    }

    #[test]
    fn what_is_there_is_taken_at_once_and_a_flood_in_parts() {
        for length in [0, 1, 1000, LARGEST] {
            let (mouth, mut inlet) = pair();
            let record = vec![b'x'; length];
            let there = std::iter::from_fn(|| say(&mouth, &record).ok()).count();
            assert!(there >= 5, "{there} of {length} bytes");
            let taken = inlet.take(&mut vec![0; LARGEST], |_| Some(())).unwrap().len();
            assert_eq!(taken, there, "of {length} bytes");
            // For each that is taken another comes.
            let sent = Cell::new(0);
            let pour = |_: &[u8]| {
                sent.set(sent.get() + 1);
                if sent.get() < 10_000 {
                    say(&mouth, &record).unwrap();
                }
                Some(())
            };
            say(&mouth, &record).unwrap();
            let taken = inlet.take(&mut vec![0; LARGEST], pour).unwrap().len();
            assert!(taken <= limits::LOG_TURN / (length + limits::LOG_RECORD) + 1, "{taken} of {length} bytes");
        }
    }

    fn is_readable(inlet: &Inlet) -> bool {
        poll(&mut [inlet.poll_fd().unwrap()], PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn what_is_kept_is_found_by_whoever_reads_next_until_it_is_done() {
        let (mouth, ear) = crate::server::scribe::way().unwrap();
        let other = ear.try_clone().unwrap();
        let mut first = Inlet::keeping(ear);
        assert!(first.keeps);
        let take = |inlet: &mut Inlet| -> Vec<usize> {
            let taken = inlet.take(&mut [0; 100], |bytes| Some(bytes.len())).unwrap();
            taken.into_iter().map(|(_, length)| length).collect()
        };
        // Among them one that is longer than any should be, and empty ones, which say nothing.
        for length in [1, 250, 0, 3, 0] {
            say(&mouth, &vec![b'x'; length]).unwrap();
        }
        assert_eq!(take(&mut first), [1, 100, 0, 3, 0]);
        assert_eq!(take(&mut first), [0; 0], "nothing is taken twice");
        say(&mouth, b"four").unwrap();
        assert_eq!(take(&mut first), [4]);
        drop(first);
        let mut second = Inlet::keeping(other);
        assert_eq!(take(&mut second), [1, 100, 3, 4]);
        assert!(second.poll_fd().is_none());
        second.done(2);
        let mut third = Inlet::keeping(second.socket.take().unwrap());
        assert_eq!(take(&mut third), [3, 4], "only what is safe has left");
        third.done(third.place());
        second = third;
        assert!(!is_readable(&second), "nor an empty one is left");
        say(&mouth, b"fifth").unwrap();
        assert!(second.poll_fd().is_some());
        assert_eq!(take(&mut second), [5]);
        second.done(second.place());
        assert_eq!(take(&mut second), [0; 0]);
        drop(mouth);
        assert_eq!(take(&mut second), [0; 0]);
        assert!(second.is_over());
    }
}
