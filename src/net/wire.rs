//! One connection: lines and bodies in, answers and bodies out, in plain text or in TLS. The socket never blocks by itself; all
//! waiting is [`Waiter::wait`].

mod file;

use super::inbox::Inbox;
use super::intake::Intake;
use super::pace::Pace;
use super::tls::{Need, Tls};
use super::wait::{Cut, Until, Waiter};
use crate::proto::{limits, line};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Bytes of input held at once; at least a line.
const INPUT: usize = 2 * limits::LINE;
/// So much of a body at once is a part of more: what follows is a line and the next piece, which is not to be copied twice.
const BULK: usize = 32 * 1024;
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
    /// Bytes of the last line that was taken, its ending included.
    last_line: usize,
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
            last_line: 0,
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
        // Between two pieces of a body stands a line like the one before: with nothing read beyond it the next piece is whole.
        let bulk = std::mem::take(&mut self.in_bulk) && self.last_line > 0;
        let most = if bulk { self.last_line } else { INPUT }.min(limit - held);
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
        self.last_line = length;
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

    /// Takes in at most `count` bytes of a body, through the pipe of `intake` or into its buffer; how many, and `None` if the peer has sent
    /// nothing more so far. TLS must see the bytes, and what is buffered has been seen already: these never go through a pipe.
    pub fn take_in(&mut self, intake: &mut Intake, count: usize) -> Result<Option<usize>, Cut> {
        let plain = self.tls.is_none() && self.input.is_empty();
        if let Some(pipe) = intake.pipe.as_mut().filter(|pipe| plain && pipe.is_worth(count)) {
            match pipe.draw(self.socket.as_fd(), count)? {
                Some(0) => return Err(Cut::Closed),
                None if !pipe.is_worth(count) => {}
                drawn => {
                    self.in_bulk = drawn.is_some();
                    return Ok(drawn);
                }
            }
        }
        let room = count.min(intake.buffer.len());
        let read = self.read_some(&mut intake.buffer[..room])?;
        intake.read = read.unwrap_or(0);
        Ok(read)
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

    fn close_tls(&mut self, until: Until) -> Result<(), Cut> {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
        }
        self.push(until)
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
        // As it comes: TLS has said its last word, and is asked no more whether anything is as it should be.
        let mut dust = [0; 4096];
        while let Ok(got) = receive(self.socket.as_fd(), None, &mut dust) {
            let over = got == Some(0) || Instant::now() >= deadline;
            if over || got.is_none() && self.wait_readable(until).is_err() {
                return;
            }
        }
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
