//! VIEW: the first bytes of a file, to see what it is.

use super::Stop;
use crate::net::Cut;
use crate::proto::{Answer, Code, Fields, Refusal, Request, limits};
use crate::server::action::Action;
use crate::server::member::Member;
use std::os::unix::fs::FileExt;

pub(super) fn view(member: &mut Member, request: &Request, action: &mut Action) -> Result<Answer, Stop> {
    let path = request.path(0)?;
    let offset = request.number("offset")?.unwrap_or(0);
    let length = request.number("length")?.unwrap_or(limits::VIEW_DEFAULT);
    if length > limits::VIEW {
        let text = format!("VIEW sends at most {} bytes; DOWNLOAD sends all", limits::VIEW);
        return Err(Refusal::new(Code::TooLarge, text).into());
    }
    let reading = member.tree.read(&path)?;
    super::download::check_offset(offset, reading.meta.size)?;
    let mut bytes = vec![0; length as usize];
    let mut held = 0;
    while held < bytes.len() {
        match reading.file.read_at(&mut bytes[held..], offset + held as u64) {
            Ok(0) => break,
            Ok(n) => held += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(crate::store::Trouble::from(error).into()),
        }
    }
    member.pace_down(held)?;
    let fields = Fields::new().with("size", reading.meta.size).with("offset", offset).with("length", held);
    member.answer(Answer::Ready(fields))?;
    send(member, &bytes[..held])?;
    action.bytes = Some(held as u64);
    Ok(Answer::End(Fields::new()))
}

fn send(member: &mut Member, bytes: &[u8]) -> Result<(), Cut> {
    if !bytes.is_empty() {
        member.talk.say(Answer::Data(bytes.len()))?;
        member.talk.wire.queue(bytes);
    }
    Ok(())
}
