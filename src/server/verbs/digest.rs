//! DIGEST: the SHA-256 of a file, always computed from its bytes.

use super::Stop;
use crate::proto::{Answer, Code, Fields, Request};
use crate::server::member::Member;
use crate::server::record::Level;
use crate::store::{Trouble, digest as store_digest};
use std::time::Instant;

pub(super) fn digest(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let reading = member.tree.read(&path)?;
    let digest = store_digest::compute(&reading.file, reading.meta.size, &mut member.talk)?;
    if !reading.is_unchanged() {
        return Err(Trouble::new(Code::Changed, "the file changed while it was read; ask again").into());
    }
    reading.keep_digest(digest);
    member.tell(Level::Debug, began, format!("DIGEST {path}"));
    Ok(member.answer(Answer::Ok(Fields::new().with("size", reading.meta.size).with("sha256", digest)))?)
}
