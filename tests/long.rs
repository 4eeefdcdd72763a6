//! What takes minutes: `scripts/test.sh --long` runs it.

mod common;

use common::raw::{number, pieces};
use common::tree::{noise, sha256};
use common::{PATIENCE, Server};
use std::fs;
use std::time::Duration;

#[test]
#[ignore = "long: scripts/test.sh --long"]
fn a_gib_that_is_cut_twenty_times_is_sent_once() {
    const SIZE: usize = 1 << 30;
    let server = Server::start(&[]);
    let (block, mut sent) = (noise(1, 1 << 20), 0);
    let whole = block.repeat(SIZE >> 20);
    for cut in 0..=20 {
        let mut raw = server.login("alice");
        raw.socket().set_read_timeout(Some(PATIENCE * 4)).unwrap();
        let ready = raw.demand(&format!("UPLOAD f size={SIZE} resume"), "READY offset=");
        let offset = number(&ready, "offset") as usize;
        raw.send(format!("FROM {offset}\n"));
        let until = if cut == 20 { SIZE } else { (offset + SIZE / 21).min(SIZE) };
        raw.send(pieces(&whole[offset..until]));
        sent += until - offset;
        if cut == 20 {
            raw.send(format!("END sha256={}\n", sha256(&whole)));
            raw.expect(&format!("OK size={SIZE}"));
        }
        drop(raw);
        std::thread::sleep(Duration::from_millis(100)); // as fast as a client would try again
    }
    assert!(sent < SIZE * 105 / 100, "{sent}");
    assert!(fs::read(server.at("alice/f")).unwrap() == whole);
    server.wait_idle();
    server.stop();
}

#[test]
#[ignore = "long: scripts/test.sh --long"]
fn ten_thousand_nested_directories_are_listed_and_removed() {
    const DEPTH: usize = 10_000;
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR a", "OK");
    for _ in 1..DEPTH {
        for (request, due) in [("MKDIR b", "OK"), ("RENAME a b/a", "OK"), ("RENAME b a", "OK")] {
            raw.demand(request, due);
        }
    }
    let (rows, last) = raw.list(". recursive");
    assert_eq!((rows.len(), last.as_str()), (2048, "OK entries=2048 skipped=1"));
    raw.demand("RMDIR a recursive", &format!("OK removed={DEPTH}"));
    drop(raw);
    server.stop();
}

#[test]
#[ignore = "long: scripts/test.sh --long"]
fn fifty_clients_move_files_of_up_to_eight_mib_each_way() {
    let server = Server::start(&[]);
    std::thread::scope(|scope| {
        for client in 0..50u64 {
            let server = &server;
            scope.spawn(move || {
                let mut raw = server.login(&format!("user{}", client % 8));
                raw.socket().set_read_timeout(Some(PATIENCE * 10)).unwrap();
                raw.socket().set_write_timeout(Some(PATIENCE * 10)).unwrap();
                for file in 0..20u64 {
                    let seed = client * 20 + file;
                    let bytes = noise(seed, (seed * 2_654_435_761 % (8 << 20)) as usize);
                    raw.put(&format!("c{client}-f{file}"), &bytes);
                    assert!(raw.get(&format!("c{client}-f{file}")) == bytes, "{client} {file}");
                }
            });
        }
    });
    server.wait_idle();
    server.stop();
}
