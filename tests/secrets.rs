//! What the processes hold in memory: no key of the server's, no password, no verifier of anybody's, once a login is over, and no list of
//! those who are connected. Reads /proc/PID/mem, so it must be root.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::tls::TlsRaw;
use common::{Server, scram};
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Each mapping of a process: its line in /proc/PID/maps, and its bytes. What is mapped from a file and cannot be written holds what the
/// file holds: code, and words that say nothing of a login.
fn mappings(pid: i32) -> impl Iterator<Item = (String, Vec<u8>)> {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root can read the memory of others");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines: Vec<_> = maps.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        let is_searched = rest.starts_with("rw") || rest.starts_with('r') && !rest.contains('/');
        let mut bytes = vec![0; if is_searched { (to - from) as usize } else { 0 }];
        // Some special mappings cannot be read this way.
        memory.read_exact_at(&mut bytes, from).ok()?;
        Some((line, bytes))
    })
}

/// Where in its memory a process holds `needle`.
fn holds(pid: i32, needle: &[u8]) -> Option<String> {
    let mut mappings = mappings(pid);
    mappings.find(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle)).map(|(line, _)| line)
}

/// How many of these ports of 127.0.0.1 a process holds, as an address or as text.
fn known(pid: i32, ports: &HashSet<u16>) -> usize {
    let mut found = HashSet::new();
    for (_, bytes) in mappings(pid) {
        for at in 6..bytes.len().saturating_sub(16) {
            if bytes[at..at + 4] == [127, 0, 0, 1] {
                // The port may stand before the address, or behind it.
                found.extend([at - 2, at + 4].map(|at| u16::from_ne_bytes([bytes[at], bytes[at + 1]])));
            } else if bytes[at..].starts_with(b"127.0.0.1:") {
                let digits: String =
                    bytes[at + 10..].iter().map(|b| *b as char).take_while(char::is_ascii_digit).collect();
                found.extend(digits.parse::<u16>());
            }
        }
    }
    found.intersection(ports).count()
}

/// The secret part of the server's own Ed25519 key: the last 32 bytes of its PKCS #8 (RFC 8410), before a public key that may follow.
fn seed(pem: &str) -> Vec<u8> {
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let at = der.windows(4).position(|window| window == [4, 34, 4, 32]).unwrap() + 4;
    der[at..at + 32].to_vec()
}

#[test]
fn no_process_holds_a_key_a_password_or_a_verifier_after_a_login() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can read the memory of other processes");
    }
    let server = Server::start(&["--listen", "tls://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]);
    let pem = fs::read_to_string(server.home().join("state/tls-key.pem")).unwrap();
    let mut secrets =
        vec![("the key".to_owned(), seed(&pem)), ("the key's text".to_owned(), pem.lines().nth(1).unwrap().into())];
    for password in ["let me in", "let%20me%20in", "builder", "buil%64er", "no such thing", "no%20such%20thing"] {
        secrets.push((format!("'{password}'"), password.into()));
    }
    for user in ["alice", "bob"] {
        let password = if user == "alice" { "secret" } else { "builder" };
        let whose = |what: &str| format!("{user}'s {what}");
        let entry = scram::entry(user, password);
        let stored = entry.trim().rsplit_once('$').unwrap().1.split_once(':').unwrap();
        for text in [stored.0, stored.1] {
            secrets.push((whose("verifier as text"), text.into()));
            secrets.push((whose("verifier"), STANDARD.decode(text).unwrap()));
        }
    }
    assert!(holds(std::process::id() as i32, &secrets[0].1).is_some(), "the search finds what is there");

    // Over either channel: with the password in clear, and failed attempts before the right one, with more behind it.
    let mut clear = TlsRaw::connect(server.tls_address());
    let record = clear.seal("LOGIN carol let%20me%20in\n");
    clear.begins("OK welcome carol");
    // The last bytes of a record are the ciphertext of its end, and the tag.
    secrets
        .push(("the record with carol's password, which its own keys open".into(), record[record.len() - 24..].into()));
    let mut failed = TlsRaw::connect(server.tls_address());
    failed.demand("LOGIN alice no%20such%20thing", "ERR login-refused");
    // So much that a session does not take it in at once, though it came and was decrypted as one.
    failed.send("LOGIN bob builder\n".to_owned() + &"PING\n".repeat(3000));
    failed.begins("OK welcome bob");
    (0..3000).for_each(|_| failed.begins("OK pong"));
    let mut plain = server.client();
    plain.demand("LOGIN bob buil%64er", "OK welcome bob");
    let mut plain_failed = server.client();
    plain_failed.demand("LOGIN alice no%20such%20thing", "ERR login-refused");
    plain_failed.send("LOGIN carol let%20me%20in\nPING\n");
    plain_failed.expect("OK welcome carol");
    plain_failed.expect("OK pong");
    // And with a proof.
    let mut proof = TlsRaw::connect(server.tls_address());
    let (exchange, first) = scram::Exchange::begin_bound("alice", "secret", "p=tls-exporter,,", &proof.binding());
    let challenge = proof.demand(&format!("AUTH SCRAM-SHA-256-PLUS {first}"), "CHALLENGE ");
    let (last, _) = exchange.answer(challenge.strip_prefix("CHALLENGE ").unwrap());
    proof.demand(&format!("AUTH SCRAM-SHA-256-PLUS {last}"), "OK welcome alice");

    let mut pids: Vec<i32> = server.sessions().iter().map(|session| session.pid.as_raw()).collect();
    assert_eq!(pids.len(), 5);
    pids.extend([server.pid().as_raw(), server.scribe().unwrap().as_raw()]);
    let mut found = Vec::new();
    for pid in pids {
        let finds = secrets
            .iter()
            .filter_map(|(what, secret)| Some(format!("process {pid} holds {what}: {}", holds(pid, secret)?)));
        found.extend(finds);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    server.stop();
}

#[test]
fn no_process_holds_what_was_sent_to_change_a_password() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can read the memory of other processes");
    }
    let server = Server::start(&["--listen", "tls://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]);
    let mut secrets = Vec::new();
    let mut change = |old: (&str, &[u8]), new: (&str, &[u8])| {
        let words = scram::change("alice", old, new);
        let (verifier, proof) = words.split_once(' ').unwrap();
        let keys = verifier.rsplit_once('$').unwrap().1.split_once(':').unwrap();
        for text in [keys.0, keys.1, proof] {
            secrets.push(text.as_bytes().to_vec());
            secrets.push(STANDARD.decode(text).unwrap());
        }
        format!("PASSWD {words}\nPING\n")
    };
    let mut plain = server.login("alice");
    plain.send(change(("secret", &scram::salt_of("alice")), ("another", b"0123456789abcdef")));
    plain.expect("OK changed");
    plain.expect("OK pong");
    let mut tls = TlsRaw::connect(server.tls_address());
    tls.demand("LOGIN alice another", "OK welcome alice");
    tls.send(change(("another", b"0123456789abcdef"), ("third", b"fedcba9876543210")));
    tls.begins("OK changed");
    tls.begins("OK pong");
    let mut later = server.login("bob"); // it has inherited what the listener had
    later.demand("PING", "OK pong");
    let mut pids: Vec<i32> = server.sessions().iter().map(|session| session.pid.as_raw()).collect();
    assert_eq!(pids.len(), 3);
    pids.extend([server.pid().as_raw(), server.scribe().unwrap().as_raw()]);
    let held = |pid: i32| secrets.iter().position(|secret| holds(pid, secret).is_some());
    let found: Vec<_> = pids.into_iter().filter_map(|pid| Some((pid, held(pid)?))).collect();
    assert!(found.is_empty(), "processes, and which of the words each holds: {found:?}; listener {}", server.pid());
    server.stop();
}

#[test]
fn a_session_has_no_list_of_those_who_are_connected() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can read the memory of other processes");
    }
    let server =
        Server::start(&["--max-clients-per-ip", "150", "--max-clients-per-net", "150", "--max-clients", "150"]);
    let mut clients: Vec<_> = (0..100).map(|n| server.login(&format!("user{}", n % 8))).collect();
    clients.iter_mut().for_each(|client| drop(client.ask("PING")));
    let ports: HashSet<u16> =
        clients.iter().map(|raw| raw.local().rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    assert_eq!(known(server.pid().as_raw(), &ports), 100, "the search finds what is there");
    let line = server.logged(&format!("{} connected, session ", clients[99].local()));
    let last = line.split_once(", session ").unwrap().1.split(',').next().unwrap();
    let known = known(last.parse().unwrap(), &ports);
    // Its own. What was said of those who came just before it may lie about in memory that was freed, of more of them where the machine
    // is busy; with a table it would be all.
    assert!((1..=50).contains(&known), "{known} of 100");
    drop(clients);
    server.stop();
}
