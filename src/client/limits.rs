//! The client's own limits, with their reasons. Nothing that a server says changes one.

use std::time::Duration;

/// How long connecting may take, over all addresses of a name.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Silence after which a server counts as dead. It promises a line every five seconds; a network may lose some.
pub const SILENCE: Duration = Duration::from_secs(30);

/// How long the answer to LOGOUT is waited for.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// How long a completion may take: who pressed Tab would rather type on than wait.
pub const COMPLETION: Duration = Duration::from_secs(2);

/// How long each step of the doctor may take: a server that is well answers far sooner.
pub const DOCTOR: Duration = Duration::from_secs(5);

/// How long the doctor listens whether somebody speaks of their own accord.
pub const DOCTOR_LISTENS: Duration = Duration::from_secs(1);

/// How far two clocks may differ before the doctor says so: what a machine without NTP drifts in a week or two.
pub const CLOCKS_APART: Duration = Duration::from_secs(5);

/// Days before a certificate's end from which on the doctor warns: those that are renewed by a program are renewed before.
pub const CERTIFICATE_DAYS: i64 = 14;

/// Attempts after the first.
pub const RETRIES: u32 = 5;

/// Files smaller than this travel without waiting for each other, are not resumed and are not flushed one by one:
/// sending one again costs less than asking how much of it is there.
pub const SMALL: u64 = 1 << 20;

/// Bytes of a body read and sent at once. Also the most that can be sent without a look at what the server says.
pub const PIECE: usize = 256 * 1024;

/// Bytes handed to the socket under one silence limit: a line of 2 KiB/s still keeps within it.
pub const SLICE: usize = 64 * 1024;

/// Uploads sent whose answers are still to come: those that gather at the server, those that it flushes, those whose names it has yet to
/// flush, and as many on the way over a line of 100 ms.
pub const UPLOADS_AHEAD: usize = 2048;

/// Bytes of uploads sent whose answers are still to come: what a lost connection makes us send again.
pub const BYTES_AHEAD: u64 = 8 << 20;

/// Requests sent whose answers are still to come: fills a line of 100 ms at some thousand files a second each way. With a path of the
/// greatest length each they are 4 MiB.
pub const REQUESTS_AHEAD: usize = 1024;

/// Unsent requests that gather before they are written to the socket.
pub const GATHER: usize = 256 * 1024;

/// Rows that an answer to HELP may have.
pub const INFO_ROWS: usize = 10_000;

/// Most connections of one command: more would only queue at the server's disk.
pub const JOBS: usize = 64;

/// Most connections that nobody has asked for: the server is not this user's alone.
pub const JOBS_UNASKED: usize = 4;

/// Files that are worth a connection more: its login takes as long as some thirty of them.
pub const JOB_FILES: usize = 256;

/// Bytes that are worth a connection more.
pub const JOB_BYTES: u64 = 256 << 20;

/// The waits before the retries, the last for all further ones: the first at once, as most lost connections come back at once;
/// the usual number of them together outlasts the restart of a server and a change of networks (37 s), and, with the silence
/// before them, the session that a server keeps for a minute after its client has vanished: the only one that the user may have, perhaps.
pub const RETRY_WAITS: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];

/// Bytes after which a connection has proved useful, and the count of retries begins anew. A few bytes prove nothing: a
/// link that breaks at once each time would be tried for ever.
pub const PROGRESS: u64 = 1 << 20;

/// How often a `WAIT` tells the server that an upload is still there while standard input is silent.
pub const STILL_HERE: Duration = Duration::from_secs(20);

/// Entries that a recursive download plans at most: a server that lists without end would take all memory.
pub const ENTRIES: usize = 5_000_000;

/// Clients of a load test, at most: each is a thread, a connection and eight descriptors here, and a process at the server.
pub const BENCH_CLIENTS: i64 = 1000;

/// The largest file of a load test: larger ones measure nothing that this one does not, and fill the server's disk.
pub const BENCH_SIZE: u64 = 16 << 30;

/// The longest load test, which bounds what is remembered of it.
pub const BENCH_TIME: Duration = Duration::from_secs(24 * 3600);

/// Files that one client of a load test has on the server before a next one replaces the oldest: a directory of ordinary size.
pub const BENCH_KEPT_FILES: usize = 256;

/// Bytes that all clients of a load test together have on the server, about: enough to measure, little enough for a quota.
pub const BENCH_KEPT_BYTES: u64 = 1 << 30;

/// Files that each client puts before the time of a load test begins, where some have to be there.
pub const BENCH_PREPARED: usize = 16;

/// How long the operations of a load test that are in hand at Ctrl+C may take to end properly, so that the server keeps nothing of
/// them to be resumed.
pub const BENCH_GRACE: Duration = Duration::from_secs(2);

/// How often the removal of what a load test has put is tried again, a tenth of a second apart, while the server still ends
/// uploads that were cut off.
pub const BENCH_REMOVALS: u32 = 30;

/// Clients of a load test that log in at the same time: the server lets only so many in that have not said who they are.
pub const BENCH_LOGINS: usize = 8;

/// Random bytes that the files of a load test are cut from: more than a processor's cache would make measuring dearer.
pub const BENCH_BLOCK: usize = 1 << 20;

/// The least rate that `--bwlimit` takes, in bytes a second for each connection. A server ends a session that moves less than 4,096 bytes
/// in a minute of waiting, and what waits in the sockets between must drain within that time.
pub const LEAST_RATE: u64 = 16 * 1024;

/// The least room for what a socket takes in while bytes are held back: smaller, and packets would not fit.
pub const LEAST_ROOM: usize = 16 * 1024;

/// Whoever waits for leave to move bytes looks so often whether Ctrl+C was pressed.
pub const NAP: Duration = Duration::from_millis(50);

/// Names of `--files-from` that are planned and moved together, so that a list of any length takes the same memory.
pub const LISTED: usize = 50_000;

/// The longest name in such a list, and the longest line of a batch.
pub const LINE: usize = 64 * 1024;
