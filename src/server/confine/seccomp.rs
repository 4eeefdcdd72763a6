//! System calls by a list (seccomp(2)): what stands here a session may do, everything else is EPERM. The first list holds until
//! login, the second from then on; both are compiled once, by the listener.
//!
//! A filter sees numbers, not what pointers point to: it can tell descriptors and flags, not paths. So wherever the kernel offers a
//! form that takes a descriptor alone, that form is allowed and the one with a path is not. openat2(2) must stay, and neither
//! RESOLVE_BENEATH nor a mode can be demanded here, for they lie behind a pointer: chroot and Landlock hold what it could reach, and a
//! file that it makes with the set-user-id bit loses that with the first byte (chmod(2)).

use super::Access;
use super::program::{self, Rules};
use seccompiler::{
    BpfProgram, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition, SeccompRule, apply_filter,
};
use std::io;

/// One thing that must be true of a call: the argument of this number compares so with this value. Of a [`Length::Dword`] only the low
/// half counts, as it does for the kernel.
pub(super) struct Test(u8, Length, Op, u64);

/// Calls that are allowed for one reason, each if all its tests hold.
pub(super) struct Group {
    #[expect(dead_code)] // for the reader
    reason: &'static str,
    pub(super) calls: &'static [(i64, &'static [Test])],
}

/// Whatever the arguments.
const ANY: &[Test] = &[];

/// No address: the call goes to the other end and nowhere else.
const NO_ADDRESS: &[Test] = &[Test(4, Length::Qword, Op::Eq, 0)];

/// The client's connection, which is descriptor 0.
const CLIENT: &[Test] = &[Test(0, Length::Dword, Op::Eq, 0)];

/// Memory that is not executable.
const NO_CODE: &[Test] = &[Test(2, Length::Dword, Op::MaskedEq(libc::PROT_EXEC as u64), 0)];

/// A mode that gives nobody the file's owner or group by execution (set-user-id, set-group-id), nor a directory's names (sticky).
const NO_SPECIAL_BITS: &[Test] = &[Test(1, Length::Dword, Op::MaskedEq(0o7000), 0)];

/// A copy of a descriptor with a number from 3 on, which has no meaning.
const COPY: &[Test] =
    &[Test(1, Length::Dword, Op::Eq, libc::F_DUPFD_CLOEXEC as u64), Test(2, Length::Dword, Op::Ge, 3)];

/// A word that threads wait at and wake each other by. Priority inheritance and requeueing have opened kernels before (CVE-2014-3153,
/// CVE-2021-3347), and nothing here uses them.
const fn word(operation: i32) -> Test {
    let how = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    Test(1, Length::Dword, Op::MaskedEq(!how as u32 as u64), operation as u64)
}

/// What is told of memory.
const fn advice(advice: i32) -> Test {
    Test(2, Length::Dword, Op::Eq, advice as u64)
}

/// Advice that makes the guard of a thread's stack, and takes it away, since Linux 6.13 and glibc 2.42 (madvise(2)).
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

/// What clone(2) may be told beside what makes a thread; anything else would make a process or a namespace.
const HARMLESS: i32 = libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED;
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const THREAD_ONLY: &[Test] = &[Test(0, Length::Dword, Op::MaskedEq(!HARMLESS as u32 as u64), THREAD as u64)];

/// What a session does from its first moment to its last.
pub(super) const ALWAYS: &[Group] = &[
    Group {
        reason: "the client: descriptor 0 alone is ever shut down, since the log's socket is everybody's; nobody is sent to by address",
        calls: &[
            (libc::SYS_recvfrom, NO_ADDRESS),
            (libc::SYS_sendto, NO_ADDRESS),
            (libc::SYS_shutdown, CLIENT),
            (libc::SYS_sendfile, CLIENT),
            (libc::SYS_ppoll, ANY),
            #[cfg(target_arch = "x86_64")]
            (libc::SYS_poll, ANY),
        ],
    },
    Group {
        reason: "files that are open: content (a session that only reads keeps the state of its rates), and what is known of them",
        calls: &[
            (libc::SYS_read, ANY),
            (libc::SYS_write, ANY),
            (libc::SYS_readv, ANY),
            (libc::SYS_writev, ANY),
            (libc::SYS_pread64, ANY),
            (libc::SYS_pwrite64, ANY),
            (libc::SYS_lseek, ANY),
            (libc::SYS_flock, ANY),
            (libc::SYS_fstat, ANY),
            (libc::SYS_fstatfs, ANY),
            (libc::SYS_fgetxattr, ANY),
            (libc::SYS_close, ANY),
        ],
    },
    Group {
        reason: "names, relative to a directory that is open: one way to open, and to look",
        calls: &[
            (libc::SYS_openat2, ANY),
            (libc::SYS_getdents64, ANY),
            (libc::SYS_newfstatat, ANY),
            (libc::SYS_statx, ANY),
        ],
    },
    Group {
        reason: "locks that its user's sessions share: without waiting, and of an open file, so that they end with it",
        calls: &[(libc::SYS_fcntl, &[Test(1, Length::Dword, Op::Eq, libc::F_OFD_SETLK as u64)])],
    },
    Group {
        reason: "descriptors: a copy gets a number above the three that have a meaning; no owner, no signal, no lease, no flags",
        calls: &[(libc::SYS_fcntl, &[Test(1, Length::Dword, Op::Eq, libc::F_GETFD as u64)]), (libc::SYS_fcntl, COPY)],
    },
    Group {
        reason: "memory, never to be executed, and never moved: a shared page that grew by mremap would be another session's",
        calls: &[
            (libc::SYS_brk, ANY),
            (libc::SYS_mmap, NO_CODE),
            (libc::SYS_mprotect, NO_CODE),
            (libc::SYS_munmap, ANY),
            (libc::SYS_madvise, &[advice(libc::MADV_DONTNEED)]),
            (libc::SYS_madvise, &[advice(libc::MADV_FREE)]),
            (libc::SYS_madvise, &[advice(MADV_GUARD_INSTALL)]),
            (libc::SYS_madvise, &[advice(MADV_GUARD_REMOVE)]),
        ],
    },
    Group {
        reason: "threads of this process; clone3 hides its flags behind a pointer, so it is answered with ENOSYS and libc takes clone",
        calls: &[
            (libc::SYS_clone, THREAD_ONLY),
            (libc::SYS_futex, &[word(libc::FUTEX_WAIT)]),
            (libc::SYS_futex, &[word(libc::FUTEX_WAKE)]),
            (libc::SYS_futex, &[word(libc::FUTEX_WAIT_BITSET)]),
            (libc::SYS_futex, &[word(libc::FUTEX_WAKE_BITSET)]),
            (libc::SYS_set_robust_list, ANY),
            (libc::SYS_rseq, ANY),
            (libc::SYS_sched_yield, ANY),
            (libc::SYS_sched_getaffinity, ANY),
            (libc::SYS_gettid, ANY),
            (libc::SYS_exit, ANY),
        ],
    },
    Group {
        reason: "its own signals; none to anybody, itself included (abort ends by an illegal instruction)",
        calls: &[
            (libc::SYS_rt_sigaction, ANY),
            (libc::SYS_rt_sigprocmask, ANY),
            (libc::SYS_rt_sigreturn, ANY),
            (libc::SYS_sigaltstack, ANY),
            (libc::SYS_restart_syscall, ANY),
        ],
    },
    Group {
        reason: "time, randomness, its own number, the end",
        calls: &[
            (libc::SYS_clock_gettime, ANY),
            (libc::SYS_clock_nanosleep, ANY),
            (libc::SYS_nanosleep, ANY),
            (libc::SYS_getrandom, ANY),
            (libc::SYS_getpid, ANY),
            (libc::SYS_exit_group, ANY),
        ],
    },
];

/// What changes files. A session that only reads has nothing of it from login on.
pub(super) const CHANGES: &[Group] = &[
    Group {
        reason: "files that are open: length, mode, time and attributes, by descriptor only; and the way of it all to the disk",
        calls: &[
            (libc::SYS_ftruncate, ANY),
            (libc::SYS_fchmod, NO_SPECIAL_BITS),
            (libc::SYS_fsetxattr, ANY),
            (libc::SYS_utimensat, &[Test(1, Length::Qword, Op::Eq, 0)]),
            (libc::SYS_fsync, ANY),
            (libc::SYS_fdatasync, ANY),
            (libc::SYS_syncfs, ANY),
            (libc::SYS_sync_file_range, ANY),
        ],
    },
    Group {
        reason: "names, relative to a directory that is open: the changes that DFOS offers",
        calls: &[
            (libc::SYS_mkdirat, ANY),
            (libc::SYS_unlinkat, ANY),
            (libc::SYS_renameat2, ANY),
            #[cfg(not(target_arch = "riscv64"))]
            (libc::SYS_renameat, ANY),
        ],
    },
];

/// The limit of its own processor time.
const OWN_TIME: &[Test] = &[Test(0, Length::Dword, Op::Eq, 0), Test(1, Length::Dword, Op::Eq, libc::RLIMIT_CPU as u64)];

/// One more filter, which nobody else listens to and which binds no other thread.
const FILTER: &[Test] =
    &[Test(0, Length::Dword, Op::Eq, libc::SECCOMP_SET_MODE_FILTER as u64), Test(1, Length::Qword, Op::Eq, 0)];

/// What the way to the second layer needs, and nobody after it.
pub(super) const BEFORE_LOGIN: &[Group] = &[Group {
    reason: "the second layer: the user's root as root directory, no capability, a ruleset, a filter, no limit of processor time",
    calls: &[
        (libc::SYS_fchdir, ANY),
        (libc::SYS_chroot, ANY),
        (libc::SYS_capget, ANY),
        (libc::SYS_capset, ANY),
        (libc::SYS_prlimit64, OWN_TIME),
        (libc::SYS_landlock_create_ruleset, ANY),
        (libc::SYS_landlock_add_rule, ANY),
        (libc::SYS_landlock_restrict_self, ANY),
        (libc::SYS_prctl, &[Test(0, Length::Dword, Op::Eq, libc::PR_SET_NO_NEW_PRIVS as u64)]),
        (libc::SYS_seccomp, FILTER),
    ],
}];

/// All that a session may do before login.
pub(super) fn at_first() -> impl Iterator<Item = &'static Group> {
    ALWAYS.iter().chain(CHANGES).chain(BEFORE_LOGIN)
}

/// What a session may no longer do from login on.
pub(super) fn ended(access: Access) -> impl Iterator<Item = i64> {
    let changes = if access == Access::ReadOnly { CHANGES } else { &[] };
    BEFORE_LOGIN.iter().chain(changes).flat_map(|group| group.calls).map(|(call, _)| *call)
}

/// For tests: the second filter is forgotten.
#[cfg(feature = "hostile")]
pub(super) static WITHOUT_SECOND: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The filters, ready to be put on.
pub struct Filters {
    pub(super) before_login: BpfProgram,
    pub(super) at_login: BpfProgram,
    pub(super) at_login_to_read: BpfProgram,
}

impl Filters {
    /// Compiles them, for the processor that this runs on.
    pub fn compile() -> io::Result<Self> {
        Ok(Filters {
            before_login: program::allow(rules(at_first())?, libc::SYS_clone3)?,
            at_login: program::refuse(ended(Access::Full))?,
            at_login_to_read: program::refuse(ended(Access::ReadOnly))?,
        })
    }

    /// The filter until login.
    pub fn first(&self) -> io::Result<()> {
        apply_filter(&self.before_login).map_err(io::Error::other)
    }

    /// The filter from login on. The first goes on to hold, as all filters do: this one refuses what was allowed for the way here, and
    /// all changes where the user may only read.
    pub fn second(&self, access: Access) -> io::Result<()> {
        #[cfg(feature = "hostile")]
        if WITHOUT_SECOND.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        let program = if access == Access::ReadOnly { &self.at_login_to_read } else { &self.at_login };
        apply_filter(program).map_err(io::Error::other)
    }
}

pub(super) fn rules<'a>(groups: impl Iterator<Item = &'a Group>) -> io::Result<Rules> {
    let mut rules = Rules::new();
    for (call, tests) in groups.flat_map(|group| group.calls) {
        let of_call = rules.entry(*call).or_default();
        if !tests.is_empty() {
            let conditions = tests.iter().map(condition).collect::<io::Result<_>>()?;
            of_call.push(SeccompRule::new(conditions).map_err(io::Error::other)?);
        }
    }
    Ok(rules)
}

fn condition(test: &Test) -> io::Result<SeccompCondition> {
    let Test(argument, length, op, value) = test;
    SeccompCondition::new(*argument, length.clone(), op.clone(), *value).map_err(io::Error::other)
}

/// Whether the first filter holds: no socket can be made.
pub fn first_holds() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).err() == Some(nix::Error::EPERM)
}

/// Whether the second filter holds: what always succeeds without it is refused. (chroot would tell nothing: who has no capability is
/// refused that in any case.)
pub fn second_holds() -> bool {
    nix::sys::prctl::set_no_new_privs() == Err(nix::Error::EPERM)
}
