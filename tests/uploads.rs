//! Uploads: whole or not at all, under one name at a time, with the marks that were asked for.

mod common;

use common::raw::{field, pieces, upload_bytes};
use common::tree::{noise, sha256};
use common::{Server, eventually};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn nobody_ever_sees_half_a_file() {
    let server = Server::start(&[]);
    let mut writer = server.login("alice");
    let (a, b) = (noise(1, 700_000), noise(2, 900_000));
    writer.put("f", &a);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let operator = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                let seen = fs::read(server.at("alice/f")).unwrap();
                assert!(seen == a || seen == b, "{} bytes of neither", seen.len());
                looks += 1;
            }
            looks
        });
        let reader = scope.spawn(|| {
            let mut raw = server.login("alice");
            while !done.load(Ordering::Relaxed) {
                let seen = raw.get("f");
                assert!(seen == a || seen == b, "{} bytes of neither", seen.len());
                assert_eq!(raw.names("."), ["f"]);
            }
        });
        for _ in 0..15 {
            writer.put("f", &b);
            writer.put("f", &a);
        }
        done.store(true, Ordering::Relaxed);
        assert!(operator.join().unwrap() > 10);
        reader.join().unwrap();
    });
    drop(writer);
    server.stop();
}

#[test]
fn a_failed_overwrite_leaves_the_old_file_as_it_was() {
    let server = Server::start(&["--quota", "1000000"]);
    let mut raw = server.login("alice");
    let old = noise(3, 50_000);
    raw.upload_with("f size=50000 mtime=1600000000.123456789", &old);
    let stands = || {
        let meta = fs::metadata(server.at("alice/f")).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 123_456_789));
        assert_eq!(fs::read(server.at("alice/f")).unwrap(), old);
    };
    let new = noise(4, 200_000);
    for part in [0, 1, 100_000, 199_999, 200_000] {
        let mut dying = server.login("alice");
        dying.send("UPLOAD f size=200000\n");
        dying.send(&upload_bytes("f", &new)["UPLOAD f size=200000\n".len()..][..part]);
        drop(dying);
        eventually("the dead client's session ends", || server.sessions().len() == 1);
        stands();
    }
    raw.send([b"UPLOAD f\n", &*pieces(&new), b"END sha256=", sha256(&old).as_bytes(), b"\n"].concat());
    raw.expect("READY");
    raw.expect("ERR checksum-mismatch");
    stands();
    raw.send([b"UPLOAD f\n", &*pieces(&new), b"ABORT aborted\n"].concat());
    raw.expect("READY");
    raw.expect("ERR aborted");
    stands();
    raw.send("UPLOAD f size=2000000\n");
    raw.expect("ERR over-quota");
    stands();
    raw.send([b"UPLOAD f\n", &*pieces(&noise(5, 1_100_000)), b"END\n"].concat());
    raw.expect("READY");
    raw.expect("ERR over-quota");
    stands();
    raw.send([b"UPLOAD f\n", &*pieces(&new)].concat());
    raw.expect("READY");
    eventually("the bytes have arrived", || {
        server.partials("alice").iter().any(|p| fs::metadata(p).is_ok_and(|m| m.len() == 200_000))
    });
    server.signal_sessions(Signal::SIGKILL);
    server.wait_idle();
    stands();
}

#[test]
fn an_end_that_names_another_file_than_the_request_publishes_neither() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("g", b"old");
    raw.send("UPLOAD f\nDATA 3\nnewEND path=g\n"); // which of the two was meant nobody knows
    raw.expect("READY");
    raw.expect("ERR checksum-mismatch");
    assert_eq!((raw.get("g"), server.at("alice/f").exists()), (b"old".to_vec(), false));
    assert!(server.partials("alice").is_empty());
    raw.send("UPLOAD a%20b\nDATA 3\nnewEND path=a%20b\n");
    raw.expect("READY");
    raw.expect("OK size=3");
    drop(raw);
    server.stop();
}

#[test]
fn of_two_uploads_to_one_name_each_is_whole_and_the_later_wins() {
    let server = Server::start(&[]);
    let (a, b) = (noise(6, 300_000), noise(7, 200_000));
    for first_wins in [false, true] {
        let (mut first, mut second) = (server.login("alice"), server.login("alice"));
        for (raw, bytes) in [(&mut first, &a), (&mut second, &b)] {
            raw.send([b"UPLOAD f\n", &*pieces(bytes)].concat());
            raw.expect("READY");
        }
        let (early, late) = if first_wins { (&mut second, &mut first) } else { (&mut first, &mut second) };
        let winner = if first_wins { &a } else { &b };
        for raw in [early, late] {
            raw.send("END\n");
            raw.expect("OK size=");
        }
        assert_eq!(&fs::read(server.at("alice/f")).unwrap(), winner);
        assert!(server.partials("alice").is_empty());
    }
    server.stop();
}

#[test]
fn new_never_replaces_and_of_many_only_one_wins() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("f", b"old");
    assert!(raw.upload_with("f new", b"new").starts_with("ERR exists"));
    assert_eq!(raw.get("f"), b"old");
    // The name is taken while the bodies are on their way: all but one must hear of it.
    let mut racers: Vec<_> = (0..6).map(|_| server.login("alice")).collect();
    for raw in &mut racers {
        raw.send("UPLOAD g new\nDATA 1\nx");
        raw.expect("READY");
    }
    racers.iter_mut().for_each(|raw| raw.send("END\n"));
    let mut answers: Vec<String> = racers.iter_mut().map(|raw| raw.line()[..6].to_owned()).collect();
    answers.sort();
    assert_eq!(answers, ["ERR ex", "ERR ex", "ERR ex", "ERR ex", "ERR ex", "OK siz"]);
    assert!(server.partials("alice").is_empty(), "the losers leave nothing");
    drop((raw, racers));
    server.stop();
}

#[test]
fn the_time_is_kept_to_the_nanosecond() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    for time in ["1700000000.000000001", "1700000000.999999999", "0.000000000", "-5.250000000", "1234567890"] {
        raw.upload_with(&format!("f mtime={time}"), b"x");
        let full = if time.contains('.') { time.to_owned() } else { format!("{time}.000000000") };
        assert_eq!(field(&raw.ask("STAT f"), "mtime"), full);
        let (rows, _) = raw.list(".");
        assert_eq!(rows, [format!("file 1 {full} f")]);
        assert_eq!(field(&raw.fetch("DOWNLOAD f").unwrap().ready, "mtime"), full);
        let meta = fs::metadata(server.at("alice/f")).unwrap();
        assert_eq!(format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()), full);
    }
    raw.put("g", b"");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((fs::metadata(server.at("alice/g")).unwrap().mtime() - now).abs() < 60);
    drop(raw);
    server.stop();
}

#[test]
fn the_mode_honours_the_umask_and_gives_strangers_nothing() {
    for (umask, file, dir) in [("022", 0o640, 0o750), ("077", 0o600, 0o700), ("000", 0o660, 0o770)] {
        let server = Server::start_under(umask, common::home(), &[]);
        let mut raw = server.login("alice");
        raw.put("f", b"x");
        raw.demand("MKDIR d", "OK");
        let mode = |path: &str| fs::metadata(server.at(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("alice/f"), mode("alice/d"), mode("alice")), (file, dir, dir), "umask {umask}");
        assert_eq!(mode("alice/.dfos"), 0o700);
        drop(raw);
        server.stop();
    }
}

#[test]
fn hard_linked_and_read_only_targets_are_replaced_and_the_other_link_keeps_its_content() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("f", b"old");
    fs::hard_link(server.at("alice/f"), server.at("alice/other")).unwrap();
    fs::set_permissions(server.at("alice/f"), fs::Permissions::from_mode(0o444)).unwrap();
    raw.put("f", b"new content");
    assert_eq!(raw.get("f"), b"new content");
    assert_eq!(raw.get("other"), b"old");
    drop(raw);
    server.stop();
}

#[test]
fn many_uploads_in_one_go_are_answered_in_order_also_around_errors() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let mut all = Vec::new();
    for n in 0..300u64 {
        let content = noise(n, (n % 50) as usize);
        match n {
            100 => all.extend(upload_bytes("..", &content)),
            150 => all.extend(format!("UPLOAD wrong\nDATA 5\nhelloEND sha256={}\n", sha256(b"")).into_bytes()),
            200 => all.extend(b"DELETE f10\n"),
            250 => all.extend(b"PING\n"),
            _ => all.extend(upload_bytes(&format!("f{n}"), &content)),
        }
    }
    std::thread::scope(|scope| {
        let mut pen = raw.socket().try_clone().unwrap();
        scope.spawn(move || std::io::Write::write_all(&mut pen, &all).unwrap());
        for n in 0..300u64 {
            let content = noise(n, (n % 50) as usize);
            match n {
                100 => drop(raw.expect("ERR bad-path")),
                150 => {
                    raw.expect("READY");
                    raw.expect("ERR checksum-mismatch");
                }
                200 => drop(raw.expect("OK deleted")),
                250 => drop(raw.expect("OK pong")),
                _ => {
                    raw.expect("READY offset=0");
                    assert_eq!(raw.line(), format!("OK size={} sha256={}", content.len(), sha256(&content)), "{n}");
                }
            }
        }
    });
    assert_eq!(raw.names(".").len(), 295);
    for n in [0, 99, 101, 151, 299] {
        assert_eq!(raw.get(&format!("f{n}")), noise(n, (n % 50) as usize));
    }
    assert!(server.partials("alice").is_empty());
    drop(raw);
    server.stop();
}

#[test]
fn a_directory_that_is_made_behind_an_upload_finds_it_done() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let upload = |name: &str| format!("UPLOAD {name}\nDATA 1\nxEND\n");
    // The name is the upload's; below a new directory there is room at once; and a directory may be made twice.
    raw.send(
        [&upload("a"), "MKDIR a\nMKDIR d\nMKDIR d/e parents\n", &upload("d/e/f"), "MKDIR d/e\nSTAT d/e/f\n"].concat(),
    );
    for answer in [
        "READY",
        "OK size=1",
        "ERR exists",
        "OK created",
        "OK created",
        "READY",
        "OK size=1",
        "ERR exists",
        "OK type=file",
    ] {
        raw.expect(answer);
    }
    assert!(fs::metadata(server.at("alice/a")).unwrap().is_file());
    drop(raw);
    server.stop();
}

#[test]
fn files_of_no_bytes_and_of_odd_sizes_arrive() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    for size in
        [0, 1, 255, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 2_500_000]
    {
        let bytes = noise(size as u64, size);
        raw.put("f", &bytes);
        assert!(raw.get("f") == bytes, "{size}");
        assert!(raw.upload_with("g", &bytes).starts_with("OK"), "without a size");
        assert!(fs::read(server.at("alice/g")).unwrap() == bytes, "{size}");
    }
    // in pieces of one byte
    let mut all = b"UPLOAD h size=300\n".to_vec();
    all.extend(noise(9, 300).chunks(1).flat_map(|byte| [b"DATA 1\n", byte].concat()));
    raw.send([&all, b"END\n".as_slice()].concat());
    raw.expect("READY");
    raw.expect("OK size=300");
    assert_eq!(raw.get("h"), noise(9, 300));
    drop(raw);
    server.stop();
}

#[test]
fn the_digest_is_kept_with_the_file_and_not_believed_when_the_file_has_changed() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("f", b"hello\n");
    let path = server.at("alice/f");
    let kept = |path: &std::path::Path| {
        use std::os::fd::AsFd;
        let file = fs::File::open(path).unwrap();
        let mut buffer = [0; 256];
        let n = dfos::sys::xattr::get(file.as_fd(), c"user.dfos.sha256", &mut buffer).ok()?;
        Some(buffer[..n].to_vec())
    };
    let Some(note) = kept(&path) else {
        return eprintln!("skipped: no extended attributes in the temporary directory");
    };
    assert_eq!(hex::encode(&note[..32]), sha256(b"hello\n"));
    // What does not fit into the inode takes a block of the disk: as many again as a small file itself.
    assert!(note.len() <= 60, "{} bytes", note.len());
    assert_eq!(field(&raw.ask("STAT f"), "sha256"), sha256(b"hello\n"));
    // Behind the server's back: other content of the same size, another time.
    fs::write(&path, b"HELLO\n").unwrap();
    fs::File::open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    assert!(!raw.ask("STAT f").contains("sha256"));
    assert_eq!(raw.get("f"), b"HELLO\n");
    assert_eq!(field(&raw.ask("STAT f"), "sha256"), sha256(b"HELLO\n"));
    // Even the time put back: who asks for it fresh, or for DIGEST, gets what is there.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"hEllO\n").unwrap();
    fs::File::open(&path).unwrap().set_modified(before).unwrap();
    assert_eq!(field(&raw.ask("DIGEST f"), "sha256"), sha256(b"hEllO\n"));
    let body = raw.fetch("DOWNLOAD f fresh").unwrap();
    assert_eq!((body.bytes.as_slice(), field(&body.end, "sha256")), (b"hEllO\n".as_slice(), &*sha256(b"hEllO\n")));
    assert_eq!(raw.get("f"), b"hEllO\n");
    drop(raw);
    server.stop();
}

#[test]
fn a_session_keeps_little_memory_whatever_the_file_size() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("small", &noise(1, 1000));
    let session = server.sessions()[0].pid;
    let before = resident(session);
    let bytes = noise(2, 48 << 20);
    raw.put("f", &bytes);
    assert!(raw.get("f") == bytes);
    assert_eq!(raw.fetch("DOWNLOAD f fresh").unwrap().bytes.len(), bytes.len());
    let grown = resident(session) - before;
    eprintln!("a session grew by {grown} KiB over a file of 48 MiB");
    assert!(grown < 4096, "{grown} KiB more");
    drop(raw);
    server.stop();
}

/// The memory of its own that a process ever held, in KiB.
fn resident(pid: nix::unistd::Pid) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
