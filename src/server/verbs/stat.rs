//! STAT: what a name stands for.

use super::Stop;
use crate::proto::{Answer, EntryKind, Fields, Request};
use crate::server::member::Member;

pub(super) fn stat(member: &mut Member, request: &Request) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let meta = member.tree.stat(&path)?;
    let digest = if meta.kind == EntryKind::File { member.tree.known_digest(&path) } else { None };
    let fields = Fields::new().with("type", meta.kind.as_str()).with("size", meta.size).with("mtime", meta.mtime);
    Ok(Answer::Ok(fields.maybe("sha256", digest)))
}
