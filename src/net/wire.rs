//! One connection: lines and bodies in, answers and bodies out, in plain text or in TLS. The socket never blocks by itself; all
//! waiting is [`Waiter::wait`].

use super::inbox::Inbox;
use super::pace::Pace;
use super::tls::{Need, Tls};
use super::wait::{Cut, Until, Waiter};
use crate::proto::{limits, line};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Bytes of input held at once; at least a line.
const INPUT: usize = 2 * limits::LINE;
/// So much of a body at once is a part of more: what follows is a short line and the next piece, which is not to be copied twice.
const BULK: usize = 32 * 1024;
/// Bytes in which that line fits.
const SHORT: usize = 128;
/// Bytes of a file that are read at once to be sent: several TLS records, and still in the processor's cache when they are encrypted.
const PIECE: usize = 128 * 1024;
/// Memory for output that a connection keeps when it rests.
const LITTLE: usize = 4096;
/// Answers that a client holds unread before it takes the server for mad: some 100,000 lines.
const CLIENT_INPUT: usize = 16 << 20;

/// Which end this is: a server stops reading while its answers stand unread, a client reads while it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Reads only when it does not send.
    Server,
    /// Reads at any time, so that the two ends never wait for each other to read.
    Client,
}

/// What an attempt to read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// There are more bytes than before.
    More,
    /// The peer has sent nothing more so far.
    Nothing,
}

/// A connection with its buffers.
pub struct Wire {
    socket: OwnedFd,
    /// `None` in plain text.
    tls: Option<Box<Tls>>,
    side: Side,
    /// Waits for this connection.
    pub waiter: Waiter,
    input: Inbox,
    /// The last bytes read were a large part of a body.
    in_bulk: bool,
    output: Vec<u8>,
    /// Room to read a file into that does not go out within the kernel, made when the first is sent.
    piece: Vec<u8>,
    /// Whether what this end sends is read.
    outgoing: Pace,
    /// Sending broke off within a line or a piece: whatever is sent after it would be taken for the rest.
    torn: bool,
}

impl Wire {
    /// Takes a connected socket, which is made non-blocking.
    pub fn new(socket: OwnedFd, side: Side, waiter: Waiter) -> Result<Self, Cut> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Wire {
            socket,
            tls: None,
            side,
            waiter,
            input: Inbox::default(),
            in_bulk: false,
            output: Vec::new(),
            piece: Vec::new(),
            outgoing: Pace::default(),
            torn: false,
        })
    }

    /// Begins TLS, before anything has been said. All that follows is encrypted.
    pub fn start_tls(&mut self, tls: Tls, until: Until) -> Result<(), Cut> {
        let mut tls = Box::new(tls);
        loop {
            let events = match tls.shake_hands(self.socket.as_fd())? {
                Need::Read => PollFlags::POLLIN,
                Need::Write => PollFlags::POLLOUT,
                Need::Nothing => break,
            };
            self.waiter.wait(self.socket.as_fd(), events, until)?;
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// The TLS of this connection; `None` in plain text.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The socket, to look at and not to read from.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What has been read and not yet taken.
    pub fn buffered(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Drops `n` of the buffered bytes.
    pub fn take(&mut self, n: usize) {
        self.input.take(n);
    }

    /// Overwrites what has been read and taken, wherever it still stands in buffers.
    pub fn forget(&mut self) {
        if let Some(tls) = &mut self.tls {
            // What was decrypted together goes together, once all of it has been handed out.
            while let Some(n) = tls.hand_out(self.input.room(INPUT)) {
                self.input.arrived(n);
            }
            tls.forget();
        }
        self.input.forget();
    }

    /// Reads what has arrived, without waiting.
    pub fn fill(&mut self) -> Result<Filled, Cut> {
        let limit = if self.side == Side::Client { CLIENT_INPUT } else { INPUT };
        let held = self.buffered().len();
        if held >= limit {
            return Err(Cut::Line(line::BadLine::TooLong));
        }
        let most = if std::mem::take(&mut self.in_bulk) { SHORT } else { INPUT.min(limit - held) };
        let room = self.input.room(most);
        match receive(self.socket.as_fd(), self.tls.as_deref_mut(), room)? {
            Some(0) => Err(Cut::Closed),
            Some(n) => {
                self.input.arrived(n);
                Ok(Filled::More)
            }
            None => Ok(Filled::Nothing),
        }
    }

    /// Gives back the memory that the last transfer took: a connection that is idle holds little.
    pub fn rest(&mut self) {
        self.input.shrink();
        if self.output.is_empty() {
            self.output.shrink_to(LITTLE);
        }
        self.piece = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
    }

    /// Waits until there is something to read.
    pub fn wait_readable(&mut self, until: Until) -> Result<(), Cut> {
        self.waiter.wait(self.socket.as_fd(), PollFlags::POLLIN, until).map(drop)
    }

    /// Takes a whole line out of the buffer, if one is there.
    pub fn buffered_line(&mut self) -> Result<Option<String>, Cut> {
        let Some(length) = line::end(self.buffered())? else { return Ok(None) };
        let text = line::text(&self.buffered()[..length]).map(str::to_owned);
        self.take(length);
        Ok(Some(text?))
    }

    /// Reads one line, its ending removed. A line that is malformed but whole has been taken when the error returns.
    pub fn read_line(&mut self, until: Until) -> Result<String, Cut> {
        loop {
            if let Some(line) = self.buffered_line()? {
                return Ok(line);
            }
            if self.fill()? == Filled::Nothing {
                self.wait_readable(until)?;
            }
        }
    }

    /// Reads some bytes of a body into `buffer`, from what is buffered or straight from the socket; `None` if the peer
    /// has sent nothing more so far.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Cut> {
        let held = self.buffered();
        if !held.is_empty() {
            let n = held.len().min(buffer.len());
            buffer[..n].copy_from_slice(&held[..n]);
            self.take(n);
            return Ok(Some(n));
        }
        match receive(self.socket.as_fd(), self.tls.as_deref_mut(), buffer)? {
            Some(0) => Err(Cut::Closed),
            other => {
                self.in_bulk = other.is_some_and(|n| n >= BULK);
                Ok(other)
            }
        }
    }

    /// Adds a line to what will be sent; the ending is added here.
    pub fn queue_line(&mut self, line: impl std::fmt::Display) {
        use std::io::Write;
        let _ = writeln!(self.output, "{line}"); // writing to a Vec cannot fail
    }

    /// Adds bytes to what will be sent.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.output.len()
    }

    /// Sends all that is queued.
    pub fn flush(&mut self, until: Until) -> Result<(), Cut> {
        let output = std::mem::take(&mut self.output);
        let result = self.send_all(&output, until);
        self.output = output;
        self.output.clear();
        result
    }

    /// Sends what is queued, then `bytes`.
    pub fn send(&mut self, bytes: &[u8], until: Until) -> Result<(), Cut> {
        self.flush(until)?;
        self.send_all(bytes, until)
    }

    fn send_all(&mut self, bytes: &[u8], until: Until) -> Result<(), Cut> {
        self.send_before(bytes, MsgFlags::empty(), until)
    }

    /// Sends all of `bytes`; `more` may be MSG_MORE (send(2)): what follows at once goes into the same packet.
    fn send_before(&mut self, bytes: &[u8], more: MsgFlags, until: Until) -> Result<(), Cut> {
        if self.torn {
            return Err(Cut::Closed);
        }
        self.send_on(bytes, more, until).inspect_err(|_| self.torn = true)
    }

    fn send_on(&mut self, mut bytes: &[u8], more: MsgFlags, until: Until) -> Result<(), Cut> {
        while !bytes.is_empty() {
            match self.send_some(bytes, more)? {
                Some(n) => bytes = &bytes[n..],
                None => self.wait_writable(until)?,
            }
        }
        self.push(until)
    }

    /// Sends some of `bytes`, or encrypts them to be sent by [`Wire::push`]; `None` if there is no room at present.
    fn send_some(&mut self, bytes: &[u8], more: MsgFlags) -> Result<Option<usize>, Cut> {
        if let Some(tls) = &mut self.tls {
            let taken = tls.take(bytes)?;
            let pushed = tls.push(self.socket.as_fd())?;
            self.outgoing.moved(pushed.bytes);
            return Ok((taken > 0 || pushed.all).then_some(taken));
        }
        loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | more) {
                Ok(n) => {
                    self.outgoing.moved(n);
                    return Ok(Some(n));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what TLS still holds.
    fn push(&mut self, until: Until) -> Result<(), Cut> {
        while let Some(tls) = &mut self.tls {
            let pushed = tls.push(self.socket.as_fd())?;
            self.outgoing.moved(pushed.bytes);
            if pushed.all {
                break;
            }
            self.wait_writable(until)?;
        }
        Ok(())
    }

    /// Waits until the socket takes more. A client meanwhile reads what the server says.
    ///
    /// What was begun is sent to its end even a moment after the grace period. If that fails the connection is torn.
    fn wait_writable(&mut self, until: Until) -> Result<(), Cut> {
        if self.side == Side::Server {
            return self.await_reader(until).inspect_err(|_| self.torn = true);
        }
        let events = PollFlags::POLLOUT | PollFlags::POLLIN;
        loop {
            let ready = self.waiter.wait(self.socket.as_fd(), events, until)?;
            if ready.contains(PollFlags::POLLIN) {
                self.fill()?;
            }
            if ready.intersects(PollFlags::POLLOUT | PollFlags::POLLERR | PollFlags::POLLHUP) {
                return Ok(());
            }
        }
    }

    /// Waits until the client has read something: as long as it reads, however slowly. Returns now and then without that, since
    /// only another attempt tells whether a slow reader has made a little room.
    fn await_reader(&mut self, until: Until) -> Result<(), Cut> {
        let left = self.outgoing.left();
        if left.is_zero() {
            return Err(Cut::TimedOut);
        }
        let slice = until.no_longer_than(left.min(limits::RETRY)).with_leeway(limits::LEEWAY);
        let began = Instant::now();
        let result = self.waiter.wait(self.socket.as_fd(), PollFlags::POLLOUT, slice);
        self.outgoing.waited(began.elapsed());
        match result {
            Err(Cut::TimedOut) if !until.is_over() => Ok(()),
            other => other.map(drop),
        }
    }

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

    fn close_tls(&mut self, until: Until) -> Result<(), Cut> {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
        }
        self.push(until)
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

    /// Sends what the socket takes at once, and says that no more will come: for whoever has to go now.
    pub fn hang_up(&mut self) {
        if !self.torn {
            let output = std::mem::take(&mut self.output);
            let _ = self.send_some(&output, MsgFlags::empty());
            if let Some(tls) = &mut self.tls {
                tls.say_goodbye();
                let _ = tls.push(self.socket.as_fd());
            }
        }
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Sends what is queued, says that no more will come, and reads on until the peer closes too, for a short while:
    /// closing with unread input would reset the connection and could take the last answer with it.
    pub fn goodbye(&mut self) {
        self.waiter = Waiter::deaf(); // this is the end already
        let deadline = Instant::now() + limits::GOODBYE;
        let until = Until::busy(deadline);
        if self.flush(until).is_err() || self.close_tls(until).is_err() {
            return;
        }
        if shutdown(self.socket.as_raw_fd(), Shutdown::Write).is_err() {
            return;
        }
        let mut dust = [0; 4096];
        while let Ok(got) = self.read_some(&mut dust) {
            if Instant::now() >= deadline || got.is_none() && self.wait_readable(until).is_err() {
                return;
            }
        }
    }
}

/// MSG_MORE of send(2), which nix does not name.
fn more() -> MsgFlags {
    MsgFlags::from_bits_retain(nix::libc::MSG_MORE)
}

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

/// Receives what is there; `None` if nothing is.
fn receive(socket: BorrowedFd, tls: Option<&mut Tls>, buffer: &mut [u8]) -> Result<Option<usize>, Cut> {
    if let Some(tls) = tls {
        return tls.receive(socket, buffer);
    }
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(n) => return Ok(Some(n)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
