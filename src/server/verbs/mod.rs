//! The verbs, one a file: parse the arguments, call the store, answer.

mod delete;
mod digest;
mod download;
pub mod help;
#[cfg(feature = "hostile")]
pub mod hostile;
mod list;
mod mkdir;
mod passwd;
mod ping;
mod quota;
mod rename;
mod rmdir;
mod stat;
mod trash;
mod upload;
mod view;

use super::action::{Action, Outcome};
use super::member::Member;
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
    /// The same, after the request had been handed on: it is noted and answered with others.
    Told(Cut),
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

/// What is said while an audit that must be written cannot be.
pub const NO_AUDIT: &str =
    "the server cannot write its audit, and does nothing without; try again later, or tell its operator";

/// Carries out one request, notes what came of it, and answers it.
pub fn carry_out(member: &mut Member, request: &Request) -> Result<Next, Cut> {
    let began = Instant::now();
    if !member.log.may_act() && request.verb != Verb::Logout {
        member.discarding = request.verb == Verb::Upload; // its body may be on the way already
        member.refuse(Code::Busy, NO_AUDIT)?;
        return Ok(Next::Request);
    }
    let mut action = Action::of(request);
    let answer = match perform(member, request, &mut action, began) {
        Ok(Some(answer)) => answer,
        Ok(None) => return Ok(Next::Request), // it is on its way to the disk, and noted and answered when it has arrived
        Err(Stop::Told(cut)) => return Err(cut),
        Err(Stop::Cut(cut)) => return Err(broke_off(member, action, began, cut)),
        Err(Stop::Trouble(Trouble::Interrupted)) => {
            let cut = member.talk.interruption();
            return Err(broke_off(member, action, began, cut));
        }
        Err(Stop::Trouble(Trouble::Refused { code, text })) => Answer::Err(code, text),
        Err(Stop::Refusal(refusal)) => Answer::Err(refusal.code, refusal.text),
    };
    action.end_with(&answer);
    member.note(action, began)?;
    member.answer(answer)?;
    if request.verb != Verb::Logout {
        return Ok(Next::Request);
    }
    member.leave_seat();
    member.talk.wire.goodbye();
    Ok(Next::Goodbye)
}

/// Notes a request in the middle of which the connection came to its end.
fn broke_off(member: &mut Member, mut action: Action, began: Instant, cut: Cut) -> Cut {
    let text = if action.text.is_empty() { cut.to_string() } else { std::mem::take(&mut action.text) };
    action.end(Outcome::from(&cut), &text);
    let _ = member.note(action, began); // nobody hears an answer
    cut
}

/// Does what is asked for. Returns the last answer, or `None` where that waits for the disk; what else there is to tell goes into `action`.
fn perform(
    member: &mut Member,
    request: &Request,
    action: &mut Action,
    began: Instant,
) -> Result<Option<Answer>, Stop> {
    member.work_begins();
    // Only of a path is it certain that it is no secret.
    let row = request.verb.row();
    let path = if row.needs_login && !row.secret { request.word(0).unwrap_or("") } else { "" };
    member.tally.begin(request.verb, path);
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
        return Err(Refusal::new(Code::Denied, text).into());
    }
    match request.verb {
        Verb::Upload => return upload::upload(member, request, action, began).map(|()| None),
        Verb::Mkdir => return mkdir::mkdir(member, request, action, began).map(|()| None),
        Verb::Help => help::help(member, request),
        Verb::List => list::list(member, request, action),
        Verb::Stat => stat::stat(member, request),
        Verb::Download => download::download(member, request, action),
        Verb::View => view::view(member, request, action),
        Verb::Delete => delete::delete(member, request, action),
        Verb::Rename => rename::rename(member, request),
        Verb::Rmdir => rmdir::rmdir(member, request, action),
        Verb::Digest => digest::digest(member, request, action),
        Verb::Trash => trash::trash(member, request, action),
        Verb::Quota => quota::quota(member),
        Verb::Passwd => passwd::passwd(member, request),
        #[cfg(feature = "hostile")]
        Verb::Hostile => hostile::answer(request).map_err(Stop::from),
        Verb::Ping => Ok(ping::ping()),
        Verb::Auth | Verb::Login => Err(Refusal::new(Code::BadRequest, "you are logged in already").into()),
        Verb::Logout => Ok(Answer::Ok(Fields::words("bye"))),
    }
    .map(Some)
}
