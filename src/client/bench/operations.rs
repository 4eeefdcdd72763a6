//! The operations of a load test over one connection, each verified to the last byte: what is stored has the digest of what was
//! sent, what comes back is what was put, a listing shows what is there.

use super::body::{Body, Stuff};
use super::shelf::{File, Listed, Shelf, name};
use crate::client::connection::Connection;
use crate::client::display::escape::escape;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::remote::{Recursion, Remote};
use crate::client::stop::{Stop, interrupted};
use crate::client::transfer::upload::stored_wrongly;
use crate::proto::{Answer, Digest, EntryKind, RemotePath};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// Told of bytes as they pass.
pub type Passed<'a> = &'a dyn Fn(u64);

/// Uploads `body`; the digest that both ends agree on. After Ctrl+C the body ends before its end, of which the server keeps nothing
/// (of a connection that is cut it would keep what has come, to be resumed).
pub fn put(
    connection: &mut Connection,
    path: &RemotePath,
    body: &Body,
    stuff: &Stuff,
    stop: &Stop,
    passed: Passed,
) -> Result<Digest, Failure> {
    let mut buffer = buffer(body.size);
    let (mut hasher, mut at, mut ready) = (Sha256::new(), 0, false);
    connection.queue(format_args!("UPLOAD {path} size={}", body.size));
    while at < body.size {
        let n = buffer.len().min(usize::try_from(body.size - at).unwrap_or(usize::MAX));
        let (piece, _) = buffer.split_at_mut(n);
        stuff.fill(body, at, piece);
        hasher.update(&*piece);
        // What is small travels with its request and its END; what is large is not copied once more.
        if n < limits::SLICE {
            connection.queue_body(piece)?
        } else {
            connection.send_piece(piece)?
        }
        passed(n as u64);
        at += n as u64;
        if at < body.size && stop.asked() {
            return Err(call_off(connection, path, ready));
        }
        // A server that refuses in mid-body says so at once, and reads the rest only to throw it away.
        if at < body.size
            && let Some(answer) = connection.answer_if_there()?
        {
            check_ready(connection, path, answer, ready)?;
            ready = true;
        }
    }
    let ours = digest(hasher);
    connection.queue(format_args!("END sha256={ours}"));
    if !ready {
        let answer = connection.answer()?;
        check_ready(connection, path, answer, ready)?;
    }
    let fields = match connection.answer()? {
        Answer::Ok(fields) => fields,
        answer => return Err(refusal(connection, path, answer)),
    };
    let stored: Digest = fields.value("sha256").map_err(|why| connection.broken(why))?;
    let size = fields.number("size").map_err(|why| connection.broken(why))?;
    if (size, stored) == (body.size, ours) { Ok(ours) } else { Err(stored_wrongly(path)) }
}

/// Ends an upload in mid-body; the failure says that this was the user's wish.
fn call_off(connection: &mut Connection, path: &RemotePath, ready: bool) -> Failure {
    let answers = if ready { 1 } else { 2 };
    connection.queue("END");
    for _ in 0..answers {
        match connection.answer() {
            Ok(Answer::Ready(_)) => {}
            Ok(Answer::Err(code, text)) => drop(connection.refused(path.as_bytes(), code, &text)),
            Ok(other) => drop(connection.unexpected(&other)),
            Err(_) => {} // the grace is over: the connection is cut after all
        }
    }
    interrupted()
}

/// That an upload may begin, from its first byte.
fn check_ready(connection: &mut Connection, path: &RemotePath, answer: Answer, before: bool) -> Result<(), Failure> {
    match answer {
        Answer::Ready(fields) if !before => match fields.number("offset") {
            Ok(0) => Ok(()),
            Ok(_) => Err(connection.broken("the server resumes an upload that was not to be resumed")),
            Err(why) => Err(connection.broken(why)),
        },
        answer => Err(refusal(connection, path, answer)),
    }
}

/// Downloads `file` and compares what comes with what was put.
pub fn get(
    connection: &mut Connection,
    path: &RemotePath,
    file: &File,
    stop: &Stop,
    passed: Passed,
) -> Result<(), Failure> {
    let mut buffer = buffer(file.body.size);
    let (mut hasher, mut left) = (Sha256::new(), file.body.size);
    let ready = match connection.ask(format_args!("DOWNLOAD {path}"))? {
        Answer::Ready(fields) => fields,
        answer => return Err(refusal(connection, path, answer)),
    };
    let size = ready.number("size").and_then(|size| Ok((size, ready.number("length")?)));
    if size.map_err(|why| connection.broken(why))? != (left, left) {
        connection.abandon(); // what follows is of no use
        return Err(damaged(path, "the server sends another number of bytes than were put"));
    }
    loop {
        match connection.answer()? {
            Answer::Data(n) if n as u64 <= left => {
                receive(connection, n, &mut buffer, &mut hasher, passed)?;
                left -= n as u64;
                if left > 0 && stop.asked() {
                    connection.abandon(); // the one way to end a download
                    return Err(interrupted());
                }
            }
            Answer::End(fields) if left == 0 => {
                let theirs: Digest = fields.value("sha256").map_err(|why| connection.broken(why))?;
                return compare(path, file.digest, digest(hasher), theirs);
            }
            answer => return Err(refusal(connection, path, answer)),
        }
    }
}

/// Receives one piece.
fn receive(
    connection: &mut Connection,
    mut left: usize,
    buffer: &mut [u8],
    hasher: &mut Sha256,
    passed: Passed,
) -> Result<(), Failure> {
    while left > 0 {
        let room = buffer.len().min(left);
        let (room, _) = buffer.split_at_mut(room);
        let n = connection.read_some(room)?;
        hasher.update(room.get(..n).unwrap_or_default());
        passed(n as u64);
        left = left.saturating_sub(n);
    }
    Ok(())
}

/// Whether what was put, what came, and what the server says of it are one.
fn compare(path: &RemotePath, put: Digest, came: Digest, theirs: Digest) -> Result<(), Failure> {
    if came != put {
        Err(damaged(path, "the bytes received are not the bytes that were put"))
    } else if theirs != put {
        Err(damaged(path, "the server states another digest than that of the bytes that it sent"))
    } else {
        Ok(())
    }
}

/// Lists the client's directory and compares it with what must be there.
pub fn list(remote: &mut Remote, directory: &RemotePath, shelf: &Shelf) -> Result<(), Failure> {
    let (mut right, mut wrong) = (HashSet::new(), None);
    remote.list(directory, Recursion::Flat, &mut |entry| {
        match shelf.judge(entry.path.as_bytes(), entry.size) {
            Listed::Right if entry.kind == EntryKind::File && right.insert(entry.path.clone()) => {}
            Listed::Doubtful => {}
            _ => wrong = Some(escape(entry.path.as_bytes())),
        }
        Ok(())
    })?;
    match wrong {
        Some(name) => Err(damaged(directory, &format!("the listing shows '{name}', which is not there so"))),
        None if right.len() != shelf.len() => {
            Err(damaged(directory, &format!("the listing shows {} of {} files", right.len(), shelf.len())))
        }
        None => Ok(()),
    }
}

/// Where a file of a client lies.
pub fn path(directory: &RemotePath, number: u64) -> Result<RemotePath, Failure> {
    directory.join(name(number).as_bytes()).map_err(|why| Failure::new(Exit::Other, why.to_string()))
}

/// An answer that is no success.
fn refusal(connection: &mut Connection, path: &RemotePath, answer: Answer) -> Failure {
    match answer {
        Answer::Err(code, text) | Answer::Abort(code, _, text) => connection.refused(path.as_bytes(), code, &text),
        other => connection.unexpected(&other),
    }
}

fn digest(hasher: Sha256) -> Digest {
    Digest(hasher.finalize().into())
}

fn damaged(path: &RemotePath, why: &str) -> Failure {
    Failure::new(Exit::Integrity, format!("{}: {why}", escape(path.as_bytes())))
}

/// Room for the pieces of a file; never empty.
fn buffer(size: u64) -> Vec<u8> {
    vec![0; limits::PIECE.min(usize::try_from(size).unwrap_or(usize::MAX)).max(1)]
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use crate::client::fake::{Fake, Peer, digest_of};
    use crate::proto::Code;

    const PATH: &str = "d/f1";

    /// Does `work` with a server that does as `script` says.
    fn with<T>(script: impl FnOnce(&mut Peer) + Send + 'static, work: impl FnOnce(&mut Remote) -> T) -> T {
        let fake = Fake::start(0, vec![Box::new(script)]);
        let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
        let result = work(&mut remote);
        drop(remote);
        fake.end();
        result
    }

    fn content(body: &Body, stuff: &Stuff) -> Vec<u8> {
        let mut all = vec![0; body.size as usize];
        for (n, piece) in all.chunks_mut(limits::PIECE).enumerate() {
            stuff.fill(body, (n * limits::PIECE) as u64, piece);
        }
        all
    }

    fn subject(size: u64) -> (Stuff, File, Vec<u8>) {
        let (stuff, body) = (Stuff::new(&mut Random::from_seed(1)), Body { seed: 5, size });
        let bytes = content(&body, &stuff);
        let file = File { number: 1, body, digest: digest_of(&bytes) };
        (stuff, file, bytes)
    }

    fn put_to(size: u64, answer: impl FnOnce(&mut Peer, Vec<u8>) + Send + 'static) -> Result<Digest, Failure> {
        let (stuff, file, _) = subject(size);
        let script = move |peer: &mut Peer| {
            assert_eq!(peer.line(), format!("UPLOAD {PATH} size={size}"));
            peer.say("READY offset=0\n");
            let (bytes, end) = peer.body();
            assert_eq!(end, format!("END sha256={}", digest_of(&bytes)));
            answer(peer, bytes);
        };
        let path = PATH.parse().unwrap();
        with(script, |remote| put(&mut remote.connection, &path, &file.body, &stuff, &Stop::deaf(), &|_| ()))
    }

    fn get_from(size: u64, script: impl FnOnce(&mut Peer, Vec<u8>) + Send + 'static) -> Result<(), Failure> {
        let (_, file, bytes) = subject(size);
        let script = move |peer: &mut Peer| {
            assert_eq!(peer.line(), format!("DOWNLOAD {PATH}"));
            script(peer, bytes);
        };
        let path = PATH.parse().unwrap();
        with(script, |remote| get(&mut remote.connection, &path, &file, &Stop::deaf(), &|_| ()))
    }

    #[test]
    fn a_put_is_believed_only_with_the_size_and_digest_of_what_was_sent() {
        for size in [0, 1, 5000, 700_000] {
            let (_, file, _) = subject(size);
            let right = put_to(size, |peer, bytes| {
                peer.say(format!("OK size={} sha256={}\n", bytes.len(), digest_of(&bytes)));
            });
            assert_eq!(right, Ok(file.digest));
            let other = put_to(size, |peer, bytes| {
                peer.say(format!("OK size={} sha256={}\n", bytes.len(), digest_of(b"other")));
            });
            assert_eq!(other.unwrap_err().exit, Exit::Integrity);
            let short = put_to(size, |peer, bytes| {
                peer.say(format!("OK size={} sha256={}\n", bytes.len() + 1, digest_of(&bytes)));
            });
            assert_eq!(short.unwrap_err().exit, Exit::Integrity);
        }
        let refused = put_to(5000, |peer, _| peer.say("ERR over-quota full\n")).unwrap_err();
        assert_eq!((refused.exit, refused.code), (Exit::Space, Some(Code::OverQuota)));
    }

    #[test]
    fn a_flipped_byte_is_found_whatever_digest_the_server_states() {
        for size in [1, 5000, 700_000_usize] {
            assert_eq!(get_from(size as u64, |peer, bytes| peer.send(&bytes, 0)), Ok(()));
            for at in [0, size / 2, size - 1] {
                // With the digest of the damaged bytes, as of a disk that lies,
                let damaged = get_from(size as u64, move |peer, mut bytes| {
                    bytes[at] ^= 0x20;
                    peer.send(&bytes, 0);
                });
                assert_eq!(damaged.unwrap_err().exit, Exit::Integrity, "{size} at {at}");
            }
            // damaged on the way, under the right digest, and the right bytes under another file's digest.
            for (flip, mine) in [(1, true), (0, false)] {
                let other = get_from(size as u64, move |peer, mut bytes| {
                    let digest = if mine { digest_of(&bytes) } else { digest_of(b"other") };
                    bytes[size / 2] ^= flip;
                    peer.say(crate::client::fake::ready(size, 0));
                    bytes.chunks(1 << 18).for_each(|piece| {
                        peer.say(format!("DATA {}\n", piece.len()));
                        peer.say(piece);
                    });
                    peer.say(format!("END sha256={digest}\n"));
                });
                assert_eq!(other.unwrap_err().exit, Exit::Integrity);
            }
        }
        let short = get_from(5000, |peer, bytes| peer.send(&bytes[1..], 0)).unwrap_err();
        assert_eq!(short.exit, Exit::Integrity);
    }

    #[test]
    fn an_upload_that_is_called_off_ends_so_that_the_server_keeps_nothing_and_the_connection_goes_on() {
        let (stuff, file, _) = subject(3 * limits::PIECE as u64);
        let script = |peer: &mut Peer| {
            peer.line();
            peer.say("READY offset=0\n");
            let (bytes, end) = peer.body();
            assert_eq!((bytes.len(), end.as_str()), (limits::PIECE, "END"));
            peer.say("ERR bad-request the body has another size\n");
            assert_eq!(peer.line(), "PING");
            peer.say("OK pong\n");
        };
        with(script, |remote| {
            let (stop, path) = (Stop::deaf(), PATH.parse().unwrap());
            stop.ask();
            let called_off = put(&mut remote.connection, &path, &file.body, &stuff, &stop, &|_| ());
            assert_eq!(called_off.unwrap_err().exit, Exit::Interrupted);
            assert!(remote.ping().is_ok());
        });
    }

    #[test]
    fn a_listing_must_show_what_was_put_and_nothing_else() {
        let mut shelf = Shelf::new(1000);
        for size in [5, 7] {
            let number = shelf.reserve();
            shelf.put(File { number, body: Body { seed: 0, size }, digest: Digest([0; 32]) });
        }
        let listed = |rows: &'static [(&str, u64, &str)]| {
            let script = move |peer: &mut Peer| {
                assert_eq!(peer.line(), "LIST d");
                for (kind, size, name) in rows {
                    peer.say(format!("ENTRY {kind} {size} 1700000000.000000000 {name}\n"));
                }
                peer.say(format!("OK entries={} skipped=0\n", rows.len()));
            };
            with(script, |remote| list(remote, &"d".parse().unwrap(), &shelf).map_err(|failure| failure.exit))
        };
        assert_eq!(listed(&[("file", 7, "f2"), ("file", 5, "f1")]), Ok(()));
        for wrong in [
            &[("file", 5, "f1")][..],
            &[("file", 5, "f1"), ("file", 8, "f2")],
            &[("file", 5, "f1"), ("dir", 7, "f2")],
            &[("file", 5, "f1"), ("file", 5, "f1")],
            &[("file", 5, "f1"), ("file", 7, "f2"), ("file", 1, "f3")],
            &[("file", 5, "f1"), ("file", 7, "f2"), ("file", 1, "stranger")],
        ] {
            assert_eq!(listed(wrong), Err(Exit::Integrity), "{wrong:?}");
        }
    }
}
