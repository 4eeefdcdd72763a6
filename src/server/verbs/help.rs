//! HELP: the verbs, or one of them.

use super::Stop;
use crate::proto::{Access, Answer, Code, Fields, Refusal, Request, verb};
use crate::server::member::Member;

pub(super) fn help(member: &mut Member, request: &Request) -> Result<Answer, Stop> {
    let mut lines: Vec<_> = lines(request, member.access)?.collect();
    let last = lines.pop().unwrap_or(Answer::Ok(Fields::new()));
    for line in lines {
        member.answer(line)?;
    }
    Ok(last)
}

/// The answer to HELP, the same before and after login, but for verbs that the account may not use.
pub fn lines(request: &Request, access: Access) -> Result<impl Iterator<Item = Answer>, Refusal> {
    let asked = request.word(0);
    let rows: Vec<_> = match asked {
        None => verb::TABLE.iter().filter(|row| access.permits(row)).collect(),
        Some(word) => {
            let found = verb::find(word).map(|(row, ..)| row);
            vec![found.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such verb; HELP lists them"))?]
        }
    };
    let info = rows.into_iter().map(|row| {
        let aliases =
            if row.aliases.is_empty() { String::new() } else { format!(" (also {})", row.aliases.join(", ")) };
        let usage = format!("{} {}", row.name, row.usage);
        Answer::Info(format!("{:<58} {}{aliases}", usage.trim_end(), row.help))
    });
    Ok(info.chain([Answer::Ok(Fields::words("paths are percent-encoded: a space is %20"))]))
}
