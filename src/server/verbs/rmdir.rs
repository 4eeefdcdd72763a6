//! RMDIR: an empty directory, with `recursive` all that is in it too.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use std::time::Instant;

pub(super) fn rmdir(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let removed = member.tree.remove_dir(&path, request.flag("recursive"), &mut member.talk)?;
    member.tell(Level::Info, began, format!("RMDIR {path} removed={removed}"));
    Ok(member.answer(Answer::Ok(Fields::new().with("removed", removed)))?)
}
