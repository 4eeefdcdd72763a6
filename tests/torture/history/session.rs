//! A session that asks for anything, and notes what it asked, when, and what came back.

use super::super::common::Raw;
use super::super::common::raw::{body_bytes, field, number};
use super::super::run::Chance;
use super::model::Name;
use super::record::{Answer, CODES, Path, Record, Request, Verb, content, spelled, understood};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// How sessions ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One request after the other.
    OneByOne,
    /// Several are on their way before the first is answered.
    Pipelined,
}

/// Requests that are on their way at most where they are pipelined.
const AHEAD: u64 = 4;

/// One of the sessions of the user.
pub struct Session {
    raw: Raw,
    line: usize,
    chance: Chance,
    manner: Manner,
    clock: Instant,
    /// What contradicts itself, whatever the others did.
    pub lies: Vec<String>,
}

/// What all uploads of a window bring, by digest.
pub type Digests = HashMap<String, u32>;

/// A request on its way.
struct Asked {
    number: u32,
    request: Request,
    invoked: u64,
}

impl Session {
    /// Takes over a connection that is logged in.
    pub fn new(raw: Raw, line: usize, chance: Chance, manner: Manner, clock: Instant) -> Self {
        Session { raw, line, chance, manner, clock, lies: Vec::new() }
    }

    /// Makes requests of these numbers. `digests` tells uploads apart.
    pub fn work(&mut self, mut numbers: std::ops::Range<u32>, digests: &Digests) -> Vec<Record> {
        let mut records = Vec::new();
        let mut asked: VecDeque<Asked> = VecDeque::new();
        while !numbers.is_empty() || !asked.is_empty() {
            if !numbers.is_empty() {
                let (count, ahead) = match self.manner {
                    Manner::OneByOne => (1, 0),
                    Manner::Pipelined => (1 + self.chance.below(AHEAD / 2), self.chance.below(AHEAD / 2 + 1)),
                };
                let batch: Vec<u32> = numbers.by_ref().take(count as usize).collect();
                self.ask(&batch, &mut asked);
                while asked.len() as u64 > ahead {
                    records.extend(asked.pop_front().and_then(|asked| self.hear(asked, digests)));
                }
            } else {
                records.extend(asked.pop_front().and_then(|asked| self.hear(asked, digests)));
            }
        }
        records
    }

    /// What QUOTA tells: bytes and names.
    pub fn quota(&mut self) -> (u64, u64) {
        let told = self.raw.ask("QUOTA");
        (number(&told, "used"), number(&told, "files"))
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Sends requests at once.
    fn ask(&mut self, numbers: &[u32], asked: &mut VecDeque<Asked>) {
        let mut requests: Vec<(u32, Request)> = numbers.iter().map(|number| (*number, self.any_request())).collect();
        let is_upload = |request: &Request| matches!(request.verb, Verb::Upload { .. });
        let mut behind = asked.iter().any(|asked| is_upload(&asked.request));
        for (_, request) in requests.iter_mut().filter(|(_, request)| is_upload(request)) {
            if behind {
                request.path.truncate(1); // its directory would be looked up before the uploads before it are done
            }
            behind = true;
        }
        let bytes: Vec<u8> = requests.iter().flat_map(|(number, request)| sent(*number, request)).collect();
        let invoked = self.now();
        asked.extend(requests.into_iter().map(|(number, request)| Asked { number, request, invoked }));
        self.raw.send(bytes);
    }

    fn any_request(&mut self) -> Request {
        let path = self.any_path();
        let verb = match self.chance.below(100) {
            0..=17 => Verb::Upload { new: false },
            18..=24 => Verb::Upload { new: true },
            25..=39 => Verb::Download,
            40..=43 => Verb::Digest,
            44..=53 => Verb::Stat,
            54..=63 => Verb::Delete,
            64..=69 => Verb::Rename { replace: false },
            70..=77 => Verb::Rename { replace: true },
            78..=87 => Verb::Mkdir,
            88..=91 => Verb::Rmdir { recursive: false },
            92..=95 => Verb::Rmdir { recursive: true },
            _ => return self.any_listing(path),
        };
        let to = if matches!(verb, Verb::Rename { .. }) { self.any_path() } else { Vec::new() };
        Request { verb, path, to }
    }

    fn any_listing(&mut self, path: Path) -> Request {
        let recursive = self.chance.one_in(2);
        let path = if self.chance.one_in(2) { Vec::new() } else { path };
        Request { verb: Verb::List { recursive }, path, to: Vec::new() }
    }

    /// A name at the top, or one below it.
    fn any_path(&mut self) -> Path {
        let mut path = vec![self.chance.below(3) as Name];
        if self.chance.one_in(2) {
            path.push(3 + self.chance.below(2) as Name);
        }
        path
    }

    /// Hears the answer to a request; `None` if it was no answer.
    fn hear(&mut self, asked: Asked, digests: &Digests) -> Option<Record> {
        let answer = self.answer(&asked, digests);
        let answered = Some(self.now());
        let Asked { number, request, invoked } = asked;
        let is_early = self.manner == Manner::Pipelined && matches!(request.verb, Verb::Upload { .. });
        let (answered, answer) = answer.map_or_else(
            |lie| {
                self.lies.push(format!("{request} was answered with {lie}"));
                (None, Answer::Done) // it may have been done, or not
            },
            |answer| (answered, answer),
        );
        Some(Record { line: self.line, number, request, invoked, answered, answer, is_early })
    }

    fn answer(&mut self, asked: &Asked, digests: &Digests) -> Result<Answer, String> {
        let mut said = self.raw.line();
        match asked.request.verb {
            Verb::Upload { .. } if said.starts_with("READY") => said = self.raw.line(),
            Verb::Download if said.starts_with("READY") => return self.downloaded(said),
            Verb::List { .. } => return self.listed(said),
            _ => {}
        }
        if let Some(why) = said.strip_prefix("ERR ") {
            return refusal(why);
        }
        match asked.request.verb {
            Verb::Upload { .. } if said == acknowledgement(asked.number) => Ok(Answer::Done),
            Verb::Delete if said == "OK deleted" => Ok(Answer::Done),
            Verb::Rename { .. } if said == "OK renamed" => Ok(Answer::Done),
            Verb::Mkdir if said == "OK created" => Ok(Answer::Done),
            Verb::Rmdir { .. } if said.starts_with("OK removed=") => Ok(Answer::Removed(number(&said, "removed"))),
            Verb::Digest if said.starts_with("OK size=") => {
                let upload = *digests.get(field(&said, "sha256")).ok_or(format!("'{said}', which nobody uploaded"))?;
                is_whole(upload, number(&said, "size"), &said)?;
                Ok(Answer::File(upload))
            }
            Verb::Stat if said.starts_with("OK type=dir ") => Ok(Answer::Dir),
            Verb::Stat if said.starts_with("OK type=file ") => stat(&said, digests),
            _ => Err(format!("'{said}'")),
        }
    }

    fn downloaded(&mut self, ready: String) -> Result<Answer, String> {
        let body = self.raw.body(ready);
        let upload = version(field(&body.ready, "mtime"))?;
        let told = format!("'{}', {} bytes and '{}'", body.ready, body.bytes.len(), body.end);
        is_whole(upload, number(&body.ready, "size"), &told)?;
        let whole = content(upload);
        let is_told = body.end == format!("END sha256={}", super::super::common::tree::sha256(&whole));
        if body.bytes != whole || !is_told {
            return Err(format!("{told}, which is not upload {upload}"));
        }
        Ok(Answer::File(upload))
    }

    fn listed(&mut self, mut said: String) -> Result<Answer, String> {
        let mut rows = Vec::new();
        while let Some(row) = said.strip_prefix("ENTRY ") {
            rows.push(listed_row(row)?);
            said = self.raw.line();
        }
        if let Some(why) = said.strip_prefix("ERR ") {
            return refusal(why);
        }
        rows.sort();
        if said != format!("OK entries={} skipped=0", rows.len()) {
            return Err(format!("'{said}' after {} entries", rows.len()));
        }
        if let Some(twice) = rows.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(format!("{} told twice", spelled(&twice[0].0)));
        }
        Ok(Answer::Listed(rows))
    }
}

/// A request as it is sent. What is uploaded has the number of the request as its time.
fn sent(number: u32, request: &Request) -> Vec<u8> {
    if !matches!(request.verb, Verb::Upload { .. }) {
        return format!("{request}\n").into_bytes();
    }
    let bytes = content(number);
    let mut all = format!("{request} size={} mtime={number}\n", bytes.len()).into_bytes();
    all.extend(body_bytes(&bytes));
    all
}

fn acknowledgement(upload: u32) -> String {
    let bytes = content(upload);
    format!("OK size={} sha256={}", bytes.len(), super::super::common::tree::sha256(&bytes))
}

fn refusal(why: &str) -> Result<Answer, String> {
    let code = why.split(' ').next().unwrap_or_default();
    let known = CODES.into_iter().find(|known| *known == code);
    known.map(Answer::Refused).ok_or(format!("'ERR {why}'"))
}

/// The upload that has this time.
fn version(mtime: &str) -> Result<u32, String> {
    mtime.strip_suffix(".000000000").unwrap_or(mtime).parse().map_err(|_| format!("the time {mtime}"))
}

fn is_whole(upload: u32, size: u64, said: &str) -> Result<(), String> {
    let due = content(upload).len() as u64;
    if size == due { Ok(()) } else { Err(format!("'{said}', but upload {upload} has {due} bytes")) }
}

fn stat(said: &str, digests: &Digests) -> Result<Answer, String> {
    let upload = version(field(said, "mtime"))?;
    is_whole(upload, number(said, "size"), said)?;
    if said.contains(" sha256=") && digests.get(field(said, "sha256")) != Some(&upload) {
        return Err(format!("'{said}', which is not the digest of upload {upload}"));
    }
    Ok(Answer::File(upload))
}

/// A row of a listing: `type size time path`.
fn listed_row(row: &str) -> Result<(Path, Option<u32>), String> {
    let words: Vec<&str> = row.split(' ').collect();
    let [kind, size, mtime, path] = words[..] else { return Err(format!("'ENTRY {row}'")) };
    let path = understood(path).ok_or(format!("'ENTRY {row}', a name that nobody gave"))?;
    match kind {
        "dir" => Ok((path, None)),
        "file" => {
            let upload = version(mtime)?;
            is_whole(upload, size.parse().map_err(|_| format!("'ENTRY {row}'"))?, row)?;
            Ok((path, Some(upload)))
        }
        _ => Err(format!("'ENTRY {row}'")),
    }
}

/// The digests of what the requests of these numbers would upload.
pub fn digests(numbers: std::ops::Range<u32>) -> impl Iterator<Item = (String, u32)> {
    numbers.map(|number| (super::record::digest(number), number))
}
