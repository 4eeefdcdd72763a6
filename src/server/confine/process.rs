//! The process itself: nothing is gained by exec, nothing of it can be read from outside, and it has limits.

use crate::proto::limits;
use caps::CapSet;
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use std::io;

/// Before a byte of the client's is read.
pub fn confine() -> io::Result<()> {
    hide()?;
    // No core: it would hold the user's files, and what was left of secrets.
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_AS, limits::SESSION_MEMORY)?;
    limit(Resource::RLIMIT_NOFILE, limits::SESSION_FILES)?;
    limit(Resource::RLIMIT_MEMLOCK, 0)?;
    limit(Resource::RLIMIT_MSGQUEUE, 0)?;
    // Only the soft limit: a login lifts it again.
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    Ok(setrlimit(Resource::RLIMIT_CPU, limits::LOGIN_CPU.min(hard), hard)?)
}

/// At login: a user's work may take its time.
pub fn logged_in() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    Ok(setrlimit(Resource::RLIMIT_CPU, hard, hard)?)
}

/// For every process of the server: no exec gains anything, and what it has in memory cannot be read by tracing it, nor through /proc.
/// To be called again after a change of user id, which can undo it.
pub fn hide() -> io::Result<()> {
    set_no_new_privs()?;
    Ok(set_dumpable(false)?)
}

/// The kernel asks this process to end when the listener is killed. To be called after the last change of credentials, which
/// would undo it.
pub fn end_with(listener: Pid) -> io::Result<()> {
    set_dumpable(false)?;
    set_pdeathsig(Signal::SIGINT)?;
    // It may have been killed before anybody asked to be told.
    if getppid() == listener { Ok(()) } else { Err(io::Error::other("the listener has gone")) }
}

/// Gives up every capability there is, in every set.
pub fn drop_capabilities() -> io::Result<()> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Sets the soft and the hard limit, where the hard one is not lower already.
fn limit(what: Resource, most: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(what)?;
    Ok(setrlimit(what, most.min(hard), most.min(hard))?)
}
