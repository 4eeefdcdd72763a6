//! PASSWD: another password for the session's own user. The session only passes it on; a helper of the listener's checks and keeps it.

use super::Stop;
use crate::auth::Change;
use crate::net::Cut;
use crate::proto::{Answer, Code, Fields, Refusal, Request, limits};
use crate::server::member::Member;
use crate::store::{Pulse, Trouble};
use crate::sys::signals::{Hearing, PASSWORD_FAILED, PASSWORD_REFUSED, PASSWORD_TAKEN, PASSWORD_UNCERTAIN};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// How often it looks whether an answer has come.
const LOOK: Duration = Duration::from_millis(5);

pub(super) fn passwd(member: &mut Member, request: &Request) -> Result<Answer, Stop> {
    let (verifier, proof) = (request.word(0).unwrap_or(""), request.word(1).unwrap_or(""));
    if member.exposed {
        let text = "a new password is not taken in plain text: who reads it on the way could log in; connect over TLS";
        return Err(Refusal::new(Code::Denied, text).into());
    }
    let change = Change::from_words(verifier, proof).map_err(|why| Refusal::new(Code::BadRequest, why.to_string()))?;
    let Some(mouth) = &member.mouth else {
        return Err(Refusal::new(Code::Denied, "your password is not yours to change; ask the operator").into());
    };
    if member.passwords == limits::PASSWORD_CHANGES {
        return Err(failed().into());
    }
    member.passwords += 1;
    let hearing =
        Hearing::new(&[PASSWORD_TAKEN, PASSWORD_REFUSED, PASSWORD_FAILED, PASSWORD_UNCERTAIN]).map_err(Cut::from)?;
    mouth.password(&change, &mut member.talk.wire.waiter)?;
    match answer(member, &hearing)? {
        Some(PASSWORD_TAKEN) => Ok(Answer::Ok(Fields::words("changed"))),
        Some(PASSWORD_REFUSED) => {
            Err(Refusal::new(Code::LoginRefused, "the old password is wrong; nothing was changed").into())
        }
        Some(PASSWORD_UNCERTAIN) => Err(uncertain("who wrote it down did not come to the end").into()),
        Some(_) => Err(failed().into()),
        None => {
            // An answer that comes yet would be taken for that to another change: this session makes none any more.
            member.passwords = limits::PASSWORD_CHANGES;
            Err(uncertain("no answer came in time").into())
        }
    }
}

fn failed() -> Trouble {
    Trouble::new(Code::Internal, "your password could not be changed; log in again, or ask the operator")
}

fn uncertain(why: &str) -> Trouble {
    Trouble::new(Code::Uncertain, format!("{why}; the old password may hold, or the new one"))
}

/// What the listener says; `None` if it says nothing for too long.
fn answer(member: &mut Member, hearing: &Hearing) -> Result<Option<Signal>, Cut> {
    let until = Instant::now() + limits::PASSWORD_PATIENCE;
    while Instant::now() < until {
        if let Some(signal) = hearing.heard() {
            return Ok(Some(signal));
        }
        if !member.talk.beat() {
            return Err(member.talk.interruption());
        }
        member.talk.wire.waiter.sleep(LOOK)?;
    }
    Ok(None)
}
