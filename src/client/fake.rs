//! A server for tests that says what it is told to say, true or not. It logs clients in properly.

use super::report::{Event, Report};
use super::target::Target;
use crate::auth::scram::{ServerExchange, decode, encode};
use crate::auth::{Binding, Password, table, users_file};
use crate::net::Address;
use crate::net::address::HostPort;
use crate::proto::Digest;
use sha2::Digest as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One connection, as the script of a test sees it.
pub struct Peer {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Peer {
    /// Says something; line ends are the script's own. Whether the client is still there is a script's affair or not.
    pub fn try_say(&mut self, text: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.output.write_all(text.as_ref())
    }

    /// The same, for scripts that do not care.
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.try_say(text);
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.input.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// Whether more has come together with what was read.
    pub fn has_more(&self) -> bool {
        !self.input.buffer().is_empty()
    }

    /// The bytes of a piece.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let _ = self.input.read_exact(&mut bytes);
        bytes
    }

    /// Reads a body up to its end; its bytes and the line that ended it.
    pub fn body(&mut self) -> (Vec<u8>, String) {
        let mut all = Vec::new();
        loop {
            let line = self.line();
            match line.strip_prefix("DATA ") {
                Some(n) => all.extend(self.bytes(n.parse().unwrap())),
                None => return (all, line),
            }
        }
    }

    /// Answers a request with a whole body.
    pub fn send(&mut self, content: &[u8], offset: usize) {
        let rest = &content[offset..];
        self.say(ready(content.len(), offset));
        for piece in rest.chunks(1 << 18) {
            self.say(format!("DATA {}\n", piece.len()));
            self.say(piece);
        }
        self.say(format!("END sha256={}\n", digest_of(content)));
    }

    fn log_in(&mut self) -> Option<()> {
        static USERS: LazyLock<File> = LazyLock::new(|| {
            let mut users = table::create().unwrap();
            table::write(&users_file::parse(b"alice:secret\n"), &[7; 32], &mut users).unwrap();
            users
        });
        self.say("OK dfos/1 ready auth=SCRAM-SHA-256,LOGIN\n");
        let word = |line: String| line.strip_prefix("AUTH SCRAM-SHA-256 ").map(str::to_owned);
        let exchange = ServerExchange::begin(&decode(&word(self.line())?).ok()?, Binding::None).ok()?;
        let found = table::lookup(&USERS, "alice").ok()?;
        let (awaiting, challenge) = exchange.challenge(found).ok()?;
        self.say(format!("CHALLENGE {}\n", encode(&challenge)));
        let (_, last) = awaiting.finish(&decode(&word(self.line())?).ok()?).ok()?;
        self.say(format!("OK welcome alice scram={}\n", encode(&last)));
        Some(())
    }
}

/// A READY for a download.
pub fn ready(size: usize, offset: usize) -> String {
    format!("READY size={size} mtime=1700000000.000000001 offset={offset} length={}\n", size - offset)
}

/// What STAT says of the same file.
pub fn stat(size: usize) -> String {
    format!("OK type=file size={size} mtime=1700000000.000000001\n")
}

/// A digest.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// What the fake does with one connection after its login.
pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// A running fake; it takes as many connections as it has scripts, one after the other.
pub struct Fake {
    /// How to reach it.
    pub target: Target,
    thread: JoinHandle<usize>,
}

impl Fake {
    /// Starts it.
    pub fn start(retries: u32, scripts: Vec<Script>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut served = 0;
            for script in scripts {
                let Ok((stream, _)) = listener.accept() else { break };
                let input = BufReader::new(stream.try_clone().unwrap());
                let mut peer = Peer { input, output: stream };
                if peer.log_in().is_none() {
                    break; // the connection of `end`
                }
                served += 1;
                script(&mut peer);
            }
            served
        });
        let address = Address::Tcp(HostPort { host: "127.0.0.1".into(), port });
        let (user, password) = ("alice".parse().unwrap(), Password::new("secret").unwrap());
        let silence = Duration::from_secs(20);
        let target = Target { retries, silence, waits: &[], ..Target::new(address, user, password) };
        Fake { target, thread }
    }

    /// Ends it; how many connections it had.
    pub fn end(self) -> usize {
        if let Address::Tcp(HostPort { host, port }) = &self.target.address {
            drop(TcpStream::connect((host.as_str(), *port)));
        }
        self.thread.join().unwrap()
    }
}

/// Remembers what it is told, a word each.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<String>>);

impl Report for Recorder {
    fn event(&self, event: Event<'_>) {
        let word = match event {
            Event::Started { .. } | Event::Planned { .. } | Event::Advanced { .. } | Event::Settling { .. } => return,
            Event::Step { .. } | Event::Connected => return,
            Event::Kept { name, .. } => format!("kept {}", String::from_utf8_lossy(name)),
            Event::Resumed { at, .. } => format!("resumed {at}"),
            Event::Finished { moved, .. } => format!("finished {moved}"),
            Event::Failed { failure, .. } => format!("failed {}", failure.exit as u8),
            Event::Skipped { name, .. } => format!("skipped {}", String::from_utf8_lossy(name)),
            Event::Retrying { attempt, of, .. } => format!("retrying {attempt}/{of}"),
            Event::Introduced { .. } => "introduced".into(),
            Event::Reconnected => "reconnected".into(),
        };
        self.0.lock().unwrap().push(word);
    }
}

impl Recorder {
    /// What it was told.
    pub fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
