//! Records in: the end of a socket on which the kernel names the sender of each.

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

    /// Takes what has come: who sent it, and what `decode` makes of it.
    pub fn take<R>(&mut self, buffer: &mut [u8], decode: impl Fn(&[u8]) -> Option<R>) -> Result<Vec<(Pid, R)>, Errno> {
        let mut taken = Vec::new();
        while let Some(socket) = &self.0 {
            match receive(socket, buffer) {
                Ok(Some((sender, length))) => {
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
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, send, setsockopt, socketpair, sockopt};

    #[test]
    fn the_kernel_names_the_sender_and_an_empty_record_is_no_end() {
        let (mouth, ear) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        setsockopt(&ear, sockopt::PassCred, &true).unwrap();
        let mut inlet = Inlet::new(ear);
        for record in [&b"hello"[..], b"", b"world"] {
            send(mouth.as_raw_fd(), record, MsgFlags::MSG_DONTWAIT).unwrap();
        }
        let mut take = || inlet.take(&mut [0; 100], |bytes| Some(bytes.to_vec())).unwrap();
        let taken: Vec<_> = [&b"hello"[..], b"", b"world"].map(|record| (Pid::this(), record.to_vec())).into();
        assert_eq!(take(), taken);
        drop(mouth);
        assert_eq!(take(), []);
        assert!(inlet.poll_fd().is_none());
    }
}
