//! `dfos-forkd check`: each finding, made true, is told with its grade; and what is refused by it is refused by a start.

mod common;

use common::tls::Pair;
use common::{SERVICE, home};
use nix::unistd::geteuid;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who runs `check`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    /// Whoever runs the tests.
    Anybody,
    /// Root, and nobody else can make the situation.
    Root,
    /// The owner of the storage; root becomes that user.
    Owner,
}
use Who::*;

/// A finding: who looks, what has happened to the place before, the options, and the beginning of the line that tells it. `@` is
/// the place.
type Finding = (Who, fn(&Path), &'static [&'static str], &'static str);

fn nothing(_: &Path) {}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn storage(home: &Path, bits: u32) {
    let storage = home.join("storage");
    fs::create_dir(&storage).unwrap();
    common::give(&storage);
    mode(&storage, bits);
}

fn add_user(home: &Path, line: &str) {
    let users = home.join("users");
    fs::write(&users, fs::read_to_string(&users).unwrap() + line).unwrap();
}

const PAIR: [&str; 4] = ["--tls-cert", "@/server.crt", "--tls-key", "@/server.key"];
const LIMITS: &str = "user_limits.toml";

const FINDINGS: &[Finding] = &[
    // Listeners.
    (Anybody, nothing, &[], "ok       tls://127.0.0.1:9000: this machine only"),
    (Anybody, nothing, &["--ip", "0.0.0.0"], "ok       tls://0.0.0.0:9000: encrypted"),
    (Anybody, nothing, &["--listen", "tcp://127.0.0.1:9000"], "ok       tcp://127.0.0.1:9000: this machine only"),
    (Anybody, nothing, &["--listen", "unix:@/socket"], "ok       unix:@/socket: this machine only"),
    (
        Anybody,
        nothing,
        &["--listen", "unix:@/no/socket"],
        "refused  unix:@/no/socket: the directory for this socket is missing",
    ),
    (
        Anybody,
        nothing,
        &["--listen", "tcp://[::]:9000"],
        "refused  tcp://[::]:9000 would be reachable from other machines",
    ),
    (
        Anybody,
        nothing,
        &["--allow-plaintext", "--listen", "tcp://[::]:9000"],
        "warning  tcp://[::]:9000 can be reached from other machines",
    ),
    // The certificate.
    (Anybody, nothing, &[], "ok       a certificate will be made: @/state"),
    (Anybody, |home| drop(Pair::own("x").write(home, "server")), &PAIR, "ok       the certificate's pin is sha256:"),
    (Anybody, nothing, &PAIR, "refused  the certificate cannot be used: cannot open @/server.crt"),
    (
        Anybody,
        |home| {
            Pair::own("x").write(home, "server");
            fs::write(home.join("server.crt"), Pair::own("y").certificate).unwrap();
        },
        &PAIR,
        "refused  the certificate cannot be used: @/server.crt with @/server.key:",
    ),
    (
        Anybody,
        |home| {
            Pair::own("x").write(home, "server");
            mode(home.join("server.key"), 0o644);
        },
        &PAIR,
        "refused  the certificate cannot be used: every user of this machine can read @/server.key",
    ),
    (Root, of_its_own_user, &[], "ok       the certificate's pin is sha256:"),
    (Root, of_its_own_user, &[], "ok       a start by that user is told of here, to whom @/state belongs; one by root"),
    // The log and the audit.
    (
        Anybody,
        nothing,
        &["--log-target", "file", "--log-file", "@/no/log"],
        "refused  the log: cannot open @/no/log: there is no such directory",
    ),
    (Anybody, nothing, &["--audit", "@/no/audit"], "refused  the audit: cannot open @/no/audit: there is no such"),
    (Root, |home| of_root(home, "audit", ""), &["--audit", "@/audit"], "refused  the audit: cannot open @/audit: "),
    (
        Root,
        |home| {
            fs::create_dir(home.join("logs")).unwrap();
            mode(home.join("logs"), 0o755);
        },
        &["--audit", "@/logs/audit"],
        "refused  the audit: cannot open @/logs/audit: Permission denied",
    ),
    // The users.
    (Anybody, nothing, &[], "ok       @/users: users: 11"),
    (Anybody, nothing, &[], "warning  @/users line 3: the password of carol stands in clear text"),
    (Anybody, |home| add_user(home, "no user\n"), &[], "warning  @/users line 14: "),
    (Anybody, |home| fs::remove_file(home.join("users")).unwrap(), &[], "refused  the users file cannot be used: "),
    (
        Anybody,
        |home| mode(home.join("users"), 0o602),
        &[],
        "refused  the users file cannot be used: @/users can be changed",
    ),
    (
        Anybody,
        |home| fs::File::options().write(true).open(home.join("users")).unwrap().set_len((64 << 20) + 1).unwrap(),
        &[],
        "refused  cannot read the users file: ",
    ),
    (
        Anybody,
        |home| mode(home.join("users"), 0o604),
        &[],
        "warning  @/users can be read by every user of this machine",
    ),
    (
        Anybody,
        |home| add_user(home, "# dfos: demonstration users\n"),
        &["--ip", "0.0.0.0"],
        "refused  @/users holds demonstration users",
    ),
    // Their limits.
    (
        Anybody,
        |home| fs::write(home.join(LIMITS), "[alice]\nfiles = 1\n").unwrap(),
        &[],
        "ok       @/user_limits.toml: users with limits of their own: 1",
    ),
    (
        Anybody,
        |home| fs::write(home.join(LIMITS), "[alice]\nfiles = 'x'\n").unwrap(),
        &[],
        "refused  @/user_limits.toml line 2: ",
    ),
    (Anybody, nothing, &["--user-limits", "@/none"], "refused  the limits file cannot be used: "),
    (
        Anybody,
        |home| fs::write(home.join(LIMITS), "[alice]\n\n[alise]\n").unwrap(),
        &[],
        "warning  @/user_limits.toml line 3: [alise] has limits and is no user",
    ),
    // The storage.
    (Anybody, nothing, &[], "ok       the storage directory @/storage will be made"),
    (Anybody, |home| storage(home, 0o750), &[], "ok       the storage directory is @/storage"),
    (Anybody, |home| fs::write(home.join("storage"), "").unwrap(), &[], "refused  @/storage is not a directory"),
    (
        Anybody,
        |home| storage(home, 0o777),
        &[],
        "warning  the storage directory @/storage can be changed by every user of this machine",
    ),
    (
        Anybody,
        |home| storage(home, 0o755),
        &[],
        "warning  the storage directory @/storage can be looked into by every user of this machine",
    ),
    (Owner, |home| storage(home, 0), &[], "refused  cannot open @/storage: "),
    (Owner, |home| storage(home, 0o550), &[], "refused  the user that the server runs as cannot write to the storage"),
    (
        Owner,
        |home| {
            storage(home, 0o750);
            fs::create_dir(home.join("storage/.dfos")).unwrap();
            mode(home.join("storage"), 0o550);
        },
        &[],
        "warning  the user that the server runs as cannot write to the storage",
    ),
    // Whom it would run as.
    (Root, nothing, &[], "ok       the server would run as nobody"),
    (Root, nothing, &["--run-as", "root"], "refused  the server must not run as root"),
    (
        Root,
        |home| {
            storage(home, 0o750);
            chown(home.join("storage"), Some(0), Some(0)).unwrap();
        },
        &[],
        "refused  the storage directory @/storage belongs to root",
    ),
    (
        Root,
        |home| storage(home, 0o757),
        &["--run-as", "54321"],
        "warning  the storage directory @/storage belongs to user 65534, the server would run as user 54321",
    ),
    (Root, |home| of_root(home, "users", ""), &[], "warning  cannot open @/users: "),
    (Root, |home| of_root(home, LIMITS, "[alice]\n"), &[], "warning  cannot open @/user_limits.toml: "),
    (
        Root,
        |home| {
            Pair::own("x").write(home, "server");
            of_root(home, "server.key", "");
        },
        &PAIR,
        "warning  cannot open @/server.key: ",
    ),
    (
        Root,
        |home| {
            fs::rename(home.join("users"), home.join("true")).unwrap();
            symlink("true", home.join("users")).unwrap();
            std::os::unix::fs::lchown(home.join("users"), Some(54321), None).unwrap();
        },
        &[],
        "refused  the users file cannot be used: @/users is a link that belongs to another user",
    ),
    // What confines a session.
    (Anybody, nothing, &[], "ok       layer service-user: "),
    (Anybody, nothing, &[], "ok       layer descriptors: "),
    (Anybody, nothing, &[], "ok       layer process: "),
    (Anybody, nothing, &[], "ok       layer chroot: "),
    (Anybody, nothing, &[], "ok       layer landlock: "),
    (Anybody, nothing, &[], "ok       layer seccomp: "),
    (Anybody, nothing, &[], "ok       this kernel's Landlock has version "),
];

/// A place whose server its own user starts: the key is in that user's directory.
fn of_its_own_user(home: &Path) {
    storage(home, 0o750);
    let (state, pair) = (home.join("state"), Pair::own("x"));
    fs::create_dir(&state).unwrap();
    fs::write(state.join("tls-cert.pem"), pair.certificate).unwrap();
    fs::write(state.join("tls-key.pem"), pair.key).unwrap();
    mode(&state, 0o700);
    mode(state.join("tls-key.pem"), 0o600);
    for path in [state.clone(), state.join("tls-cert.pem"), state.join("tls-key.pem")] {
        common::give(&path);
    }
}

/// Makes a file that root alone can read.
fn of_root(home: &Path, name: &str, more: &str) {
    let path = home.join(name);
    let text = fs::read_to_string(&path).unwrap_or_default() + more;
    fs::write(&path, text).unwrap();
    chown(&path, Some(0), Some(0)).unwrap();
    mode(&path, 0o600);
}

fn in_place(text: &str, home: &Path) -> String {
    text.replace('@', home.to_str().unwrap())
}

/// The command that checks a place, or starts a server in it.
fn command(who: Who, home: &Path, subcommand: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
    let place = ["--dir", "@/storage", "--users", "@/users", "--state-dir", "@/state", "--control", "none"];
    let words = place.iter().chain(options).map(|word| in_place(word, home));
    command.current_dir(home).arg(subcommand).args(words).env("DFOS_FORKD_CONFIG", "none");
    if who == Owner && geteuid().is_root() {
        command.uid(SERVICE).gid(SERVICE);
    }
    command
}

/// What `check` prints, and its exit status.
fn check(mut command: Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// The exit status of a start; `None` if it serves, which is ended then.
fn start(mut command: Command) -> Option<i32> {
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if !said.is_empty() {
        server.kill().unwrap();
    }
    server.wait().unwrap().code()
}

/// A place whose storage its owner can remove again, whatever was done to it.
struct Removable<'a>(&'a Path);

impl Drop for Removable<'_> {
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.0.join("storage"), Permissions::from_mode(0o750));
    }
}

#[test]
fn each_finding_is_told_with_its_grade() {
    for (who, prepare, options, line) in FINDINGS {
        if *who == Root && !geteuid().is_root() {
            continue;
        }
        let home = home();
        let _removable = Removable(home.path());
        prepare(home.path());
        let (text, code) = check(command(*who, home.path(), "check", options));
        let found = text.lines().filter(|found| found.starts_with(&in_place(line, home.path()))).count();
        assert_eq!(found, 1, "{who:?} {options:?}: '{line}' in\n{text}");
        assert!(text.matches("No such file").count() <= 1, "what is missing is told once:\n{text}");
        let is_refused = text.lines().any(|line| line.starts_with("refused "));
        assert_eq!(code, Some(i32::from(is_refused)), "{line}\n{text}");
        if !line.starts_with("refused ") {
            assert!(!is_refused, "{line} in\n{text}");
            continue;
        }
        // What check refuses, a start refuses, too.
        assert_eq!(start(command(*who, home.path(), "serve", options)), Some(1), "{line}");
    }
}

#[test]
fn a_place_without_faults_is_found_to_be_one() {
    let home = home();
    storage(home.path(), 0o750);
    fs::write(home.path().join("users"), common::scram::entry("alice", "secret")).unwrap();
    mode(home.path().join("users"), 0o640);
    fs::write(home.path().join(LIMITS), "[alice]\nfiles = 1\n").unwrap();
    Pair::own("x").write(home.path(), "server");
    let (text, code) = check(command(
        Anybody,
        home.path(),
        "check",
        &[&PAIR[..], &["--require-sandbox", "--audit", "@/audit"]].concat(),
    ));
    assert!(!home.path().join("audit").exists(), "nothing is made");
    let (findings, _) = text.split_once("\n\n").unwrap();
    assert!(code == Some(0) && findings.lines().all(|line| line.starts_with("ok ")), "{text}");
}

#[test]
fn without_tls_no_certificate_is_looked_for() {
    let home = home();
    let (text, code) = check(command(Anybody, home.path(), "check", &["--listen", "tcp://127.0.0.1:0"]));
    assert!(code == Some(0) && !text.contains("certificate will") && !text.contains("pin is"), "{text}");
}

#[test]
fn a_pair_that_has_no_place_is_refused() {
    let home = home();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"));
    command
        .current_dir(home.path())
        .args(["check", "--users", "users", "--dir", "storage", "--config", "none"])
        .env_clear();
    if geteuid().is_root() {
        command.uid(SERVICE).gid(SERVICE);
    }
    let (text, code) = check(command);
    assert!(code == Some(1) && text.contains("refused  there is no place for a certificate"), "{text}");
}

#[test]
fn a_layer_that_is_missing_is_a_warning_and_with_require_sandbox_refused() {
    if !geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let home = home();
    for path in [home.path().to_owned(), home.path().join("users")] {
        chown(path, Some(0), Some(0)).unwrap();
    }
    // A user namespace in which there can be no other: an unprivileged start gets no right to chroot there.
    let script =
        "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"";
    for (options, grade, status) in [(&[][..], "warning  ", 0), (&["--require-sandbox"], "refused  ", 1)] {
        let inner = command(Anybody, home.path(), "check", options);
        let mut outer = Command::new("unshare");
        outer.args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c", script, "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args()).current_dir(home.path()).env("DFOS_FORKD_CONFIG", "none");
        let (text, code) = check(outer);
        if text.is_empty() {
            return eprintln!("skipped: no user namespace to try it in");
        }
        assert!(text.contains(&format!("{grade}layer chroot is missing: ")), "{text}");
        assert!(text.contains("ok       layer landlock: "), "{text}");
        assert_eq!(code, Some(status), "{text}");
    }
}
