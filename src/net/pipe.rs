//! A pipe between a socket and a file: the pages of a body go through it within the kernel, and no byte of them comes into this process
//! (splice(2)).

use super::wait::Cut;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bytes that a pipe holds, the most that an ordinary user may ask for (pipe(7)). One of 64 KiB, as they are at first, costs as many
/// calls as reading and writing does, and is no faster.
const ROOM: usize = 1 << 20;

/// Bytes from which on a pipe is worth while: fewer are copied in less time than its calls take.
const WORTH: usize = 64 * 1024;

/// Bytes that are copied at once where a file cannot be spliced to.
const COPY: usize = 64 * 1024;

/// A pipe. Between two calls of [`Pipe::pour`] it holds what has been drawn.
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
    /// Whether the kernel has said that it cannot go this way.
    useless: bool,
}

impl Pipe {
    /// A pipe; `None` where none can be had: no descriptors, or too much in pipes already. Copying is always possible.
    pub fn open() -> Option<Pipe> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC).ok()?;
        fcntl(&into, FcntlArg::F_SETPIPE_SZ(ROOM as i32)).ok()?;
        Some(Pipe { out, into, held: 0, useless: false })
    }

    /// Whether `count` bytes should go this way.
    pub(super) fn is_worth(&self, count: usize) -> bool {
        count >= WORTH && !self.useless
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes up to `count` bytes from a socket that does not block, as many as are there; `None` if there are none, or if this cannot be
    /// done, after which it is worth nothing. The socket's end is 0 bytes.
    pub(super) fn draw(&mut self, socket: BorrowedFd, count: usize) -> Result<Option<usize>, Cut> {
        loop {
            match splice(socket, None, &self.into, None, count.min(ROOM - self.held), SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(n) => {
                    self.held += n;
                    return Ok(Some(n));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    self.useless = true;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
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
