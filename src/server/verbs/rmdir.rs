//! RMDIR: an empty directory, with `recursive` all that is in it too.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::action::Action;
use crate::server::member::Member;

pub(super) fn rmdir(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let removed = member.tree.remove_dir(&path, request.flag("recursive"), &mut member.talk)?;
    action.entries = Some(removed);
    Ok(Answer::Ok(Fields::new().with("removed", removed)))
}
