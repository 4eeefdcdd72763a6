/* Counts the calls of one process, and makes one of them fail: to be preloaded into a server (LD_PRELOAD). faults.rs builds it and tells it
 * by a file, which the processes of the server and the test share as memory, whose calls count and which of them fails how.
 *
 * A call that is to fail is not made, so that nothing is lied about; a short one is made with a smaller count, so that what it returns is
 * true. Calls that libc makes within itself pass here unseen: memory that malloc wants, and clone, for which pthread_create and fork
 * stand. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <poll.h>
#include <unistd.h>
#include <linux/openat2.h>

enum { NAME = 40, KINDS = 128, HALF = -1, ONE_BYTE = -2, FIRST_FORKED = 0, FIRST_STARTED = -1 };

/* As faults.rs writes and reads it. */
struct control {
    uint32_t armed;
    int32_t whom;      /* the process, or FIRST_FORKED, or FIRST_STARTED */
    int32_t forked;    /* the last that was */
    uint32_t nth;      /* of these calls, from 1 on */
    int32_t fault;     /* an errno, or HALF, or ONE_BYTE */
    uint32_t lasting;  /* whether all calls from that one on fail */
    uint32_t hits;
    uint32_t kinds;
    uint64_t disk;     /* the device that the files of the test lie on */
    char call[NAME];   /* which calls fail; "" for none */
    char detail[120];  /* of the first one that did */
    struct { char name[NAME]; uint32_t count, unused; } seen[KINDS];
};

static struct control *control;
static int32_t self;

/* What stands here in place of libc's. */
#define CALLS(X) \
    X(accept4) X(chroot) X(dup) X(fallocate) X(fchdir) X(fchmod) X(fchown) X(fcntl) X(fgetxattr) X(flock) X(fork) X(fsetxattr) X(fstat) \
    X(fstatat) X(fstatfs) X(fstatvfs) X(fsync) X(ftruncate) X(futimens) X(getsockopt) X(linkat) X(memfd_create) X(mkdir) X(mkdirat) \
    X(mmap) X(open) X(pipe2) X(poll) X(ppoll) X(pread) X(pthread_create) X(pwrite) X(read) X(readv) X(recv) X(recvmsg) X(rename) \
    X(renameat) X(renameat2) X(send) X(sendfile) X(socketpair) X(statx) X(sync_file_range) X(syncfs) X(syscall) X(unlink) X(unlinkat) \
    X(write) X(writev)

#define DECLARE(name) static __typeof__(&name) real_##name;
#define FIND(name) real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name);
CALLS(DECLARE)

__attribute__((constructor)) static void begin(void) {
    CALLS(FIND) /* now: in a confined process it might need what is not allowed */
    const char *path = getenv("DFOS_FAULTS");
    int fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    void *page = real_mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED) {
        control = page;
        self = getpid();
        if (control->armed && control->whom == FIRST_STARTED && getenv("DFOS_FAULTS_FROM_START")) {
            control->whom = self;
        }
    }
}

/* What a descriptor is. */
static const char *object(int fd) {
    struct stat stat;
    if (real_fstat(fd, &stat) != 0) {
        return "none";
    }
    if (S_ISREG(stat.st_mode)) {
        return stat.st_dev == control->disk ? "file" : "memory";
    }
    if (S_ISDIR(stat.st_mode)) {
        return stat.st_dev == control->disk ? "dir" : "system";
    }
    if (S_ISSOCK(stat.st_mode)) {
        int type = fd == 0 ? SOCK_STREAM : SOCK_DGRAM; /* as in a session, which may not ask */
        socklen_t length = sizeof type;
        real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
        return type == SOCK_STREAM ? "stream" : "words";
    }
    return S_ISFIFO(stat.st_mode) ? "pipe" : "other";
}

/* What a path leads to. */
static const char *place(const char *path) {
    static const char *const systems[] = {"/proc", "/sys", "/dev", "/etc", "/usr"};
    for (size_t at = 0; path && at < sizeof systems / sizeof *systems; at++) {
        if (strncmp(path, systems[at], strlen(systems[at])) == 0) {
            return "system";
        }
    }
    return "name";
}

static int counts(void) {
    return control && __atomic_load_n(&control->armed, __ATOMIC_ACQUIRE) && control->whom == self;
}

static uint32_t counted(const char *name) {
    static int busy;
    while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
    }
    uint32_t at = 0, count = 0;
    while (at < control->kinds && strcmp(control->seen[at].name, name) != 0) {
        at++;
    }
    if (at < KINDS) {
        if (at == control->kinds) {
            strcpy(control->seen[at].name, name);
            control->seen[at].count = 0;
            control->kinds++;
        }
        count = ++control->seen[at].count;
    }
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
    return count;
}

/* Counts a call; the errno that it fails with, or 0 where it goes on. `count` is how much it is to move, if it moves anything. */
static int fault(const char *call, const char *what, size_t *count, const char *detail) {
    int before = errno;
    char name[NAME];
    snprintf(name, sizeof name, "%s %s", call, what);
    uint32_t nth = counted(name);
    int hit = strcmp(control->call, name) == 0 && (control->lasting ? nth >= control->nth : nth == control->nth);
    errno = before;
    if (!hit) {
        return 0;
    }
    if (__atomic_fetch_add(&control->hits, 1, __ATOMIC_RELAXED) == 0) {
        snprintf(control->detail, sizeof control->detail, "%s", detail ? detail : "");
    }
    if (control->fault > 0) {
        errno = control->fault;
        return control->fault;
    }
    if (count && *count > 1) {
        *count = control->fault == HALF ? *count / 2 : 1;
    }
    return 0;
}

#define FAIL_AT(call, what, count, detail) \
    if (counts() && fault(call, what, count, detail)) { \
        return -1; \
    }
#define FAIL(call, fd) FAIL_AT(call, object(fd), NULL, NULL)
#define SHORTEN(call, fd, count) FAIL_AT(call, object(fd), &count, NULL)
#define FAIL_NAME(call, path) FAIL_AT(call, place(path), NULL, path)

/* What moves bytes. */

ssize_t read(int fd, void *buffer, size_t count) { SHORTEN("read", fd, count) return real_read(fd, buffer, count); }
ssize_t write(int fd, const void *buffer, size_t count) { SHORTEN("write", fd, count) return real_write(fd, buffer, count); }
ssize_t pread(int fd, void *buffer, size_t count, off_t at) { SHORTEN("pread", fd, count) return real_pread(fd, buffer, count, at); }
ssize_t pread64(int fd, void *buffer, size_t count, off_t at) { SHORTEN("pread", fd, count) return real_pread(fd, buffer, count, at); }
ssize_t pwrite(int fd, const void *buffer, size_t count, off_t at) { SHORTEN("pwrite", fd, count) return real_pwrite(fd, buffer, count, at); }
ssize_t pwrite64(int fd, const void *buffer, size_t count, off_t at) { SHORTEN("pwrite", fd, count) return real_pwrite(fd, buffer, count, at); }
ssize_t readv(int fd, const struct iovec *parts, int count) { FAIL("readv", fd) return real_readv(fd, parts, count); }
ssize_t writev(int fd, const struct iovec *parts, int count) { FAIL("writev", fd) return real_writev(fd, parts, count); }
ssize_t recv(int fd, void *buffer, size_t count, int flags) { SHORTEN("recv", fd, count) return real_recv(fd, buffer, count, flags); }
ssize_t recvmsg(int fd, struct msghdr *message, int flags) { FAIL("recvmsg", fd) return real_recvmsg(fd, message, flags); }
ssize_t send(int fd, const void *buffer, size_t count, int flags) { SHORTEN("send", fd, count) return real_send(fd, buffer, count, flags); }
ssize_t sendfile(int to, int from, off_t *at, size_t count) { SHORTEN("sendfile", from, count) return real_sendfile(to, from, at, count); }
ssize_t sendfile64(int to, int from, off64_t *at, size_t count) { SHORTEN("sendfile", from, count) return real_sendfile(to, from, at, count); }

/* What waits. */

/* From some thirty on the kernel needs memory for what is waited for. The listener may have so many, and is known by having more than a
 * session ever has: its client and its signals. The scribe, which calls poll, never has. */
int poll(struct pollfd *fds, nfds_t count, int patience) { FAIL_AT("poll", "few", NULL, NULL) return real_poll(fds, count, patience); }
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *patience, const sigset_t *mask) {
    FAIL_AT("poll", count > 2 ? "many" : "few", NULL, NULL)
    return real_ppoll(fds, count, patience, mask);
}
int flock(int fd, int how) {
    if (how != LOCK_UN) {
        FAIL_AT("flock", how & LOCK_NB ? "try" : "wait", NULL, NULL)
    }
    return real_flock(fd, how);
}

/* What makes descriptors. */

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    FAIL_AT("accept", "stream", NULL, NULL)
    return real_accept4(fd, address, length, flags);
}
static const char *to_open(const char *path, uint64_t flags) {
    return flags & O_CREAT ? "new" : place(path);
}
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    FAIL_AT("open", to_open(path, flags), NULL, path)
    return real_open(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    FAIL_AT("open", to_open(path, flags), NULL, path)
    return real_open(path, flags, mode);
}
int dup(int fd) { FAIL_AT("dup", "any", NULL, NULL) return real_dup(fd); }
int pipe2(int ends[2], int flags) { FAIL_AT("pipe2", "any", NULL, NULL) return real_pipe2(ends, flags); }
int socketpair(int domain, int type, int protocol, int ends[2]) {
    FAIL_AT("socketpair", "any", NULL, NULL)
    return real_socketpair(domain, type, protocol, ends);
}
int memfd_create(const char *name, unsigned flags) { FAIL_AT("memfd_create", "any", NULL, name) return real_memfd_create(name, flags); }
int fcntl(int fd, int what, ...) {
    va_list rest;
    va_start(rest, what);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (what == F_DUPFD_CLOEXEC || what == F_DUPFD) {
        FAIL_AT("dup", "any", NULL, NULL)
    } else if (what == F_OFD_SETLK || what == F_SETLK) {
        FAIL_AT("fcntl", "lock", NULL, NULL)
    }
    return real_fcntl(fd, what, argument);
}

/* What changes names. */

int renameat(int from, const char *name, int to, const char *other) { FAIL_NAME("rename", name) return real_renameat(from, name, to, other); }
int renameat2(int from, const char *name, int to, const char *other, unsigned flags) {
    FAIL_NAME("rename", name)
    return real_renameat2(from, name, to, other, flags);
}
int rename(const char *name, const char *other) { FAIL_NAME("rename", name) return real_rename(name, other); }
int unlinkat(int dir, const char *name, int flags) { FAIL_NAME("unlink", name) return real_unlinkat(dir, name, flags); }
int unlink(const char *name) { FAIL_NAME("unlink", name) return real_unlink(name); }
int mkdirat(int dir, const char *name, mode_t mode) { FAIL_NAME("mkdir", name) return real_mkdirat(dir, name, mode); }
int mkdir(const char *name, mode_t mode) { FAIL_NAME("mkdir", name) return real_mkdir(name, mode); }
int linkat(int from, const char *name, int to, const char *other, int flags) {
    FAIL_NAME("link", name)
    return real_linkat(from, name, to, other, flags);
}

/* What changes files, and sees to it that it stays. */

int fsync(int fd) { FAIL("fsync", fd) return real_fsync(fd); }
int syncfs(int fd) { FAIL("syncfs", fd) return real_syncfs(fd); }
int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) { FAIL("sync_file_range", fd) return real_sync_file_range(fd, at, count, flags); }
int ftruncate(int fd, off_t length) { FAIL("ftruncate", fd) return real_ftruncate(fd, length); }
int ftruncate64(int fd, off64_t length) { FAIL("ftruncate", fd) return real_ftruncate(fd, length); }
int fallocate(int fd, int mode, off_t at, off_t length) { FAIL("fallocate", fd) return real_fallocate(fd, mode, at, length); }
int fchmod(int fd, mode_t mode) { FAIL("fchmod", fd) return real_fchmod(fd, mode); }
int fchown(int fd, uid_t user, gid_t group) { FAIL("fchown", fd) return real_fchown(fd, user, group); }
int futimens(int fd, const struct timespec times[2]) { FAIL("futimens", fd) return real_futimens(fd, times); }
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) { FAIL("fsetxattr", fd) return real_fsetxattr(fd, name, value, size, flags); }

/* What looks. */

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size) { FAIL("fgetxattr", fd) return real_fgetxattr(fd, name, value, size); }
int fstat(int fd, struct stat *stat) { FAIL("fstat", fd) return real_fstat(fd, stat); }
int fstat64(int fd, struct stat64 *stat) { FAIL("fstat", fd) return real_fstat(fd, (struct stat *)stat); }
int fstatat(int dir, const char *name, struct stat *stat, int flags) { FAIL_NAME("stat", name) return real_fstatat(dir, name, stat, flags); }
int statx(int dir, const char *restrict name, int flags, unsigned mask, struct statx *restrict found) {
    const char *volatile given = name; /* the header swears that it is never null, and the compiler would believe it */
    if (!given) { /* Rust's library asks so whether there is such a call */
        return real_statx(dir, name, flags, mask, found);
    }
    FAIL_AT("statx", *name ? place(name) : object(dir), NULL, name)
    return real_statx(dir, name, flags, mask, found);
}
int fstatfs64(int fd, struct statfs64 *found) { FAIL("fstatfs", fd) return real_fstatfs(fd, (struct statfs *)found); }
int fstatvfs(int fd, struct statvfs *found) { FAIL("fstatfs", fd) return real_fstatvfs(fd, found); }

/* What makes threads and processes, and needs memory. */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    int error = counts() ? fault("clone", "thread", NULL, NULL) : 0;
    return error ? error : real_pthread_create(thread, attributes, body, argument);
}
pid_t fork(void) {
    FAIL_AT("fork", "process", NULL, NULL)
    pid_t child = real_fork();
    if (child == 0 && control) {
        self = getpid();
        control->forked = self;
        int expected = FIRST_FORKED;
        if (__atomic_load_n(&control->armed, __ATOMIC_ACQUIRE)) {
            __atomic_compare_exchange_n(&control->whom, &expected, self, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
        }
    }
    return child;
}
static void *map(void *at, size_t length, int access, int flags, int fd, off_t from) {
    if (counts() && fault("mmap", fd < 0 ? "memory" : object(fd), NULL, NULL)) {
        return MAP_FAILED;
    }
    return real_mmap(at, length, access, flags, fd, from);
}
void *mmap(void *at, size_t length, int access, int flags, int fd, off_t from) { return map(at, length, access, flags, fd, from); }
void *mmap64(void *at, size_t length, int access, int flags, int fd, off64_t from) { return map(at, length, access, flags, fd, from); }
int chroot(const char *path) { FAIL_AT("chroot", "any", NULL, path) return real_chroot(path); }
int fchdir(int fd) { FAIL("fchdir", fd) return real_fchdir(fd); }

/* What libc has no function for. */
long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    switch (number) {
    case SYS_openat2:
        FAIL_AT("openat2", to_open((const char *)b, ((const struct open_how *)c)->flags), NULL, (const char *)b)
        break;
    case SYS_getdents64:
        FAIL("getdents64", (int)a)
        break;
    case SYS_renameat2:
        FAIL_NAME("rename", (const char *)b)
        break;
    case SYS_landlock_create_ruleset:
        FAIL_AT("landlock_create_ruleset", "any", NULL, NULL)
        break;
    case SYS_landlock_add_rule:
        FAIL_AT("landlock_add_rule", "any", NULL, NULL)
        break;
    case SYS_landlock_restrict_self:
        FAIL_AT("landlock_restrict_self", "any", NULL, NULL)
        break;
    case SYS_seccomp:
        FAIL_AT("seccomp", "any", NULL, NULL)
        break;
    }
    return real_syscall(number, a, b, c, d, e, f);
}
