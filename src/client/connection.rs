//! One connection to a server: requests out, answers in. What the server says is checked here as far as a single line goes;
//! whoever asked checks whether the answer fits.

use super::display::escape::escape;
use super::failure::{Exit, Failure};
use super::stop::{Stop, interrupted};
use super::target::Target;
use super::throttle::Throttle;
use super::trust::Introduction;
use super::{limits, login};
use crate::auth::Binding;
use crate::net::dial::dial;
use crate::net::tls::Tls;
use crate::net::tls::verify::Verifier;
use crate::net::wire::Filled;
use crate::net::{Address, Cut, Intake, Side, Until, Wire};
use crate::proto::{Answer, Code, Digest, RemotePath};
use nix::sys::socket::{setsockopt, sockopt};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a greeting of this protocol begins with.
const VERSION: &str = "dfos/1";

/// A connection after its login.
pub struct Connection {
    wire: Wire,
    silence: Duration,
    /// When all patience ends, whatever the server says until then.
    deadline: Option<Instant>,
    usable: bool,
    introduction: Option<Introduction>,
    throttle: Option<Arc<Throttle>>,
    trash: Option<Duration>,
}

impl Connection {
    /// Connects, checks the greeting, logs in.
    pub fn open(target: &Target, stop: &Stop) -> Result<Self, Failure> {
        let mut waiter = stop.waiter()?;
        let socket = dial(&target.address, target.connect, &mut waiter).map_err(|cut| cannot_connect(target, cut))?;
        let mut wire = Wire::new(socket, Side::Client, waiter).map_err(|cut| cannot_connect(target, cut))?;
        let verifier = verifier(target)?;
        secure(&mut wire, target, verifier.as_ref())?;
        let mut connection = Connection::over(wire, target);
        let offered = connection.greeting(target)?;
        let trust = verifier.as_ref().and_then(|verifier| verifier.seen()).map(|(_, trust)| trust);
        if !target.trusted.admits(trust) {
            return Err(Failure::new(Exit::Identity, format!("{} is not known here", target.address)));
        }
        connection.trash = login::log_in(&mut connection, target, &offered, trust)?;
        if let Some(verifier) = verifier {
            connection.introduction = target.trusted.settle(&target.address, &verifier)?;
        }
        Ok(connection)
    }

    /// The server, if its key has become known with this login; once.
    pub fn introduction(&mut self) -> Option<Introduction> {
        self.introduction.take()
    }

    /// How long the server keeps what goes to the trash; `None` where this user has none.
    pub fn trash(&self) -> Option<Duration> {
        self.trash
    }

    /// What ties a login to this channel.
    pub fn binding(&mut self) -> Result<Binding, Failure> {
        let bytes = self.wire.tls().map(Tls::binding).transpose();
        bytes.map(|bytes| bytes.map_or(Binding::None, Binding::TlsExporter)).map_err(|cut| self.cut(cut))
    }

    /// A connection that has not been greeted yet.
    pub(super) fn over(wire: Wire, target: &Target) -> Self {
        Connection {
            wire,
            silence: target.silence,
            deadline: None,
            usable: true,
            introduction: None,
            throttle: None,
            trash: None,
        }
    }

    /// Reads the greeting; returns the mechanisms offered.
    pub(super) fn greeting(&mut self, target: &Target) -> Result<String, Failure> {
        let stranger =
            || Failure::new(Exit::Protocol, format!("what listens at {} does not speak {VERSION}", target.address));
        match self.answer() {
            Ok(Answer::Ok(fields)) if fields.as_str().split(' ').next() == Some(VERSION) => {
                Ok(fields.get("auth").unwrap_or_default().to_owned())
            }
            Ok(Answer::Err(code, text)) => Err(self.refused(b"", code, &text)),
            // A server that speaks TLS waits for us to speak first.
            Err(failure)
                if matches!(failure.exit, Exit::Timeout | Exit::Connect)
                    && matches!(target.address, Address::Tcp(_)) =>
            {
                let text = format!("{}; if it speaks TLS, its address begins with tls://", failure.text);
                Err(Failure { text, ..failure })
            }
            Err(failure) if failure.exit != Exit::Protocol => Err(failure),
            _ => Err(stranger()),
        }
    }

    /// Whether the stream is still in step, so that a next request makes sense.
    pub fn usable(&self) -> bool {
        self.usable
    }

    /// Gives the connection up: the server will see it closed. The one way to drop a download that is under way.
    pub fn abandon(&mut self) {
        self.usable = false;
    }

    /// Forgets a Ctrl+C that was meant for an earlier command.
    pub fn forget_stop(&mut self) {
        self.wire.waiter.forget_stop();
    }

    /// What is in hand when Ctrl+C is pressed may go on for so long; without this it breaks off.
    pub fn set_grace(&mut self, grace: Duration) {
        self.wire.waiter.set_grace(grace);
    }

    /// How long the server may be silent, and, where there is one, the moment at which it must be done.
    pub fn set_patience(&mut self, silence: Duration, deadline: Option<Instant>) {
        (self.silence, self.deadline) = (silence, deadline);
    }

    /// From now on the bytes of files pass no faster than `throttle` lets them.
    pub fn set_throttle(&mut self, throttle: Option<Arc<Throttle>>) {
        if let Some(throttle) = throttle.as_ref().filter(|_| self.throttle.is_none()) {
            // What the kernel takes in ahead of us has crossed the line already: a burst. A socket that cannot do this has no line.
            let _ = setsockopt(&self.wire.fd(), sockopt::RcvBuf, &throttle.rate.piece().max(limits::LEAST_ROOM));
        }
        self.throttle = throttle;
    }

    /// The bytes that are moved at once.
    pub fn piece(&self) -> usize {
        self.throttle.as_ref().map_or(limits::PIECE, |throttle| throttle.rate.piece())
    }

    /// Waits until `bytes` may pass; each piece is so small that neither Ctrl+C nor the server waits long.
    fn take_turn(&mut self, bytes: usize) -> Result<(), Failure> {
        let Some(throttle) = &self.throttle else { return Ok(()) };
        let at = Instant::now() + throttle.grant(bytes);
        loop {
            self.heed()?;
            match at.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => std::thread::sleep(left.min(limits::NAP)),
            }
        }
    }

    /// The socket, to wait for and not to read from.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wire.fd()
    }

    /// Adds a line to what will be sent.
    pub fn queue(&mut self, line: impl Display) {
        self.wire.queue_line(line);
    }

    /// Adds a whole body to what will be sent; with a throttle it is sent, as fast as that lets it.
    pub fn queue_body(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let most = if self.throttle.is_some() { self.piece() } else { bytes.len().max(1) };
        for piece in bytes.chunks(most) {
            self.take_turn(piece.len())?;
            self.wire.queue_line(Answer::Data(piece.len()));
            self.wire.queue(piece);
            if self.throttle.is_some() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Adds the end of a body that is to have this digest and this name: in plain text nothing else guards the name on its way.
    pub fn queue_end(&mut self, digest: Digest, path: &RemotePath) {
        match self.wire.tls() {
            Some(_) => self.queue(format_args!("END sha256={digest}")),
            None => self.queue(format_args!("END sha256={digest} path={path}")),
        }
    }

    /// Sends what is queued once there is enough of it.
    pub fn gather(&mut self) -> Result<(), Failure> {
        if self.wire.queued() >= limits::GATHER { self.flush() } else { Ok(()) }
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let until = self.patience();
        self.wire.flush(until).map_err(|cut| self.cut_while_sending(cut))
    }

    /// Sends one piece of a body, and what is queued before it.
    pub fn send_piece(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.wire.queue_line(Answer::Data(bytes.len()));
        for slice in bytes.chunks(limits::SLICE.min(self.piece())) {
            self.take_turn(slice.len())?;
            let until = self.patience();
            self.wire.send(slice, until).map_err(|cut| self.cut_while_sending(cut))?;
        }
        Ok(())
    }

    /// Sends `length` bytes of `file` from `from` on as one piece, and what is queued before it. If the file did not give all, why: the
    /// rest was filled with zeros, since it was announced.
    pub fn send_piece_of(&mut self, file: BorrowedFd, from: u64, length: usize) -> Result<Option<io::Error>, Failure> {
        self.take_turn(length)?;
        self.wire.queue_line(Answer::Data(length));
        let mut at = i64::try_from(from).unwrap_or(i64::MAX);
        let until = self.patience();
        let sent = self.wire.send_piece(file, &mut at, length, until).map_err(|cut| self.cut_while_sending(cut))?;
        Ok(sent.1)
    }

    /// Sends what is queued and reads the next answer, passing over `WAIT`.
    pub fn answer(&mut self) -> Result<Answer, Failure> {
        self.flush()?;
        loop {
            // Also while bytes keep coming: a server must not be able to hold us by never falling silent.
            self.heed()?;
            if let Some(answer) = self.buffered_answer()? {
                return Ok(answer);
            }
            let until = self.patience();
            let filled = self.wire.fill().map_err(|cut| self.cut(cut))?;
            if filled == Filled::Nothing {
                self.wire.wait_readable(until).map_err(|cut| self.cut(cut))?;
            }
        }
    }

    /// Sends a request and reads the next answer.
    pub fn ask(&mut self, line: impl Display) -> Result<Answer, Failure> {
        self.queue(line);
        self.answer()
    }

    /// The next answer, if it has come already.
    pub fn answer_if_there(&mut self) -> Result<Option<Answer>, Failure> {
        if let Some(answer) = self.buffered_answer()? {
            return Ok(Some(answer));
        }
        self.wire.fill().map_err(|cut| self.cut(cut))?;
        self.buffered_answer()
    }

    fn buffered_answer(&mut self) -> Result<Option<Answer>, Failure> {
        while let Some(line) = self.wire.buffered_line().map_err(|cut| self.cut(cut))? {
            match line.parse() {
                Ok(Answer::Wait) => {}
                Ok(answer) => return Ok(Some(answer)),
                Err(why) => return Err(self.broken(why)),
            }
        }
        Ok(None)
    }

    /// Reads some bytes of a piece, at least one. `buffer` must not be longer than what is left of the piece.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.body(|wire| wire.read_some(buffer))
    }

    /// Takes in some bytes of a piece of which `left` are left; how many, at least one.
    pub fn take_in(&mut self, intake: &mut Intake, left: usize) -> Result<usize, Failure> {
        let most = left.min(self.piece());
        let taken = self.body(|wire| wire.take_in(intake, most))?;
        self.take_turn(taken).map(|()| taken)
    }

    fn body(&mut self, mut read: impl FnMut(&mut Wire) -> Result<Option<usize>, Cut>) -> Result<usize, Failure> {
        let until = self.patience();
        self.heed()?;
        loop {
            match read(&mut self.wire).map_err(|cut| self.cut(cut))? {
                Some(n) => return Ok(n),
                None => self.wire.wait_readable(until).map_err(|cut| self.cut(cut))?,
            }
        }
    }

    fn patience(&self) -> Until {
        self.deadline.map_or(Until::silent_for(self.silence), Until::busy)
    }

    /// Fails if a stop was asked for, or if the server must be done by now. No system call.
    fn heed(&mut self) -> Result<(), Failure> {
        if self.wire.waiter.must_stop() {
            return Err(self.cut(Cut::Stopping));
        }
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(self.cut(Cut::TimedOut));
        }
        Ok(())
    }

    /// Sends what is queued and closes gracefully.
    pub fn close(mut self) {
        self.wire.goodbye();
    }

    /// The failure that an `ERR` about `what` means. One that a new connection may cure ends this one.
    pub fn refused(&mut self, what: &[u8], code: Code, text: &str) -> Failure {
        let text = if text.is_empty() { code.meaning() } else { text };
        let about = if what.is_empty() { String::new() } else { format!("{}: ", escape(what)) };
        let failure = Failure::refused(code, format!("{about}{}", escape(text.as_bytes())));
        self.usable &= !failure.retry;
        failure
    }

    /// The failure of an answer that does not fit. Nothing after it can be believed.
    pub fn unexpected(&mut self, answer: &Answer) -> Failure {
        let line = escape(answer.to_string().as_bytes());
        let short: String = line.chars().take(80).collect();
        self.broken(format_args!("the server answered '{short}' where that makes no sense"))
    }

    /// The failure of a server that does not keep to the protocol.
    pub fn broken(&mut self, why: impl Display) -> Failure {
        self.usable = false;
        Failure::new(Exit::Protocol, format!("{why}; is it a DFOS server of this version?"))
    }

    fn cut(&mut self, cut: Cut) -> Failure {
        self.usable = false;
        match cut {
            Cut::Closed => Failure::passing(Exit::Connect, "the server closed the connection"),
            Cut::TimedOut => {
                let text = format!("the server said nothing for {} seconds", self.silence.as_secs());
                Failure::passing(Exit::Timeout, text)
            }
            Cut::Stopping => interrupted(),
            Cut::Line(why) => self.broken(why),
            Cut::Protocol => self.broken("the server does not keep to the protocol"),
            // Nothing of it was believed, and the next connection is checked like the first.
            Cut::Tls(why) => {
                let text = format!("the encrypted connection was damaged on the way: {why}");
                Failure::passing(Exit::Integrity, text)
            }
            Cut::Io(why) => Failure::passing(Exit::Connect, format!("the connection failed: {why}")),
        }
    }

    /// A server that closes while we send may have said why: `shutting-down` and `timeout` come unasked.
    fn cut_while_sending(&mut self, cut: Cut) -> Failure {
        if matches!(cut, Cut::Closed) {
            while matches!(self.wire.fill(), Ok(Filled::More)) {}
            while let Ok(Some(line)) = self.wire.buffered_line() {
                if let Ok(Answer::Err(code @ (Code::ShuttingDown | Code::Timeout), text)) = line.parse() {
                    return self.refused(b"", code, &text);
                }
            }
        }
        self.cut(cut)
    }
}

/// What looks at the certificate, where there is one.
pub(super) fn verifier(target: &Target) -> Result<Option<Arc<Verifier>>, Failure> {
    match &target.address {
        Address::Tls(_) => target.trusted.verifier(&target.address).map(Some),
        _ => Ok(None),
    }
}

/// Shakes hands where the address says so.
pub(super) fn secure(wire: &mut Wire, target: &Target, verifier: Option<&Arc<Verifier>>) -> Result<(), Failure> {
    let (Address::Tls(at), Some(verifier)) = (&target.address, verifier) else { return Ok(()) };
    let config = verifier.config().map_err(Cut::from);
    let tls = config.and_then(|config| Tls::client(config, &at.host)).map_err(|cut| cannot_connect(target, cut))?;
    match wire.start_tls(tls, Until::silent_for(target.silence)) {
        Ok(()) if wire.tls().is_some_and(Tls::speaks_dfos) => Ok(()),
        // Somebody else's service, to which a third party has led us: nothing is said to it (ALPACA, CVE-2021-3618).
        Ok(()) => {
            let text = format!("what listens at {} did not name the protocol {VERSION} by ALPN", target.address);
            Err(Failure::new(Exit::Protocol, text))
        }
        Err(Cut::Tls(why)) => Err(target.trusted.handshake_failed(&target.address, &why)),
        Err(Cut::TimedOut) => {
            let text = format!("the server said nothing for {} seconds", target.silence.as_secs());
            Err(Failure::passing(Exit::Timeout, text))
        }
        Err(cut) => Err(cannot_connect(target, cut)),
    }
}

/// The failure of a connection that did not come about. A name that does not resolve will not do so in a second either.
fn cannot_connect(target: &Target, cut: Cut) -> Failure {
    let text = |why: &dyn Display| {
        let why = why.to_string();
        // The only errors besides the kernel's own: std has no kind for them.
        let hint = match why.contains("lookup address") {
            true => "is the name right? 'dfos-client config servers' lists those of your configuration",
            false => "is the server running?",
        };
        format!("cannot connect to {}: {why}; {hint}", target.address)
    };
    match cut {
        Cut::Stopping => interrupted(),
        Cut::TimedOut => {
            let why = format!("no answer within {:.0} seconds", target.connect.as_secs_f64().ceil());
            Failure::passing(Exit::Connect, text(&why))
        }
        Cut::Io(why) => match why.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::WouldBlock => Failure::passing(Exit::Connect, text(&why)),
            _ => Failure::new(Exit::Connect, text(&why)),
        },
        other => Failure::passing(Exit::Connect, text(&other)),
    }
}
