//! DELETE: a file or a link, never a directory.

use super::{Stop, trash};
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use crate::store::trash::Whole;
use std::time::Instant;

pub(super) fn delete(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    if request.flag("trash") {
        let id = trash::move_there(member, request, Whole::File)?;
        return Ok(member.answer(Answer::Ok(Fields::words("deleted").with("id", id)))?);
    }
    let path = request.path(0)?;
    member.tree.delete(&path, &mut member.talk)?;
    member.tell(Level::Info, began, format!("DELETE {path}"));
    Ok(member.answer(Answer::Ok(Fields::words("deleted")))?)
}
