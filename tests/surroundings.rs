//! Odd surroundings: a server that is started without standard descriptors, under tiny limits, whose program is replaced while it runs,
//! whose log has no room, and whose clock jumps.

mod common;

use common::tree::noise;
use common::{PATIENCE, Raw, SERVICE, Server, binary, command_of, eventually, give, home};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server below a shell that does something first, on the Unix socket `socket` of its home, with its log in the file `log`.
struct Odd {
    process: std::process::Child,
    home: tempfile::TempDir,
}

impl Odd {
    fn start(first: &str, change: impl FnOnce(&mut Command)) -> Odd {
        let home = home();
        give(home.path());
        let command = command_of(&binary(), "022", home.path(), &[]);
        let mut odd = Command::new("/bin/sh");
        odd.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]).arg(binary()).args(command.get_args().skip(3));
        odd.args(["--listen", &format!("unix:{}", home.path().join("socket").display())]);
        odd.envs([
            ("DFOS_FORKD_LOG_TARGET", "file".as_ref()),
            ("DFOS_FORKD_LOG_FILE", home.path().join("log").as_os_str()),
        ]);
        odd.env("DFOS_FORKD_CONFIG", "none").current_dir(home.path());
        odd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(home.path().join("stderr")).unwrap());
        change(&mut odd);
        Odd { process: odd.spawn().unwrap(), home }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    /// Whether it serves; else it has ended.
    fn serves(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.text("log").contains("listening on") {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it neither serves nor ends: {}", self.text("stderr"));
    }

    fn login(&self) -> Raw {
        let mut raw = Raw::unix(&self.home.path().join("socket"));
        raw.login("alice");
        raw
    }

    /// Ends it; the exit status.
    fn end(&mut self) -> Option<i32> {
        kill(nix::unistd::Pid::from_raw(self.process.id() as i32), Signal::SIGINT).unwrap();
        eventually("its end", || self.process.try_wait().unwrap().is_some());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_without_standard_descriptors_serves_and_mixes_nothing_up() {
    let mut odd = Odd::start("exec <&- >&- 2>&-", |_| ());
    assert!(odd.serves(), "{}", odd.text("stderr"));
    let mut raw = odd.login();
    let bytes = noise(1, 300_000);
    raw.put("f", &bytes);
    assert!(raw.get("f") == bytes);
    drop(raw);
    assert_eq!(odd.end(), Some(0), "{}", odd.text("log"));
    assert!(odd.text("log").contains(" ended: "));
    assert!(fs::read(odd.home.path().join("storage/alice/f")).unwrap() == bytes, "nothing was written into it");
}

#[test]
fn under_tiny_limits_it_serves_or_says_why_it_does_not() {
    // Limits on processes are a user's: these have nothing but this server.
    let fresh = |odd: &mut Command| {
        if nix::unistd::geteuid().is_root() {
            odd.uid(SERVICE).gid(SERVICE);
        }
    };
    let limits = ["n 8", "n 16", "n 24", "n 64", "f 0", "f 8", "v 60000", "d 1000", "s 300", "t 1", "l 0", "c 0"];
    for limit in limits {
        let mut odd = Odd::start(&format!("ulimit -{limit}"), fresh);
        if !odd.serves() {
            let (said, status) = (odd.text("stderr") + &odd.text("log"), odd.process.wait().unwrap());
            assert_eq!(status.code(), Some(1), "ulimit -{limit}: {status} {said}");
            assert!(!said.contains("panicked"), "ulimit -{limit}: {said}");
            // With no room for a byte it cannot say it either.
            assert!(
                limit == "f 0" || said.lines().next_back().is_some_and(|line| line.contains("dfos-forkd")),
                "{limit}: {said}"
            );
            continue;
        }
        let mut raw = Raw::unix(&odd.home.path().join("socket"));
        let hello = raw.ask("LOGIN alice secret");
        if hello.starts_with("OK") {
            let answer = raw.upload("f", &noise(2, 100_000));
            let stored = fs::read(odd.home.path().join("storage/alice/f"));
            match answer.starts_with("OK ") {
                true => assert!(stored.unwrap() == noise(2, 100_000), "ulimit -{limit}"),
                false => assert!(answer.starts_with("ERR ") && stored.is_err(), "ulimit -{limit}: {answer}"),
            }
            raw.demand("PING", "OK pong");
        }
        drop(raw);
        assert_eq!(odd.end(), Some(0), "ulimit -{limit}: {}", odd.text("log") + &odd.text("stderr"));
        let log = odd.text("log") + &odd.text("stderr");
        assert!(
            !["panicked", "killed by", "unexpected"].iter().any(|sign| log.contains(sign)),
            "ulimit -{limit}: {log}"
        );
    }
}

#[test]
fn the_program_may_be_replaced_or_vanish_while_it_runs() {
    let home = home();
    let program = home.path().join("dfos-forkd");
    fs::copy(binary(), &program).unwrap();
    give(home.path());
    let server = Server::spawn(command_of(&program, "022", home.path(), &[]), home, &[]);
    server.login("alice").put("before", b"1");
    let other = program.with_extension("new");
    fs::write(&other, "not a program at all").unwrap();
    fs::rename(&other, &program).unwrap();
    serves_on(&server, "replaced");
    fs::remove_file(&program).unwrap();
    serves_on(&server, "vanished");
    server.stop();
}

/// It takes new clients, loads its users again, and replaces a scribe that has died.
fn serves_on(server: &Server, name: &str) {
    let count = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    let before = (count("users reloaded"), count("the scribe ended and was started again"));
    server.signal(Signal::SIGHUP);
    eventually("the reload", || count("users reloaded") > before.0);
    kill(server.scribe().unwrap(), Signal::SIGKILL).unwrap();
    eventually("another scribe", || count("the scribe ended and was started again") > before.1);
    let mut raw = server.login("alice");
    raw.put(name, name.as_bytes());
    assert_eq!(raw.get(name), name.as_bytes());
}

#[test]
fn a_log_without_room_stops_nobody() {
    let mut odd = Odd::start("true", |odd| {
        odd.env_remove("DFOS_FORKD_LOG_TARGET")
            .env_remove("DFOS_FORKD_LOG_FILE")
            .stderr(fs::File::options().write(true).open("/dev/full").unwrap());
    });
    let socket = odd.home.path().join("socket");
    eventually("its socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let mut raw = odd.login();
    for n in 0..100 {
        raw.put(&format!("f{n}"), b"content");
    }
    raw.demand("LOGOUT", "OK");
    assert_eq!(odd.end(), Some(0));
    assert_eq!(fs::read(odd.home.path().join("storage/alice/f99")).unwrap(), b"content");
}

/// In the place of the C library's clock: the true time and so many seconds more, as a file that is mapped says.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void map(void) {
    int fd = open(getenv("TEST_CLOCK"), O_RDONLY);
    offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}
int clock_gettime(clockid_t which, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
    return failed;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
"#;

fn clock_library(dir: &Path) -> std::path::PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(compiled.success(), "cc");
    library
}

#[test]
fn a_clock_that_jumps_loses_nothing_and_sends_nobody_away() {
    let home = home();
    let (library, clock) = (clock_library(home.path()), home.path().join("clock"));
    fs::write(&clock, 0_i64.to_ne_bytes()).unwrap();
    give(home.path());
    let limits = "[default]\ntrash = \"30d\"\nquota = \"100MB\"\n";
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let mut command = command_of(&binary(), "022", home.path(), &[]);
    command.env("LD_PRELOAD", &library).env("TEST_CLOCK", &clock);
    let server = Server::spawn(command, home, &[]);
    let jump = |years: i64| {
        let file = fs::File::options().write(true).open(&clock).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &(years * 31_556_952).to_ne_bytes(), 0).unwrap();
    };
    let mut steady = server.login("alice"); // all the while
    let whole = noise(4, 200_000);
    // Back to before 1970 (whose times are negative), and on beyond 2038 and 2106.
    for (n, years) in [0, 1, -1, 20, -40, -60, 100, 0].into_iter().enumerate() {
        steady.demand(&format!("UPLOAD half{n} size=200000 resume"), "READY offset=0");
        steady.send([b"FROM 0\n", &*common::raw::pieces(&whole[..100_000])].concat());
        jump(years);
        let mut raw = server.login("alice"); // it sweeps what is old and nobody holds
        steady.send(common::raw::pieces(&whole[100_000..]));
        steady.send(format!("END sha256={}\n", common::tree::sha256(&whole)));
        steady.expect("OK size=200000");
        raw.put(&format!("f{n}"), format!("in {years} years").as_bytes());
        raw.demand(&format!("RENAME f{n} g{n}"), "OK");
        raw.demand("LIST . recursive", "ENTRY");
        drop(raw);
    }
    let mut raw = server.login("alice");
    for n in 0..8 {
        assert!(raw.get(&format!("half{n}")) == whole);
        assert!(raw.get(&format!("g{n}")).starts_with(b"in "));
    }
    drop((raw, steady));
    let log = server.stop();
    assert!(log.iter().any(|line| line.starts_with("2126-")), "the clock has not jumped: {log:#?}");
}
