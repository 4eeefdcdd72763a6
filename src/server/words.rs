//! What a session says to the listener: who has logged in, and that its user asks for another password. It goes over a socket on which
//! the kernel names the sender, so no session can speak for another. The first is believed once; the second proves itself to a helper.
//!
//! All sessions share the socket, so each says few words in its life: more is the sign of one that was taken over.

use super::inlet;
use crate::auth::{Change, UserName};
use crate::net::{Cut, Until, Waiter};
use crate::proto::limits;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socketpair, sockopt};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest word: `P`, the longest verifier, a space and a proof. What is cut off of a longer record makes it none.
const LONGEST: usize = 320;

/// When saying something is tried again for which the kernel had no memory.
const AGAIN: Duration = Duration::from_millis(20);

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// This user has logged in.
    LoggedIn(UserName),
    /// The user asks for another password, with both words of the request. They are overwritten when dropped: what lies about in the
    /// listener's memory every later session inherits.
    Password(Zeroizing<String>),
}

/// The end that every session inherits, and closes after the login where its user may not change the password.
pub struct Mouth(OwnedFd);

/// The listener's end.
pub struct Ears(OwnedFd);

/// Makes both ends.
pub fn socket() -> io::Result<(Mouth, Ears)> {
    let (mouth, ears) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ears, sockopt::PassCred, &true)?;
    Ok((Mouth(mouth), Ears(ears)))
}

/// Both ends, as another program left them: what has been said and not been heard is still in them.
pub fn resume(mouth: OwnedFd, ears: OwnedFd) -> (Mouth, Ears) {
    (Mouth(mouth), Ears(ears))
}

impl Mouth {
    /// The socket, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Says that `user` has logged in. Waits while the listener has much to hear: a session that it takes for a stranger would be
    /// sent away.
    pub fn logged_in(&self, user: &UserName, waiter: &mut Waiter) -> Result<(), Cut> {
        self.say(&format!("L{user}"), waiter)
    }

    /// Asks for another password.
    pub fn password(&self, change: &Change, waiter: &mut Waiter) -> Result<(), Cut> {
        self.say(&Zeroizing::new(format!("P{}", *change.words())), waiter)
    }

    fn say(&self, word: &str, waiter: &mut Waiter) -> Result<(), Cut> {
        let until = Until::within(limits::OBEDIENCE);
        loop {
            match send(self.0.as_raw_fd(), word.as_bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => drop(waiter.wait(self.0.as_fd(), PollFlags::POLLOUT, until)?),
                // Short of memory for a moment.
                Err(Errno::ENOBUFS | Errno::ENOMEM) if !until.is_over() => waiter.sleep(AGAIN)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Ears {
    /// What to poll for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// What has been said, but no more of it than leaves time for other work. `None` is what no session says.
    pub fn hear(&self) -> Vec<(Pid, Option<Word>)> {
        let mut buffer = Zeroizing::new([0; LONGEST]);
        let mut heard = Vec::new();
        for _ in 0..limits::WORDS {
            match inlet::receive(&self.0, &mut *buffer) {
                Ok(Some((sender, length))) => heard.push((sender, word_of(buffer.get(..length).unwrap_or_default()))),
                _ => break,
            }
        }
        heard
    }
}

fn word_of(bytes: &[u8]) -> Option<Word> {
    let text = std::str::from_utf8(bytes).ok()?;
    match text.strip_prefix('L') {
        Some(name) => name.parse().ok().map(Word::LoggedIn),
        None => text.strip_prefix('P').map(|words| Word::Password(Zeroizing::new(words.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_told_with_the_senders_name_and_rubbish_is_not() {
        let (mouth, ears) = socket().unwrap();
        let rubbish = [&b""[..], b"L", b"Lroot:x", b"Calice", b"L\xff", &[b'L'; 1000]];
        for record in rubbish {
            send(mouth.0.as_raw_fd(), record, MsgFlags::MSG_DONTWAIT).unwrap();
        }
        let user: UserName = "alice".parse().unwrap();
        Mouth(mouth.0.try_clone().unwrap()).logged_in(&user, &mut Waiter::deaf()).unwrap();
        let mut heard = vec![(Pid::this(), None); rubbish.len()];
        heard.push((Pid::this(), Some(Word::LoggedIn(user))));
        assert_eq!(ears.hear(), heard);
        assert_eq!(ears.hear(), []);
    }

    #[test]
    fn a_flood_of_words_is_heard_in_parts() {
        let (mouth, ears) = socket().unwrap();
        let flood = || send(mouth.0.as_raw_fd(), b"Lalice", MsgFlags::MSG_DONTWAIT);
        let sent = std::iter::from_fn(|| flood().ok()).count();
        assert!(sent > limits::WORDS, "{sent}");
        assert_eq!(ears.hear().len(), limits::WORDS);
    }
}
