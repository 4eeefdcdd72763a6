//! fork(2), and leaving a forked child.

use nix::unistd::Pid;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Which process goes on.
pub enum Fork {
    /// The one that forked; the child's id.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Forks. Refuses in a process with several threads: only the calling thread would live on in the child, and a lock
/// held by another would stay locked there for ever.
pub fn fork() -> io::Result<Fork> {
    let threads = threads()?;
    if threads > 1 {
        return Err(io::Error::other(format!("refusing to fork with {threads} threads")));
    }
    // SAFETY: the process has one thread (checked above), so the child holds no lock of a thread it lacks.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

/// How many threads this process has.
pub(super) fn threads() -> io::Result<u64> {
    // A directory's link count is 2 and one for each directory in it: one for each thread.
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Ends a forked child at once: no destructors, no flushing of what the parent had buffered.
pub fn exit_child(status: u8) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(i32::from(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let (wake, parked) = channel::<()>();
        let other = std::thread::spawn(move || parked.recv());
        let refused = match fork() {
            Ok(Fork::Child) => exit_child(1), // where the guard is missing
            Ok(Fork::Parent(child)) => {
                let _ = nix::sys::wait::waitpid(child, None);
                false
            }
            Err(error) => error.to_string().contains("refusing to fork with "),
        };
        drop(wake);
        let _ = other.join();
        assert!(refused);
    }
}
