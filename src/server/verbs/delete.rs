//! DELETE: a file or a link, never a directory.

use super::{Stop, trash};
use crate::proto::{Answer, Fields, Request};
use crate::server::action::Action;
use crate::server::member::Member;
use crate::store::trash::Whole;

pub(super) fn delete(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    if request.flag("trash") {
        let id = trash::move_there(member, request, Whole::File, action)?;
        return Ok(Answer::Ok(Fields::words("deleted").with("id", id)));
    }
    let path = request.path(0)?;
    member.tree.delete(&path, &mut member.talk)?;
    Ok(Answer::Ok(Fields::words("deleted")))
}
