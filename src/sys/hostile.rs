//! What a session that has been taken over would try, each by the raw system call. Compiled into test builds alone.
//!
//! An attempt gives the kernel's answer. Most are harmless where they succeed; those that are not are told so in `tests/walls.rs`.

use libc::{c_long, c_void};
use std::ffi::{CStr, CString};

/// Why an attempt failed: the error number.
type Attempt = Result<c_long, i32>;

/// A system call that failed or did not.
fn call(number: c_long, arguments: &[usize]) -> Attempt {
    let at = |n: usize| arguments.get(n).copied().unwrap_or(0);
    // SAFETY: the callers below pass numbers, and pointers to what lives until the call returns; what the call does to this process
    // is what the attempt is about.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    // SAFETY: errno is this thread's own.
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}

/// No descriptor: relative to the working directory.
const HERE: usize = libc::AT_FDCWD as isize as usize;

/// Tries a path as it is, and climbing from the working directory and from whatever directory is open.
fn reach(path: &str, attempt: impl Fn(usize, usize) -> Attempt) -> Attempt {
    let text = |path: String| CString::new(path).map_err(|_| libc::EINVAL);
    let absolute = text(path.into())?;
    let climbing = text(format!("../../../../../../../../../..{path}"))?;
    let mut last = attempt(HERE, absolute.as_ptr() as usize);
    for directory in std::iter::once(HERE).chain(3..24) {
        if last.is_ok() {
            break;
        }
        let next = attempt(directory, climbing.as_ptr() as usize);
        if next.is_ok() || !matches!(next, Err(libc::EBADF | libc::ENOTDIR)) {
            last = next;
        }
    }
    last
}

/// A name within the working directory, which after login is the user's own.
fn inside(name: &str) -> Result<CString, i32> {
    CString::new(name).map_err(|_| libc::EINVAL)
}

fn number(text: Option<&str>) -> Result<usize, i32> {
    text.and_then(|text| text.parse::<isize>().ok()).map(|n| n as usize).ok_or(libc::EINVAL)
}

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn open(path: &str, flags: i32) -> Attempt {
    let how = OpenHow { flags: flags as u64, mode: if flags & libc::O_CREAT != 0 { 0o600 } else { 0 }, resolve: 0 };
    reach(path, |dir, path| call(libc::SYS_openat2, &[dir, path, &raw const how as usize, size_of::<OpenHow>()]))
}

/// Opens a file in the working directory, which after login is the user's own; made if it is not there.
fn own(name: &CStr, flags: i32) -> Result<usize, i32> {
    let how = OpenHow { flags: (flags | libc::O_CREAT) as u64, mode: 0o600, resolve: 0 };
    let arguments = [HERE, name.as_ptr() as usize, &raw const how as usize, size_of::<OpenHow>()];
    call(libc::SYS_openat2, &arguments).map(|fd| fd as usize)
}

/// Tries a call whose first argument is a file of the session's own, opened to be written to.
fn on_own(number: c_long, rest: &[usize]) -> Attempt {
    let file = own(c"own", libc::O_RDWR)?;
    let result = call(number, &[&[file], rest].concat());
    let _ = call(libc::SYS_close, &[file]);
    result
}

fn socket(family: i32, kind: i32) -> Result<usize, i32> {
    call(libc::SYS_socket, &[family as usize, kind as usize, 0]).map(|fd| fd as usize)
}

fn loopback(port: usize) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: (port as u16).to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

fn unix(path: &str, is_abstract: bool) -> (libc::sockaddr_un, usize) {
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: [0; 108] };
    let skip = usize::from(is_abstract);
    for (to, from) in address.sun_path.iter_mut().skip(skip).zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    let length = 2 + skip + path.len() + usize::from(!is_abstract);
    (address, length)
}

/// Connects a new socket, or binds it.
fn with_address(what: c_long, family: i32, kind: i32, address: *const c_void, length: usize) -> Attempt {
    let socket = socket(family, kind)?;
    let result = call(what, &[socket, address as usize, length]);
    let _ = call(libc::SYS_close, &[socket]);
    result
}

/// Makes a process, which ends at once.
fn child(number: c_long, arguments: &[usize]) -> Attempt {
    match call(number, arguments)? {
        // SAFETY: _exit(2) has no preconditions.
        0 => unsafe { libc::_exit(0) },
        pid => Ok(pid),
    }
}

/// Carries out the attempt of that name; `None` if there is none.
#[allow(clippy::too_many_lines)] // a list
pub fn attempt(name: &str, first: Option<&str>, second: Option<&str>) -> Option<Result<c_long, i32>> {
    Some(run(name, first, second).unwrap_or_else(Err)).filter(|result| *result != Err(NO_SUCH_ATTEMPT))
}

const NO_SUCH_ATTEMPT: i32 = -1;

fn run(name: &str, first: Option<&str>, second: Option<&str>) -> Result<Attempt, i32> {
    let path = first.unwrap_or("/etc/passwd");
    let mut buffer = [0u64; 512];
    let bytes = &raw mut buffer as usize;
    Ok(match name {
        // Files outside.
        "open-read" => open(path, libc::O_RDONLY),
        "open-write" => open(path, libc::O_WRONLY),
        "open-create" => open(path, libc::O_WRONLY | libc::O_CREAT),
        "open-path" => open(path, libc::O_PATH),
        "open-old" => reach(path, |dir, path| call(libc::SYS_openat, &[dir, path, libc::O_RDONLY as usize])),
        "stat" => reach(path, |dir, path| call(libc::SYS_newfstatat, &[dir, path, bytes, 0])),
        "truncate" => reach(path, |_, path| call(libc::SYS_truncate, &[path, 0])),
        "chmod" => reach(path, |dir, path| call(libc::SYS_fchmodat, &[dir, path, 0o600])),
        "chown" => reach(path, |dir, path| call(libc::SYS_fchownat, &[dir, path, usize::MAX, usize::MAX, 0])),
        "utime" => reach(path, |dir, path| call(libc::SYS_utimensat, &[dir, path, 0, 0])),
        "setxattr" => reach(path, |_, path| {
            call(libc::SYS_setxattr, &[path, c"user.hostile".as_ptr() as usize, c"x".as_ptr() as usize, 1, 0])
        }),
        "link" => {
            let name = inside("linked")?;
            reach(path, |dir, path| call(libc::SYS_linkat, &[dir, path, HERE, name.as_ptr() as usize, 0]))
        }
        "rename" => {
            let name = inside("stolen")?;
            reach(path, |dir, path| call(libc::SYS_renameat2, &[dir, path, HERE, name.as_ptr() as usize, 0]))
        }
        "unlink" => reach(path, |dir, path| call(libc::SYS_unlinkat, &[dir, path, 0])),
        "mkdir" => reach(path, |dir, path| call(libc::SYS_mkdirat, &[dir, path, 0o700])),
        "execute" => {
            let nothing = [0usize; 1];
            reach(path, |_, path| call(libc::SYS_execve, &[path, nothing.as_ptr() as usize, nothing.as_ptr() as usize]))
        }
        // What is no file, inside.
        "symlink" => {
            let name = inside("a-link")?;
            call(libc::SYS_symlinkat, &[c"/etc".as_ptr() as usize, HERE, name.as_ptr() as usize])
        }
        "fifo" => {
            let name = inside("a-fifo")?;
            call(libc::SYS_mknodat, &[HERE, name.as_ptr() as usize, libc::S_IFIFO as usize | 0o600, 0])
        }
        "device" => {
            let name = inside("a-device")?;
            call(libc::SYS_mknodat, &[HERE, name.as_ptr() as usize, libc::S_IFCHR as usize | 0o600, 0x103])
        }
        // A file of its own, to be run with the rights of the service user.
        "set-user-id" => on_own(libc::SYS_fchmod, &[0o4755]),
        "set-group-id" => on_own(libc::SYS_fchmod, &[0o2755]),
        "sticky" => on_own(libc::SYS_fchmod, &[0o1755]),
        // Changes of its own files.
        "own-truncate" => on_own(libc::SYS_ftruncate, &[0]),
        "own-chmod" => on_own(libc::SYS_fchmod, &[0o600]),
        "own-setxattr" => {
            on_own(libc::SYS_fsetxattr, &[c"user.hostile".as_ptr() as usize, c"x".as_ptr() as usize, 1, 0])
        }
        "own-utime" => on_own(libc::SYS_utimensat, &[0, 0, 0]),
        "own-fsync" => on_own(libc::SYS_fsync, &[]),
        "own-fdatasync" => on_own(libc::SYS_fdatasync, &[]),
        "own-syncfs" => on_own(libc::SYS_syncfs, &[]),
        "own-writeback" => on_own(libc::SYS_sync_file_range, &[0, 0, 0]),
        "own-mkdir" => call(libc::SYS_mkdirat, &[HERE, c"made".as_ptr() as usize, 0o700]),
        "own-rename" => {
            let [from, to] = [c"made".as_ptr() as usize, c"renamed".as_ptr() as usize];
            call(libc::SYS_renameat2, &[HERE, from, HERE, to, 0])
        }
        "own-rename-old" => {
            let [from, to] = [c"renamed".as_ptr() as usize, c"made".as_ptr() as usize];
            call(libc::SYS_renameat, &[HERE, from, HERE, to])
        }
        "own-rmdir" => call(libc::SYS_unlinkat, &[HERE, c"made".as_ptr() as usize, libc::AT_REMOVEDIR as usize]),
        // Forms of a call that DFOS does not use.
        "sendfile" => on_own(libc::SYS_sendfile, &[own(c"own", libc::O_RDONLY)?, 0, 4096]),
        "futex-requeue" => call(libc::SYS_futex, &[bytes, libc::FUTEX_REQUEUE as usize, 0, 0, bytes + 64]),
        "futex-pi" => call(libc::SYS_futex, &[bytes, libc::FUTEX_LOCK_PI as usize]),
        "advise" => call(libc::SYS_madvise, &[bytes & !4095, 4096, libc::MADV_SEQUENTIAL as usize]),
        "other-limit" => call(libc::SYS_prlimit64, &[0, libc::RLIMIT_NOFILE as usize, 0, bytes]),
        "seccomp-listener" => {
            let allow = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0x7fff_0000 };
            let program = libc::sock_fprog { len: 1, filter: (&raw const allow).cast_mut() };
            let (set, listen) = (libc::SECCOMP_SET_MODE_FILTER as usize, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
            call(libc::SYS_seccomp, &[set, listen as usize, &raw const program as usize])
        }
        // What ends with the login.
        "fchdir" => {
            let no_directory = |result: &Attempt| matches!(result, Err(libc::EBADF | libc::ENOTDIR));
            let mut answers = (3..24).map(|fd| call(libc::SYS_fchdir, &[fd]));
            answers.find(|result| !no_directory(result)).unwrap_or(Err(libc::EBADF))
        }
        "capget" => call(libc::SYS_capget, &[[0x2008_0522u32, 0].as_ptr() as usize, bytes]),
        "no-new-privs" => call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]),
        "landlock-version" => call(libc::SYS_landlock_create_ruleset, &[0, 0, 1]),
        "seccomp-avail" => {
            let action = libc::SECCOMP_RET_ERRNO;
            call(libc::SYS_seccomp, &[libc::SECCOMP_GET_ACTION_AVAIL as usize, 0, &raw const action as usize])
        }
        // The log, which is everybody's. First: its descriptor.
        "log-shutdown" => call(libc::SYS_shutdown, &[number(first)?, libc::SHUT_RDWR as usize]),
        "log-dup2" => call(libc::SYS_dup3, &[number(first)?, 1, 0]),
        "log-dupfd" => call(libc::SYS_fcntl, &[number(first)?, libc::F_DUPFD_CLOEXEC as usize, 0]),
        "log-flags" => call(libc::SYS_fcntl, &[number(first)?, libc::F_SETFL as usize, libc::O_ASYNC as usize]),
        "log-owner" => call(libc::SYS_fcntl, &[number(first)?, libc::F_SETOWN as usize, number(second)?]),
        "log-send" => {
            let text = second.unwrap_or("E");
            call(libc::SYS_sendto, &[number(first)?, text.as_ptr() as usize, text.len(), 0x4040, 0, 0])
        }
        // The scoreboard. First: where the own page is.
        "score-grow" => call(libc::SYS_mremap, &[number(first)?, 4096, 8192, libc::MREMAP_MAYMOVE as usize, 0]),
        "score-remap" => call(libc::SYS_remap_file_pages, &[number(first)?, 4096, 0, 1, 0]),
        // The network.
        "socket-inet" => socket(libc::AF_INET, libc::SOCK_STREAM).map(|fd| fd as c_long),
        "socket-udp" => socket(libc::AF_INET, libc::SOCK_DGRAM).map(|fd| fd as c_long),
        "socket-unix" => socket(libc::AF_UNIX, libc::SOCK_STREAM).map(|fd| fd as c_long),
        "socket-netlink" => socket(libc::AF_NETLINK, libc::SOCK_RAW).map(|fd| fd as c_long),
        "socketpair" => call(
            libc::SYS_socketpair,
            &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, [0i32; 2].as_mut_ptr() as usize],
        ),
        "connect-tcp" | "bind-tcp" => {
            let address = loopback(number(first)?);
            let what = if name == "bind-tcp" { libc::SYS_bind } else { libc::SYS_connect };
            with_address(what, libc::AF_INET, libc::SOCK_STREAM, (&raw const address).cast(), 16)
        }
        "connect-abstract" | "connect-unix" => {
            let (address, length) = unix(path, name == "connect-abstract");
            with_address(libc::SYS_connect, libc::AF_UNIX, libc::SOCK_STREAM, (&raw const address).cast(), length)
        }
        // Processes. First: a process id.
        "fork" => child(libc::SYS_clone, &[libc::SIGCHLD as usize]),
        "vfork" => child(libc::SYS_clone, &[(libc::CLONE_VFORK | libc::SIGCHLD) as usize]),
        "clone3" => {
            let arguments = [0u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
            child(libc::SYS_clone3, &[arguments.as_ptr() as usize, 64])
        }
        "ptrace" => call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, number(first)?, 0, 0]),
        "process-read" | "process-write" => {
            let here = libc::iovec { iov_base: bytes as *mut c_void, iov_len: 8 };
            let there = libc::iovec { iov_base: number(second)? as *mut c_void, iov_len: 8 };
            let (here, there) = (&raw const here as usize, &raw const there as usize);
            let which = if name == "process-read" { libc::SYS_process_vm_readv } else { libc::SYS_process_vm_writev };
            call(which, &[number(first)?, here, 1, there, 1, 0])
        }
        "pidfd" => call(libc::SYS_pidfd_open, &[number(first)?, 0]),
        "pidfd-getfd" => {
            let pidfd = call(libc::SYS_pidfd_open, &[number(first)?, 0])? as usize;
            call(libc::SYS_pidfd_getfd, &[pidfd, 0, 0])
        }
        "kill" => call(libc::SYS_kill, &[number(first)?, 0]),
        "tgkill" => call(libc::SYS_tgkill, &[number(first)?, number(first)?, 0]),
        // Privilege, and what has opened kernels before.
        "setuid" => call(libc::SYS_setuid, &[0]),
        "setgroups" => call(libc::SYS_setgroups, &[0, 0]),
        "capset" => {
            let header = [0x2008_0522u32, 0];
            let data = [u32::MAX; 6];
            call(libc::SYS_capset, &[header.as_ptr() as usize, data.as_ptr() as usize])
        }
        "chroot" => call(libc::SYS_chroot, &[c"/".as_ptr() as usize]),
        "unshare" => call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize]),
        "setns" => call(libc::SYS_setns, &[0, 0]),
        "mount" => {
            let nowhere = c"none".as_ptr() as usize;
            call(libc::SYS_mount, &[nowhere, c"/".as_ptr() as usize, c"tmpfs".as_ptr() as usize, 0, 0])
        }
        "load-module" => call(libc::SYS_init_module, &[bytes, 4096, c"".as_ptr() as usize]),
        "keyctl" => call(libc::SYS_keyctl, &[0, -3isize as usize, 1]),
        "bpf" => call(libc::SYS_bpf, &[0, bytes, 48]),
        "io-uring" => {
            let parameters = [0u8; 120];
            call(libc::SYS_io_uring_setup, &[1, parameters.as_ptr() as usize])
        }
        "userfaultfd" => call(libc::SYS_userfaultfd, &[1]),
        "perf" => call(libc::SYS_perf_event_open, &[bytes, 0, usize::MAX, usize::MAX, 0]),
        "memfd" => call(libc::SYS_memfd_create, &[c"x".as_ptr() as usize, 0]),
        "personality" => call(libc::SYS_personality, &[libc::ADDR_NO_RANDOMIZE as usize]),
        "mmap-code" => call(libc::SYS_mmap, &[0, 4096, 5, 0x22, usize::MAX, 0]),
        "mprotect-code" => call(libc::SYS_mprotect, &[bytes & !4095, 4096, 7]),
        "prctl-dumpable" => call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1]),
        "raise-limit" => {
            let all = [u64::MAX; 2];
            call(libc::SYS_prlimit64, &[0, libc::RLIMIT_CPU as usize, all.as_ptr() as usize, 0])
        }
        "tiocsti" => call(libc::SYS_ioctl, &[0, libc::TIOCSTI as usize, bytes]),
        _ => Err(NO_SUCH_ATTEMPT),
    })
}
