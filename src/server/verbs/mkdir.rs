//! MKDIR: a directory, with `parents` those above it too.

use super::Stop;
use crate::proto::Request;
use crate::server::member::Member;
use std::time::Instant;

pub(super) fn mkdir(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let dirs = member.tree.make_dir(&path, request.flag("parents"), &mut member.talk)?;
    Ok(member.enlist_dir(path, dirs, began)?)
}
