//! MKDIR: a directory, with `parents` those above it too.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use std::time::Instant;

pub(super) fn mkdir(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    member.tree.make_dir(&path, request.flag("parents"), &mut member.talk)?;
    member.tell(Level::Info, began, format!("MKDIR {path}"));
    Ok(member.answer(Answer::Ok(Fields::words("created")))?)
}
