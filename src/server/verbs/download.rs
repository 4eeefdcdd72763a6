//! DOWNLOAD: a file in pieces, then the digest of the whole.
//!
//! The bytes go from the file to the socket within the kernel. Where the digest is not known beforehand, the file is hashed in step
//! with that.

use super::Stop;
use crate::hash::Running;
use crate::net::wait::Errand;
use crate::net::{Cut, Until};
use crate::proto::{Answer, Code, Digest, Fields, Refusal, Request, limits};
use crate::server::action::Action;
use crate::server::ending::KICKED;
use crate::server::member::Member;
use crate::server::scoreboard::Figure;
use crate::store::digest as store_digest;
use crate::store::read::Reading;
use crate::store::trouble::{Trouble, code_of};
use nix::errno::Errno;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// How a body ended.
enum Sent {
    /// All of it, with this digest of the whole file.
    Whole(Digest),
    /// It broke off; of the last piece so many bytes are good.
    Broken(Code, u64, &'static str),
}

/// The part of a file that is asked for.
struct Range {
    offset: u64,
    length: u64,
}

pub(super) fn download(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let reading = member.tree.read(&path)?;
    let range = range(request, reading.meta.size)?;
    let known = known(member, request, &reading, &range)?;
    let fields = Fields::new().with("size", reading.meta.size).with("mtime", reading.meta.mtime);
    let fields = fields.with("offset", range.offset).with("length", range.length).maybe("sha256", known);
    // In plain text nothing else guards the name on its way here.
    let fields = fields.maybe("path", member.talk.wire.tls().is_none().then_some(&path));
    (action.size, action.bytes, action.resumed) = (Some(reading.meta.size), Some(0), range.offset > 0);
    member.answer(Answer::Ready(fields))?;
    member.tally.transfer(range.offset, Some(range.offset + range.length));
    Ok(match send(member, &reading, &range, Sum::new(known), action)? {
        Sent::Whole(digest) => {
            if known.is_none() {
                reading.keep_digest(digest);
            }
            member.tally.add(Figure::FilesOut, 1);
            action.digest = Some(digest);
            Answer::End(Fields::new().with("sha256", digest))
        }
        Sent::Broken(code, good, text) => Answer::Abort(code, good, text.into()),
    })
}

/// Counts bytes that have gone out.
fn count(member: &Member, action: &mut Action, bytes: u64) {
    member.tally.add(Figure::BytesOut, bytes);
    action.bytes = action.bytes.map(|before| before + bytes);
}

fn range(request: &Request, size: u64) -> Result<Range, Refusal> {
    let offset = request.number("offset")?.unwrap_or(0);
    let rest = check_offset(offset, size)?;
    Ok(Range { offset, length: request.number("length")?.unwrap_or(rest).min(rest) })
}

/// How many bytes follow `offset`; refuses one beyond the end.
pub(super) fn check_offset(offset: u64, size: u64) -> Result<u64, Refusal> {
    size.checked_sub(offset).ok_or_else(|| {
        Refusal::new(Code::BadRequest, format!("the offset lies beyond the end: the file has {size} bytes"))
    })
}

/// The digest, if it is known or must be before anything is sent: for a part of a file, or to compare it.
fn known(member: &mut Member, request: &Request, reading: &Reading, range: &Range) -> Result<Option<Digest>, Stop> {
    let wanted = request.digest("if")?;
    let mut digest = if request.flag("fresh") { None } else { reading.known_digest() };
    let is_part = range.length < reading.meta.size;
    if digest.is_none() && (wanted.is_some() || is_part) {
        let computed = store_digest::compute(&reading.file, reading.meta.size, &mut member.talk)?;
        reading.keep_digest(computed);
        digest = Some(computed);
    }
    if wanted.is_some_and(|wanted| Some(wanted) != digest) {
        return Err(Trouble::new(Code::Changed, "the file has another digest now").into());
    }
    Ok(digest)
}

/// What is the matter with a file that does not read as it did.
const CHANGED: &str = "the file changed while it was sent; ask again";

/// Waits until a piece of `count` bytes may go out; how the body ends if the server must before. `last` is the piece before.
fn pace(member: &mut Member, count: usize, last: u64) -> Result<Option<Sent>, Cut> {
    match member.pace_down(count) {
        Err(Cut::Stopping) => Ok(Some(stopped(member, last))),
        other => other.map(|()| None),
    }
}

/// How a body ends that the session must break off.
fn stopped(member: &Member, last: u64) -> Sent {
    match member.talk.wire.waiter.errand() {
        Errand::Kicked => Sent::Broken(Code::LoginRefused, last, KICKED),
        _ => Sent::Broken(Code::ShuttingDown, last, "the session is ending; resume later"),
    }
}

/// The digest of the file that goes out.
enum Sum {
    Known(Digest),
    /// Of what has gone out so far, from the beginning on.
    Running(Running),
}

impl Sum {
    fn new(known: Option<Digest>) -> Sum {
        known.map_or_else(|| Sum::Running(Running::new()), Sum::Known)
    }

    fn finish(self) -> io::Result<Digest> {
        match self {
            Sum::Known(digest) => Ok(digest),
            Sum::Running(running) => running.finish(),
        }
    }
}

fn send(member: &mut Member, reading: &Reading, range: &Range, mut sum: Sum, action: &mut Action) -> Result<Sent, Cut> {
    if range.length <= member.grant_down(limits::OUTPUT) as u64 {
        return send_small(member, reading, range, sum, action);
    }
    let mut offset = range.offset as i64;
    let end = offset + range.length as i64;
    let mut last = 0;
    while offset < end {
        if member.talk.wire.waiter.must_stop() {
            return Ok(stopped(member, last));
        }
        let piece = member.grant_down((end - offset).min(limits::PIECE as i64) as usize);
        if let Some(broken) = pace(member, piece, last)? {
            return Ok(broken);
        }
        member.talk.say(Answer::Data(piece))?;
        let until = Until::silent_for(limits::STALL);
        let (good, trouble) = member.talk.wire.send_piece(reading.file.as_fd(), &mut offset, piece, until)?;
        count(member, action, good as u64);
        member.tally.reached(offset as u64);
        if let Some(trouble) = trouble {
            return Ok(broken(&trouble, good as u64));
        }
        last = piece as u64;
        if let Sum::Running(running) = &mut sum
            && let Err(error) = running.reached(offset as u64, &reading.file)
        {
            return Ok(broken(&error, last));
        }
    }
    Ok(whole(reading, sum, last))
}

/// The end of a body that has gone out whole, if it is the file's content still.
fn whole(reading: &Reading, sum: Sum, last: u64) -> Sent {
    match sum.finish().and_then(|digest| Ok((digest, reading.is_unchanged()?))) {
        Ok((digest, true)) => Sent::Whole(digest),
        Ok((_, false)) => Sent::Broken(Code::Changed, last, CHANGED),
        Err(error) => broken(&error, last),
    }
}

/// A small file goes out together with the lines around it.
fn send_small(
    member: &mut Member,
    reading: &Reading,
    range: &Range,
    mut sum: Sum,
    action: &mut Action,
) -> Result<Sent, Cut> {
    let mut bytes = vec![0; range.length as usize];
    if let Err(error) = reading.file.read_exact_at(&mut bytes, range.offset) {
        return Ok(broken(&error, 0));
    }
    if let Sum::Running(running) = &mut sum
        && let Err(error) = running.passed(&bytes, None)
    {
        return Ok(broken(&error, 0));
    }
    if let Some(broken) = pace(member, bytes.len(), 0)? {
        return Ok(broken);
    }
    if !bytes.is_empty() {
        member.talk.say(Answer::Data(bytes.len()))?;
        member.talk.wire.queue(&bytes);
        count(member, action, range.length);
    }
    Ok(whole(reading, sum, range.length))
}

fn broken(error: &io::Error, last: u64) -> Sent {
    match error.raw_os_error() {
        Some(errno) => Sent::Broken(code_of(Errno::from_raw(errno)), last, "the server could not read on"),
        None => Sent::Broken(Code::Changed, last, CHANGED),
    }
}
