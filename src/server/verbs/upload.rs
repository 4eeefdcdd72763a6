//! UPLOAD: a body in pieces, staged, hashed on the way, and published whole or not at all.

use super::Stop;
use crate::net::Cut;
use crate::proto::incoming::Claim;
use crate::proto::line::BadLine;
use crate::proto::{Access, Code, Fields, Incoming, Request, incoming};
use crate::server::action::Action;
use crate::server::member::Member;
use crate::store::Trouble;
use crate::store::stage::{Staged, Wanted};
use std::time::Instant;

/// Characters of a client's reason that are repeated.
const REASON: usize = 200;

pub(super) fn upload(member: &mut Member, request: &Request, action: &mut Action, began: Instant) -> Result<(), Stop> {
    let staged = match stage(member, request) {
        Ok(staged) => staged,
        Err(stop) => {
            member.discarding = true; // its body may be on the way already
            return Err(stop);
        }
    };
    let staged = agree(member, request, staged)?;
    member.tally.transfer(staged.written(), request.number("size")?);
    receive(member, staged, action, began)
}

fn stage(member: &mut Member, request: &Request) -> Result<Staged, Stop> {
    let wanted = Wanted {
        path: request.path(0)?,
        size: request.number("size")?,
        mtime: request.time("mtime")?,
        // Who may only add replaces nothing.
        new: request.flag("new") || member.access == Access::UploadOnly,
        // A resume waits for all before it, below.
        behind: !request.flag("resume") && member.has_nameless(),
    };
    if request.flag("resume") {
        member.settle()?; // the client waits for READY
        return Ok(member.tree.stage_again(wanted, &mut member.talk)?);
    }
    if wanted.size.is_none() && member.tree.has_quota() {
        member.settle()?; // what is missing turns out in the middle of the body, too late to try again
    }
    match member.tree.stage(wanted.clone(), &mut member.talk) {
        Err(trouble) if member.is_owing() && is_held(trouble.code()) => {
            member.settle()?;
            Ok(member.tree.stage(wanted, &mut member.talk)?)
        }
        other => Ok(other?),
    }
}

/// Whether what is missing may be held by uploads on their way: descriptors, where the operator gives fewer than a session asks for; the
/// room that a file to be replaced takes.
fn is_held(code: Code) -> bool {
    matches!(code, Code::Busy | Code::OverQuota | Code::NoSpace)
}

/// Says READY, and with `resume` hears from where on the body will come.
fn agree(member: &mut Member, request: &Request, mut staged: Staged) -> Result<Staged, Stop> {
    let offset = staged.written();
    let digest = if offset > 0 { staged.digest_so_far() } else { None };
    let told = member.ready(Fields::new().with("offset", offset).maybe("sha256", digest));
    let from = match told {
        Ok(()) if !request.flag("resume") => return Ok(staged),
        Ok(()) => first_line(member),
        Err(cut) => Err(cut),
    };
    let line = match from {
        Ok(line) => line,
        Err(cut) => {
            let _ = member.keep(staged);
            return Err(cut.into());
        }
    };
    let trouble = match incoming::parse(&line) {
        Ok(Incoming::From(from)) if from == offset => return Ok(staged),
        Ok(Incoming::From(0)) => match staged.restart() {
            Ok(()) => return Ok(staged),
            Err(trouble) => trouble,
        },
        _ if offset == 0 => Trouble::new(Code::BadRequest, "FROM 0 is due"),
        _ => Trouble::new(Code::BadRequest, format!("FROM {offset} or FROM 0 is due")),
    };
    member.keep(staged)?;
    member.discarding = true;
    if !line.starts_with("FROM") {
        member.put_back(line);
    }
    Err(trouble.into())
}

/// The first line of a body that is no sign of life: the client may hash for long before it can say FROM.
fn first_line(member: &mut Member) -> Result<String, Cut> {
    loop {
        let line = member.body_line()?;
        if !matches!(incoming::parse(&line), Ok(Incoming::Wait)) {
            return Ok(line);
        }
        member.excused();
    }
}

/// What became of a body.
enum Body {
    Ended(Claim),
    Aborted(String),
    /// Another request stands where the body should go on.
    Interrupted(String),
    /// A line that is none of these; it may end the connection.
    Malformed(incoming::Refusal),
    Failed(Trouble),
}

fn receive(member: &mut Member, mut staged: Staged, action: &mut Action, began: Instant) -> Result<(), Stop> {
    let in_place = staged.written();
    let received = body(member, &mut staged);
    action.resumed = in_place > 0;
    action.bytes = Some(staged.written() - in_place);
    let body = match received {
        Ok(body) => body,
        Err(cut @ Cut::Line(_)) => {
            member.tree.discard(staged, &mut member.talk);
            return Err(cut.into());
        }
        Err(cut) => {
            action.text = format!("{cut}; {} bytes can be resumed", staged.written());
            let _ = member.keep(staged);
            return Err(cut.into());
        }
    };
    let trouble = match body {
        Body::Ended(claim) if claim.path.as_ref().is_some_and(|path| path != staged.path()) => {
            let text = format!("the name that was asked for arrived as {}", staged.path());
            member.tree.discard(staged, &mut member.talk);
            Trouble::new(Code::ChecksumMismatch, text)
        }
        Body::Ended(claim) => match staged.finish(&member.tree, claim.digest) {
            Ok(complete) => return member.enlist(action.clone(), complete, began).map_err(Stop::Told),
            Err((trouble, staged)) => {
                let trouble = staged.why(trouble, &mut member.talk);
                member.tree.discard(*staged, &mut member.talk);
                trouble
            }
        },
        Body::Aborted(text) => {
            member.keep(staged)?;
            Trouble::new(Code::Aborted, aborted(&text))
        }
        Body::Interrupted(line) => {
            member.tree.discard(staged, &mut member.talk);
            member.put_back(line);
            Trouble::new(Code::BadRequest, "the body of the upload did not end before the next request")
        }
        Body::Malformed(refusal) => {
            member.tree.discard(staged, &mut member.talk);
            if refusal.fatal {
                member.refuse(refusal.code, &refusal.text)?;
                action.text = refusal.text;
                return Err(Cut::Protocol.into());
            }
            member.discarding = true;
            Trouble::new(refusal.code, refusal.text)
        }
        Body::Failed(trouble) => {
            match trouble {
                Trouble::Interrupted => member.keep(staged)?,
                Trouble::Refused { .. } => member.tree.discard(staged, &mut member.talk),
            }
            member.discarding = true; // the rest of the body is on the way
            trouble
        }
    };
    Err(trouble.into())
}

/// What a client's ABORT is answered with; its reason is repeated as far as a line has room for it.
fn aborted(reason: &str) -> String {
    match reason.trim() {
        "" => "given up by the client".into(),
        reason => format!("given up by the client: {}", reason.chars().take(REASON).collect::<String>()),
    }
}

/// Takes the body in, up to its end or the first thing that goes wrong.
fn body(member: &mut Member, staged: &mut Staged) -> Result<Body, Cut> {
    loop {
        let line = match member.body_line() {
            Err(Cut::Line(why @ (BadLine::NotUtf8 | BadLine::Control))) => {
                return Ok(Body::Malformed(incoming::Refusal::new(Code::BadRequest, why.to_string())));
            }
            other => other?,
        };
        match incoming::parse(&line) {
            Ok(Incoming::Data(count)) => {
                if staged.written() > 0 {
                    member.go_on()?; // what came before a long body is not to wait for its end
                }
                let taken = member.receive(count, |member, bytes| {
                    staged.write(&mut member.tree, bytes, &mut member.talk)?;
                    member.tally.reached(staged.written());
                    Ok(())
                })?;
                if let Err(trouble) = taken {
                    return Ok(Body::Failed(trouble));
                }
            }
            Ok(Incoming::End(claim)) => return Ok(Body::Ended(claim)),
            Ok(Incoming::Abort(text)) => return Ok(Body::Aborted(text.to_owned())),
            Ok(Incoming::Wait) => member.excused(),
            Ok(Incoming::Request(_)) => return Ok(Body::Interrupted(line)),
            Ok(Incoming::From(_)) => {
                return Ok(Body::Failed(Trouble::new(Code::BadRequest, "FROM is due only after READY to a resume")));
            }
            Err(refusal) => return Ok(Body::Malformed(refusal)),
        }
    }
}
