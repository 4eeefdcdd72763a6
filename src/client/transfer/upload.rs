//! One upload that is worth resuming: a big file, or standard input.

use super::source::{Source, Stdin, cannot_read};
use crate::client::connection::Connection;
use crate::client::display::escape::escape;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::report::{Event, Report};
use crate::client::retry::Retry;
use crate::client::stop::Stop;
use crate::hash::{self, Running};
use crate::proto::{Answer, Code, Digest, RemotePath};
use sha2::Sha256;
use std::io;
use std::os::fd::AsFd;

/// Where the bytes come from.
pub enum Input {
    /// A file: can be read again after a lost connection.
    File(Source),
    /// Standard input: cannot.
    Stdin(Stdin),
}

/// An upload with what it must know to go on after a lost connection.
pub struct Upload {
    /// Its number in reports.
    pub file: u64,
    /// Its name on the server.
    pub remote: RemotePath,
    /// Where its bytes come from.
    pub input: Input,
    /// Bytes sent so far, over all attempts.
    pub moved: u64,
    /// What the request says besides.
    pub flag: &'static str,
    /// The server holds bytes that turned out wrong: send all of them, and do not ask.
    fresh: bool,
    /// The furthest place at which an attempt began.
    best: u64,
    /// Where the last attempt ended.
    pub reached: u64,
    /// How many bytes from the beginning have been hashed, and their hash: hashing may take longer than the server's patience,
    /// and the next attempt then answers at once.
    hashed: Option<(u64, Sha256)>,
}

/// Who is concerned while it runs.
pub struct Surroundings<'a> {
    /// Ctrl+C.
    pub stop: &'a Stop,
    /// Who is told.
    pub report: &'a dyn Report,
}

/// What became of a body.
enum Body {
    Whole,
    /// The server has answered before its end.
    Refused(Answer),
    /// It cannot be read on.
    Failed(Failure),
}

/// How an attempt ended when the connection did not.
pub type Settled = Result<(u64, Digest), Failure>;

impl Upload {
    /// An upload that has not begun.
    pub fn new(file: u64, remote: RemotePath, input: Input) -> Self {
        Upload { file, remote, input, moved: 0, flag: "", fresh: false, best: 0, reached: 0, hashed: None }
    }

    /// Sends the file, going on where the server's earlier part ends if that is a part of this very file. The outer error
    /// is the connection's: after it, the same upload can be tried over another one. The inner one is the file's: the
    /// connection goes on.
    pub fn attempt(
        &mut self,
        connection: &mut Connection,
        retry: &mut Retry,
        around: &Surroundings,
    ) -> Result<Settled, Failure> {
        loop {
            let settled = self.once(connection, retry, around).map_err(|failure| self.explain(failure))?;
            let again = settled.as_ref().is_err_and(|failure| failure.code == Some(Code::ChecksumMismatch));
            if !again || self.fresh || matches!(self.input, Input::Stdin(_)) {
                return Ok(settled);
            }
            // What the server kept of an earlier attempt has gone bad: once more, all of it.
            self.fresh = true;
        }
    }

    /// Standard input cannot be read again: with it, a lost connection is the end.
    fn explain(&self, failure: Failure) -> Failure {
        let begun = matches!(&self.input, Input::Stdin(stdin) if stdin.begun);
        Failure { retry: failure.retry && !begun, ..failure }
    }

    fn once(
        &mut self,
        connection: &mut Connection,
        retry: &mut Retry,
        around: &Surroundings,
    ) -> Result<Settled, Failure> {
        self.request(connection);
        let ready = match connection.answer()? {
            Answer::Ready(fields) => fields,
            answer => return self.refusal(connection, answer),
        };
        let there = ready.number("offset").map_err(|why| connection.broken(why))?;
        let theirs = ready.digest("sha256").map_err(|why| connection.broken(why))?;
        let (at, hasher) = match self.begin(there, theirs, around) {
            Ok(begin) => begin,
            Err(failure) => return self.give_up(connection, failure),
        };
        if self.resumes() {
            connection.queue(format_args!("FROM {at}"));
        } else if there != 0 {
            return Err(connection.broken("the server resumes an upload that was not to be resumed"));
        }
        if at > 0 {
            around.report.event(Event::Resumed { file: self.file, at });
        }
        self.reached = at;
        retry.passed(at.saturating_sub(self.best));
        self.best = self.best.max(at);
        self.body(connection, at, hasher, around)
    }

    /// Only a file's bytes can be compared with what the server holds.
    fn resumes(&self) -> bool {
        matches!(self.input, Input::File(_)) && !self.fresh
    }

    fn request(&self, connection: &mut Connection) {
        let flag = self.flag;
        match &self.input {
            Input::Stdin(_) => connection.queue(format_args!("UPLOAD {}{flag}", self.remote)),
            Input::File(source) => {
                let resume = if self.resumes() { " resume" } else { "" };
                let (size, mtime) = (source.size(), source.mtime());
                connection.queue(format_args!("UPLOAD {} size={size} mtime={mtime}{resume}{flag}", self.remote));
            }
        }
    }

    /// Where to begin, and the hash of what stands before: at the server's offset if our own first bytes have its digest.
    fn begin(&mut self, there: u64, theirs: Option<Digest>, around: &Surroundings) -> Result<(u64, Sha256), Failure> {
        let Input::File(source) = &self.input else { return Ok((0, Sha256::default())) };
        if there > 0 && there <= source.size() {
            let (from, hasher) = match self.hashed.take() {
                Some(known) if known.0 <= there && source.check_unchanged().is_ok() => known,
                _ => (0, Sha256::default()),
            };
            if let Some(ours) = source.hash(from, hasher, there, around.stop)? {
                self.hashed = Some((there, ours.clone()));
                if theirs == Some(hash::finish(ours.clone())) {
                    return Ok((there, ours));
                }
            }
        }
        Ok((0, Sha256::default()))
    }

    fn body(
        &mut self,
        connection: &mut Connection,
        at: u64,
        hasher: Sha256,
        around: &Surroundings,
    ) -> Result<Settled, Failure> {
        let mut hash = Running::after(at, hasher);
        let body = match &self.input {
            Input::File(_) => self.file_body(connection, &mut hash, around),
            Input::Stdin(_) => self.stdin_body(connection, &mut hash, around),
        };
        match body? {
            Body::Whole => {}
            Body::Refused(answer) => return self.refusal(connection, answer),
            Body::Failed(failure) => return self.give_up(connection, failure),
        }
        let size = hash.at();
        match hash.finish() {
            Ok(digest) => self.end(connection, size, digest, around),
            Err(why) => {
                let failure = self.unreadable(&why);
                self.give_up(connection, failure)
            }
        }
    }

    /// Sends the rest of the file, piece by piece, and hashes it in step with that.
    fn file_body(
        &mut self,
        connection: &mut Connection,
        hash: &mut Running,
        around: &Surroundings,
    ) -> Result<Body, Failure> {
        let Input::File(source) = &self.input else { return Ok(Body::Whole) };
        while hash.at() < source.size() {
            if let Err(failure) = around.stop.check() {
                return Ok(Body::Failed(failure));
            }
            let length = usize::try_from(source.size() - hash.at()).unwrap_or(usize::MAX).min(connection.piece());
            let trouble = connection.send_piece_of(source.file().as_fd(), hash.at(), length)?;
            self.moved += length as u64;
            self.reached = hash.at() + length as u64;
            if let Err(why) = trouble.map_or_else(|| hash.reached(self.reached, source.file()), Err) {
                return Ok(Body::Failed(self.unreadable(&why)));
            }
            around.report.event(Event::Advanced { file: self.file, bytes: length as u64 });
            if let Some(answer) = connection.answer_if_there()? {
                return Ok(Body::Refused(answer));
            }
        }
        Ok(source.check_unchanged().map_or_else(Body::Failed, |()| Body::Whole))
    }

    /// Sends standard input up to its end.
    fn stdin_body(
        &mut self,
        connection: &mut Connection,
        hash: &mut Running,
        around: &Surroundings,
    ) -> Result<Body, Failure> {
        let Input::Stdin(stdin) = &mut self.input else { return Ok(Body::Whole) };
        let mut buffer = vec![0; limits::PIECE];
        loop {
            if let Err(failure) = around.stop.check() {
                return Ok(Body::Failed(failure));
            }
            if let Some(answer) = await_input(stdin, connection, around)? {
                return Ok(Body::Refused(answer));
            }
            let piece = match stdin.read(&mut buffer) {
                Ok(0) => return Ok(Body::Whole),
                Ok(n) => &buffer[..n],
                Err(failure) => return Ok(Body::Failed(failure)),
            };
            if let Err(why) = hash.passed(piece, None) {
                return Ok(Body::Failed(cannot_read(&why)));
            }
            connection.send_piece(piece)?;
            self.moved += piece.len() as u64;
            self.reached = hash.at();
            around.report.event(Event::Advanced { file: self.file, bytes: piece.len() as u64 });
            // A server that refuses in mid-body says so at once, and reads the rest only to throw it away.
            if let Some(answer) = connection.answer_if_there()? {
                return Ok(Body::Refused(answer));
            }
        }
    }

    /// The failure of input that does not read.
    fn unreadable(&self, why: &io::Error) -> Failure {
        match &self.input {
            Input::File(source) if why.kind() == io::ErrorKind::UnexpectedEof => source.changed(),
            Input::File(source) => source.failure(why),
            Input::Stdin(_) => cannot_read(why),
        }
    }

    fn end(
        &mut self,
        connection: &mut Connection,
        size: u64,
        ours: Digest,
        around: &Surroundings,
    ) -> Result<Settled, Failure> {
        around.report.event(Event::Settling { file: self.file });
        connection.queue_end(ours, &self.remote);
        match connection.answer()? {
            Answer::Ok(fields) => {
                let stored: Digest = fields.value("sha256").map_err(|why| connection.broken(why))?;
                Ok(if stored == ours { Ok((size, ours)) } else { Err(stored_wrongly(&self.remote)) })
            }
            answer => self.refusal(connection, answer),
        }
    }

    /// An `ERR` where an answer to this upload is due.
    fn refusal(&self, connection: &mut Connection, answer: Answer) -> Result<Settled, Failure> {
        match answer {
            Answer::Err(code, text) => {
                let failure = connection.refused(self.remote.as_bytes(), code, &text);
                if connection.usable() { Ok(Err(failure)) } else { Err(failure) }
            }
            other => Err(connection.unexpected(&other)),
        }
    }

    /// Tells the server that no more will come, for a reason of our own. What it has got can be resumed.
    fn give_up(&self, connection: &mut Connection, failure: Failure) -> Result<Settled, Failure> {
        if failure.exit == Exit::Interrupted {
            connection.abandon();
            return Err(failure);
        }
        match connection.ask(format_args!("ABORT {} {}", Code::Changed, "the source failed"))? {
            Answer::Err(..) => Ok(Err(failure)),
            other => Err(connection.unexpected(&other)),
        }
    }
}

/// Waits until standard input has something, while the server is told now and then that more will come. An answer comes before
/// only if the server refuses.
fn await_input(stdin: &Stdin, connection: &mut Connection, around: &Surroundings) -> Result<Option<Answer>, Failure> {
    loop {
        if let Some(answer) = connection.answer_if_there()? {
            return Ok(Some(answer));
        }
        let ready = around.stop.wait_either([stdin.fd(), connection.fd()], stdin.patience);
        match ready.inspect_err(|_| connection.abandon())? {
            [true, _] => return Ok(None),
            [false, true] => {}
            [false, false] => {
                connection.queue(Answer::Wait);
                connection.flush()?;
            }
        }
    }
}

/// The failure of a server whose `OK` names another digest than ours.
pub fn stored_wrongly(remote: &RemotePath) -> Failure {
    let name = escape(remote.as_bytes());
    Failure::new(Exit::Integrity, format!("{name}: the server stored other bytes than were sent; send it again"))
}

#[cfg(test)]
mod tests {
    use super::super::source::Links;
    use super::*;
    use crate::client::fake::{Fake, Script, digest_of};
    use crate::client::remote::Remote;
    use crate::client::report::Silent;

    #[test]
    fn what_was_hashed_for_one_attempt_is_not_hashed_again_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (path, content) = (dir.path().join("a"), vec![7; 1_500_000]);
        std::fs::write(&path, &content).unwrap();
        let input = Input::File(Source::open(&path, &Links::Follow).unwrap());
        let mut upload = Upload::new(0, "a".parse().unwrap(), input);
        let around = Surroundings { stop: &Stop::deaf(), report: &Silent };
        let begin = |upload: &mut Upload, there: usize| {
            upload.begin(there as u64, Some(digest_of(&content[..there])), &around).unwrap().0
        };
        assert_eq!(begin(&mut upload, 900_000), 900_000);
        // More is there now: only the rest is hashed, so a hash put in the place of the first part spoils the whole.
        assert_eq!(begin(&mut upload, 1_000_000), 1_000_000);
        upload.hashed = Some((900_000, Sha256::default()));
        assert_eq!(begin(&mut upload, 1_000_000), 0);
        // Less is there, or the file is another one: all anew.
        upload.hashed = Some((900_000, Sha256::default()));
        assert_eq!(begin(&mut upload, 800_000), 800_000);
        upload.hashed = Some((800_000, Sha256::default()));
        std::fs::write(&path, &content).unwrap();
        assert_eq!(begin(&mut upload, 900_000), 900_000);
    }

    /// An upload from a pipe that says nothing, to a server that does as `script` says; its end of the pipe.
    fn silent_input(script: Script) -> (Failure, Fake) {
        let (input, _silent) = nix::unistd::pipe().unwrap();
        let fake = Fake::start(0, vec![script]);
        let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
        let input = Input::Stdin(Stdin::of(input, std::time::Duration::from_millis(1)));
        let mut upload = Upload::new(0, "a".parse().unwrap(), input);
        let around = Surroundings { stop: &Stop::deaf(), report: &Silent };
        let mut retry = Retry::new(&fake.target);
        let failure = match upload.attempt(&mut remote.connection, &mut retry, &around) {
            Ok(settled) => settled.unwrap_err(),
            Err(failure) => failure,
        };
        (failure, fake)
    }

    #[test]
    fn while_standard_input_is_silent_the_server_is_told_and_heard() {
        let (failure, fake) = silent_input(Box::new(|peer| {
            assert_eq!(peer.line(), "UPLOAD a");
            peer.say("READY offset=0\n");
            assert_eq!((peer.line(), peer.line()), ("WAIT".to_owned(), "WAIT".to_owned()));
            peer.say("ERR over-quota full\n");
        }));
        assert_eq!(failure.exit, Exit::Space);
        fake.end();
        let (failure, fake) = silent_input(Box::new(|peer| {
            peer.line();
            peer.say("READY offset=0\n");
        }));
        assert_eq!(failure.exit, Exit::Connect);
        fake.end();
    }
}
