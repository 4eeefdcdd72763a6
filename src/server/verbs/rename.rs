//! RENAME: another name, in the same directory or another.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;

pub(super) fn rename(member: &mut Member, request: &Request) -> Result<Answer, Stop> {
    let (from, to) = (request.path(0)?, request.path(1)?);
    member.tree.rename(&from, &to, request.flag("replace"), &mut member.talk)?;
    Ok(Answer::Ok(Fields::words("renamed")))
}
