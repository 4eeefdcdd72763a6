//! A pipe between a socket and a file: the pages of a body go through it within the kernel, and no byte of them comes into this process
//! (splice(2)).

use super::wait::Cut;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bytes of room while a body goes through. With 64 KiB, as pipes have at first, there are as many calls as with reading and writing, and
/// nothing is won.
const ROOM: i32 = 256 * 1024;

/// Bytes from which on a pipe is worth while: fewer are copied in less time than its calls take.
const WORTH: usize = 16 * 1024;

/// Bytes that are copied at once where a file cannot be spliced to.
const COPY: usize = 64 * 1024;

/// A pipe. It holds what has been drawn and not yet poured.
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
    /// Whether the kernel has said that it cannot go this way.
    useless: bool,
}

impl Pipe {
    /// A new pipe; `None` where there are no descriptors for one, or too much in pipes already. Copying is always possible.
    pub fn open() -> Option<Pipe> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC).ok()?;
        // All of a user's pipes together have a limit (pipe(7)).
        fcntl(&into, FcntlArg::F_SETPIPE_SZ(ROOM)).ok()?;
        Some(Pipe { out, into, held: 0, useless: false })
    }

    /// Whether `count` bytes should go this way.
    pub(super) fn is_worth(&self, count: usize) -> bool {
        count >= WORTH && !self.useless
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes up to `count` bytes from a socket that does not block, as many as are there; `None` if there are none, or if this cannot be
    /// done, after which it is worth nothing. The socket's end is 0 bytes.
    pub(super) fn draw(&mut self, socket: BorrowedFd, count: usize) -> Result<Option<usize>, Cut> {
        while !self.useless {
            match splice(socket, None, &self.into, None, count, SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(n) => {
                    self.held += n;
                    return Ok(Some(n));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINVAL | Errno::ENOSYS) => self.useless = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Writes all that it holds to `file`, where that stands.
    pub fn pour(&mut self, file: &File) -> io::Result<()> {
        while self.held > 0 {
            match splice(&self.out, None, file, None, self.held, SpliceFFlags::empty()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.held -= n,
                Err(Errno::EINTR) => {}
                // A file system that cannot.
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    self.useless = true;
                    self.copy(file)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The same by way of this process.
    fn copy(&mut self, mut file: &File) -> io::Result<()> {
        let mut buffer = vec![0; COPY];
        while self.held > 0 {
            let room = self.held.min(COPY);
            match read(&self.out, &mut buffer[..room]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.held -= n;
                    file.write_all(&buffer[..n])?;
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;

    fn sockets() -> (File, OwnedFd) {
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_NONBLOCK).unwrap();
        (pair.0.into(), pair.1)
    }

    #[test]
    fn what_arrives_goes_into_the_file_where_that_stands() {
        let (mut peer, socket) = sockets();
        let (mut pipe, mut file) = (Pipe::open().unwrap(), tempfile::tempfile().unwrap());
        file.write_all(b"before ").unwrap();
        assert_eq!(pipe.draw(socket.as_fd(), 100).unwrap(), None);
        assert!(pipe.is_worth(WORTH) && !pipe.is_worth(WORTH - 1));
        peer.write_all(b"hello and more").unwrap();
        assert_eq!((pipe.draw(socket.as_fd(), 5).unwrap(), pipe.held()), (Some(5), 5));
        pipe.pour(&file).unwrap();
        drop(peer);
        assert_eq!(pipe.draw(socket.as_fd(), 100).unwrap(), Some(9));
        pipe.pour(&file).unwrap();
        assert_eq!((pipe.draw(socket.as_fd(), 100).unwrap(), pipe.is_empty()), (Some(0), true));
        file.rewind().unwrap();
        let mut all = String::new();
        file.read_to_string(&mut all).unwrap();
        assert_eq!(all, "before hello and more");
    }

    #[test]
    fn a_file_that_cannot_be_spliced_to_is_written_to_and_the_pipe_not_used_again() {
        let (mut peer, socket) = sockets();
        let (mut pipe, named) = (Pipe::open().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let only_appended = File::options().append(true).open(named.path()).unwrap(); // EINVAL (splice(2))
        let bytes: Vec<u8> = (0..3 * COPY / 2).map(|n| n as u8).collect();
        peer.write_all(&bytes).unwrap();
        while pipe.held() < bytes.len() {
            pipe.draw(socket.as_fd(), bytes.len()).unwrap().unwrap();
        }
        pipe.pour(&only_appended).unwrap();
        assert_eq!(std::fs::read(named.path()).unwrap(), bytes);
        assert!(!pipe.is_worth(bytes.len()) && pipe.is_empty());
    }

    #[test]
    fn what_cannot_be_spliced_from_makes_it_useless_and_is_no_error() {
        let (dir, mut pipe) = (File::open("/").unwrap(), Pipe::open().unwrap());
        assert_eq!(pipe.draw(dir.as_fd(), 100).unwrap(), None);
        assert!(!pipe.is_worth(WORTH));
    }
}
