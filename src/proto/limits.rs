//! Every limit of DFOS, with its reason. Nothing that comes from the wire can raise one.

use std::time::Duration;

/// Bytes of a line with its ending. RENAME takes two paths of 4,095 bytes, each byte three when encoded: 24,570.
pub const LINE: usize = 32 * 1024;

/// Bytes of one piece of a body. Between pieces a sender can stop, so a piece must pass quickly on a slow line.
pub const PIECE: usize = 1 << 20;

/// Bytes of a decoded path: PATH_MAX of Linux without its NUL.
pub const PATH: usize = 4095;

/// Bytes of a decoded component: NAME_MAX of Linux.
pub const NAME: usize = 255;

/// The reserved component: staging, partial uploads, usage. At the top of each mount in a user's tree.
pub const RESERVED: &str = ".dfos";

/// Largest number on the wire: an `off_t`.
pub const NUMBER: u64 = i64::MAX as u64;

/// What VIEW sends when not told otherwise.
pub const VIEW_DEFAULT: u64 = 1024;

/// The most that VIEW sends: a preview, not a second DOWNLOAD.
pub const VIEW: u64 = 64 * 1024;

/// Bytes of a password once decoded. Longer ones only cost hashing time.
pub const PASSWORD: usize = 1024;

/// Refused logins after which a connection is closed.
pub const LOGIN_ATTEMPTS: u32 = 3;

/// Requests answered with `ERR` before login, after which a connection is closed.
pub const ERRORS_BEFORE_LOGIN: u32 = 10;

/// A WAIT line is due when a request has been silent for this long; the protocol promises five seconds.
pub const WAIT_EVERY: Duration = Duration::from_secs(3);

/// A body that moves no byte for this long ends the session: long enough for a suspended laptop's TCP to come back.
pub const STALL: Duration = Duration::from_secs(60);

/// How long after the grace period a line or piece that was begun may still be sent: the client's next bytes would be
/// taken for its rest otherwise. Less than what the listener gives before it kills.
pub const LEEWAY: Duration = Duration::from_secs(1);

/// How long a goodbye (an ERR before a close) may take to leave.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Unfinished uploads older than this are swept at their user's login.
pub const PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The shortest time that a trash keeps things, in seconds. A note that has waited for so long for the thing that it is of waits in vain.
pub const TRASH_LEAST: u64 = 3600;

/// The longest: ten years. What is to stay for longer is not meant to go.
pub const TRASH_MOST: u64 = 3650 * 24 * 3600;

/// How long a login may take for what the trash has kept for long enough; the next one goes on.
pub const TRASH_SWEEP: Duration = Duration::from_millis(500);

/// Finished uploads that gather while those before them are flushed, at most: bounds open descriptors. With half as many a flush
/// begins if none is under way.
pub const BATCH_FILES: usize = 512;

/// Bytes of finished uploads that gather, at most: bounds how long the first waits for the last.
pub const BATCH_BYTES: u64 = 32 << 20;

/// Directories held open by one walk of a tree; deeper ones are closed and found again.
pub const WALK_OPEN: usize = 32;

/// Bytes a transfer reads or writes at once: at 128 KiB the system call no longer shows beside the copy, and what was copied is
/// still in the processor's cache when it is copied on.
pub const BUFFER: usize = 128 * 1024;

/// Bytes of an upload after which the disk is told to begin with them.
pub const UNDER_WAY: u64 = 8 << 20;

/// Answers that gather before they are sent, in bytes.
pub const OUTPUT: usize = 64 * 1024;

/// Bytes that a body must move while a session waits for its client for [`STALL`] altogether. A modem of 1,200 bit/s moves twice as
/// many; what moves fewer only holds a process.
pub const LEAST_MOVED: u64 = 4096;

/// A session whose client sends nothing for this long gives back the memory that it does not need while it waits. Long enough that a
/// client that asks one thing after the other never pays for it.
pub const QUIET: Duration = Duration::from_secs(1);

/// How often a sender tries again although the kernel calls the socket full: it says "writable" only when a third of its buffer is
/// free, which takes a slow reader minutes.
pub const RETRY: Duration = Duration::from_secs(5);

/// A stranger is not sent away for a newcomer before this age: `dfos-client` logs in faster, over a satellite too.
pub const STRANGER: Duration = Duration::from_secs(1);

/// A network that has more than one in so many of the places of strangers loses even those that are younger than [`STRANGER`] to
/// newcomers of networks that have fewer: who connects again and again never has an old one.
pub const FAIR_SHARE: u32 = 4;

/// A session that has been sent away and still runs after this time is killed.
pub const OBEDIENCE: Duration = Duration::from_secs(10);

/// Connections are refused while the penalty of their address is longer than this: the credit for what happens to
/// honest people. As OpenSSH's `PerSourcePenalties min`.
pub const FORGIVEN: Duration = Duration::from_secs(15);

/// The penalty for a session that ended with three refused logins: under [`FORGIVEN`] once, over it twice.
pub const PENALTY_REFUSED: Duration = Duration::from_secs(10);

/// For one that left after a refused login, or spoke something else than the protocol.
pub const PENALTY_GUESS: Duration = Duration::from_secs(5);

/// For one that did not log in in time. Silence alone never adds up to more than [`FORGIVEN`]: the door has room for the silent,
/// and an attacker could else shut out those who share the address.
pub const PENALTY_SILENT: Duration = Duration::from_secs(1);

/// For a session that crashed: whoever can do that shall not try often.
pub const PENALTY_CRASH: Duration = Duration::from_secs(60);

/// Each offence while a penalty runs weighs double the one before, up to so many times.
pub const PENALTY_GROWTH: u32 = 32;

/// Addresses whose penalties are remembered, some 100 bytes each. Who has a million networks can make the list forget short
/// penalties, not make it grow.
pub const PENALISED: usize = 16 * 1024;

/// Bytes of a configuration file: some hundred times what every key and a word on each of them take.
pub const CONFIGURATION: u64 = 512 * 1024;

/// Lines a second that the log takes about connections that were refused; the others are counted.
pub const REFUSALS_LOGGED: u32 = 10;

/// Connections a second that were turned away and stand in the audit each; the others are counted there. A flood of them, a few
/// hundred bytes each, must not fill the disk.
pub const REFUSALS_AUDITED: u32 = 1_000;

/// Characters of the sentence that goes with an action in the log and in the audit: the longest of the server's own, with what it
/// repeats of the client's.
pub const ACTION_TEXT: usize = 300;

/// Bytes that the audit keeps of a word that should have been a path and is none.
pub const ACTION_WORD: usize = 1024;

/// How long a session waits for the scribe to take a record that the audit requires. A scribe that ended is replaced within a second.
pub const AUDIT_PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a file of lines that wait in memory while they cannot be written; what exceeds that is counted.
pub const LINES_WAITING: usize = 1024 * 1024;

/// Bytes of the disk that are kept ready ahead for a required audit; with less than half of them nothing is begun. That half takes
/// all that can wait in [`LOG_QUEUE`], as lines.
pub const AUDIT_ROOM: u64 = 1024 * 1024;

/// Lines that wait in memory for a syslogd that is away or stands still; what exceeds that is counted.
pub const SYSLOG_WAITING: usize = 1000;

/// Runs of the operator's programs that wait for their turn, each a few kilobytes. More than that no program catches up with soon.
pub const HOOKS_WAITING: usize = 10_000;
/// Programs of the operator's at a time, at most: each takes a descriptor of the scribe's and is a process of the service user's.
pub const HOOKS_MOST: i64 = 256;
/// Bytes that are kept of what such a program says on standard error: its first line is what the log has room for.
pub const HOOK_WORDS: usize = 1024;
/// How long a program that was asked to end has before it is killed.
pub const HOOK_MERCY: Duration = Duration::from_secs(2);

/// Records of sessions that the listener takes in before it looks at new connections again.
pub const WORDS: usize = 64;
/// How often a session may ask for another password: whoever has taken it over is not to guess the old one.
pub const PASSWORD_CHANGES: u8 = 3;
/// Words that a session says to the listener in its life: that a user has logged in, and what it passes on of requests for another
/// password. One that says more was taken over, and is killed: all sessions share the way.
pub const WORDS_OF_A_SESSION: u8 = 1 + PASSWORD_CHANGES;
/// Passwords that are changed at a time.
pub const PASSWORDS_AT_A_TIME: usize = 8;
/// How long a session waits for its user's new password to be written down, and the listener before it kills who does that.
pub const PASSWORD_PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of log records that wait for the scribe, those of all sessions together, as the kernel counts them: what Linux gives a socket
/// anyway, but said here, since [`LOG_TURN`] goes by it.
pub const LOG_QUEUE: usize = 208 * 1024;

/// What a log record counts beside its bytes; the kernel needs more for one.
pub const LOG_RECORD: usize = 512;

/// Bytes of records that the scribe takes from sessions before it hears the listener again, so that who floods it keeps it from nothing;
/// but more than [`LOG_QUEUE`] and one record, so that what was said before the listener spoke is taken before.
pub const LOG_TURN: usize = 256 * 1024;

/// Bytes of records that the scribe holds until it knows their senders' names. What exceeds that is written without a name.
pub const LOG_HELD: usize = 256 * 1024;

/// Bytes of address space of a session: some hundred times what it needs. A session gone wild ends itself, not the machine.
pub const SESSION_MEMORY: u64 = 1 << 30;

/// Descriptors of a session: files that gather and files that are being flushed, each in a directory of its own, those whose
/// directories are left to flush, and a walk, twice over.
pub const SESSION_FILES: u64 = 5 * BATCH_FILES as u64 + 2 * 2 * WALK_OPEN as u64;

/// Seconds of processor time that a session may use before login: a handshake and three logins take a hundredth of that.
pub const LOGIN_CPU: u64 = 10;
/// Sessions of one user that can be limited, at most: a session tries the seats one after the other.
pub const SEATS: u32 = 10_000;

/// Bytes a second of a limited rate, at least: at less, a grant of a quarter of a second is hardly worth its line.
pub const RATE_LEAST: u64 = 1024;

/// What a user with a limited rate may move at once after having been quiet, and the most that one grant takes. Short, so that a
/// transfer at a limited rate still hears signals and says WAIT.
pub const RATE_BURST: Duration = Duration::from_millis(250);

/// How long a new version of the server may take to say that it can take over. It loads and tries what a start does, a second on a
/// slow machine; and while it does, the old one serves.
pub const REHEARSAL: Duration = Duration::from_secs(20);

/// Bytes that such a rehearsal may say; there is no room for more. It is a sentence, and may be another program's help page.
pub const REPORT: u64 = 64 * 1024;
/// Bytes of a line of the audit (docs/AUDIT.md); a longer one is none.
pub const AUDIT_LINE: usize = 64 * 1024;

/// Bytes of an audit that a report reads at once: many lines, and few enough that what is read is still in the processor's cache when
/// it is parsed.
pub const REPORT_CHUNK: usize = 512 * 1024;

/// Users that a report tells apart: more than a server has. They are the operator's, but a file may come from anywhere.
pub const REPORT_USERS: usize = 10_000;

/// Addresses that a report tells apart; strangers can make them without end.
pub const REPORT_ADDRESSES: usize = 4096;

/// Kinds of anything else that a report tells apart: errors by verb and code, reasons, ends.
pub const REPORT_KINDS: usize = 256;

/// Steps of a report's course; when they do not suffice, a step grows.
pub const REPORT_STEPS: usize = 4096;

/// Characters of a name that a report keeps: whatever was longer was made to fill memory.
pub const REPORT_NAME: usize = 128;

/// Characters of a path that a report shows.
pub const REPORT_PATH: usize = 512;

/// Transfers that a report lists as the slowest.
pub const REPORT_SLOWEST: usize = 10;

/// Lines that were passed over of which a report tells where they stand.
pub const REPORT_ODD: usize = 5;
/// Bytes of a path that the table of sessions shows: what fits into a wide terminal, and with the rest into a page.
pub const SHOWN_PATH: usize = 200;

/// Operators whom the listener answers at a time: each holds a descriptor and an answer.
pub const VISITS: usize = 8;

/// How long an operator has to ask and to take the answer.
pub const VISIT: Duration = Duration::from_secs(10);

/// Bytes of an operator's request.
pub const REQUEST: usize = 256;
