//! LIST: a directory, entry by entry, in constant memory.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::action::Action;
use crate::server::member::Member;

pub(super) fn list(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let mut listing = member.tree.list(&path, request.flag("recursive"))?;
    while let Some(entry) = listing.next(&mut member.talk)? {
        member.talk.say(Answer::Entry(entry))?;
    }
    let told = listing.so_far();
    action.entries = Some(told.entries);
    Ok(Answer::Ok(Fields::new().with("entries", told.entries).with("skipped", told.skipped)))
}
