//! MKDIR: a directory, with `parents` those above it too.

use super::Stop;
use crate::proto::{Code, Request};
use crate::server::action::Action;
use crate::server::member::Member;
use std::time::Instant;

pub(super) fn mkdir(member: &mut Member, request: &Request, action: &mut Action, began: Instant) -> Result<(), Stop> {
    let path = request.path(0)?;
    let parents = request.flag("parents");
    let dirs = match member.tree.make_dir(&path, parents, &mut member.talk) {
        Err(trouble) if member.is_owing() && trouble.code() == Code::Busy => {
            member.settle()?; // what is on its way holds the descriptors
            member.tree.make_dir(&path, parents, &mut member.talk)?
        }
        other => other?,
    };
    member.enlist_dir(action.clone(), dirs, began).map_err(Stop::Told)
}
