//! Which children have ended: with a SIGCHLD the kernel names one (sigaction(2), SA_SIGINFO). To wait for any child is to have the
//! kernel look at all of them, one after the other; a child that is named it finds at once.

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2, read};
use signal_hook::SigId;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Process ids taken in at once.
const MANY: usize = 256;

/// Names children that have ended, but not all: of several that end at the same moment one SIGCHLD may tell. Dropping it forgets the
/// signal: a forked child drops its parent's.
pub struct Deaths {
    names: OwnedFd,
    id: SigId,
}

impl Deaths {
    /// Takes names down from now on. To be made before whatever wakes the process at SIGCHLD, so that the name is there by then.
    pub fn new() -> io::Result<Self> {
        let (names, pen) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let action = move |info: &libc::siginfo_t| {
            // SAFETY: the action is registered for SIGCHLD alone, with which a process id always comes.
            let pid = unsafe { info.si_pid() }.to_ne_bytes();
            // SAFETY: write(2) may be called in a signal handler; it reads the four bytes of `pid` and touches no other memory, and
            // `pen` is open as long as this closure lives. A pipe that is full takes nothing: the name is lost, as others are.
            unsafe { libc::write(pen.as_raw_fd(), pid.as_ptr().cast(), pid.len()) };
        };
        // SAFETY: what runs in the handler is the action above: it neither allocates nor locks nor panics.
        let id = unsafe { signal_hook_registry::register_sigaction(libc::SIGCHLD, action) }?;
        Ok(Deaths { names, id })
    }

    /// The children named since this was last asked. Whether they are still to be waited for only waitpid(2) can tell.
    pub fn named(&self) -> Vec<Pid> {
        let mut named = Vec::new();
        let mut bytes = [0; 4 * MANY];
        // Only whole names go into a pipe, and its reader takes a multiple of them.
        while let Some(bytes) =
            read(&self.names, &mut bytes).ok().and_then(|n| bytes.get(..n)).filter(|got| !got.is_empty())
        {
            named.extend(bytes.as_chunks::<4>().0.iter().map(|name| Pid::from_raw(i32::from_ne_bytes(*name))));
        }
        named
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_that_ends_is_named() {
        let deaths = Deaths::new().unwrap();
        // One at a time: of several at once not all would be named.
        for _ in 0..3 {
            let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let pid = Pid::from_raw(child.id() as i32);
            assert!(!deaths.named().contains(&pid));
            drop(child.stdin.take());
            let soon = Instant::now() + Duration::from_secs(20);
            while !deaths.named().contains(&pid) {
                assert!(Instant::now() < soon, "{pid} has ended and was not named");
                std::thread::yield_now();
            }
            assert_eq!(
                child.try_wait().unwrap().map(|status| status.success()),
                Some(true),
                "named before it had ended"
            );
        }
    }
}
