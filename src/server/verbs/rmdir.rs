//! RMDIR: an empty directory, with `recursive` all that is in it too.

use super::{Stop, trash};
use crate::proto::{Answer, Code, Fields, Refusal, Request};
use crate::server::action::Action;
use crate::server::member::Member;
use crate::store::trash::Whole;

pub(super) fn rmdir(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    match (request.flag("trash"), request.flag("recursive")) {
        (true, true) => {
            let id = trash::move_there(member, request, Whole::Dir, action)?;
            return Ok(Answer::Ok(Fields::new().with("removed", 1).with("id", id)));
        }
        (true, false) => {
            let text = "'trash' goes with 'recursive': an empty directory is nothing to keep";
            return Err(Refusal::new(Code::BadRequest, text).into());
        }
        (false, _) => {}
    }
    let path = request.path(0)?;
    let removed = member.tree.remove_dir(&path, request.flag("recursive"), &mut member.talk)?;
    action.entries = Some(removed);
    Ok(Answer::Ok(Fields::new().with("removed", removed)))
}
