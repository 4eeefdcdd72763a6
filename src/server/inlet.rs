//! Records in: the end of a socket on which the kernel names the sender of each.

use crate::proto::limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Pid;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What a process reads records from, until nobody is left who could send any.
pub struct Inlet(Option<OwnedFd>);

impl Inlet {
    /// Reads from `socket`, which asks for its senders' credentials (`SO_PASSCRED`).
    pub fn new(socket: OwnedFd) -> Self {
        Inlet(Some(socket))
    }

    /// What to poll for input; nothing once everybody has gone.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.0.as_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
    }

    /// Takes what has come, but no more than [`limits::LOG_TURN`]: who sent it, and what `decode` makes of it.
    pub fn take<R>(&mut self, buffer: &mut [u8], decode: impl Fn(&[u8]) -> Option<R>) -> Result<Vec<(Pid, R)>, Errno> {
        let mut taken = Vec::new();
        let mut left = limits::LOG_TURN;
        while let (Some(socket), true) = (&self.0, left > 0) {
            match receive(socket, buffer) {
                Ok(Some((sender, length))) => {
                    left = left.saturating_sub(length + limits::LOG_RECORD);
                    let record = buffer.get(..length).and_then(&decode);
                    taken.extend(record.map(|record| (sender, record)));
                }
                Ok(None) => self.0 = None,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

/// Receives one record: its sender and its length. `None` when nobody is left to send.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<(Pid, usize)>> {
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
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
}
