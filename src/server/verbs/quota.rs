//! QUOTA: what is used and what is left.

use super::Stop;
use crate::proto::{Answer, Fields};
use crate::server::member::Member;

pub(super) fn quota(member: &mut Member) -> Result<(), Stop> {
    let account = member.tree.account(&mut member.talk)?;
    let limit = account.limit.map_or("none".to_owned(), |limit| limit.to_string());
    let fields = Fields::new().with("used", account.used).with("limit", limit).with("free", account.free);
    Ok(member.answer(Answer::Ok(fields))?)
}
