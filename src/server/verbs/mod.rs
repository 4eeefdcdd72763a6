//! The verbs, one a file: parse the arguments, call the store, answer.

mod delete;
mod digest;
mod download;
pub mod help;
#[cfg(feature = "hostile")]
pub mod hostile;
mod list;
mod mkdir;
mod quota;
mod rename;
mod rmdir;
mod stat;
mod trash;
mod upload;
mod view;

use super::member::Member;
use super::record::Level;
use crate::net::Cut;
use crate::proto::{Answer, Code, Fields, Refusal, Request, Verb};
use crate::store::Trouble;
use std::time::Instant;

/// What follows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next request.
    Request,
    /// The end of the session.
    Goodbye,
}

/// Why a verb ends early: an answer that is still owed, or the end of the session.
#[derive(Debug)]
pub enum Stop {
    /// The request is wrong.
    Refusal(Refusal),
    /// The store says no.
    Trouble(Trouble),
    /// The connection is over.
    Cut(Cut),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refusal(refusal)
    }
}
impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Trouble(trouble)
    }
}
impl From<Cut> for Stop {
    fn from(cut: Cut) -> Self {
        Stop::Cut(cut)
    }
}

/// Carries out one request and answers it.
pub fn carry_out(member: &mut Member, request: &Request) -> Result<Next, Cut> {
    let began = Instant::now();
    member.work_begins();
    // What follows an upload sees it done. Where only directories are on their way, more of them may join.
    match request.verb {
        Verb::Upload => {}
        Verb::Mkdir if !member.has_nameless() => {}
        _ => member.settle()?,
    }
    if !member.access.permits(request.verb.row()) {
        // The body of an upload may be on its way already.
        member.discarding = request.verb == Verb::Upload;
        let text = format!("your account is {}: {} is not left to it", member.access, request.verb);
        return refuse(member, request, began, Code::Denied, &text);
    }
    let done = match request.verb {
        Verb::Help => help::help(member, request),
        Verb::List => list::list(member, request),
        Verb::Stat => stat::stat(member, request),
        Verb::Upload => upload::upload(member, request),
        Verb::Download => download::download(member, request),
        Verb::View => view::view(member, request),
        Verb::Delete => delete::delete(member, request),
        Verb::Rename => rename::rename(member, request),
        Verb::Mkdir => mkdir::mkdir(member, request),
        Verb::Rmdir => rmdir::rmdir(member, request),
        Verb::Trash => trash::trash(member, request),
        Verb::Digest => digest::digest(member, request),
        Verb::Quota => quota::quota(member),
        #[cfg(feature = "hostile")]
        Verb::Hostile => hostile::answer(request).map_err(Stop::from).and_then(|answer| Ok(member.answer(answer)?)),
        Verb::Ping => member.answer(Answer::Ok(Fields::words("pong"))).map_err(Stop::from),
        Verb::Auth | Verb::Login => Err(Refusal::new(Code::BadRequest, "you are logged in already").into()),
        Verb::Logout => {
            member.answer(Answer::Ok(Fields::words("bye")))?;
            member.leave_seat();
            member.talk.wire.goodbye();
            return Ok(Next::Goodbye);
        }
    };
    let (code, text) = match done {
        Ok(()) => return Ok(Next::Request),
        Err(Stop::Cut(cut)) => return Err(cut),
        Err(Stop::Trouble(Trouble::Interrupted)) => return Err(member.talk.interruption()),
        Err(Stop::Trouble(Trouble::Refused { code, text })) => (code, text),
        Err(Stop::Refusal(refusal)) => (refusal.code, refusal.text),
    };
    refuse(member, request, began, code, &text)
}

/// Answers a request with an error, and writes it down.
fn refuse(member: &mut Member, request: &Request, began: Instant, code: Code, text: &str) -> Result<Next, Cut> {
    let path = request.word(0).unwrap_or("");
    member.tell(Level::of(code), began, format!("{} {path} failed: {code} {text}", request.verb));
    member.refuse(code, text)?;
    Ok(Next::Request)
}
