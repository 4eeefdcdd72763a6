//! Signals as something to poll for: a handler only sets a flag and writes one byte into a pipe.

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use signal_hook::SigId;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The last signal that Linux has.
const SIGNALS: i32 = 64;

/// A set of signals that arrive as readable bytes. Installing it also undoes an inherited "ignored", as a shell leaves
/// it for jobs started with `&`. Dropping it forgets the signals: a forked child drops its parent's before it makes its own.
pub struct SignalPipe {
    pipe: UnixStream,
    flags: Vec<(Signal, Arc<AtomicBool>)>,
    ids: Vec<SigId>,
}

impl SignalPipe {
    /// Catches `signals` from now on.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let (pipe, end) = UnixStream::pair()?;
        let end = Arc::new(end); // one for all signals: a forked child has that much less to close
        pipe.set_nonblocking(true)?;
        let mut caught = SignalPipe { pipe, flags: Vec::new(), ids: Vec::new() };
        for &signal in signals {
            let flag = Arc::new(AtomicBool::new(false));
            let (set, end) = (flag.clone(), end.clone());
            let action = move || {
                set.store(true, Ordering::SeqCst); // before the byte is written: who reads the byte sees the flag
                // SAFETY: send(2) may be called in a signal handler; it reads one byte of a constant and touches no other memory, and `end`
                // is open as long as this closure lives. It does not wait: where the pipe is full, its reader has enough to read.
                unsafe {
                    libc::send(end.as_raw_fd(), c"!".as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                };
            };
            // SAFETY: what runs in the handler is the action above: it neither allocates nor locks nor panics, and errno is kept by the
            // registry.
            caught.ids.push(unsafe { signal_hook_registry::register(signal as i32, action) }?);
            caught.flags.push((signal, flag));
        }
        Ok(caught)
    }

    /// What to poll for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Empties the pipe, so that it can be waited for again. To be called before the flags are asked.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.pipe).read(&mut bytes), Ok(n) if n > 0) {}
    }

    /// Whether `signal` has come since the last time this was asked.
    pub fn came(&self, signal: Signal) -> bool {
        let set = |flag: &AtomicBool| flag.load(Ordering::SeqCst) && flag.swap(false, Ordering::SeqCst);
        self.flags.iter().any(|(of, flag)| *of == signal && set(flag))
    }
}

impl Drop for SignalPipe {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// The requests to end that a session and a client know.
pub struct StopPipe(SignalPipe);

/// Asks a session to make room for another client; one that has logged in stays.
pub const MAKE_ROOM: Signal = Signal::SIGUSR1;

/// Asks a session to end because its user is gone.
pub const USER_GONE: Signal = Signal::SIGUSR2;

/// Asks the listener to go on as a new version of itself.
pub const UPGRADE: Signal = Signal::SIGUSR2;
/// Asks a session to end because the operator says so.
pub const KICKED: Signal = Signal::SIGQUIT;

/// What a [`StopPipe`] has heard.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// SIGINT: finish what is in hand.
    pub gentle: bool,
    /// SIGTERM: break off.
    pub urgent: bool,
    /// [`MAKE_ROOM`].
    pub make_room: bool,
    /// [`USER_GONE`].
    pub user_gone: bool,
    /// [`KICKED`].
    pub kicked: bool,
}

impl StopPipe {
    /// Catches SIGINT and SIGTERM from now on.
    pub fn new() -> io::Result<Self> {
        SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM]).map(StopPipe)
    }

    /// Catches those two and what the listener says to a session alone.
    pub fn of_session() -> io::Result<Self> {
        SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM, MAKE_ROOM, USER_GONE, KICKED]).map(StopPipe)
    }

    /// What to poll for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// Empties the pipe, so that it can be waited for again.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// What has been heard since the last time. Cheap: no system call.
    pub fn take(&self) -> Heard {
        Heard {
            gentle: self.0.came(Signal::SIGINT),
            urgent: self.0.came(Signal::SIGTERM),
            make_room: self.0.came(MAKE_ROOM),
            user_gone: self.0.came(USER_GONE),
            kicked: self.0.came(KICKED),
        }
    }
}

/// What the listener says to a session that has asked for another password. By default they do nothing: a session that does not
/// ask is not disturbed by them.
pub const PASSWORD_TAKEN: Signal = Signal::SIGURG;
/// The proof was wrong.
pub const PASSWORD_REFUSED: Signal = Signal::SIGWINCH;
/// It could not be done.
pub const PASSWORD_FAILED: Signal = Signal::SIGCONT;
/// It may have been done. Sessions have no children of whom this signal could tell.
pub const PASSWORD_UNCERTAIN: Signal = Signal::SIGCHLD;

/// Hears which of several signals comes. Makes no descriptor, so that a confined session can have one: whoever listens asks again and
/// again.
pub struct Hearing(Vec<(Signal, Arc<AtomicBool>, SigId)>);

impl Hearing {
    /// Catches `signals` from now on.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut hearing = Hearing(Vec::new());
        for &signal in signals {
            let flag = Arc::new(AtomicBool::new(false));
            let id = signal_hook::flag::register(signal as i32, flag.clone())?;
            hearing.0.push((signal, flag, id));
        }
        Ok(hearing)
    }

    /// Which has come, if any has.
    pub fn heard(&self) -> Option<Signal> {
        self.0.iter().find(|(_, flag, _)| flag.load(Ordering::SeqCst)).map(|(signal, ..)| *signal)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        for (.., id) in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Sets what a signal does to the default or to nothing.
pub fn set(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    debug_assert!(matches!(handler, SigHandler::SigIgn | SigHandler::SigDfl));
    // SAFETY: no function of ours is installed as a handler.
    unsafe { nix::sys::signal::signal(signal, handler) }.map(drop)
}

/// A file that grows beyond RLIMIT_FSIZE (setrlimit(2)) is an error of the write, EFBIG, and not the end of the process. To be called at the
/// beginning of a program.
pub fn sizes_are_errors() {
    // Cannot fail: the signal exists, and the handler is none of ours.
    let _ = set(Signal::SIGXFSZ, SigHandler::SigIgn);
}

/// Makes every signal do what it does by default, and lets all come: for a program that is about to be executed. It would inherit what is
/// ignored or blocked here.
pub fn all_by_default() -> nix::Result<()> {
    for number in 1..=SIGNALS {
        // SAFETY: no function of ours is installed as a handler. KILL, STOP and what the C library keeps to itself refuse.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    restore(&SigSet::empty())
}

/// Blocks all signals and returns the mask to [`restore`]: across a fork, so that no signal runs a handler in a child that
/// still has its parent's pipe.
pub fn block() -> nix::Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    Ok(before)
}

/// Sets the signal mask, as given by [`block`].
pub fn restore(mask: &SigSet) -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None)
}
