//! RENAME: another name, in the same directory or another.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use std::time::Instant;

pub(super) fn rename(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let (from, to) = (request.path(0)?, request.path(1)?);
    member.tree.rename(&from, &to, request.flag("replace"), &mut member.talk)?;
    member.tell(Level::Info, began, format!("RENAME {from} {to}"));
    Ok(member.answer(Answer::Ok(Fields::words("renamed")))?)
}
