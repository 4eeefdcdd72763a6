//! One session, as its client sees it: what it asks for, what it is told, and what must therefore lie there.

use super::names::{Effect, Names, Thing};
use crate::common::raw::{body_bytes, field, upload_bytes};
use crate::common::scram::Exchange;
use crate::common::tree::sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, and what came over it.
pub struct Visit {
    wire: BufReader<TcpStream>,
    /// What must lie under the user's names.
    pub names: Names,
    /// All that the server said, but for rows and bodies.
    pub said: Vec<String>,
    /// `CODE TEXT` of each ERR and ABORT that was not due.
    pub refusals: Vec<String>,
    /// What the server said that was not so.
    pub lies: Vec<String>,
    /// The connection hung.
    pub hung: bool,
    /// The number of the run, for names that no other run has had.
    pub serial: u64,
}

/// What is left of a visit when the connection has ended: nothing more to ask.
pub type Went = Option<()>;

impl Visit {
    /// Connects.
    pub fn begin(address: &str, names: Names, serial: u64) -> Option<Visit> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true);
        let wire = BufReader::with_capacity(64 * 1024, stream);
        Some(Visit { wire, names, said: Vec::new(), refusals: Vec::new(), lies: Vec::new(), hung: false, serial })
    }

    /// Greets and logs in, in one of the two ways.
    pub fn log_in(&mut self, user: &str, password: &str, scram: bool) -> Went {
        let greeting = self.line()?;
        if !greeting.starts_with("OK ") {
            self.refusals.push(greeting.trim_start_matches("ERR ").into());
            return None;
        }
        if !scram {
            self.send(format!("LOGIN {user} {password}\n"))?;
            return self.ok()?.map(drop);
        }
        let (exchange, first) = Exchange::begin(user, password);
        self.send(format!("AUTH SCRAM-SHA-256 {first}\n"))?;
        let challenge = self.line()?;
        let Some(challenge) = challenge.strip_prefix("CHALLENGE ") else {
            self.refusals.push(challenge.trim_start_matches("ERR ").into());
            return None;
        };
        let (last, _) = exchange.answer(challenge);
        self.send(format!("AUTH SCRAM-SHA-256 {last}\n"))?;
        self.ok()?.map(drop)
    }

    /// Sends, whether the other end still takes it or not: what it said may be there.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Went {
        let _ = self.wire.get_mut().write_all(bytes.as_ref());
        Some(())
    }

    /// The next line, WAIT left out; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            match self.wire.read_line(&mut line) {
                Ok(_) => {}
                Err(why) => {
                    self.hung |= matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                    return None;
                }
            }
            if !line.ends_with('\n') {
                return None; // what is torn by the end of the connection is no answer
            }
            line.pop();
            if line != "WAIT" && !line.starts_with("WAIT ") {
                return Some(line);
            }
        }
    }

    /// The next line if it is OK; `Some(None)` after an ERR, which is kept.
    pub fn ok(&mut self) -> Option<Option<String>> {
        let line = self.line()?;
        Some(self.judge(line))
    }

    fn judge(&mut self, line: String) -> Option<String> {
        self.said.push(line.clone());
        if let Some(refusal) = line.strip_prefix("ERR ") {
            self.refusals.push(refusal.into());
            return None;
        }
        if !line.starts_with("OK") {
            self.lies.push(format!("not an answer: '{line}'"));
        }
        Some(line)
    }

    /// A request that changes nothing; its OK.
    pub fn ask(&mut self, request: &str) -> Option<Option<String>> {
        self.send(format!("{request}\n"))?;
        self.ok()
    }

    /// A request, and what it does to names.
    pub fn change(&mut self, request: &str, effect: Effect) -> Option<Option<String>> {
        self.send(format!("{request}\n"))?;
        let answer = self.line();
        self.settle(answer, effect, &[])
    }

    /// The same, all of which may happen in part: an error leaves all of it in doubt.
    pub fn change_bit_by_bit(&mut self, request: &str, effect: Effect) -> Option<Option<String>> {
        self.send(format!("{request}\n"))?;
        let Some(answer) = self.line() else {
            self.names.doubtful(effect);
            return None;
        };
        let said = self.judge(answer);
        if said.is_some() {
            self.names.done(effect)
        } else {
            self.names.doubtful(effect)
        }
        Some(said)
    }

    /// What a request has done, by its answer; codes that are `due` are no refusals.
    fn settle(&mut self, answer: Option<String>, effect: Effect, due: &[&str]) -> Option<Option<String>> {
        let Some(answer) = answer else {
            self.names.doubtful(effect);
            return None;
        };
        if answer.starts_with("ERR uncertain ") {
            self.names.doubtful(effect);
        } else if answer.starts_with("OK") {
            self.names.done(effect);
        } else if due.iter().any(|code| answer.starts_with(&format!("ERR {code} "))) {
            return Some(None);
        }
        Some(self.judge(answer))
    }

    /// Uploads one file.
    pub fn upload(&mut self, name: &str, bytes: &[u8]) -> Went {
        self.uploads(&[(name, bytes)])
    }

    /// Uploads files in one stroke, and hears of all.
    pub fn uploads(&mut self, files: &[(&str, &[u8])]) -> Went {
        let all: Vec<u8> = files.iter().flat_map(|(name, bytes)| upload_bytes(name, bytes)).collect();
        self.send(all)?;
        self.heard(files, &[])
    }

    /// The answers to uploads; codes that are `due` are no refusals.
    pub fn heard(&mut self, files: &[(&str, &[u8])], due: &[&str]) -> Went {
        let mut went = Some(());
        for (name, bytes) in files {
            let mut answer = went.and_then(|()| self.line());
            if answer.as_ref().is_some_and(|line| line.starts_with("READY ")) {
                answer = self.line();
            }
            if let Some(said) = answer.as_ref().filter(|said| said.starts_with("OK"))
                && *said != format!("OK size={} sha256={}", bytes.len(), sha256(bytes))
            {
                self.lies.push(format!("{name} was acknowledged as '{said}'"));
            }
            went = self.settle(answer, vec![((*name).into(), Thing::File(bytes.to_vec()))], due).map(drop);
        }
        went
    }

    /// Goes on with an upload that was broken off.
    pub fn resume(&mut self, name: &str, bytes: &[u8]) -> Went {
        self.send(format!("UPLOAD {name} size={} resume\n", bytes.len()))?;
        let ready = self.line()?;
        if ready.starts_with("ERR ") {
            self.judge(ready);
            return Some(());
        }
        let offset = field(&ready, "offset").parse::<usize>().unwrap_or(usize::MAX);
        let is_true =
            offset == 0 || bytes.get(..offset).is_some_and(|so_far| field(&ready, "sha256") == sha256(so_far));
        if !is_true {
            self.lies.push(format!("what is there to resume is not so: '{ready}'"));
        }
        let from = if is_true { offset } else { 0 };
        let mut rest = format!("FROM {from}\n").into_bytes();
        rest.extend(body_bytes(&bytes[from..]));
        // The digest that END states is the whole file's.
        let end = rest.iter().rposition(|byte| *byte == b'E').unwrap();
        rest.truncate(end);
        rest.extend(format!("END sha256={}\n", sha256(bytes)).into_bytes());
        self.send(rest)?;
        self.heard(&[(name, bytes)], &[])
    }

    /// Begins anew where an upload was broken off.
    pub fn resume_from_nothing(&mut self, name: &str, bytes: &[u8]) -> Went {
        self.send(format!("UPLOAD {name} size={} resume\n", bytes.len()))?;
        let ready = self.line()?;
        if ready.starts_with("ERR ") {
            self.judge(ready);
            return Some(());
        }
        self.send([b"FROM 0\n", &*body_bytes(bytes)].concat())?;
        self.heard(&[(name, bytes)], &[])
    }

    /// Downloads; what came must be a beginning of the content, and END says that it is all.
    pub fn download(&mut self, name: &str) -> Went {
        let content = self.names.content(name);
        let end = format!("END sha256={}", sha256(&content));
        self.body(&format!("DOWNLOAD {name}"), &content, &end)
    }

    /// Looks at the beginning of a file.
    pub fn view(&mut self, name: &str) -> Went {
        let mut content = self.names.content(name);
        content.truncate(1024);
        self.body(&format!("VIEW {name}"), &content, "END")
    }

    fn body(&mut self, request: &str, content: &[u8], end: &str) -> Went {
        self.send(format!("{request}\n"))?;
        let ready = self.line()?;
        if ready.starts_with("ERR ") {
            self.judge(ready);
            return Some(());
        }
        let (mut bytes, mut last) = (Vec::new(), 0);
        loop {
            let line = self.line()?;
            if let Some(count) = line.strip_prefix("DATA ").and_then(|count| count.parse::<usize>().ok()) {
                last = bytes.len();
                bytes.resize(last + count, 0);
                self.wire.read_exact(&mut bytes[last..]).ok()?;
                continue;
            }
            if let Some(abort) = line.strip_prefix("ABORT ") {
                bytes.truncate(last + field(&line, "good").parse::<usize>().unwrap_or(0));
                self.refusals.push(abort.into());
            } else if line != end || bytes.len() != content.len() {
                self.lies.push(format!("{request}: {} bytes ended with '{line}'", bytes.len()));
            }
            if !content.starts_with(&bytes) {
                self.lies.push(format!("{request}: {} bytes came that are not its content", bytes.len()));
            }
            return Some(());
        }
    }

    /// Rows that begin so, and the OK behind them; how many.
    pub fn rows(&mut self, word: &str) -> Option<usize> {
        let mut rows = 0;
        loop {
            let line = self.line()?;
            if !line.starts_with(word) {
                return self.judge(line).map_or(Some(usize::MAX), |_| Some(rows));
            }
            rows += 1;
        }
    }

    /// Lists all that there is: each name is told, or counted as skipped.
    pub fn list_all(&mut self) -> Went {
        self.send("LIST . recursive\n")?;
        let mut rows = 0;
        loop {
            let line = self.line()?;
            if line.starts_with("ENTRY ") {
                rows += 1;
                continue;
            }
            let Some(said) = self.judge(line) else { return Some(()) };
            if said.ends_with(" skipped=0") && rows != self.names.count() {
                self.lies.push(format!("{rows} of {} were listed, and '{said}'", self.names.count()));
            }
            return Some(());
        }
    }

    /// Says goodbye.
    pub fn log_out(&mut self) {
        let _ = self.ask("LOGOUT");
    }
}
