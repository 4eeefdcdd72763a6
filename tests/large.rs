//! A file of more than 4 GiB, both ways.

mod common;

use common::Server;
use common::raw::{field, number};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::time::Instant;

/// Past 2^32, and not a whole number of pieces.
const SIZE: u64 = (4 << 30) + 12_345;

/// The digest of `SIZE` zero bytes.
fn zeros() -> String {
    let (mut hasher, block) = (Sha256::new(), vec![0; 1 << 20]);
    let mut left = SIZE;
    while left > 0 {
        let n = left.min(block.len() as u64);
        hasher.update(&block[..n as usize]);
        left -= n;
    }
    hex::encode(hasher.finalize())
}

#[test]
fn a_file_of_more_than_four_gib_goes_up_and_comes_down() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let began = Instant::now();
    let digest = zeros();
    eprintln!("hashed after {:?}", began.elapsed());
    raw.send(format!("UPLOAD f size={SIZE}\n"));
    raw.expect("READY offset=0");
    let piece = vec![0; 1 << 20];
    let mut left = SIZE;
    while left > 0 {
        let n = left.min(piece.len() as u64) as usize;
        raw.send(format!("DATA {n}\n"));
        raw.send(&piece[..n]);
        left -= n as u64;
    }
    raw.send(format!("END sha256={digest}\n"));
    raw.expect(&format!("OK size={SIZE} sha256={digest}"));
    eprintln!("up after {:?}", began.elapsed());
    assert_eq!(fs::metadata(server.at("alice/f")).unwrap().len(), SIZE);
    raw.demand("DELETE f", "OK");
    // Down from a sparse file, whose digest nobody knows yet, with a mark behind the fourth GiB.
    let mut sparse = fs::File::create(server.at("alice/g")).unwrap();
    sparse.set_len(SIZE).unwrap();
    drop(sparse);
    let ready = raw.demand("DOWNLOAD g", "READY");
    assert_eq!((number(&ready, "size"), number(&ready, "length")), (SIZE, SIZE));
    let mut got = 0;
    let end = loop {
        let line = raw.line();
        let Some(count) = line.strip_prefix("DATA ") else { break line };
        let bytes = raw.read_exact(count.parse().unwrap());
        assert!(bytes.iter().all(|b| *b == 0));
        got += bytes.len() as u64;
    };
    assert_eq!((got, field(&end, "sha256")), (SIZE, digest.as_str()));
    eprintln!("down after {:?}", began.elapsed());
    sparse = fs::File::options().write(true).open(server.at("alice/g")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"mark", SIZE - 4).unwrap();
    sparse.flush().unwrap();
    let body = raw.fetch(&format!("VIEW g offset={}", SIZE - 5)).unwrap();
    assert_eq!(body.bytes, b"\0mark");
    let body = raw.fetch(&format!("DOWNLOAD g offset={}", SIZE - 4)).unwrap();
    assert_eq!(body.bytes, b"mark");
    assert_eq!(number(&body.ready, "offset"), SIZE - 4);
    eprintln!("the end after {:?}", began.elapsed());
    drop(raw);
    server.stop();
}
