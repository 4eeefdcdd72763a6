//! A relay between client and server that flips one bit, and knows of what.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the relay carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// tcp://
    Plain,
    /// tls://
    Tls,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// A bit to be flipped.
#[derive(Debug, Clone, Copy)]
pub struct Flip {
    /// Which way it goes.
    pub way: Way,
    /// How many bytes go before its own.
    pub at: u64,
    /// Which of the byte.
    pub bit: u8,
}

/// Of what a byte is a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The content of a file, in plain text: it has a digest.
    Body,
    /// A line, in plain text: nothing but TCP's checksum is for it.
    Words,
    /// A record of TLS that holds something encrypted.
    Record,
    /// The beginning of a handshake, in clear.
    Hello,
}

/// What has passed since the relay was armed.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// Bytes of the first connection, from the client and to it.
    pub bytes: [u64; 2],
    /// Where among them lines stand, or heads of records.
    pub lines: [Vec<u64>; 2],
    /// Of what the flipped bit was a part.
    pub flipped: Option<Part>,
    /// Connections.
    pub connections: u64,
}

#[derive(Default)]
struct State {
    flip: Option<Flip>,
    passed: Passed,
    over: bool,
}

/// The relay. Its connections end with their ends.
pub struct Relay {
    address: String,
    state: Arc<Mutex<State>>,
    door: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay to the server at HOST:PORT.
    pub fn to(server: &str, channel: Channel) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, state) = (server.to_owned(), Arc::new(Mutex::new(State::default())));
        let shared = state.clone();
        let door = std::thread::spawn(move || serve(&listener, &server, channel, &shared));
        Relay { address, state, door: Some(door) }
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next connection is the first; in it this bit is flipped.
    pub fn arm(&self, flip: Option<Flip>) {
        *self.state.lock().unwrap() = State { flip, ..State::default() };
    }

    /// What has passed since then.
    pub fn passed(&self) -> Passed {
        self.state.lock().unwrap().passed.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
        let _ = TcpStream::connect(&self.address); // wakes it
        let _ = self.door.take().map(JoinHandle::join);
    }
}

fn serve(listener: &TcpListener, server: &str, channel: Channel, state: &Arc<Mutex<State>>) {
    for client in listener.incoming().flatten() {
        let first = {
            let mut state = state.lock().unwrap();
            if state.over {
                return;
            }
            state.passed.connections += 1;
            state.passed.connections == 1
        };
        let Ok(server) = TcpStream::connect(server) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
        for (from, to, way) in [(client, to_server, Way::Up), (server, to_client, Way::Down)] {
            let mut eye = first.then(|| Eye { state: state.clone(), way, reader: Reader::new(channel) });
            std::thread::spawn(move || pass(from, to, eye.as_mut()));
        }
    }
}

/// Passes on what comes, up to its end.
fn pass(mut from: TcpStream, mut to: TcpStream, mut eye: Option<&mut Eye>) {
    let mut buffer = [0; 32 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if let Some(eye) = &mut eye {
            eye.look(&mut buffer[..n]);
        }
        if to.write_all(&buffer[..n]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Looks at what goes one way of the first connection.
struct Eye {
    state: Arc<Mutex<State>>,
    way: Way,
    reader: Reader,
}

impl Eye {
    fn look(&mut self, bytes: &mut [u8]) {
        let mut state = self.state.lock().unwrap();
        let State { flip, passed, .. } = &mut *state;
        let here = flip.filter(|flip| flip.way == self.way && passed.flipped.is_none());
        let (count, lines) = match self.way {
            Way::Up => (&mut passed.bytes[0], &mut passed.lines[0]),
            Way::Down => (&mut passed.bytes[1], &mut passed.lines[1]),
        };
        for byte in bytes {
            if self.reader.left.0 == 0 {
                lines.push(*count);
            }
            let part = self.reader.next(*byte); // as it was sent
            if let Some(flip) = here.filter(|flip| flip.at == *count) {
                *byte ^= 1 << flip.bit;
                passed.flipped = Some(part);
            }
            *count += 1;
        }
    }
}

/// Knows of what each byte is a part, one after the other.
struct Reader {
    channel: Channel,
    /// A line, or the head of a record, as far as it has come.
    head: Vec<u8>,
    /// Bytes that are left of the piece, or of the record, and what they are.
    left: (usize, Part),
}

impl Reader {
    fn new(channel: Channel) -> Reader {
        Reader { channel, head: Vec::new(), left: (0, Part::Body) }
    }

    fn next(&mut self, byte: u8) -> Part {
        if self.left.0 > 0 {
            self.left.0 -= 1;
            return self.left.1;
        }
        self.head.push(byte);
        match self.channel {
            Channel::Plain => {
                if byte == b'\n' {
                    let line = String::from_utf8(std::mem::take(&mut self.head)).unwrap_or_default();
                    let length = line.strip_prefix("DATA ").and_then(|rest| rest.trim_end().parse().ok());
                    self.left = (length.unwrap_or(0), Part::Body);
                }
                Part::Words
            }
            Channel::Tls => {
                // RFC 8446, 5.1: type, version, length; what is encrypted has the type 23. Another type may be no TLS at all.
                let part = if self.head.len() > 1 && self.head[0] == 23 { Part::Record } else { Part::Hello };
                if let [_, _, _, high, low] = self.head[..] {
                    self.left = (usize::from(u16::from_be_bytes([high, low])), part);
                    self.head.clear();
                }
                part
            }
        }
    }
}
