//! The lists as they are meant to be, written down a second time: a row that was added or widened by mistake is told here.

use super::Access;
use super::program::tests::answer_to;
use super::seccomp::{Filters, at_first, ended, rules};
use libc::*;
use seccompiler::BpfProgram;
use std::collections::BTreeSet;

const ALLOWED: u32 = SECCOMP_RET_ALLOW;
const REFUSED: u32 = SECCOMP_RET_ERRNO | EPERM as u32;

macro_rules! names {
    ($($name:ident)*) => { [$((stringify!($name), $name)),*] };
}

/// What is left to a session that only reads.
const READING: &[(&str, c_long)] = &names![
    SYS_brk SYS_clock_gettime SYS_clock_nanosleep SYS_clone SYS_close SYS_exit SYS_exit_group SYS_fcntl SYS_fgetxattr SYS_flock
    SYS_fstat SYS_fstatfs SYS_futex SYS_getdents64 SYS_getpid SYS_getrandom SYS_gettid SYS_lseek SYS_madvise SYS_mmap SYS_mprotect
    SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat2 SYS_ppoll SYS_pread64 SYS_pwrite64 SYS_read SYS_readv SYS_recvfrom
    SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sched_getaffinity SYS_sched_yield
    SYS_sendfile SYS_sendto SYS_set_robust_list SYS_shutdown SYS_sigaltstack SYS_statx SYS_write SYS_writev
];
#[cfg(target_arch = "x86_64")]
const POLL: &[(&str, c_long)] = &names![SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const POLL: &[(&str, c_long)] = &[];

/// What a session that writes has besides.
const WRITING: &[(&str, c_long)] = &names![
    SYS_fchmod SYS_fdatasync SYS_fsetxattr SYS_fsync SYS_ftruncate SYS_mkdirat SYS_renameat2 SYS_sync_file_range SYS_syncfs
    SYS_unlinkat SYS_utimensat
];
#[cfg(not(target_arch = "riscv64"))]
const RENAMEAT: &[(&str, c_long)] = &names![SYS_renameat];
#[cfg(target_arch = "riscv64")]
const RENAMEAT: &[(&str, c_long)] = &[];

/// What a session has before login besides.
const BEFORE_LOGIN: &[(&str, c_long)] = &names![
    SYS_capget SYS_capset SYS_chroot SYS_fchdir SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self
    SYS_prctl SYS_prlimit64 SYS_seccomp
];

/// Each call that is allowed only so: arguments, and whether with these it is allowed (before login, where all of them are).
#[rustfmt::skip]
fn decisions() -> Vec<(&'static str, c_long, Vec<u64>, bool)> {
    let mut table = Vec::new();
    let mut row = |name, call, arguments: &[u64], allowed| table.push((name, call, arguments.to_vec(), allowed));
    macro_rules! row {
        ($name:ident $arguments:expr, $allowed:expr) => { row(stringify!($name), $name, &$arguments, $allowed) };
    }
    for high in [0, 1 << 32] {
        row!(SYS_recvfrom [5, 1, 1, 0, high, 0], high == 0);
        row!(SYS_sendto [5, 1, 1, 0, high, 0], high == 0);
        row!(SYS_utimensat [5, high], high == 0);
        row!(SYS_seccomp [SECCOMP_SET_MODE_FILTER.into(), high], high == 0);
    }
    row!(SYS_recvfrom [5, 1, 1, 0, 1, 0], false);
    row!(SYS_sendto [5, 1, 1, 0, 1, 0], false);
    row!(SYS_utimensat [AT_FDCWD as u64, 1], false);
    for fd in 0..10 {
        row!(SYS_shutdown [fd, 2], fd == 0);
        row!(SYS_sendfile [fd, 5], fd == 0);
        row!(SYS_fcntl [5, F_DUPFD_CLOEXEC as u64, fd], fd >= 3);
    }
    // Beside these two: no lock that a process has (F_SETLK, F_SETLKW), no lease, no notification, no owner, no signal, no flags.
    for command in (0..64).chain(1024..1048) {
        let plain = [F_GETFD, F_OFD_SETLK].contains(&command);
        row!(SYS_fcntl [5, command as u64, 2], plain);
        row!(SYS_fcntl [5, command as u64, 3], plain || command == F_DUPFD_CLOEXEC);
    }
    for bit in 0..16 {
        row!(SYS_fchmod [5, 1 << bit], ![9, 10, 11].contains(&bit));
    }
    row!(SYS_fchmod [5, 0o777], true);
    for prot in 0..8 {
        row!(SYS_mmap [0, 4096, prot, 0x22, u64::MAX, 0], prot & PROT_EXEC as u64 == 0);
        row!(SYS_mprotect [4096, 4096, prot], prot & PROT_EXEC as u64 == 0);
    }
    for advice in 0..128 {
        row!(SYS_madvise [4096, 4096, advice], [4, 8, 102, 103].contains(&advice));
    }
    for operation in 0..32 {
        for how in [0, 128, 256, 128 | 256, 512] {
            row!(SYS_futex [4096, operation | how], [0, 1, 9, 10].contains(&operation) && how != 512);
        }
    }
    // CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD make a thread; each of them must be there.
    let thread = [8, 9, 10, 11, 16];
    // CLONE_SYSVSEM, CLONE_SETTLS, CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_DETACHED, CLONE_CHILD_SETTID may be.
    let harmless = [18, 19, 20, 21, 22, 24];
    let all: u64 = thread.iter().map(|bit| 1 << bit).sum();
    for bit in 0..32 {
        row!(SYS_clone [all ^ (1 << bit)], harmless.contains(&bit));
    }
    row!(SYS_clone [all], true);
    row!(SYS_clone [0x3d0f00], true); // what the C library says
    for pid in [0, 1, 4711] {
        for resource in 0..16 {
            row!(SYS_prlimit64 [pid, resource], pid == 0 && resource == u64::from(RLIMIT_CPU));
        }
    }
    for option in 0..80 {
        row!(SYS_prctl [option, 1], option == PR_SET_NO_NEW_PRIVS as u64);
    }
    for operation in 0..8 {
        row!(SYS_seccomp [operation, 0], operation == 1);
        for bit in 0..8 {
            row!(SYS_seccomp [operation, 1 << bit], false);
        }
    }
    table
}

fn set(parts: &[&[(&str, c_long)]]) -> BTreeSet<c_long> {
    parts.iter().flat_map(|part| part.iter()).map(|(_, number)| *number).collect()
}

#[test]
fn these_calls_are_allowed_and_no_others() {
    let names: Vec<_> = [READING, POLL, WRITING, RENAMEAT, BEFORE_LOGIN].concat();
    let said = |numbers: BTreeSet<c_long>| -> BTreeSet<String> {
        let name = |number: c_long| names.iter().find(|(_, of)| *of == number).map(|(name, _)| (*name).to_owned());
        numbers.into_iter().map(|number| name(number).unwrap_or_else(|| format!("call {number}"))).collect()
    };
    let listed: BTreeSet<c_long> = rules(at_first()).unwrap().into_keys().collect();
    let after = |access| {
        let ended: BTreeSet<c_long> = ended(access).collect();
        listed.difference(&ended).copied().collect::<BTreeSet<c_long>>()
    };
    assert_eq!(said(listed.clone()), said(set(&[&names])));
    assert_eq!(said(after(Access::Full)), said(set(&[READING, POLL, WRITING, RENAMEAT])));
    assert_eq!(said(after(Access::ReadOnly)), said(set(&[READING, POLL])));
}

#[test]
fn the_filters_refuse_what_is_not_listed() {
    let filters = Filters::compile().unwrap();
    let both =
        |second: &BpfProgram, number| answer_to(&filters.before_login, number, &[]).min(answer_to(second, number, &[]));
    let tested: BTreeSet<c_long> = decisions().into_iter().map(|(_, call, ..)| call).collect();
    let (all, full, reading) = (
        set(&[READING, POLL, WRITING, RENAMEAT, BEFORE_LOGIN]),
        set(&[READING, POLL, WRITING, RENAMEAT]),
        set(&[READING, POLL]),
    );
    for number in (0..600).filter(|number| *number != SYS_clone3 && !tested.contains(number)) {
        let expected = |set: &BTreeSet<c_long>| if set.contains(&number) { ALLOWED } else { REFUSED };
        assert_eq!(answer_to(&filters.before_login, number, &[]), expected(&all), "{number} before login");
        assert_eq!(both(&filters.at_login, number), expected(&full), "{number} after login");
        assert_eq!(
            both(&filters.at_login_to_read, number),
            expected(&reading),
            "{number} of a session that only reads"
        );
    }
}

#[test]
fn of_calls_with_arguments_only_these_forms_are_allowed() {
    let filters = Filters::compile().unwrap();
    let ended: BTreeSet<c_long> = ended(Access::Full).collect();
    let mut wrong = Vec::new();
    for (name, call, arguments, allowed) in decisions() {
        if (answer_to(&filters.before_login, call, &arguments) == ALLOWED) != allowed {
            wrong
                .push(format!("{name} {arguments:x?} is {} before login", if allowed { "refused" } else { "allowed" }));
        }
        let expected = if ended.contains(&call) { REFUSED } else { ALLOWED };
        assert_eq!(
            answer_to(&filters.at_login, call, &arguments),
            expected,
            "{name} {arguments:#x?} by the second filter"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A row that got its first test, or lost its last.
    let with_tests = rules(at_first()).unwrap().into_iter().filter(|(_, rules)| !rules.is_empty());
    let told: BTreeSet<c_long> = decisions().into_iter().map(|(_, call, ..)| call).collect();
    assert_eq!(with_tests.map(|(call, _)| call).collect::<BTreeSet<_>>(), told);
}
