//! A client that sends what it is told to, right or wrong, and reads line by line. Every read and write has a time-out.

use super::PATIENCE;
use super::scram::Exchange;
use super::tree::sha256;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

/// What a download brought.
#[derive(Debug)]
pub struct Body {
    pub ready: String,
    pub bytes: Vec<u8>,
    /// END, or ABORT.
    pub end: String,
    /// Bytes of the last piece, for the good= of an ABORT.
    pub last: usize,
}

/// The value of a field.
#[track_caller]
pub fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let find = |word: &'a str| word.strip_prefix(key)?.strip_prefix('=');
    line.split(' ').find_map(find).unwrap_or_else(|| panic!("no {key}= in '{line}'"))
}

/// The same as a number.
#[track_caller]
pub fn number(line: &str, key: &str) -> u64 {
    field(line, key).parse().unwrap()
}

/// A whole upload as one packet, with its digest.
pub fn upload_bytes(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = format!("UPLOAD {path} size={}\n", bytes.len()).into_bytes();
    all.extend(body_bytes(bytes));
    all
}

/// A body with its END.
pub fn body_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut all = pieces(bytes);
    all.extend(format!("END sha256={}\n", sha256(bytes)).into_bytes());
    all
}

/// The pieces of a body without an END.
pub fn pieces(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + 64);
    for piece in bytes.chunks(1 << 20) {
        all.extend(format!("DATA {}\n", piece.len()).into_bytes());
        all.extend(piece);
    }
    all
}

/// A connection from one of the addresses of loopback, 127.0.0.0/8.
pub fn connect_from(source: &str, address: &str) -> std::io::Result<TcpStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(source.parse().unwrap(), 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(address.parse::<std::net::SocketAddrV4>().unwrap()))?;
    Ok(socket.into())
}

impl Raw {
    /// Connects and reads the greeting.
    pub fn connect(address: &str) -> Raw {
        let mut raw = Raw::silent(address);
        raw.expect("OK dfos/1 ready auth=");
        raw
    }

    /// Connects and reads nothing.
    pub fn silent(address: &str) -> Raw {
        Raw::over(TcpStream::connect(address).unwrap())
    }

    /// Connects to a Unix socket; a stream socket is a stream socket.
    pub fn unix(path: &Path) -> Raw {
        let mut raw = Raw::over(OwnedFd::from(UnixStream::connect(path).unwrap()).into());
        raw.expect("OK dfos/1 ready auth=");
        raw
    }

    /// Connects from another address of this machine, and reads nothing.
    pub fn silent_from(source: &str, address: &str) -> Raw {
        Raw::over(connect_from(source, address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true); // a Unix socket knows no delay
        Raw { stream: BufReader::with_capacity(64 * 1024, stream) }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// The address of this end.
    pub fn local(&self) -> String {
        self.socket().local_addr().unwrap().to_string()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("sending");
    }

    /// Sends what the other end may no longer want.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Says that no more will come, and goes on reading.
    pub fn finish_sending(&self) {
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Vanishes with a reset instead of a close.
    pub fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(self.socket(), nix::sys::socket::sockopt::Linger, &linger).unwrap();
    }

    /// The next line; `None` at the end of the connection. WAIT lines are skipped, as clients do.
    #[track_caller]
    pub fn try_line(&mut self) -> Option<String> {
        loop {
            let mut line = Vec::new();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("reading a line: {error}"),
            }
            let line = String::from_utf8(line).expect("lines are UTF-8");
            let line = line.strip_suffix('\n').unwrap_or_else(|| panic!("half a line: '{line}'"));
            if line != "WAIT" && !line.starts_with("WAIT ") {
                return Some(line.to_owned());
            }
        }
    }

    #[track_caller]
    pub fn line(&mut self) -> String {
        self.try_line().expect("a line, not the end of the connection")
    }

    /// The next line, which must begin so.
    #[track_caller]
    pub fn expect(&mut self, beginning: &str) -> String {
        let line = self.line();
        assert!(line.starts_with(beginning), "due was '{beginning}', came '{line}'");
        line
    }

    /// Sends a request; the first line of its answer.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> String {
        let mut line = request.as_ref().to_vec();
        line.push(b'\n');
        self.send(line);
        self.line()
    }

    /// Sends a request whose answer must begin so.
    #[track_caller]
    pub fn demand(&mut self, request: &str, beginning: &str) -> String {
        let line = self.ask(request);
        assert!(line.starts_with(beginning), "'{request}': due was '{beginning}', came '{line}'");
        line
    }

    /// Nothing but the end of the connection follows.
    #[track_caller]
    pub fn closed(&mut self) {
        if let Some(line) = self.try_line() {
            panic!("still open: '{line}'");
        }
    }

    /// All lines up to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.try_line()).collect()
    }

    /// What has arrived so far and was not taken.
    pub fn buffered(&self) -> &[u8] {
        self.stream.buffer()
    }

    #[track_caller]
    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("bytes of a body");
        bytes
    }

    /// Up to `length` bytes, and whether they were all there before the connection ended.
    pub fn read_up_to(&mut self, length: usize) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        // A reset counts as an end: what came before it counts.
        let _ = (&mut self.stream).take(length as u64).read_to_end(&mut bytes);
        let whole = bytes.len() == length;
        (bytes, whole)
    }

    /// LOGIN with the password that the fixture gave the user.
    #[track_caller]
    pub fn login(&mut self, user: &str) {
        let password = match user {
            "bob" => "builder",
            "carol" => "let%20me%20in",
            _ => "secret",
        };
        self.demand(&format!("LOGIN {user} {password}"), &format!("OK welcome {user}"));
    }

    /// A whole SCRAM login; the server's last line, its signature checked.
    #[track_caller]
    pub fn scram(&mut self, user: &str, password: &str) -> Result<(), String> {
        let (exchange, first) = Exchange::begin(user, password);
        let challenge = self.ask(format!("AUTH SCRAM-SHA-256 {first}"));
        let Some(challenge) = challenge.strip_prefix("CHALLENGE ") else { return Err(challenge) };
        let (last, signature) = exchange.answer(challenge);
        let line = self.ask(format!("AUTH SCRAM-SHA-256 {last}"));
        if line.starts_with("ERR ") {
            return Err(line);
        }
        assert_eq!(line, format!("OK welcome {user} scram={signature}"));
        Ok(())
    }

    /// Uploads; the final answer.
    #[track_caller]
    pub fn upload(&mut self, path: &str, bytes: &[u8]) -> String {
        self.upload_with(&format!("{path} size={}", bytes.len()), bytes)
    }

    /// Uploads with these arguments; the final answer. The body follows the request at once.
    #[track_caller]
    pub fn upload_with(&mut self, arguments: &str, bytes: &[u8]) -> String {
        self.send(format!("UPLOAD {arguments}\n"));
        self.send(body_bytes(bytes));
        let first = self.line();
        if first.starts_with("READY ") { self.line() } else { first }
    }

    /// Uploads, and it must be done.
    #[track_caller]
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let answer = self.upload(path, bytes);
        assert_eq!(answer, format!("OK size={} sha256={}", bytes.len(), sha256(bytes)), "{path}");
    }

    /// Sends a request that a body answers, and takes the body in.
    #[track_caller]
    pub fn fetch(&mut self, request: &str) -> Result<Body, String> {
        let ready = self.ask(request);
        if !ready.starts_with("READY ") {
            return Err(ready);
        }
        Ok(self.body(ready))
    }

    /// Takes in the body that follows a READY.
    #[track_caller]
    pub fn body(&mut self, ready: String) -> Body {
        let (mut bytes, mut last) = (Vec::new(), 0);
        loop {
            let line = self.line();
            let Some(count) = line.strip_prefix("DATA ") else {
                assert!(line.starts_with("END") || line.starts_with("ABORT "), "{line}");
                return Body { ready, bytes, end: line, last };
            };
            last = count.parse().unwrap();
            assert!((1..=1 << 20).contains(&last), "{line}");
            bytes.extend(self.read_exact(last));
        }
    }

    /// Downloads; the bytes, after the digest has been checked.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Vec<u8> {
        let body = self.fetch(&format!("DOWNLOAD {path}")).unwrap();
        assert_eq!(body.end, format!("END sha256={}", sha256(&body.bytes)), "{path}");
        body.bytes
    }

    /// LIST: the rows, sorted, and the final line.
    #[track_caller]
    pub fn list(&mut self, arguments: &str) -> (Vec<String>, String) {
        let mut line = self.ask(format!("LIST {arguments}").trim_end());
        let mut rows = Vec::new();
        while let Some(row) = line.strip_prefix("ENTRY ") {
            rows.push(row.to_owned());
            line = self.line();
        }
        rows.sort();
        (rows, line)
    }

    /// The paths of a listing, sorted.
    #[track_caller]
    pub fn names(&mut self, arguments: &str) -> Vec<String> {
        let (rows, last) = self.list(arguments);
        assert!(last.starts_with("OK entries="), "{last}");
        let mut names: Vec<String> = rows.iter().map(|row| row.rsplit(' ').next().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}
