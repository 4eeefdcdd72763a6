//! What goes up comes down, whatever it is and however many do it at once.

mod common;

use common::raw::{field, upload_bytes};
use common::tree::{noise, sha256};
use common::{PATIENCE, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

/// A component that Linux allows and the server does not keep for itself.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no NUL, no slash", |b| *b != 0 && *b != b'/');
    let odd = vec(byte, 1..=255);
    let plain = "[a-zA-Z0-9 ._%~-]{1,40}".prop_map(String::into_bytes);
    prop_oneof![odd, plain].prop_filter("not reserved", |name| ![&b"."[..], b"..", b".dfos"].contains(&name.as_slice()))
}

/// Bytes of any length up to some 200 KiB, near the edges of buffers more often.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let edges = proptest::sample::select(vec![0usize, 1, 4095, 4096, 65_535, 65_536, 65_537, 131_072]);
    let length = prop_oneof![0usize..200_000, edges];
    (any::<u64>(), length).prop_map(|(seed, length)| noise(seed, length))
}

/// Every byte as `%XX`: always allowed.
fn encode(name: &[u8]) -> String {
    name.iter().map(|b| format!("%{b:02x}")).collect()
}

#[test]
fn any_bytes_under_any_name_come_back_the_same() {
    let server = Server::start(&[]);
    let raw = std::cell::RefCell::new(server.login("alice"));
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let upload = (vec(name(), 1..=3), content(), any::<bool>(), 0i64..4_000_000_000, 0u32..1_000_000_000);
    let result = runner.run(&upload, |(names, bytes, with_size, seconds, nanos)| {
        let raw = &mut *raw.borrow_mut();
        let names: Vec<String> = names.iter().map(|name| encode(name)).collect();
        let (path, parents) = (names.join("/"), names[..names.len() - 1].join("/"));
        raw.demand("MKDIR top", "OK");
        if !parents.is_empty() {
            raw.demand(&format!("MKDIR top/{parents} parents"), "OK");
        }
        let size = if with_size { format!(" size={}", bytes.len()) } else { String::new() };
        let answer = raw.upload_with(&format!("top/{path} mtime={seconds}.{nanos:09}{size}"), &bytes);
        prop_assert_eq!(answer, format!("OK size={} sha256={}", bytes.len(), sha256(&bytes)));
        let body = raw.fetch(&format!("DOWNLOAD top/{path}")).unwrap();
        prop_assert!(body.bytes == bytes);
        prop_assert_eq!(field(&body.end, "sha256"), sha256(&bytes));
        prop_assert_eq!(field(&body.ready, "mtime"), format!("{seconds}.{nanos:09}"));
        let listed = raw.names("top recursive");
        prop_assert_eq!(listed.len(), names.len());
        // What the server prints can be asked for as it stands.
        let deepest = listed.iter().max_by_key(|path| path.len()).unwrap();
        let again = raw.get(&format!("top/{deepest}"));
        prop_assert!(again == bytes);
        raw.demand("RMDIR top recursive", "OK removed=");
        Ok(())
    });
    result.unwrap_or_else(|why| panic!("{why}"));
    drop(raw);
    server.stop();
}

/// The content of one client's file: small ones mostly, some of 8 MiB, some of nothing.
fn file_of(client: u64, file: u64) -> Vec<u8> {
    let seed = client * 20 + file;
    let length = match seed % 200 {
        0 => 8 << 20,
        1..=4 => (1 << 20) + 1,
        5..=20 => 100_000,
        21..=40 => 0,
        _ => 1 + seed * 7919 % 6_000,
    };
    noise(seed, length as usize)
}

#[test]
fn two_hundred_clients_at_once_get_back_what_each_of_them_sent() {
    const CLIENTS: u64 = 200;
    const FILES: u64 = 20;
    let server = Server::start(&[]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut raw = server.login(&format!("user{}", client % 8));
                raw.socket().set_read_timeout(Some(PATIENCE * 4)).unwrap();
                raw.socket().set_write_timeout(Some(PATIENCE * 4)).unwrap();
                raw.demand(&format!("MKDIR c{client}"), "OK");
                if client % 2 == 0 {
                    in_one_go(&mut raw, client)
                } else {
                    one_by_one(&mut raw, client)
                }
                assert_eq!(raw.names(&format!("c{client}")).len(), FILES as usize);
                for file in 0..FILES {
                    assert!(raw.get(&format!("c{client}/f{file}")) == file_of(client, file), "{client} {file}");
                }
                raw.demand("LOGOUT", "OK bye");
            });
        }
    });
    eprintln!("{CLIENTS} clients took {:?}", began.elapsed());
    for (client, file) in [(0, 0), (57, 19), (199, 7)] {
        let path = server.at(&format!("user{}/c{client}/f{file}", client % 8));
        assert!(fs::read(path).unwrap() == file_of(client, file));
    }
    server.wait_idle();
    for user in 0..8 {
        assert!(server.partials(&format!("user{user}")).is_empty());
        let names = fs::read_dir(server.at(&format!("user{user}"))).unwrap().map(|e| e.unwrap().file_name());
        let mine = format!("c{user}");
        assert!(names.into_iter().any(|name| name.as_bytes() == mine.as_bytes()));
    }
    let bytes: u64 = (0..CLIENTS).flat_map(|c| (0..FILES).map(move |f| file_of(c, f).len() as u64)).sum();
    let log = server.stop();
    let due = format!("{} files in", CLIENTS * FILES);
    let last = log.iter().rfind(|line| line.contains(" ended: ")).unwrap();
    assert!(last.contains(&due) && last.contains(&format!(" {bytes} bytes), {} files out", CLIENTS * FILES)), "{last}");
    assert!(last.ends_with(&format!(" {bytes} bytes)")), "{last}");
    assert!(log.iter().rfind(|line| line.contains("disconnected")).unwrap().ends_with(" 0 active"));
}

fn one_by_one(raw: &mut common::Raw, client: u64) {
    for file in 0..20 {
        raw.put(&format!("c{client}/f{file}"), &file_of(client, file));
    }
}

/// All uploads behind each other without waiting, the answers read meanwhile.
fn in_one_go(raw: &mut common::Raw, client: u64) {
    std::thread::scope(|scope| {
        let mut pen = raw.socket().try_clone().unwrap();
        scope.spawn(move || {
            for file in 0..20 {
                pen.write_all(&upload_bytes(&format!("c{client}/f{file}"), &file_of(client, file))).unwrap();
            }
        });
        for file in 0..20 {
            let bytes = file_of(client, file);
            raw.expect("READY offset=0");
            assert_eq!(raw.line(), format!("OK size={} sha256={}", bytes.len(), sha256(&bytes)));
        }
    });
}
