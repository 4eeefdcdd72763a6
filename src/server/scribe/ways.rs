//! The two ways to the scribe: one of the listener's own, one that all sessions share.

use crate::proto::limits;
use crate::server::level::Level;
use crate::server::record::Log;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The sending ends of both ways to the scribe.
pub struct Ways {
    /// The listener's own: no session can fill it, and what is said here of sessions is believed.
    pub listener: Log,
    /// The one that all sessions share.
    pub sessions: Log,
}

/// The ends that a scribe reads. The listener keeps them too, so that nothing is lost between one scribe and the next.
pub struct Ends {
    pub(super) listener: OwnedFd,
    pub(super) sessions: OwnedFd,
}

impl Ends {
    /// The same, for a scribe.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Ends { listener: self.listener.try_clone()?, sessions: self.sessions.try_clone()? })
    }

    /// The listener's and the sessions', to be handed over.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.listener.as_fd(), self.sessions.as_fd()]
    }
}

/// Both ways, and their ends, as another program left them: what has been said and not been read is still in them.
pub fn resume(mouths: [OwnedFd; 2], ends: [OwnedFd; 2], level: Level) -> (Ways, Ends) {
    let [listener, sessions] = mouths.map(|socket| Log::new(Arc::new(socket.into()), level));
    let [heard, read] = ends;
    (Ways { listener, sessions }, Ends { listener: heard, sessions: read })
}

/// Makes the two ways to the scribe, for lines that matter as much as `level`.
pub fn ways(level: Level) -> io::Result<(Ways, Ends)> {
    let ((listener, heard), (sessions, read)) = (way()?, way()?);
    let log = |socket: OwnedFd| Log::new(Arc::new(socket.into()), level);
    Ok((Ways { listener: log(listener), sessions: log(sessions) }, Ends { listener: heard, sessions: read }))
}

/// One way to the scribe: the end to send to, and the end to read.
pub(in crate::server) fn way() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mouth, ear) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&mouth, sockopt::SndBuf, &(limits::LOG_QUEUE / 2))?; // the kernel doubles it
    setsockopt(&ear, sockopt::PassCred, &true)?;
    Ok((mouth, ear))
}
