//! Whoever may not log in is answered alike, in bytes and in time: no such user, a wrong password, a disabled account (with the right
//! password), an account that may not log in from here (with the right password), a user with a password of their own (a wrong one).

mod common;

use base64::engine::{Engine, general_purpose::STANDARD};
use common::scram::{Exchange, change, entry, salt_of};
use common::{PATIENCE, Raw, Server, home};
use std::fs;
use std::time::{Duration, Instant};

/// The cases: a user, and the password that is tried.
const CASES: [(&str, &str, &str); 5] = [
    ("unknown user", "nobody", "secret"),
    ("wrong password", "user0", "wrong"),
    ("disabled, right password", "user1", "secret"),
    ("denied here, right password", "user2", "secret"),
    ("a password of their own", "user5", "secret"), // what the users file says is wrong now
];

fn server() -> Server {
    let home = home();
    // All with the same iterations, as after `dfos-forkd user passwd`: the decoy then has them too.
    let users: String = (0..8).map(|n| entry(&format!("user{n}"), "secret")).collect();
    fs::write(home.path().join("users"), users).unwrap();
    let limits = "[user1]\ndisabled = true\n[user2]\ndeny = [\"127.0.0.0/8\"]\n[user3]\nallow = [\"192.0.2.0/24\"]\n";
    fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    let options = ["--max-clients-per-ip", "1000", "--login-timeout", "600"];
    let server = Server::start_in(home, &options);
    let words = change("user5", ("secret", &salt_of("user5")), ("own", b"0123456789abcdef"));
    server.login("user5").demand(&format!("PASSWD {words}"), "OK changed");
    server
}

/// One refused SCRAM login: the challenge without its nonce, the lines, and the time of the two answers.
fn scram(raw: &mut Raw, user: &str, password: &str) -> (String, Vec<String>, Duration, Duration) {
    let (exchange, first) = Exchange::begin(user, password);
    let began = Instant::now();
    let challenge = raw.ask(format!("AUTH SCRAM-SHA-256 {first}"));
    let to_challenge = began.elapsed();
    let word = challenge.strip_prefix("CHALLENGE ").unwrap_or_else(|| panic!("{challenge}"));
    let text = String::from_utf8(STANDARD.decode(word).unwrap()).unwrap();
    let salt = text.split_once(",s=").unwrap().1.to_owned();
    let (last, _) = exchange.answer(word);
    let began = Instant::now();
    let answer = raw.ask(format!("AUTH SCRAM-SHA-256 {last}"));
    let to_answer = began.elapsed();
    let shape = format!("CHALLENGE of {} characters, nonce of {}", word.len(), text.split(',').next().unwrap().len());
    (salt, vec![shape, answer], to_challenge, to_answer)
}

/// All that a client can see of three refusals in one connection, by both ways, up to the close.
fn seen(server: &Server, user: &str, password: &str) -> (String, Vec<String>) {
    let mut raw = server.client();
    let (salt, mut lines, ..) = scram(&mut raw, user, password);
    lines.push(raw.ask(format!("LOGIN {user} {password}")));
    let (again, more, ..) = scram(&mut raw, user, password);
    assert_eq!(salt, again, "{user}: the challenge is the same when it is asked for again");
    lines.extend(more);
    lines.extend(raw.rest());
    (salt, lines)
}

#[test]
fn whoever_may_not_log_in_sees_the_same_bytes() {
    let server = server();
    let all: Vec<_> = CASES.iter().map(|(_, user, password)| seen(&server, user, password)).collect();
    for (case, (salt, lines)) in CASES.iter().zip(&all) {
        assert_eq!(lines, &all[0].1, "{}", case.0);
        assert_eq!(salt.len(), all[0].0.len(), "{}", case.0);
        assert_eq!(salt.split_once(",i=").unwrap().1, "4096", "{}: the iterations are those of the others", case.0);
    }
    assert_eq!(seen(&server, "user3", "secret").1, all[0].1, "not in the list of those who may");
    // The same over SCRAM and LOGIN with a right password that is of use, to see that these tests would see.
    assert!(server.client().scram("user4", "secret").is_ok());
    // A challenge is the same whether the account is disabled or not.
    let disabled = seen(&server, "user1", "secret").0;
    assert!(server.relimit("[user2]\ndisabled = true\n"));
    let mut raw = server.client();
    assert_eq!(scram(&mut raw, "user1", "wrong").0, disabled);
    assert!(server.client().scram("user1", "secret").is_ok());
    // The operator is told the truth.
    server.logged("login refused, attempt 1 of 3: user1: the account is disabled");
    server.logged("login refused, attempt 1 of 3: user2: the account may not log in from 127.0.0.1");
    let plain = server.log().iter().any(|line| line.ends_with("login refused, attempt 1 of 3"));
    assert!(plain, "no more than that of an unknown user");
    drop(raw);
    server.stop();
}

#[test]
fn a_user_who_is_not_there_has_a_challenge_like_one_of_those_who_are() {
    let home = home();
    // One user of another program: 10,000 iterations, a salt of 8 bytes.
    let odd = "odd:SCRAM-SHA-256$10000:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
               AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let file = home.path().join("users");
    // The secret decides who is whose neighbour: with this one the test is the same each time.
    fs::create_dir_all(home.path().join("storage/.dfos")).unwrap();
    fs::write(home.path().join("storage/.dfos/login-secret"), [7; 32]).unwrap();
    let even: String = (0..3).map(|n| entry(&format!("user{n}"), "secret")).collect();
    fs::write(&file, format!("{odd}{even}")).unwrap();
    let mut server = Server::start_in(home, &[]);
    let challenges = |server: &Server| -> Vec<String> {
        let of = |n: usize| {
            let (salt, ..) = scram(&mut server.client(), &format!("nobody{n}"), "x");
            salt
        };
        (0..60).map(of).collect()
    };
    let before = challenges(&server);
    let odd_ones = before.iter().filter(|salt| salt.ends_with(",i=10000")).count();
    assert!(before.iter().all(|salt| salt.len() == "c2FsdHNhbHQ=,i=10000".len() || salt.ends_with("==,i=4096")));
    eprintln!("{odd_ones} of 60 like the odd one");
    assert!(odd_ones > 0 && odd_ones < 60, "{odd_ones}");
    // The same after a restart; and with one user more, most are the same.
    server.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    let home = server.leave();
    fs::write(&file, format!("{odd}{even}{}", odd.replacen("odd", "odd2", 1).replacen("10000", "20000", 1))).unwrap();
    let server = Server::start_in(home, &[]);
    let after = challenges(&server);
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).collect::<Vec<_>>();
    eprintln!("{} of 60 changed", changed.len());
    assert!(changed.len() < 45, "{} of 60 changed", changed.len());
    assert!(
        changed.iter().all(|(_, after)| after.ends_with(",i=20000")),
        "only those of the new neighbour: {changed:?}"
    );
    server.stop();
}

/// The rank sum of `a` among both (Mann and Whitney), as the distance from what chance would give, in standard deviations. Ties are as
/// good as none: times are in nanoseconds.
fn rank_sum(a: &[Duration], b: &[Duration]) -> f64 {
    let mut all: Vec<(Duration, bool)> = a.iter().map(|t| (*t, true)).chain(b.iter().map(|t| (*t, false))).collect();
    all.sort();
    let ranks: f64 = all.iter().enumerate().filter(|(_, (_, of_a))| *of_a).map(|(at, _)| at as f64 + 1.0).sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// 1,000 tries of each case, one case after the other in turn, so that whatever happens on the machine happens to all. For each of
/// three times (to the challenge, to the answer to the proof, to the answer of LOGIN) every two cases are compared by their rank
/// sums. By chance alone a statistic is beyond 4 in one of 16,000 comparisons; of 30 here none may be beyond 4. As a
/// yardstick the two halves (even and odd tries) of each single case are compared likewise: where these are beyond 4, the
/// machine is too uneven to tell anything, and the test says so instead.
#[test]
#[ignore = "long: scripts/test.sh --long"]
fn whoever_may_not_log_in_is_answered_in_the_same_time() {
    const TRIES: usize = 1000;
    const BEYOND: f64 = 4.0;
    let server = server();
    let mut times = vec![[const { Vec::<Duration>::new() }; 3]; CASES.len()];
    for turn in 0..TRIES + 20 {
        for at in 0..CASES.len() {
            // Another order each time, there and back: none is always the one behind another.
            let at = if turn % 2 == 0 { at } else { CASES.len() - 1 - at };
            let at = (at + turn / 2) % CASES.len();
            let (_, user, password) = CASES[at];
            let mut raw = server.client();
            raw.socket().set_read_timeout(Some(PATIENCE)).unwrap();
            let (_, _, challenge, proof) = scram(&mut raw, user, password);
            let began = Instant::now();
            raw.demand(&format!("LOGIN {user} {password}"), "ERR login-refused");
            let login = began.elapsed();
            if turn >= 20 {
                [challenge, proof, login].into_iter().enumerate().for_each(|(what, time)| times[at][what].push(time));
            }
        }
    }
    let (mut worst, mut yardstick) = (0.0f64, 0.0f64);
    for (what, name) in ["challenge", "proof", "LOGIN"].into_iter().enumerate() {
        for (case, (label, ..)) in CASES.iter().enumerate() {
            let of = &times[case][what];
            let half = |odd: usize| of.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>();
            let own = rank_sum(&half(0), &half(1));
            yardstick = yardstick.max(own.abs());
            eprintln!("{name:<10} {label:<28} median {:>10.1?}  its own halves {own:>6.2}", median(of));
            for other in case + 1..CASES.len() {
                let z = rank_sum(of, &times[other][what]);
                worst = worst.max(z.abs());
                eprintln!("{name:<10} {label:<28} against {:<28} {z:>6.2}", CASES[other].0);
            }
        }
    }
    eprintln!("worst of 30 comparisons {worst:.2}, of 15 halves {yardstick:.2}, bound {BEYOND}");
    assert!(yardstick <= BEYOND, "the machine is too uneven to measure on: {yardstick:.2}");
    assert!(worst <= BEYOND, "a case can be told from another: {worst:.2}");
    server.stop();
}
