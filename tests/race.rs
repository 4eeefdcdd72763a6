//! A directory that turns into a link and back while sessions work in it: nothing outside is ever read or changed.

mod common;

use common::tree::snapshot;
use common::{Raw, Server};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(3);

/// Swaps two names in one step, many times.
fn flip(a: &Path, b: &Path, done: &AtomicBool) {
    while !done.load(Relaxed) {
        let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
        std::thread::yield_now();
    }
}

/// The tree outside: names that the sessions ask for, with content that must never be seen.
fn outside(server: &Server) -> std::path::PathBuf {
    let outside = server.home().join("outside");
    fs::create_dir_all(outside.join("sub/deep")).unwrap();
    for name in ["secret", "victim", "sub/victim", "sub/deep/victim", "only-outside"] {
        fs::write(outside.join(name), "outside").unwrap();
    }
    outside
}

#[test]
fn a_parent_that_flips_between_directory_and_link_leads_nowhere() {
    let server = Server::start(&[]);
    drop(server.login("alice"));
    let outside = outside(&server);
    let before = snapshot(&outside);
    let root = server.at("alice");
    fs::create_dir(root.join("flip")).unwrap();
    fs::write(root.join("flip/secret"), "inside!").unwrap();
    symlink(&outside, root.join("flop")).unwrap();
    let (done, through, stopped) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let requests: [&[&str]; 4] = [
        &["MKDIR flip/sub/deep parents", "RMDIR flip/sub recursive", "MKDIR flip/new", "RMDIR flip/new"],
        &[
            "DELETE flip/victim",
            "RENAME flip/f flip/g",
            "RENAME flip/g flip/victim replace",
            "RENAME flip/victim f replace",
        ],
        &["DOWNLOAD flip/secret", "VIEW flip/secret", "DIGEST flip/secret"],
        &["LIST flip recursive", "LIST . recursive", "STAT flip/only-outside", "QUOTA"],
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| flip(&root.join("flip"), &root.join("flop"), &done));
        let workers: Vec<_> = requests
            .iter()
            .map(|requests| {
                scope.spawn(|| {
                    let mut raw = server.login("alice");
                    let began = Instant::now();
                    // Longer where the machine is so slow that too little has happened.
                    let met_few = || through.load(Relaxed).min(stopped.load(Relaxed)) <= 50;
                    while began.elapsed() < SPAN || (met_few() && began.elapsed() < common::PATIENCE) {
                        for request in *requests {
                            let answer = exchange(&mut raw, request);
                            assert!(!answer.contains("outside") || answer.starts_with("ERR"), "{request}: {answer}");
                            let count = if answer.starts_with("ERR bad-path") { &stopped } else { &through };
                            count.fetch_add(1, Relaxed);
                        }
                        let answer = raw.upload("flip/f", b"from the session");
                        assert!(answer.starts_with("OK") || answer.starts_with("ERR"), "{answer}");
                    }
                })
            })
            .collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).next();
        done.store(true, Relaxed);
        if let Some(why) = failed {
            std::panic::resume_unwind(why);
        }
    });
    assert_eq!(snapshot(&outside), before);
    let (through, stopped) = (through.into_inner(), stopped.into_inner());
    eprintln!("{through} requests met the directory, {stopped} the link");
    assert!(through > 50 && stopped > 50, "both must have been met: {through}, {stopped}");
    server.wait_idle();
    server.stop();
}

/// All that answers a request, as one text.
fn exchange(raw: &mut Raw, request: &str) -> String {
    if request.starts_with("DOWNLOAD") || request.starts_with("VIEW") {
        return raw.fetch(request).map_or_else(|err| err, |body| String::from_utf8(body.bytes).unwrap());
    }
    let mut text = raw.ask(request);
    while text.lines().last().unwrap().starts_with("ENTRY ") {
        text = format!("{text}\n{}", raw.line());
    }
    text
}

#[test]
fn a_recursive_removal_that_meets_a_flipping_link_removes_nothing_outside() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let outside = outside(&server);
    let before = snapshot(&outside);
    let top = server.at("alice/top");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flip(&top.join("flip"), &top.join("flop"), &done));
        let operator = scope.spawn(|| {
            let fresh = server.at("alice/fresh");
            while !done.load(Relaxed) {
                // Made beside it and renamed: the operator must not write through the link either.
                fs::create_dir_all(fresh.join("flip/sub/deep")).unwrap();
                fs::write(fresh.join("flip/sub/deep/victim"), "inside").unwrap();
                let _ = symlink(&outside, fresh.join("flop"));
                common::give(&fresh);
                let _ = fs::rename(&fresh, &top); // while the old one is there, later
            }
        });
        let (began, mut removed) = (Instant::now(), 0);
        while began.elapsed() < SPAN || (removed <= 5 && began.elapsed() < common::PATIENCE) {
            let answer = raw.ask("RMDIR top recursive");
            removed += u64::from(answer.starts_with("OK"));
        }
        done.store(true, Relaxed);
        operator.join().unwrap();
        eprintln!("{removed} removals");
        assert!(removed > 5, "{removed}");
    });
    assert_eq!(snapshot(&outside), before);
    drop(raw);
    server.stop();
}
