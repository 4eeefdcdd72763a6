//! DIGEST: the SHA-256 of a file, always computed from its bytes.

use super::Stop;
use crate::proto::{Answer, Code, Fields, Request};
use crate::server::action::Action;
use crate::server::member::Member;
use crate::store::{Trouble, digest as store_digest};

pub(super) fn digest(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let reading = member.tree.read(&path)?;
    let digest = store_digest::compute(&reading.file, reading.meta.size, &mut member.talk)?;
    if !reading.is_unchanged().map_err(Trouble::from)? {
        return Err(Trouble::new(Code::Changed, "the file changed while it was read; ask again").into());
    }
    reading.keep_digest(digest);
    action.digest = Some(digest);
    Ok(Answer::Ok(Fields::new().with("size", reading.meta.size).with("sha256", digest)))
}
