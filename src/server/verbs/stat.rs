//! STAT: what a name stands for.

use super::Stop;
use crate::proto::{Answer, EntryKind, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use std::time::Instant;

pub(super) fn stat(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let meta = member.tree.stat(&path)?;
    let digest = if meta.kind == EntryKind::File { member.tree.known_digest(&path) } else { None };
    let fields = Fields::new().with("type", meta.kind.as_str()).with("size", meta.size).with("mtime", meta.mtime);
    member.tell(Level::Debug, began, format!("STAT {path}"));
    Ok(member.answer(Answer::Ok(fields.maybe("sha256", digest)))?)
}
