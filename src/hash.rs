//! Hashing files: what lies there, and what grows while it is sent or received.
//!
//! A file that is large is hashed by a thread of its own, which reads back from the page cache what the transfer has just moved: hashing
//! costs more than all else of a transfer, and this way it runs beside it. Reading back copies once more; handing buffers over copies
//! less and was slower, since the two threads then wait for each other's buffers (docs/PERFORMANCE.md).

#![forbid(unsafe_code)]

use crate::net::Portion;
use crate::proto::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Bytes read at once: they stay in the processor's cache from the copy to the hash.
const BLOCK: usize = 128 * 1024;

/// Where a thread of its own begins to pay.
const WORTH_A_THREAD: u64 = 1 << 20;

/// Bytes after which the thread is told of them: waking it costs a little each time.
const STEP: u64 = 1 << 20;

/// Steps that the transfer may be ahead of the thread: so few that what is to be read back is still in memory and the end of the
/// transfer never waits for long, and so many that the two do not stop each other at every step.
const AHEAD: usize = 64;

/// What a hasher has come to.
pub fn finish(hasher: Sha256) -> Digest {
    Digest(hasher.finalize().into())
}

/// Feeds the bytes of `file` from `from` up to `to` to `hasher`; `go_on` is asked before each block. The file ending before `to` is
/// [`ErrorKind::UnexpectedEof`].
pub fn absorb<E: From<io::Error>>(
    hasher: &mut Sha256,
    file: &File,
    from: u64,
    to: u64,
    mut go_on: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; BLOCK.min(usize::try_from(to.saturating_sub(from)).unwrap_or(BLOCK))];
    absorb_by(&mut buffer, hasher, file, from, to, &mut go_on)
}

/// The same by way of a buffer that is there.
fn absorb_by<E: From<io::Error>>(
    buffer: &mut [u8],
    hasher: &mut Sha256,
    file: &File,
    from: u64,
    to: u64,
    go_on: &mut dyn FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut at = from;
    while at < to {
        go_on()?;
        let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The digest of bytes that go by, in the order in which they stand in their file.
pub struct Running {
    /// How many bytes have gone by.
    at: u64,
    hashing: Hashing,
}

enum Hashing {
    /// As they go by.
    Here(Sha256),
    /// Beside the transfer.
    Beside(Follower),
    /// It came to an error, told already.
    Broken,
}

impl Running {
    /// Nothing has gone by yet.
    pub fn new() -> Running {
        Running::after(0, Sha256::new())
    }

    /// The first `at` bytes have been hashed by `hasher`.
    pub fn after(at: u64, hasher: Sha256) -> Running {
        Running { at, hashing: Hashing::Here(hasher) }
    }

    /// How many bytes have gone by.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The digest so far; `None` once a thread has it.
    pub fn so_far(&self) -> Option<Digest> {
        match &self.hashing {
            Hashing::Here(hasher) => Some(finish(hasher.clone())),
            _ => None,
        }
    }

    /// `bytes` go by, and stand in `file` now, if there is one, where the ones before them end.
    pub fn passed(&mut self, bytes: &[u8], file: Option<&File>) -> io::Result<()> {
        if let (Hashing::Here(hasher), true) = (&mut self.hashing, file.is_none() || self.at < WORTH_A_THREAD) {
            hasher.update(bytes);
            self.at += bytes.len() as u64;
            return Ok(());
        }
        match file {
            Some(file) => self.reached(self.at + bytes.len() as u64, file),
            None => Err(io::Error::other("a digest that was begun with a file goes on with none")),
        }
    }

    /// Writes a portion to `file`, where that stands and the bytes before it end.
    pub fn write(&mut self, portion: Portion, mut file: &File) -> io::Result<()> {
        match portion {
            Portion::Read(bytes) => {
                file.write_all(bytes)?;
                self.passed(bytes, Some(file))
            }
            Portion::Piped(pipe) => {
                let to = self.at + pipe.held() as u64;
                pipe.pour(file)?;
                self.reached(to, file)
            }
        }
    }

    /// The bytes of `file` up to `to` have gone by, without being seen here.
    pub fn reached(&mut self, to: u64, file: &File) -> io::Result<()> {
        if let Hashing::Here(hasher) = &mut self.hashing {
            // Where no thread or descriptor can be had, this one goes on.
            match (to > WORTH_A_THREAD).then(|| Follower::start(file, self.at, hasher.clone())) {
                Some(Ok(follower)) => self.hashing = Hashing::Beside(follower),
                Some(Err(_)) | None => {
                    absorb(hasher, file, self.at, to, || io::Result::Ok(()))
                        .inspect_err(|_| self.hashing = Hashing::Broken)?;
                }
            }
        }
        let followed = match &mut self.hashing {
            Hashing::Here(_) => true,
            Hashing::Beside(follower) => to < follower.told + STEP || follower.reach(to),
            Hashing::Broken => false,
        };
        if !followed {
            return Err(self.failure());
        }
        self.at = to;
        Ok(())
    }

    /// The digest of all that has gone by.
    pub fn finish(mut self) -> io::Result<Digest> {
        match std::mem::replace(&mut self.hashing, Hashing::Broken) {
            Hashing::Here(hasher) => Ok(finish(hasher)),
            Hashing::Beside(follower) => follower.finish(self.at).map(finish),
            Hashing::Broken => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Why the thread went no further.
    fn failure(&mut self) -> io::Error {
        match std::mem::replace(&mut self.hashing, Hashing::Broken) {
            Hashing::Beside(follower) => follower.finish(self.at).err(),
            _ => None,
        }
        .unwrap_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

impl Default for Running {
    fn default() -> Self {
        Running::new()
    }
}

/// What reads a file behind a transfer.
struct Behind {
    file: File,
    at: u64,
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl Behind {
    fn catch_up(&mut self, to: u64, mut go_on: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        absorb_by(&mut self.buffer, &mut self.hasher, &self.file, self.at, to, &mut go_on)?;
        self.at = to;
        Ok(())
    }
}

/// Hashes a file in step with its transfer, by a thread that holds the file as well. When this is dropped the thread has ended, and with
/// it the lock that the file may have.
struct Follower {
    /// Up to where it has been told.
    told: u64,
    tell: Option<SyncSender<u64>>,
    thread: Option<JoinHandle<io::Result<Sha256>>>,
    /// Nobody wants the digest any more.
    given_up: Arc<AtomicBool>,
}

impl Follower {
    fn start(file: &File, at: u64, hasher: Sha256) -> io::Result<Follower> {
        // Its buffer is made here, not by the thread: what lies on top of a thread's own heap is never given back.
        let mut behind = Behind { file: file.try_clone()?, at, hasher, buffer: vec![0; BLOCK] };
        let (tell, steps) = sync_channel::<u64>(AHEAD);
        let given_up = Arc::new(AtomicBool::new(false));
        let asked = given_up.clone();
        let go_on = move || if asked.load(Ordering::Relaxed) { Err(io::Error::other("given up")) } else { Ok(()) };
        let body = move || {
            for to in steps {
                behind.catch_up(to, &go_on)?;
            }
            Ok(behind.hasher)
        };
        let thread = thread::Builder::new().stack_size(64 * 1024).spawn(body)?;
        Ok(Follower { told: at, tell: Some(tell), thread: Some(thread), given_up })
    }

    /// The file is there up to `to`. `false`: it could not be read.
    fn reach(&mut self, to: u64) -> bool {
        self.told = to;
        self.tell.as_ref().is_some_and(|tell| tell.send(to).is_ok())
    }

    /// Waits until the file has been hashed up to `to`.
    fn finish(mut self, to: u64) -> io::Result<Sha256> {
        self.reach(to); // where it could not be read, the thread says why
        self.tell = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("the hashing thread died")))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.tell = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it looks up before each block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 7 / 3) as u8).collect()
    }

    fn digest_of(bytes: &[u8]) -> Digest {
        finish(Sha256::new_with_prefix(bytes))
    }

    #[test]
    fn the_digest_is_that_of_all_bytes_whichever_way_they_went_by() {
        let whole = content(3 * WORTH_A_THREAD as usize + 17);
        for step in [1, 4096, BLOCK + 1, whole.len()] {
            let length = if step == 1 { 5000 } else { whole.len() };
            let bytes = &whole[..length];
            let mut file = tempfile::tempfile().unwrap();
            let (mut in_file, mut alone, mut unseen) = (Running::new(), Running::new(), Running::new());
            for part in bytes.chunks(step) {
                file.write_all(part).unwrap();
                in_file.passed(part, Some(&file)).unwrap();
                alone.passed(part, None).unwrap();
                unseen.reached(unseen.at() + part.len() as u64, &file).unwrap();
            }
            assert_eq!(in_file.at(), length as u64);
            for running in [in_file, alone, unseen] {
                assert_eq!(running.finish().unwrap(), digest_of(bytes), "in steps of {step}");
            }
        }
    }

    #[test]
    fn it_goes_on_where_an_earlier_attempt_ended() {
        let bytes = content(2 * WORTH_A_THREAD as usize);
        let (first, rest) = bytes.split_at(1_500_000);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let mut running = Running::after(first.len() as u64, Sha256::new_with_prefix(first));
        running.passed(rest, Some(&file)).unwrap();
        assert_eq!(running.finish().unwrap(), digest_of(&bytes));
    }

    #[test]
    fn what_is_given_up_holds_the_lock_of_its_file_no_longer() {
        let mine = tempfile::NamedTempFile::new().unwrap();
        mine.as_file().set_len(32 * STEP).unwrap();
        mine.as_file().lock().unwrap();
        let mut running = Running::new();
        for step in 1..=32 {
            running.reached(step * STEP, mine.as_file()).unwrap();
        }
        let (file, path) = mine.into_parts();
        drop((file, running));
        File::open(&path).unwrap().try_lock().unwrap();
    }

    #[test]
    fn what_is_given_up_is_not_hashed_to_its_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap(); // a hole, of which a digest takes many minutes
        let mut running = Running::new();
        running.reached(1 << 40, &file).unwrap();
        let (gone, ended) = std::sync::mpsc::channel();
        thread::spawn(move || {
            drop(running);
            gone.send(())
        });
        ended.recv_timeout(std::time::Duration::from_secs(20)).expect("the thread looks up before each block");
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error_and_no_digest() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content(1000)).unwrap();
        let mut running = Running::new();
        let told = running.reached(2000, &file).and_then(|()| running.finish().map(drop));
        assert_eq!(told.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let mut running = Running::new();
        while running.reached(running.at() + 2000, &file).is_ok() {}
        assert!(running.finish().is_err());
    }
}
