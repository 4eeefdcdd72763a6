//! The door under attack: who is let in, who is sent away for whom, who has to wait, and that a flood leaves nothing behind.

mod common;

use common::raw::{connect_from, pieces};
use common::{PATIENCE, Raw, Server, command, eventually, home, scram};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PENALTIES: [&str; 2] = ["--max-penalty", "600"];

/// Three refused logins in one connection, and the wait until the listener knows of it.
fn guess_three_times(server: &Server) {
    let mut raw = Raw::connect(server.address());
    raw.send("LOGIN alice a\nLOGIN bob b\nLOGIN nobody c\n");
    assert_eq!(raw.rest().len(), 3);
    server.wait_idle();
}

#[track_caller]
fn is_refused(mut raw: Raw, why: &str) {
    raw.expect(&format!("ERR busy {why}"));
    raw.closed();
}

// --- lists ---

#[test]
fn a_rule_that_cannot_be_parsed_refuses_the_start() {
    let home = home();
    for option in ["--allow", "--deny", "--penalty-exempt"] {
        for rule in ["10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0.0/8,192.0.2.0/24", ""] {
            let output = command(home.path(), &["--port", "0", option, rule]).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{option} {rule}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains("is no network: write 192.0.2.0/24") || rule.is_empty(), "{text}");
            assert!(output.stdout.is_empty(), "it never listened");
        }
    }
}

#[test]
fn whom_the_lists_deny_hears_nothing_and_a_flood_of_them_does_not_fill_the_log() {
    let server = Server::start(&["--allow", "127.0.0.0/16", "--deny", "127.0.0.2", "--deny", "127.0.3.0/24"]);
    let began = Instant::now();
    for denied in ["127.0.0.2", "127.0.3.9", "127.1.0.1"] {
        for _ in 0..300 {
            let mut bytes = Vec::new();
            let mut stream = connect_from(denied, server.address()).unwrap();
            let end = stream.read_to_end(&mut bytes);
            assert!(end.is_ok() || end.is_err_and(|why| why.kind() == ErrorKind::ConnectionReset));
            assert_eq!(bytes, b"", "{denied}");
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let mut raw = Raw::silent_from("127.0.0.3", server.address());
    raw.expect("OK dfos/1");
    raw.login("alice");
    drop(raw);
    server.logged("127.0.0.2:"); // the first at least
    let lines = server.log().iter().filter(|line| line.contains("its network may not connect")).count();
    assert!(lines <= 10 * (seconds + 1), "{lines} lines in {seconds} s");
    assert!(!server.log().iter().any(|line| line.contains("127.0.0.2") && line.contains(" warning ")));
    let last = server.stop().pop().unwrap();
    assert!(last.contains("901 connections (900 turned away)"), "{last}");
    assert!(last.ends_with("; turned away: 900 not on the list"), "{last}");
}

#[test]
fn a_unix_socket_is_on_no_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let url = format!("unix:{}", path.display());
    let server = Server::start(&["--allow", "192.0.2.0/24", "--listen", &url, "--listen", "tcp://127.0.0.1:0"]);
    Raw::unix(&path).login("alice");
    Raw::silent(server.address()).closed();
    server.stop();
}

// --- penalties ---

#[test]
fn repeated_guessing_bans_the_address_and_nobody_else() {
    let server = Server::start(&PENALTIES);
    let mut member = server.login("alice");
    let guess = || {
        let mut raw = Raw::silent_from("127.0.0.9", server.address());
        raw.expect("OK dfos/1");
        raw.send("LOGIN alice a\nLOGIN bob b\nLOGIN nobody c\n");
        raw.rest();
        eventually("only the member is left", || server.sessions().len() == 1 && server.zombies() == 0);
    };
    guess();
    guess(); // three typos are forgiven
    for _ in 0..3 {
        let mut raw = Raw::silent_from("127.0.0.9", server.address());
        let line = raw.expect("ERR busy too many failures from your address; try again in ");
        let seconds: u64 = line.rsplit(' ').nth(1).unwrap().parse().unwrap();
        assert!((10..=16).contains(&seconds), "{line}");
        raw.closed();
    }
    member.demand("PING", "OK pong");
    server.login("bob").demand("PING", "OK pong");
    server.logged("turned away: too many failures from your address");
    drop(member);
    server.wait_idle();
    assert!(server.stop().pop().unwrap().contains("; turned away: 3 for failures"));
}

#[test]
fn a_ban_ends_though_the_banned_keep_knocking() {
    let server = Server::start(&["--max-penalty", "1"]);
    guess_three_times(&server);
    guess_three_times(&server);
    let began = Instant::now();
    is_refused(Raw::silent(server.address()), "too many failures");
    eventually("it is let in again", || Raw::silent(server.address()).line().starts_with("OK dfos/1"));
    assert!(began.elapsed() > Duration::from_millis(300) && began.elapsed() < Duration::from_secs(5));
    server.wait_idle();
    server.stop();
}

#[test]
fn whoever_leaves_before_the_third_guess_has_guessed_all_the_same() {
    let leave: [(&str, &str); 4] = [
        ("LOGIN alice no\n", "left after a refused login"),
        ("LOGIN alice no\nLOGIN alice no\nQUIT\n", "left after a refused login"),
        ("GET / HTTP/1.1\n", "not the DFOS protocol"),
        ("DATA 5\n", "not the DFOS protocol"),
    ];
    for (bytes, ending) in leave {
        let server = Server::start(&PENALTIES);
        for _ in 0..3 {
            let mut raw = server.client();
            raw.send(bytes);
            raw.finish_sending();
            raw.rest();
            server.wait_idle();
        }
        server.logged(ending);
        is_refused(Raw::silent(server.address()), "too many failures");
        server.stop();
    }
}

#[test]
fn a_login_does_not_pay_for_earlier_guesses() {
    let server = Server::start(&PENALTIES);
    guess_three_times(&server);
    let mut raw = server.login("alice"); // an account of one's own
    raw.demand("LOGOUT", "OK bye");
    server.wait_idle();
    guess_three_times(&server);
    is_refused(Raw::silent(server.address()), "too many failures");
    server.stop();
}

#[test]
fn guesses_are_not_free_for_who_has_an_account() {
    let server = Server::start(&PENALTIES);
    for _ in 0..3 {
        let mut raw = server.client();
        raw.send("LOGIN bob guess\nLOGIN bob another\n");
        raw.expect("ERR login-refused");
        raw.expect("ERR login-refused");
        raw.login("alice");
        drop(raw);
        server.wait_idle();
    }
    is_refused(Raw::silent(server.address()), "too many failures");
    server.stop();
}

#[test]
fn guesses_are_not_free_for_who_has_an_account_and_no_session_left_or_no_directory() {
    for (limits, answer) in
        [("[default]\nsessions = 1\n", "ERR busy"), ("[default]\naccess = \"read-only\"\n", "ERR not-found")]
    {
        let server = Server::limited(limits, &PENALTIES);
        let seat = answer.contains("busy").then(|| server.login("alice"));
        for _ in 0..3 {
            let mut raw = server.client();
            raw.send("LOGIN bob guess\nLOGIN bob another\nLOGIN alice secret\n");
            raw.expect("ERR login-refused");
            raw.expect("ERR login-refused");
            raw.expect(answer);
            drop(raw);
            eventually("it has gone", || {
                server.sessions().len() == usize::from(seat.is_some()) && server.zombies() == 0
            });
        }
        is_refused(Raw::silent(server.address()), "too many failures");
        drop(seat);
        server.wait_idle();
    }
}

/// CVE-2016-6515: a very long password kept the hash busy.
#[test]
fn a_password_that_is_too_long_is_refused_before_it_is_hashed() {
    let server = Server::start(&[]);
    let fastest = |length: usize| {
        let line = format!("LOGIN carol {}", "x".repeat(length)); // in clear text in the file: the default iterations
        let tries = (0..20).map(|_| {
            let mut raw = server.client();
            let began = Instant::now();
            raw.demand(&line, "ERR login-refused");
            began.elapsed()
        });
        tries.min().unwrap()
    };
    let (hashed, refused) = (fastest(1024), fastest(1025));
    eprintln!("1,024 bytes take {hashed:?}, 1,025 bytes {refused:?}");
    assert!(refused < hashed / 2);
    let mut raw = server.client();
    raw.try_send(format!("LOGIN carol {}\n", "x".repeat(1 << 20)));
    assert!(raw.rest().iter().all(|line| line.starts_with("ERR bad-request")));
    server.wait_idle();
    server.stop();
}

#[test]
fn exempt_networks_are_never_banned() {
    let server = Server::start(&["--max-penalty", "600", "--penalty-exempt", "127.0.0.1"]);
    for _ in 0..6 {
        guess_three_times(&server);
    }
    server.login("alice").demand("PING", "OK pong");
    server.wait_idle();
    server.stop();
}

#[test]
fn a_crashed_session_bans_its_address() {
    let server = Server::start(&PENALTIES);
    let raw = Raw::silent_from("127.0.0.9", server.address());
    eventually("it is served", || server.sessions().len() == 1);
    server.signal_sessions_but_the_scribe(Signal::SIGABRT);
    server.wait_idle();
    drop(raw);
    is_refused(Raw::silent_from("127.0.0.9", server.address()), "too many failures");
    server.login("alice").demand("PING", "OK pong");
}

/// drakkan/sftpgo#742: monitoring that connects and closes, ten times a second for minutes, was banned.
#[test]
fn a_health_check_is_no_attack() {
    let server = Server::start(&PENALTIES);
    for n in 0..600 {
        let raw = Raw::silent(server.address());
        match n % 3 {
            0 => drop(raw),
            1 => raw.reset(),
            _ => {
                let mut raw = raw;
                raw.expect("OK dfos/1");
                raw.demand("PING", "OK pong");
            }
        }
        // Ten a second would be slower than this.
        eventually("no slot leaks", || server.sessions().len() < 20);
    }
    server.wait_idle();
    server.login("alice").demand("PING", "OK pong");
    server.wait_idle();
    let log = server.stop();
    // The first line warns of carol's password.
    assert!(!log.iter().skip(1).any(|line| line.contains(" warning ") || line.contains(" error ")), "{log:#?}");
    assert!(log.last().unwrap().contains("(0 turned away)"));
}

// --- room ---

#[test]
fn a_network_has_a_limit_of_its_own() {
    let server = Server::start(&["--max-clients-per-net", "2"]);
    let log_in = |source: &str| {
        let mut raw = Raw::silent_from(source, server.address());
        raw.expect("OK dfos/1");
        raw.login("alice");
        raw
    };
    let mut members = vec![log_in("127.0.0.1"), log_in("127.0.0.2")];
    is_refused(Raw::silent_from("127.0.0.3", server.address()), "there are as many clients from your network");
    members.push(log_in("127.0.1.1"));
    drop(members.remove(0));
    eventually("a place is free", || server.sessions().len() == 2);
    drop(log_in("127.0.0.3"));
    drop(members);
    server.wait_idle();
    assert!(server.stop().pop().unwrap().ends_with("; turned away: 1 over the limit of a network"));
}

#[test]
fn a_newcomer_takes_the_place_of_who_kept_silent_longest_and_never_of_a_user() {
    for limits in
        [["--max-logins", "2"], ["--max-clients-per-ip", "3"], ["--max-clients-per-net", "3"], ["--max-clients", "3"]]
    {
        let server = Server::start(&limits);
        let mut member = server.login("alice");
        let mut first = server.client();
        let mut second = server.client();
        // Nobody is old enough yet: `limits::STRANGER`.
        is_refused(Raw::silent(server.address()), "");
        std::thread::sleep(Duration::from_millis(1100));
        let mut user = server.login("bob");
        first.expect("ERR busy others are waiting to log in; try again");
        first.closed();
        second.demand("PING", "OK pong");
        let mut another = server.login("bob");
        if limits[0] != "--max-logins" {
            second.expect("ERR busy others are waiting");
            is_refused(Raw::silent(server.address()), ""); // three users
        }
        for raw in [&mut member, &mut user, &mut another] {
            raw.demand("PING", "OK pong");
        }
        drop((member, user, another, second));
        server.wait_idle();
        let last = server.stop().pop().unwrap();
        assert!(last.contains("; sent away: "), "{last}");
    }
}

#[test]
fn a_request_to_make_room_is_nothing_to_a_user() {
    let server = Server::start(&[]);
    let mut user = server.login("alice");
    server.signal_sessions_but_the_scribe(Signal::SIGUSR1);
    user.demand("PING", "OK pong"); // it may have crossed the login
    let mut stranger = server.client();
    server.signal_sessions_but_the_scribe(Signal::SIGUSR1);
    stranger.expect("ERR busy others are waiting to log in; try again");
    stranger.closed();
    user.put("f", b"and goes on");
    drop(user);
    server.wait_idle();
    server.stop();
}

#[test]
fn a_session_that_does_not_go_when_sent_away_is_killed_and_its_address_does_not_pay() {
    let server = Server::start(&["--max-penalty", "600", "--max-logins", "1"]);
    let stuck = server.client();
    let pid = server.sessions()[0].pid;
    kill(pid, Signal::SIGSTOP).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let mut user = server.login("alice"); // at once, in its place
    server.logged(&format!("session {pid} was sent away and did not go: it is killed"));
    eventually("it is gone", || server.sessions().len() == 1);
    server.login("bob").demand("PING", "OK pong");
    user.demand("PING", "OK pong");
    drop((stuck, user));
    server.wait_idle();
}

// --- users who are gone ---

#[test]
fn a_user_who_is_gone_is_ended_in_the_middle_of_anything() {
    let server = Server::start(&[]);
    let mut uploading = server.login("alice");
    uploading.send("UPLOAD f size=100\n");
    uploading.expect("READY");
    uploading.send(pieces(b"hello"));
    let mut idle = server.login("alice");
    let mut other = server.login("bob");
    let mut stranger = server.client();
    eventually("it has arrived", || server.partials("alice").len() == 1);
    let file = server.home().join("users");
    let users = fs::read_to_string(&file).unwrap().replace("alice:", "# alice:");
    fs::write(&file, users).unwrap();
    server.signal(Signal::SIGHUP);
    for raw in [&mut uploading, &mut idle] {
        raw.expect("ERR login-refused your login is no longer valid");
        raw.closed();
    }
    // Who was about to log in has the old users before it: it has to connect again.
    stranger.try_send("LOGIN alice secret\n");
    let said = stranger.rest();
    assert!(!said.iter().any(|line| line.starts_with("OK")), "{said:?}");
    other.demand("PING", "OK pong");
    server.client().demand("LOGIN alice secret", "ERR login-refused");
    assert_eq!(server.partials("alice").len(), 1, "what had arrived is kept");
    server.logged("alice may no longer log in: session");
    drop(other);
    server.stop();
}

#[test]
fn a_login_with_users_of_yesterday_does_not_outlive_the_reload() {
    let home = home();
    let file = home.path().join("users");
    // Her password takes half a second to check: time to stop the session in the middle of it.
    let users = fs::read_to_string(&file).unwrap() + &scram::entry_with("dora", "secret", 2_000_000);
    fs::write(&file, &users).unwrap();
    let server = Server::start_in(home, &[]);
    let mut raw = server.client();
    let pid = server.sessions()[0].pid;
    raw.send("LOGIN dora secret\n");
    eventually("the password is being checked", || ticks(pid) >= 5);
    kill(pid, Signal::SIGSTOP).unwrap();
    fs::write(&file, users.replace("dora:", "# dora:")).unwrap();
    server.signal(Signal::SIGHUP);
    server.logged("users reloaded");
    kill(pid, Signal::SIGCONT).unwrap();
    // What it was asked to do as a stranger is nothing to it any more; but the listener knows which users it has seen.
    let said = raw.rest();
    assert!(said.last().is_some_and(|line| line.starts_with("ERR login-refused your login is no longer")), "{said:?}");
    server.logged("login of dora");
    server.wait_idle();
    server.stop();
}

/// Clock ticks of processor time that a process has used.
fn ticks(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

// --- time ---

/// CVE-2026-70464: the hello was outside the time-out. One deadline holds for all that a stranger can do.
#[test]
fn nothing_that_a_stranger_sends_moves_the_deadline() {
    let server = Server::start(&["--login-timeout", "2"]);
    let sends: [(&[u8], u64); 4] = [
        (b"LOGIN alice secre", 10_000), // half a line, once
        (b"A", 20),                     // a line that never ends, byte by byte
        (b"HELP\n", 0),                 // answers that nobody reads
        (b"AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=\nPING\n", 20), // always at the beginning
    ];
    std::thread::scope(|scope| {
        for (bytes, pause) in sends {
            let server = &server;
            scope.spawn(move || {
                let began = Instant::now();
                let mut stream = Raw::silent(server.address());
                let from = stream.local();
                stream.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                let gone = || server.log().iter().any(|line| line.contains(&format!("{from} disconnected")));
                let mut due = Instant::now();
                while !gone() {
                    assert!(began.elapsed() < Duration::from_secs(8), "{bytes:?}");
                    if Instant::now() >= due {
                        stream.try_send(bytes);
                        due = Instant::now() + Duration::from_millis(pause);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert!(began.elapsed() > Duration::from_millis(1900), "{bytes:?}: {:?}", began.elapsed());
            });
        }
    });
    let late = server.log().iter().filter(|line| line.contains("no login in time")).count();
    assert_eq!(late, 4);
    server.stop();
}

#[test]
fn a_stranger_who_never_pauses_has_no_more_time() {
    let server = Server::start(&["--login-timeout", "1"]);
    let began = Instant::now();
    let raw = Raw::silent(server.address());
    let mut pen = raw.socket().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let block = b"PING\n".repeat(10_000);
            while began.elapsed() < PATIENCE && pen.write_all(&block).is_ok() {}
        });
        // Who reads is never waited for, and who writes so fast never either.
        let (mut bytes, mut answered) = (vec![0; 1 << 20], 0);
        while let Ok(n) = raw.socket().read(&mut bytes) {
            answered += n;
            if n == 0 || began.elapsed() > PATIENCE {
                break;
            }
        }
        eprintln!("{answered} bytes of answers in {:?}", began.elapsed());
        let _ = raw.socket().shutdown(std::net::Shutdown::Both);
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.logged("no login in time");
    server.wait_idle();
    server.stop();
}

/// Bodies that hardly move, and bodies that move slowly, side by side. The time is `limits::STALL`, 60 seconds.
#[test]
#[ignore = "long: scripts/test.sh --long"]
fn a_body_that_trickles_ends_and_one_that_moves_slowly_lives() {
    let server = Server::start(&[]);
    server.login("alice").put("big", &vec![7; 64 << 20]);
    let over = Duration::from_secs(75);
    let ended = |raw: &Raw| {
        let from = raw.local();
        server.log().iter().any(|line| line.contains(&format!("{from} disconnected")))
    };
    let trickle = |name: &'static str, first: String, bytes: &'static [u8], pause: u64, lives: bool| {
        let mut raw = server.login("alice");
        raw.send(first);
        raw.expect("READY");
        let began = Instant::now();
        while began.elapsed() < over && !ended(&raw) {
            raw.try_send(bytes);
            std::thread::sleep(Duration::from_millis(pause));
        }
        eprintln!("{name}: {:?}", began.elapsed());
        assert_eq!(began.elapsed() >= over, lives, "{name}");
        assert!(began.elapsed() > Duration::from_secs(55), "{name}");
        if lives {
            raw.try_send("\n");
            let _ = raw.socket().shutdown(std::net::Shutdown::Both);
        }
    };
    let unread = |name: &'static str, request: &'static [u8], bytes_a_second: usize, lives: bool| {
        let mut raw = server.login("alice");
        raw.socket().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        raw.try_send(request);
        let began = Instant::now();
        while began.elapsed() < over && !ended(&raw) {
            if bytes_a_second > 0 {
                raw.read_exact(bytes_a_second);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        eprintln!("{name}: {:?}", began.elapsed());
        assert_eq!(began.elapsed() >= over, lives, "{name}");
    };
    let piece = || "UPLOAD f size=1000000\nDATA 1000000\n".to_owned();
    let helps: &'static [u8] = Vec::leak(b"HELP\n".repeat(1 << 20));
    std::thread::scope(|scope| {
        scope.spawn(|| trickle("a byte in five seconds", piece(), b"x", 5000, false));
        scope.spawn(|| trickle("ten bytes a second", piece(), b"0123456789", 1000, false));
        scope.spawn(|| trickle("200 bytes a second", piece(), &[b'x'; 200], 1000, true));
        scope.spawn(|| trickle("pieces of a byte", "UPLOAD g\n".into(), b"DATA 1\nx", 1000, false));
        scope.spawn(|| trickle("excuses", "UPLOAD h\n".into(), b"WAIT\n", 3000, true));
        scope.spawn(|| unread("an unread download", b"DOWNLOAD big\n", 0, false));
        scope.spawn(|| unread("a slow download", b"DOWNLOAD big\n", 256 << 10, true));
        scope.spawn(|| unread("unread answers", helps, 0, false));
    });
    server.wait_idle();
    server.stop();
}

// --- floods ---

/// CVE-2024-6387 was a race in the handler of the login time-out. Here a time-out is the end of a wait; many at once, under load,
/// are as harmless as one.
fn login_timeouts(rounds: usize) {
    const AT_ONCE: usize = 500;
    let limits = ["--max-clients", "2000", "--max-clients-per-ip", "2000", "--max-clients-per-net", "2000"];
    let server = Server::start(&[&limits[..], &["--max-logins", "2000", "--login-timeout", "1"]].concat());
    let mut member = server.login("alice");
    for round in 1..=rounds {
        let silent: Vec<TcpStream> = (0..AT_ONCE).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        let over = || server.log().iter().filter(|line| line.contains("no login in time")).count();
        let mut n = 0;
        eventually("all have timed out", || {
            member.put(&format!("f{}", n % 8), b"under load");
            n += 1;
            // Each ends when its client closes, or two seconds after its goodbye.
            over() == round * AT_ONCE
        });
        drop(silent);
    }
    drop(member);
    server.wait_idle();
    server.stop(); // nothing alarming in the log
}

#[test]
fn five_hundred_login_timeouts_at_once_are_harmless() {
    login_timeouts(1);
}

#[test]
#[ignore = "long: scripts/test.sh --long"]
fn ten_thousand_login_timeouts_are_harmless() {
    login_timeouts(20);
}

#[test]
fn a_thousand_logins_64_at_a_time_all_succeed() {
    let server = Server::start(&PENALTIES);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while next.fetch_add(1, SeqCst) < 1000 {
                    let mut raw = server.client();
                    raw.scram("alice", "secret").unwrap();
                    raw.demand("LOGOUT", "OK bye");
                }
            });
        }
    });
    server.wait_idle();
    assert!(server.stop().pop().unwrap().contains("1000 connections (0 turned away), 1000 logins"));
}

/// Raises the limit of open files as far as it goes; whether `count` connections fit in.
fn has_room_for(count: usize) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard as usize > count + 200
}

/// What a server holds that could leak: memory of its own in KiB, and descriptors. The scoreboard, shared memory, keeps a page for each
/// slot that was ever used, and there are only so many slots. Only root can count the descriptors of a server, which nobody may trace.
fn holdings(pid: Pid) -> (u64, Option<usize>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(found) => Some(found.count()),
        Err(why) => {
            assert!(!nix::unistd::geteuid().is_root(), "{why}");
            None
        }
    };
    (rss.trim().trim_end_matches(" kB").parse().unwrap(), descriptors)
}

/// Logs in and uploads, as a client that tries again when told that the server is busy: how long that took, and how many tries.
fn visit(server: &Server, name: &str) -> (Duration, u32) {
    let began = Instant::now();
    for tries in 1.. {
        let mut raw = Raw::silent(server.address());
        let greeting = raw.try_line();
        if greeting.is_some_and(|line| line.starts_with("OK dfos/1")) && raw.scram("alice", "secret").is_ok() {
            raw.put(name, &[b'x'; 10_000]);
            raw.demand("LOGOUT", "OK bye");
            return (began.elapsed(), tries);
        }
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    unreachable!("patience ends before numbers do")
}

/// Says so when it is dropped, by a failure too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Holds `count` connections from `sources` open, silent or trickling; who is thrown out comes back. Meanwhile a user of this machine
/// logs in and uploads each time (how fast, is told: on a machine of its own within two seconds; asserted is how often it was turned away,
/// which a slow machine adds little to), and afterwards nothing is left of it.
fn flood(options: &[&str], count: usize, sources: &[String], span: Duration) {
    if !has_room_for(count) {
        return eprintln!("skipped: only {} open files are allowed", getrlimit(Resource::RLIMIT_NOFILE).unwrap().1);
    }
    let server = Server::start(&[&PENALTIES[..], options].concat());
    visit(&server, "before");
    server.wait_idle();
    let before = holdings(server.pid());
    let connect = |n: usize| connect_from(&sources[n % sources.len()], server.address()).unwrap();
    let (over, back) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut held: Vec<TcpStream> = (0..count).map(connect).collect();
    let (mut slowest, mut most, mut visits) = (Duration::ZERO, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let pass = Instant::now();
                for (n, stream) in held.iter_mut().enumerate() {
                    let _ = stream.set_nonblocking(true);
                    // Every second one trickles. One that was thrown out comes back, some 50 a second.
                    let _ = if n % 2 == 0 { stream.write(b"P") } else { Ok(0) };
                    let mut bytes = [0; 256];
                    if matches!(stream.read(&mut bytes), Ok(0)) {
                        *stream = connect(n);
                        back.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    if over.load(SeqCst) {
                        return;
                    }
                }
                while pass.elapsed() < Duration::from_secs(1) && !over.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(5)); // a byte a second is trickle enough
                }
            }
        });
        let _over = Over(&over);
        // Connections are accepted in order: after this one, all are held.
        eprintln!("in the queue behind {count} connections: {:?}", visit(&server, "first").0);
        let end = Instant::now() + span;
        while Instant::now() < end {
            visits += 1;
            let (time, tries) = visit(&server, &format!("during{visits}"));
            (slowest, most) = (slowest.max(time), most.max(tries));
        }
    });
    eprintln!("{count} connections, {} came back: the slowest of {visits} visits took {slowest:?}", back.load(SeqCst));
    assert!(most <= 40, "a user was turned away {most} times");
    drop(held);
    server.wait_idle();
    visit(&server, "after");
    server.wait_idle();
    let mut after = holdings(server.pid());
    eventually("the descriptors are closed", || {
        after = holdings(server.pid());
        after.1 == before.1
    });
    eprintln!("the listener held {before:?} (KiB, descriptors) before and {after:?} after");
    assert!(after.0 < before.0 + 2048, "{before:?} KiB before, {after:?} KiB after");
    server.logged(" 0 active");
    let last = server.stop().pop().unwrap();
    eprintln!("{last}");
    assert!(last.contains("; sent away: "), "{last}");
}

/// Addresses in many networks.
fn spread() -> Vec<String> {
    (0..200).map(|n| format!("127.{}.{}.{}", n % 5, n % 40, n + 1)).collect()
}

/// CVE-2010-5107: idle connections that never log in fill all slots.
#[test]
fn six_hundred_silent_connections_do_not_keep_a_user_out() {
    let small = ["--max-logins", "40", "--max-clients", "60", "--max-clients-per-ip", "50"];
    flood(&small, 600, &["127.0.0.1".to_owned()], Duration::from_secs(2));
    flood(&small, 600, &spread(), Duration::from_secs(2));
}

#[test]
fn five_thousand_silent_connections_from_one_address_do_not_keep_a_user_out() {
    flood(&[], 5000, &["127.0.0.1".to_owned()], Duration::from_secs(5));
}

#[test]
fn five_thousand_silent_connections_from_many_networks_do_not_keep_a_user_out() {
    flood(&[], 5000, &spread(), Duration::from_secs(5));
}

/// The same where the operator has made room for all of them. Forking them takes seconds, so the first in the queue behind them waits.
#[test]
#[ignore = "long: scripts/test.sh --long"]
fn five_thousand_sessions_that_never_log_in_do_not_keep_a_user_out() {
    let limits = ["--max-clients", "6000", "--max-clients-per-ip", "6000", "--max-clients-per-net", "6000"];
    flood(&[&limits[..], &["--max-logins", "5000"]].concat(), 5000, &["127.0.0.1".to_owned()], Duration::from_secs(10));
}

/// Who connects again and again keeps no connection long enough to be sent away for being silent: still one network cannot have the
/// whole room.
#[test]
fn a_network_that_never_pauses_to_connect_does_not_keep_a_user_of_another_out() {
    let server = Server::start(&["--max-logins", "40"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = std::collections::VecDeque::new();
                while !over.load(SeqCst) {
                    held.push_back(connect_from("127.0.0.1", server.address()));
                    if held.len() > 100 {
                        held.pop_front();
                    }
                }
            });
        }
        let _over = Over(&over);
        eventually("the room is full", || server.log().iter().any(|line| line.contains("turned away")));
        for n in 0..20 {
            let mut raw = Raw::silent_from("127.9.9.9", server.address());
            let line = raw.line();
            assert!(line.starts_with("OK dfos/1"), "attempt {n}: {line}");
            raw.login("alice");
        }
    });
    server.wait_idle();
    server.stop();
}
