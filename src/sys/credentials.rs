//! What a process may: the bits that tie capabilities to user ids (capabilities(7)), and a user namespace of one's own
//! (user_namespaces(7)).

use std::io;

/// Bits of `linux/securebits.h`; the lock of each is the next higher bit.
const NOROOT: libc::c_ulong = 1 << 0;
const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
const KEEP_CAPS: libc::c_ulong = 1 << 4;
const NO_CAP_AMBIENT_RAISE: libc::c_ulong = 1 << 6;

/// From now on, and for good, user id 0 brings no capability with it, and a change of user id takes or gives none: what a process has
/// it has by name. Needs CAP_SETPCAP.
pub fn lock_securebits() -> io::Result<()> {
    let set = NOROOT | NO_SETUID_FIXUP | NO_CAP_AMBIENT_RAISE;
    let locks = (set | KEEP_CAPS) << 1;
    // SAFETY: PR_SET_SECUREBITS takes one number and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_SECUREBITS, set | locks, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves this process into a user namespace of its own, where it has every capability: over what belongs to that namespace, and
/// over nothing else. Needs a process with one thread. No user id is mapped: files are reached by the same user id as before.
pub fn own_user_namespace() -> io::Result<()> {
    // SAFETY: unshare(2) takes one number and touches no memory.
    match unsafe { libc::unshare(libc::CLONE_NEWUSER) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
