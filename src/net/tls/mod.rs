//! TLS 1.3 (RFC 8446) over a socket that does not block by itself. Nothing here waits: each call does what can be done now and says
//! what it lacks, so that [`Wire`](super::Wire) can wait for signals and deadlines as it does without TLS.

pub mod identity;
pub mod pin;
pub mod validity;
pub mod verify;

use super::inbox::Inbox;
use super::wait::Cut;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::uio::writev;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, Error, InvalidMessage, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use zeroize::Zeroize;

/// What both ends must name (ALPN, RFC 7301), so that no browser and no mail client can be made to talk to a server of ours.
pub const ALPN: &[u8] = b"dfos/1";
/// What says to a client, instead of a handshake, that it is not served: the fatal alert access_denied (RFC 8446, 6).
pub const TURNED_AWAY: &[u8] = &[21, 3, 3, 0, 2, 2, 49];
/// The label of the channel's own bytes, RFC 9266.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";
/// Bytes received at once. The library itself asks for a quarter of a record at a time.
const ARRIVING: usize = 128 * 1024;

/// Bytes without content that are taken in a row: a record is at most a quarter of that, and it has content. The library bears 32
/// empty records in a row and 32 changes of key, but each of the two begins the count of the other anew; a server's tickets it does
/// not count at all.
const NOTHING: usize = 64 * 1024;

/// TLS of one connection.
pub struct Tls {
    connection: Connection,
    /// Records, as far as they have arrived.
    incoming: Inbox,
    /// Bytes that have arrived since the last that meant anything.
    empty: usize,
}

/// What a handshake waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The other end's next message.
    Read,
    /// Room to send.
    Write,
    /// Nothing: it is done.
    Nothing,
}

/// What came of an attempt to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pushed {
    /// Bytes that went.
    pub(super) bytes: usize,
    /// Whether none are left.
    pub(super) all: bool,
}

/// The ciphers of this house: TLS 1.3's, AES-128 first, which is the fastest where the processor knows AES and no weaker than the key
/// exchange.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::*;
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

/// Has the library do once, in the listener, what it does at its first handshake: every session then shares that memory, and none
/// pays the time. With a key that is thrown away.
pub fn warm_up() -> Result<(), Cut> {
    let fail = |why: identity::BadIdentity| Cut::Io(io::Error::other(why));
    let key = identity::make_key().map_err(fail)?;
    let certificate = identity::make_certificate(&key, None).map_err(fail)?;
    let identity = identity::Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map_err(fail)?;
    let mut sealed = crate::sys::sealed::create(c"dfos-warm-up")?;
    sealed.write_all(&identity.encode())?;
    let verifier = verify::Verifier::new(Arc::new(verify::Authorities::none()), verify::Expectation::default());
    let mut server = ServerConnection::new(identity::config(&sealed)?)?;
    let mut client =
        ClientConnection::new(verifier.config()?, ServerName::try_from("localhost").map_err(io::Error::other)?)?;
    let mut pipe = Vec::new();
    while server.is_handshaking() || client.is_handshaking() {
        pipe.clear();
        client.write_tls(&mut pipe)?;
        server.read_tls(&mut pipe.as_slice())?;
        server.process_new_packets()?;
        pipe.clear();
        server.write_tls(&mut pipe)?;
        client.read_tls(&mut pipe.as_slice())?;
        client.process_new_packets()?;
    }
    Ok(())
}

impl Tls {
    /// The server's end.
    pub fn server(config: Arc<ServerConfig>) -> Result<Tls, Cut> {
        Ok(Tls::over(ServerConnection::new(config)?.into()))
    }

    /// The client's end, which expects `host`.
    pub fn client(config: Arc<ClientConfig>, host: &str) -> Result<Tls, Cut> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Cut::Io(io::Error::new(ErrorKind::InvalidInput, format!("'{host}' is no host name"))))?;
        Ok(Tls::over(ClientConnection::new(config, name)?.into()))
    }

    fn over(connection: Connection) -> Tls {
        Tls { connection, incoming: Inbox::default(), empty: 0 }
    }

    /// Goes on with the handshake as far as it can go now.
    pub(super) fn shake_hands(&mut self, socket: BorrowedFd) -> Result<Need, Cut> {
        loop {
            if !self.push(socket)?.all {
                return Ok(Need::Write);
            }
            if !self.connection.is_handshaking() {
                return Ok(Need::Nothing);
            }
            match self.pull(socket)? {
                Some(0) => return Err(Cut::Closed),
                Some(_) => {}
                None => return Ok(Need::Read),
            }
        }
    }

    /// Takes in what has arrived, or a part of it: how many bytes, 0 at the end; `None` if nothing more has arrived.
    fn pull(&mut self, socket: BorrowedFd) -> Result<Option<usize>, Cut> {
        if self.incoming.is_empty() {
            match uninterrupted(|| recv(socket.as_raw_fd(), self.incoming.room(ARRIVING), MsgFlags::empty())) {
                Ok(n) => self.incoming.arrived(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let taken = self.connection.read_tls(&mut self.incoming.bytes())?;
        self.incoming.take(taken);
        self.process(socket)?;
        Ok(Some(taken))
    }

    /// Looks at what has been taken in. What is wrong with it the other end is told by an alert, if it can be told at once.
    fn process(&mut self, socket: BorrowedFd) -> Result<(), Cut> {
        match self.connection.process_new_packets() {
            // A peer that says goodbye before it has said anything: nothing more will come, so waiting would turn in a circle.
            Ok(state) if state.peer_has_closed() && self.connection.is_handshaking() => Err(Cut::Closed),
            Ok(_) => Ok(()),
            Err(error) => {
                // To what is no TLS at all an alert is no word either.
                if !matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
                    let _ = self.push(socket);
                }
                Err(error.into())
            }
        }
    }

    /// Reads bytes of the other end into `buffer`: 0 at the end, `None` if nothing more has arrived.
    ///
    /// A peer that goes on sending and never says anything, by empty records and new keys, is cut off: it would keep us here.
    pub(super) fn receive(&mut self, socket: BorrowedFd, buffer: &mut [u8]) -> Result<Option<usize>, Cut> {
        let mut got = 0;
        loop {
            match self.connection.reader().read(&mut buffer[got..]) {
                Ok(0) => return Ok(Some(got)),
                Ok(n) => {
                    self.empty = 0;
                    got += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(got)),
                Err(error) => return Err(error.into()),
            }
            // Many records make one large write to a file; but nobody waits for more than is here.
            if got == buffer.len() || got > 0 && self.incoming.is_empty() {
                return Ok(Some(got));
            }
            match self.pull(socket)? {
                Some(_) if self.empty > NOTHING => return Err(Cut::Protocol),
                Some(n) => self.empty += n,
                None => return Ok(None),
            }
        }
    }

    /// Encrypts some of `bytes`; how many. They are sent by [`push`](Self::push).
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Cut> {
        Ok(self.connection.writer().write(bytes)?)
    }

    /// Sends what is encrypted, as far as it goes now.
    pub(super) fn push(&mut self, socket: BorrowedFd) -> Result<Pushed, Cut> {
        let mut bytes = 0;
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(socket)) {
                Ok(n) => bytes += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Pushed { bytes, all: false }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Pushed { bytes, all: true })
    }

    /// Says that nothing more will be sent, so that the other end can tell an end from a cut.
    pub(super) fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }

    /// Gives back the memory of the last transfer.
    pub(super) fn rest(&mut self) {
        self.incoming.shrink();
    }

    /// Puts into `buffer` what has been decrypted already; how many bytes, `None` if there are none.
    pub(super) fn hand_out(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.connection.reader().read(buffer).ok().filter(|n| *n > 0)
    }

    /// Overwrites what was received, decrypted (the library does that in place) and as it came: the keys to it are still here.
    pub(super) fn forget(&mut self) {
        self.incoming.forget();
        let _ = self.connection.read_tls(&mut Eraser); // nothing has come of it
    }

    /// Whether the other end named this protocol.
    pub fn speaks_dfos(&self) -> bool {
        self.connection.alpn_protocol() == Some(ALPN)
    }

    /// Bytes that only the two ends of this very connection know (`tls-exporter`, RFC 9266).
    pub fn binding(&self) -> Result<[u8; 32], Cut> {
        Ok(self.connection.export_keying_material([0; 32], EXPORTER, None)?)
    }
}

/// A connected socket, as rustls writes to it.
struct Socket<'a>(BorrowedFd<'a>);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL))
    }

    /// Several records in one call. writev(2) knows no flags; SIGPIPE is ignored in every process of ours, as Rust sets it up.
    fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        uninterrupted(|| writev(self.0, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a library reads from so that the free room of its buffer is overwritten, and nothing is read.
struct Eraser;

impl Read for Eraser {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        room.zeroize();
        Err(ErrorKind::WouldBlock.into())
    }
}

fn uninterrupted(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}
