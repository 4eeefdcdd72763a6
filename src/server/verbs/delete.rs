//! DELETE: a file or a link, never a directory.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;

pub(super) fn delete(member: &mut Member, request: &Request) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    member.tree.delete(&path, &mut member.talk)?;
    Ok(Answer::Ok(Fields::words("deleted")))
}
