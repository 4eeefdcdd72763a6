//! A connection that may end at any moment.

use crate::common::PATIENCE;
use crate::common::raw::upload_bytes;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// A connection that may end at any moment: then nothing answers any more.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects and logs in.
    pub fn login(address: &str, user: &str, password: &str) -> Option<Wire> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut wire = Wire(BufReader::new(stream));
        wire.line()?;
        wire.ask(&format!("LOGIN {user} {password}"))?.starts_with("OK welcome").then_some(wire)
    }

    /// The next line.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            let line = line.strip_suffix('\n')?;
            if !line.starts_with("WAIT") {
                return Some(line.to_owned());
            }
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.0.get_mut().write_all(bytes).ok()
    }

    /// Sends a request; the first line of its answer.
    pub fn ask(&mut self, request: &str) -> Option<String> {
        self.send(format!("{request}\n").as_bytes())?;
        self.line()
    }

    /// Uploads; the final answer.
    pub fn upload(&mut self, path: &str, bytes: &[u8]) -> Option<String> {
        self.send(&upload_bytes(path, bytes))?;
        let answer = self.line()?;
        if answer.starts_with("READY") { self.line() } else { Some(answer) }
    }
}
