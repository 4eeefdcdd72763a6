//! QUOTA: what is used and what is left.

use super::Stop;
use crate::proto::{Answer, Fields};
use crate::server::member::Member;

pub(super) fn quota(member: &mut Member) -> Result<Answer, Stop> {
    let account = member.tree.account(&mut member.talk)?;
    let told = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    let fields = Fields::new().with("used", account.used.bytes).with("limit", told(account.limit.bytes));
    let fields = fields.with("free", account.free).with("files", account.used.files);
    let fields = fields.with("files-limit", told(account.limit.files));
    Ok(Answer::Ok(fields))
}
