//! TRASH: what lies in the trash, back to its place, or gone for good. DELETE and RMDIR move things there.

use super::Stop;
use crate::proto::{Answer, Code, Fields, Refusal, Request, TrashId};
use crate::server::member::Member;
use crate::server::record::Level;
use crate::store::trash::Whole;
use std::time::Instant;

/// TRASH, by its second word, which is not case-sensitive, as if it were a part of the verb.
pub(super) fn trash(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let wanted = request.word(0).unwrap_or_default().to_ascii_lowercase();
    match (wanted.as_str(), request.word(1)) {
        ("list", None) => list(member),
        ("restore", Some(_)) => restore(member, request),
        ("empty", _) => empty(member, request),
        _ => {
            let text = format!("usage: TRASH {}", request.verb.row().usage);
            Err(Refusal::new(Code::BadRequest, text).into())
        }
    }
}

/// DELETE and RMDIR with `trash`; what the thing is called there.
pub(super) fn move_there(member: &mut Member, request: &Request, what: Whole) -> Result<TrashId, Stop> {
    let began = Instant::now();
    let path = request.path(0)?;
    let id = member.tree.trash(&path, what, &mut member.talk)?;
    member.tell(Level::Info, began, format!("{} {path} trash id={id}", request.verb));
    Ok(id)
}

fn list(member: &mut Member) -> Result<(), Stop> {
    let began = Instant::now();
    let mut listing = member.tree.trash_listing()?;
    let mut entries = 0u64;
    while let Some(row) = listing.next(&member.tree, &mut member.talk)? {
        member.talk.say(Answer::Trashed(row))?;
        entries += 1;
    }
    member.tell(Level::Debug, began, format!("TRASH LIST entries={entries}"));
    Ok(member.answer(Answer::Ok(Fields::new().with("entries", entries)))?)
}

fn restore(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let Some(id) = id(request)? else { return Err(Refusal::new(Code::BadRequest, "TRASH RESTORE takes an id").into()) };
    let to = request.path_option("to")?;
    let path = member.tree.restore(&id, to, request.flag("replace"), &mut member.talk)?;
    member.tell(Level::Info, began, format!("TRASH RESTORE {id} to={path}"));
    Ok(member.answer(Answer::Ok(Fields::words("restored").with("path", path)))?)
}

fn empty(member: &mut Member, request: &Request) -> Result<(), Stop> {
    let began = Instant::now();
    let id = id(request)?;
    let entries = member.tree.empty_trash(id.as_ref(), &mut member.talk)?;
    let which = id.map_or(String::new(), |id| format!("{id} "));
    member.tell(Level::Info, began, format!("TRASH EMPTY {which}entries={entries}"));
    Ok(member.answer(Answer::Ok(Fields::words("emptied").with("entries", entries)))?)
}

/// The id that a request names, if it names one.
fn id(request: &Request) -> Result<Option<TrashId>, Refusal> {
    let parse = |word: &str| word.parse().map_err(|why| Refusal::new(Code::BadRequest, format!("{why}")));
    request.word(1).map(parse).transpose()
}
