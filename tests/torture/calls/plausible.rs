//! What can really happen to each call, and what a client may be told of it.

use super::faults::{Failing, Fault};
use nix::errno::Errno::{self, *};

/// What a disk that fails says of a look at something: ESTALE comes from file systems over the network.
const LOOKS: &[Errno] = &[EIO, ENOMEM, ESTALE];
/// What it says where bytes are read: EINTR comes from file systems in user space.
const READS: &[Errno] = &[EIO, ENOMEM, EINTR, ESTALE];
/// What it says besides where a file is to have more, or other, bytes.
const GROWS: &[Errno] = &[ENOSPC, EDQUOT, EIO, ENOMEM, EINTR, ESTALE];
/// What it says besides where a directory, or what it knows of a file, is to change.
const CHANGES: &[Errno] = &[ENOSPC, EDQUOT, EIO, ENOMEM, ESTALE];
/// Descriptors run out.
const DESCRIPTORS: &[Errno] = &[EMFILE, ENFILE, ENOMEM];
const OPENS: &[Errno] = &[EMFILE, ENFILE, EIO, ENOMEM, EINTR, ESTALE];
const MAKES: &[Errno] = &[ENOSPC, EDQUOT, EMFILE, ENFILE, EIO, ENOMEM, EINTR, ESTALE];
/// A connection ends, or the kernel is short of memory for it.
const STREAM_IN: &[Errno] = &[ECONNRESET, ETIMEDOUT, EINTR, EAGAIN];
const STREAM_OUT: &[Errno] = &[ECONNRESET, EPIPE, EINTR, EAGAIN, ENOMEM, ENOBUFS];
/// Datagrams to the scribe or the listener.
const WORDS_OUT: &[Errno] = &[EAGAIN, ENOBUFS, ENOMEM, EINTR];

/// Calls by name and object (faults.c), with what they may fail with, and whether they may move less than they are asked to.
const CALLS: &[(&str, &[Errno], bool)] = &[
    ("read file", READS, true),
    ("pread file", READS, true),
    ("readv file", READS, false),
    ("write file", GROWS, true),
    ("pwrite file", GROWS, true),
    ("writev file", GROWS, false),
    ("sendfile file", &[EIO, ENOMEM, EINTR, EAGAIN, ECONNRESET, EPIPE, ESTALE], true),
    ("recv stream", STREAM_IN, true),
    ("send stream", STREAM_OUT, true),
    ("recv words", &[EINTR, EAGAIN, ENOMEM], false),
    ("recvmsg words", &[EINTR, EAGAIN, ENOMEM], false),
    ("send words", WORDS_OUT, false),
    ("read pipe", &[EINTR, EAGAIN], false),
    ("write pipe", &[EINTR, EAGAIN], false),
    ("poll few", &[EINTR], false),
    ("poll many", &[EINTR, ENOMEM], false),
    ("flock try", &[ENOLCK, EAGAIN], false),
    ("flock wait", &[EINTR, ENOLCK], false),
    ("fcntl lock", &[EAGAIN, ENOLCK], false),
    ("accept stream", &[EINTR, EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM], false),
    ("open name", OPENS, false),
    ("openat2 name", OPENS, false),
    ("open system", DESCRIPTORS, false),
    ("openat2 system", DESCRIPTORS, false),
    ("open new", MAKES, false),
    ("openat2 new", MAKES, false),
    ("dup any", &[EMFILE], false),
    ("pipe2 any", DESCRIPTORS, false),
    ("socketpair any", DESCRIPTORS, false),
    ("memfd_create any", DESCRIPTORS, false),
    ("rename name", CHANGES, false),
    ("link name", CHANGES, false),
    ("mkdir name", CHANGES, false),
    ("unlink name", &[ENOSPC, EIO, ENOMEM, ESTALE], false), // a file system that copies on write needs room to remove
    ("fsync file", &[EIO, ENOSPC, EDQUOT, EINTR, ESTALE], false),
    ("fsync dir", &[EIO, ENOSPC, EDQUOT, EINTR, ESTALE], false),
    ("syncfs file", &[EIO, ENOSPC, EDQUOT], false),
    ("sync_file_range file", &[EIO, ENOSPC, ENOMEM], false),
    ("ftruncate file", &[ENOSPC, EIO, EINTR, ESTALE], false),
    ("fallocate file", &[ENOSPC, EDQUOT, EIO, EINTR, EOPNOTSUPP, ESTALE], false),
    ("fchmod file", CHANGES, false),
    ("fchown file", CHANGES, false),
    ("futimens file", CHANGES, false),
    ("fsetxattr file", &[ENOSPC, EDQUOT, EIO, ENOMEM, EOPNOTSUPP, ESTALE], false),
    ("fsetxattr dir", &[EIO, EROFS], false), // asked of what has just been flushed
    ("fgetxattr file", &[EIO, ENOMEM, EOPNOTSUPP, ESTALE], false),
    ("fstat file", LOOKS, false),
    ("fstat dir", LOOKS, false),
    ("stat name", LOOKS, false),
    ("statx name", LOOKS, false),
    ("statx file", LOOKS, false),
    ("statx dir", LOOKS, false),
    ("statx system", &[ENOMEM], false),
    ("fstatfs file", LOOKS, false),
    ("fstatfs dir", LOOKS, false),
    ("getdents64 dir", LOOKS, false),
    ("clone thread", &[EAGAIN], false),
    ("fork process", &[EAGAIN, ENOMEM], false),
    ("mmap memory", &[ENOMEM], false),
    ("mmap file", &[ENOMEM], false),
    ("chroot any", &[ENOMEM, EIO], false),
    ("landlock_create_ruleset any", DESCRIPTORS, false),
    ("landlock_add_rule any", &[ENOMEM], false),
    ("landlock_restrict_self any", &[ENOMEM], false),
    ("seccomp any", &[ENOMEM], false),
];

/// How a call may fail; nothing for one that does not.
pub fn faults(call: &str) -> Vec<Fault> {
    let Some((_, errnos, short)) = CALLS.iter().find(|(name, ..)| *name == call) else { return Vec::new() };
    let short: &[Fault] = if *short { &[Fault::Half, Fault::OneByte] } else { &[] };
    errnos.iter().map(|errno| Fault::Errno(*errno)).chain(short.iter().copied()).collect()
}

/// Whether a fault may last: what is full or broken stays so for a while.
pub fn may_last(call: &str, fault: Fault) -> bool {
    let lasts = [ENOSPC, EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ESTALE, ENOLCK, EOPNOTSUPP];
    let is_waited_for = call.ends_with(" any") || call.ends_with(" stream") || call.ends_with(" many");
    matches!(fault, Fault::Errno(errno) if lasts.contains(&errno)) && !is_waited_for
}

/// Whether a fault is in the connection to the client: then it may end without a word.
pub fn is_of_connection(call: &str) -> bool {
    ["recv stream", "send stream", "poll few"].contains(&call) || call == "sendfile file"
}

/// Whether a fault may end the process at once. Memory that the session asks for itself it has by the time that calls count; what is left is
/// the runtime's own: each thread that it starts gets a page for signals from it, and a thread without one is a panic that nobody
/// can catch. What was acknowledged is there all the same, and that is looked at.
pub fn may_kill(call: &str) -> bool {
    call == "mmap memory"
}

/// What the runtime says before it ends the process so.
pub const NO_STACK: &str = "failed to allocate an alternative stack";

/// Whether a fault may keep the account from getting back what is free again: its file or its lock cannot be had, or what a thing weighs that
/// goes cannot be told. More is then told than there is, and never less, until the next count.
pub fn may_hold_back(call: &str) -> bool {
    let of_the_account = ["pread file", "pwrite file", "flock try", "flock wait", "openat2 new"];
    of_the_account.contains(&call) || call == "stat name" || may_kill(call)
}

/// Whether somebody must hear of a fault: of a flush that failed nothing is seen until the power is cut.
pub fn must_be_told(failing: &Failing) -> bool {
    ["fsync file", "fsync dir", "fsetxattr dir"].contains(&&*failing.call) && failing.fault != Fault::Errno(EINTR)
}

/// Faults that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// There is no room.
    Full,
    /// It is broken, or cannot be done there.
    Broken,
    /// Not now.
    Again,
    /// Descriptors or memory ran out.
    Scarce,
    /// The other end has gone.
    Gone,
    /// Less than was asked for.
    Short,
}

/// Which class a fault belongs to.
pub fn class(fault: Fault) -> Class {
    let Fault::Errno(errno) = fault else { return Class::Short };
    match errno {
        ENOSPC | EDQUOT => Class::Full,
        EINTR | EAGAIN => Class::Again,
        EMFILE | ENFILE | ENOMEM | ENOBUFS => Class::Scarce,
        ECONNRESET | EPIPE | ETIMEDOUT | ECONNABORTED => Class::Gone,
        _ => Class::Broken,
    }
}

/// Whether a client may be told this code because of a fault.
pub fn fits(call: &str, fault: Fault, code: &str) -> bool {
    let Fault::Errno(errno) = fault else { return false }; // a short count is nobody's business
    let codes: &[&str] = match errno {
        ENOSPC => &["no-space"],
        EDQUOT => &["over-quota"],
        EMFILE | ENFILE | ENOMEM => &["busy"],
        ESTALE => &["changed"],
        EROFS => &["read-only"],
        EAGAIN => &["busy", "io-error"],
        _ => &["io-error"],
    };
    codes.contains(&code) || code == "uncertain" && ["fsync dir", "fsetxattr dir", "openat2 name"].contains(&call)
}
