//! LIST: a directory, entry by entry, in constant memory.

use super::Stop;
use crate::proto::{Answer, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use std::time::Instant;

pub(super) fn list(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let mut listing = member.tree.list(&path, request.flag("recursive"))?;
    while let Some(entry) = listing.next(&mut member.talk)? {
        member.talk.say(Answer::Entry(entry))?;
    }
    let told = listing.so_far();
    member.tell(Level::Debug, began, format!("LIST {path} entries={}", told.entries));
    Ok(member.answer(Answer::Ok(Fields::new().with("entries", told.entries).with("skipped", told.skipped)))?)
}
