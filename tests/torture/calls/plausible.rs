//! What can really happen to each call, and what a client may be told of it.

use super::faults::Fault;
use nix::errno::Errno::{self, *};

/// What a disk that fails says of anything: EINTR and ESTALE come from file systems in user space and over the network.
const DISK: &[Errno] = &[EIO, ENOMEM, EINTR, ESTALE];
/// What it says besides where more is to be stored.
const GROWS: &[Errno] = &[ENOSPC, EDQUOT, EIO, ENOMEM, EINTR, ESTALE];
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
    ("read file", DISK, true),
    ("pread file", DISK, true),
    ("readv file", DISK, false),
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
    ("flock try", &[EINTR, ENOLCK, EAGAIN], false),
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
    ("rename name", GROWS, false),
    ("link name", GROWS, false),
    ("mkdir name", GROWS, false),
    ("unlink name", &[ENOSPC, EIO, ENOMEM, EINTR, ESTALE], false), // a file system that copies on write needs room to remove
    ("fsync file", &[EIO, ENOSPC, EDQUOT, EINTR, ESTALE], false),
    ("fsync dir", &[EIO, ENOSPC, EDQUOT, EINTR, ESTALE], false),
    ("syncfs file", &[EIO, ENOSPC, EDQUOT, EINTR], false),
    ("sync_file_range file", &[EIO, ENOSPC, EINTR], false),
    ("ftruncate file", &[ENOSPC, EIO, EINTR, ESTALE], false),
    ("fallocate file", &[ENOSPC, EDQUOT, EIO, EINTR, EOPNOTSUPP, ESTALE], false),
    ("fchmod file", &[ENOSPC, EDQUOT, EIO, EINTR, ESTALE], false),
    ("fchown file", &[ENOSPC, EDQUOT, EIO, EINTR, ESTALE], false),
    ("futimens file", &[ENOSPC, EDQUOT, EIO, EINTR, ESTALE], false),
    ("fsetxattr file", &[ENOSPC, EDQUOT, EIO, ENOMEM, EINTR, EOPNOTSUPP, ESTALE], false),
    ("fgetxattr file", &[EIO, ENOMEM, EINTR, EOPNOTSUPP, ESTALE], false),
    ("fstat file", DISK, false),
    ("fstat dir", DISK, false),
    ("stat name", DISK, false),
    ("statx name", DISK, false),
    ("statx file", DISK, false),
    ("statx dir", DISK, false),
    ("statx system", &[ENOMEM], false),
    ("fstatfs file", DISK, false),
    ("fstatfs dir", DISK, false),
    ("getdents64 dir", DISK, false),
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

/// Whether a client may be told this code because of a fault.
pub fn fits(call: &str, fault: Fault, code: &str) -> bool {
    let Fault::Errno(errno) = fault else { return false }; // a short count is nobody's business
    let codes: &[&str] = match errno {
        ENOSPC => &["no-space"],
        EDQUOT => &["over-quota"],
        EMFILE | ENFILE | ENOMEM => &["busy"],
        ESTALE => &["changed"],
        EAGAIN => &["busy", "io-error"],
        _ => &["io-error"],
    };
    codes.contains(&code) || code == "uncertain" && ["fsync dir", "openat2 name"].contains(&call)
}
