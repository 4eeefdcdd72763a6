//! HOSTILE: plays a session that has been taken over, in test builds alone. One attempt a request; the answer is the kernel's.

use crate::proto::{Answer, Code, Fields, Refusal, Request, path};
use crate::sys::hostile;
use nix::errno::Errno;

#[cfg(not(debug_assertions))]
compile_error!("the feature 'hostile' is for tests: no release build may contain it");

/// Carries out an attempt, before or after login alike.
pub fn answer(request: &Request) -> Result<Answer, Refusal> {
    let name = request.word(0).unwrap_or("");
    assert!(name != "panic", "a panic on demand");
    let text = |at| request.word(at).and_then(|word| String::from_utf8(path::decode(word).ok()?).ok());
    let result = hostile::attempt(name, text(1).as_deref(), text(2).as_deref())
        .ok_or_else(|| Refusal::new(Code::NotFound, "there is no such attempt"))?;
    Ok(Answer::Ok(match result {
        Ok(_) => Fields::words("succeeded"),
        Err(errno) => Fields::new().with("errno", format!("{:?}", Errno::from_raw(errno))),
    }))
}
