//! TRASH: what lies in the trash, back to its place, or gone for good. DELETE and RMDIR move things there.

use super::Stop;
use crate::proto::{Answer, Code, Fields, Refusal, Request, TrashId};
use crate::server::action::Action;
use crate::server::member::Member;
use crate::store::trash::Whole;

/// TRASH, by its second word, which is not case-sensitive, as if it were a part of the verb.
pub(super) fn trash(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    (action.path, action.to) = (None, None); // these are no paths
    let wanted = request.word(0).unwrap_or_default().to_ascii_lowercase();
    // What is gone for good, and who saw to it, is what an audit is read for.
    action.text = [Some(wanted.as_str()), request.word(1)].into_iter().flatten().collect::<Vec<_>>().join(" ");
    match (wanted.as_str(), request.word(1)) {
        ("list", None) => list(member, action),
        ("restore", Some(_)) => restore(member, request, action),
        ("empty", _) => empty(member, request, action),
        _ => {
            let text = format!("usage: TRASH {}", request.verb.row().usage);
            Err(Refusal::new(Code::BadRequest, text).into())
        }
    }
}

/// DELETE and RMDIR with `trash`; what the thing is called there.
pub(super) fn move_there(
    member: &mut Member,
    request: &Request,
    what: Whole,
    action: &mut Action,
) -> Result<TrashId, Stop> {
    let path = request.path(0)?;
    let id = member.tree.trash(&path, what, &mut member.talk)?;
    action.text = format!("to the trash as {id}");
    Ok(id)
}

fn list(member: &mut Member, action: &mut Action) -> Result<Answer, Stop> {
    let mut listing = member.tree.trash_listing()?;
    let mut entries = 0u64;
    while let Some(row) = listing.next(&member.tree, &mut member.talk)? {
        member.talk.say(Answer::Trashed(row))?;
        entries += 1;
    }
    action.entries = Some(entries);
    Ok(Answer::Ok(Fields::new().with("entries", entries)))
}

fn restore(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let Some(id) = id(request)? else { return Err(Refusal::new(Code::BadRequest, "TRASH RESTORE takes an id").into()) };
    let to = request.path_option("to")?;
    let path = member.tree.restore(&id, to, request.flag("replace"), &mut member.talk)?;
    action.path = Some(path.to_string());
    Ok(Answer::Ok(Fields::words("restored").with("path", path)))
}

fn empty(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let id = id(request)?;
    let entries = member.tree.empty_trash(id.as_ref(), &mut member.talk)?;
    action.entries = Some(entries);
    Ok(Answer::Ok(Fields::words("emptied").with("entries", entries)))
}

/// The id that a request names, if it names one.
fn id(request: &Request) -> Result<Option<TrashId>, Refusal> {
    let parse = |word: &str| word.parse().map_err(|why| Refusal::new(Code::BadRequest, format!("{why}")));
    request.word(1).map(parse).transpose()
}
