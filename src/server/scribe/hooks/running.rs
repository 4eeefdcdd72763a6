//! A program that runs: how it begins, what it says, and how it ends, in time or not.

use super::event::Job;
use crate::proto::limits::{ACTION_TEXT, HOOK_MERCY, HOOK_WORDS};
use crate::sys::descriptors;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::signals;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getppid, pipe2, read, setsid, write};
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What cannot be started ends so, as shells have it.
const NOT_STARTED: u8 = 127;

/// A program that runs.
pub struct Running {
    job: Job,
    pid: Pid,
    since: Instant,
    /// When it is asked to end; after that, when it is killed.
    until: Instant,
    /// Why it was asked to end.
    asked: Option<Fate>,
    /// What it says on standard error.
    ear: OwnedFd,
    /// The beginning of that.
    words: Vec<u8>,
}

/// Why a program was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It took too long.
    TimedOut,
    /// The server ends.
    ShutDown,
}

/// A program that has ended.
pub struct Ended {
    /// What it was run for.
    pub job: Job,
    /// How long it took.
    pub took: Duration,
    /// How it ended, in a word: `ok`, `failed`, `killed`, `timed-out`, `shut-down`.
    pub word: &'static str,
    /// The same in a sentence, with the first line that it said.
    pub text: String,
}

impl Running {
    /// Starts a program. Nothing is waited for: what is wrong with it, it says itself.
    pub fn start(program: &Path, job: Job, storage: &Path, patience: Duration) -> Result<Running, Box<Ended>> {
        match begin(program, &job, storage) {
            Ok((pid, ear)) => {
                let since = Instant::now();
                Ok(Running { job, pid, since, until: since + patience, asked: None, ear, words: Vec::new() })
            }
            Err(why) => {
                let text = format!("cannot be started: {why}");
                Err(Box::new(Ended { job, took: Duration::ZERO, word: "failed", text }))
            }
        }
    }

    /// Takes what it has said by now; but for the beginning it is thrown away.
    pub fn listen(&mut self) {
        let mut buffer = [0; 64 * 1024];
        let heard = read(&self.ear, &mut buffer).unwrap_or(0);
        let room = HOOK_WORDS.saturating_sub(self.words.len());
        self.words.extend_from_slice(buffer.get(..heard.min(room)).unwrap_or_default());
    }

    /// Asks it to end by then at the latest, since the server does.
    pub fn end_by(&mut self, then: Instant) {
        if self.asked.is_none() && then < self.until {
            self.until = then;
        }
    }

    /// Sees to it that it does not run for ever. `shutting_down` is why it may not, if it is not its own time that is over.
    pub fn watch(&mut self, now: Instant, shutting_down: bool) {
        if now < self.until {
            return;
        }
        let signal = if self.asked.is_some() { Signal::SIGKILL } else { Signal::SIGTERM };
        self.asked.get_or_insert(if shutting_down { Fate::ShutDown } else { Fate::TimedOut });
        self.until = now + HOOK_MERCY;
        let _ = killpg(self.pid, signal); // the process itself may have left its group
        let _ = kill(self.pid, signal);
    }

    /// Whether it has ended. What it has left behind in its process group ends with it; as long as it is not reaped the group's number is
    /// its own.
    pub fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let ended = !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR));
        if ended {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        ended
    }

    /// Reaps one that has ended.
    pub fn reap(mut self) -> Ended {
        let status = waitpid(self.pid, None);
        self.listen();
        let (word, mut text) = match (self.asked, status) {
            (Some(Fate::TimedOut), _) => ("timed-out", "did not end in time".to_owned()),
            (Some(Fate::ShutDown), _) => ("shut-down", "did not end before the server".to_owned()),
            (None, Ok(WaitStatus::Exited(_, 0))) => ("ok", "exit status 0".to_owned()),
            (None, Ok(WaitStatus::Exited(_, status))) => ("failed", format!("exit status {status}")),
            (None, Ok(WaitStatus::Signaled(_, signal, _))) => ("killed", format!("ended by {signal}")),
            (None, _) => ("failed", "its end was not seen".to_owned()),
        };
        let said = String::from_utf8_lossy(&self.words);
        if let Some(line) = said.lines().map(str::trim).find(|line| !line.is_empty()) {
            text.push_str(": ");
            text.extend(line.chars().take(ACTION_TEXT));
        }
        Ended { took: self.since.elapsed(), job: self.job, word, text }
    }
}

/// Forks, and executes a program in the child. Its process, and where it is heard.
fn begin(program: &Path, job: &Job, storage: &Path) -> io::Result<(Pid, OwnedFd)> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let words = [path.clone(), CString::new(job.event.as_str())?];
    let environment = job.environment(storage);
    let (ear, mouth) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ear, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let scribe = Pid::this();
    match fork()? {
        Fork::Parent(pid) => Ok((pid, ear)),
        Fork::Child => {
            let Err(why) = become_program(scribe, &mouth, &path, &words, &environment);
            let _ = write(&mouth, format!("cannot be started: {}", why.desc()).as_bytes());
            exit_child(NOT_STARTED)
        }
    }
}

/// In the child: leaves behind all that is the scribe's, and becomes the program.
fn become_program(
    scribe: Pid,
    mouth: &OwnedFd,
    path: &CString,
    words: &[CString],
    environment: &[CString],
) -> nix::Result<Infallible> {
    // First of all: the scribe leads the group of all sessions, and their signals, which it ignores, are not for this one. It has no
    // terminal either.
    setsid()?;
    // Nobody but this scribe keeps its time and its place among the others.
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != scribe {
        return Err(Errno::ESRCH);
    }
    chdir("/")?;
    let nothing = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(mouth)?;
    descriptors::end_with_exec().map_err(|why| why.raw_os_error().map_or(Errno::EBADF, Errno::from_raw))?;
    signals::all_by_default()?;
    // Not execvp(3), which gives what the kernel does not know to a shell.
    execve(path, words, environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::record::Caller;
    use crate::server::scribe::known::{Known, Session};

    #[test]
    fn of_what_a_program_says_the_beginning_is_kept() {
        let (ear, mouth) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let caller = Caller { pid: Pid::this(), serial: 1, at: 0, peer: "uid:5".into() };
        let job = Job::of_login(&Known::new(vec![], 1), &Session { caller, user: None }, 1, None, "");
        let now = Instant::now();
        let mut running =
            Running { job, pid: Pid::this(), since: now, until: now, asked: None, ear, words: Vec::new() };
        running.listen(); // nothing is there, and nothing is waited for
        for n in 0..100 {
            assert_eq!(write(&mouth, &[b'a' + n % 26; 1000]), Ok(1000));
            running.listen();
        }
        assert_eq!(running.words, [vec![b'a'; 1000], vec![b'b'; HOOK_WORDS - 1000]].concat());
        assert_eq!(read(&running.ear, &mut [0; 1]), Err(Errno::EAGAIN), "the rest is thrown away");
    }
}
