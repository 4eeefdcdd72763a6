//! A piece of a file on its way out: within the kernel in plain text (sendfile(2)), through this process where TLS must encrypt it.

use super::Wire;
use crate::net::wait::{Cut, Until};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use std::io;
use std::os::fd::BorrowedFd;

/// Bytes of a file that are read at once to be sent: several TLS records, and still in the processor's cache when they are encrypted.
const PIECE: usize = 128 * 1024;

/// Why [`Wire::send_file`] stopped.
#[derive(Debug)]
enum SendFile {
    /// The connection.
    Cut(Cut),
    /// The file could not be read.
    File(Errno),
}

impl From<Cut> for SendFile {
    fn from(cut: Cut) -> Self {
        SendFile::Cut(cut)
    }
}

impl Wire {
    /// Sends `count` bytes of `file` from `*offset` on, which have been announced, after what is queued. What the file does not give is
    /// filled with zeros. How many bytes were good, and why not all of them.
    pub fn send_piece(
        &mut self,
        file: BorrowedFd,
        offset: &mut i64,
        count: usize,
        until: Until,
    ) -> Result<(usize, Option<io::Error>), Cut> {
        let mut good = 0;
        while good < count {
            let trouble = match self.send_file(file, offset, count - good, until) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    good += n;
                    continue;
                }
                Err(SendFile::File(errno)) => errno.into(),
                Err(SendFile::Cut(cut)) => return Err(cut),
            };
            let zeros = [0; 4096];
            for at in (good..count).step_by(zeros.len()) {
                self.send(&zeros[..zeros.len().min(count - at)], until)?;
            }
            return Ok((good, Some(trouble)));
        }
        Ok((good, None))
    }

    /// Sends up to `count` bytes of `file` from `*offset` on, after what is queued; without TLS they are not copied through this
    /// process. Moves `*offset`; returns how many bytes went, 0 if the file ends there.
    fn send_file(&mut self, file: BorrowedFd, offset: &mut i64, count: usize, until: Until) -> Result<usize, SendFile> {
        if self.tls.is_some() {
            return self.send_copied(file, offset, count, until);
        }
        let output = std::mem::take(&mut self.output);
        let announced = self.send_before(&output, more(), until);
        self.output = output;
        self.output.clear();
        announced?;
        loop {
            match nix::sys::sendfile::sendfile64(&self.socket, file, Some(offset), count) {
                Ok(n) => {
                    self.outgoing.moved(n);
                    return Ok(n);
                }
                Err(Errno::EAGAIN) => self.wait_writable(until)?,
                Err(Errno::EINTR) => {}
                // A file system that cannot: the bytes take the way through this process.
                Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                    return self.send_copied(file, offset, count, until);
                }
                Err(error @ (Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::ETIMEDOUT)) => {
                    return Err(SendFile::Cut(error.into()));
                }
                Err(error) => return Err(SendFile::File(error)),
            }
        }
    }

    /// Reads a piece of `file` and sends it, in one go with what is queued before it.
    fn send_copied(
        &mut self,
        file: BorrowedFd,
        offset: &mut i64,
        count: usize,
        until: Until,
    ) -> Result<usize, SendFile> {
        let mut piece = std::mem::take(&mut self.piece);
        let sent = self.read_and_send(file, offset, count.min(PIECE), &mut piece, until);
        self.piece = piece;
        sent
    }

    fn read_and_send(
        &mut self,
        file: BorrowedFd,
        offset: &mut i64,
        count: usize,
        piece: &mut Vec<u8>,
        until: Until,
    ) -> Result<usize, SendFile> {
        let head = self.output.len();
        if piece.len() < head + count {
            piece.resize(head + count, 0);
        }
        piece[..head].copy_from_slice(&self.output);
        let n = loop {
            match nix::sys::uio::pread(file, &mut piece[head..head + count], *offset) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(SendFile::File(error)),
                Ok(n) => break n,
            }
        };
        self.output.clear();
        self.send_all(&piece[..head + n], until)?;
        *offset += n as i64;
        Ok(n)
    }
}

/// MSG_MORE of send(2), which nix does not name.
fn more() -> MsgFlags {
    MsgFlags::from_bits_retain(nix::libc::MSG_MORE)
}
