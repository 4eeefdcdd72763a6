//! What programs are run after, and what they are told: all of it in the environment. docs/HOOKS.md is the page of it.

use super::super::known::{Known, Session};
use crate::proto::{RemotePath, Verb};
use crate::server::action::{Action, Outcome};
use crate::server::audit::STAMP;
use std::ffi::{CString, OsStr};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use time::OffsetDateTime;

/// Where a program finds others: nothing of the starter's environment reaches it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program is run after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An upload was stored.
    Upload,
    /// An upload was refused, failed or broke off.
    UploadFailed,
    /// A file, or a part of one, was sent whole.
    Download,
    /// A file or a directory was deleted.
    Delete,
    /// A login was refused.
    LoginFailed,
}

impl Event {
    /// The word that the program is told, and that stands behind `--on-` in its option.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Upload => "upload",
            Event::UploadFailed => "upload-failed",
            Event::Download => "download",
            Event::Delete => "delete",
            Event::LoginFailed => "login-failed",
        }
    }

    /// What an action is, if a program can be run after it.
    pub fn of(action: &Action) -> Option<Event> {
        match (action.verb?, action.outcome) {
            (Verb::Upload, Outcome::Ok) => Some(Event::Upload),
            (Verb::Upload, _) => Some(Event::UploadFailed),
            (Verb::Download, Outcome::Ok) => Some(Event::Download),
            (Verb::Delete | Verb::Rmdir, Outcome::Ok) => Some(Event::Delete),
            _ => None,
        }
    }
}

/// One run of a program that is to come.
#[derive(Debug)]
pub struct Job {
    /// After what.
    pub event: Event,
    /// Whose session it was.
    pub session: Session,
    /// Of the request, as far as it is one.
    pub path: Option<RemotePath>,
    /// What else the program is told: names, and their values.
    variables: Vec<(&'static str, String)>,
}

impl Job {
    /// After something that a session has done. `None` if it is nothing that a program can be told of: a session that was taken over can
    /// claim that what is no path was stored, and who has no name has no directory.
    pub fn of_action(event: Event, known: &Known, session: &Session, action: &Action) -> Option<Job> {
        let user = session.user.as_deref()?;
        let path: Option<RemotePath> = action.path.as_deref().and_then(|word| word.parse().ok());
        if path.is_none() && event != Event::UploadFailed {
            return None;
        }
        let mut job = Job::new(event, known, session);
        job.tell("DFOS_USER", user);
        job.tell("DFOS_VERB", action.verb.map_or("", |verb| verb.row().name));
        job.path = path;
        for (name, value) in [
            ("DFOS_SIZE", action.size.map(|n| n.to_string())),
            ("DFOS_BYTES", action.bytes.map(|n| n.to_string())),
            ("DFOS_ENTRIES", action.entries.map(|n| n.to_string())),
            ("DFOS_SHA256", action.digest.map(|digest| digest.to_string())),
            ("DFOS_TEXT", Some(action.text.clone()).filter(|text| !text.is_empty())),
        ] {
            value.into_iter().for_each(|value| job.tell(name, value));
        }
        job.tell("DFOS_RESULT", action.outcome.word());
        Some(job)
    }

    /// After a login that was refused.
    pub fn of_login(known: &Known, session: &Session, attempt: u32, account: Option<&str>, why: &str) -> Job {
        let mut job = Job::new(Event::LoginFailed, known, session);
        job.tell("DFOS_ATTEMPT", attempt.to_string());
        job.tell("DFOS_RESULT", "login-refused");
        if let Some(account) = account {
            job.tell("DFOS_ACCOUNT", account);
            job.tell("DFOS_TEXT", why);
        }
        job
    }

    fn new(event: Event, known: &Known, session: &Session) -> Job {
        let mut job = Job { event, session: session.clone(), path: None, variables: Vec::new() };
        let peer = &session.caller.peer;
        job.tell("PATH", PATH);
        job.tell("DFOS_EVENT", event.as_str());
        job.tell("DFOS_TIME", OffsetDateTime::now_utc().format(STAMP).unwrap_or_default());
        job.tell("DFOS_SESSION", known.name(session));
        job.tell("DFOS_PEER", peer.as_str());
        if let Ok(at) = peer.parse::<SocketAddr>() {
            job.tell("DFOS_ADDRESS", at.ip().to_string());
        }
        job.tell("DFOS_LISTENER", known.house(session).unwrap_or_default());
        job
    }

    fn tell(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    /// The environment, where users' directories lie in `storage`. A value with a zero byte, which only a session that was taken over can
    /// send, is none.
    pub fn environment(&self, storage: &Path) -> Vec<CString> {
        let word = |name: &str, value: &[u8]| CString::new([name.as_bytes(), b"=", value].concat()).ok();
        let mut words: Vec<_> =
            self.variables.iter().filter_map(|(name, value)| word(name, value.as_bytes())).collect();
        if let Some(path) = &self.path {
            // No component of such a path is `..`: what it is joined to stays above it.
            let file = storage.join(self.owner()).join(OsStr::from_bytes(path.as_bytes()));
            words.extend(word("DFOS_PATH", path.as_bytes()));
            words.extend(word("DFOS_FILE", file.as_os_str().as_bytes()));
        }
        words
    }

    /// Who waits for it: a user, or all strangers together.
    pub fn owner(&self) -> &str {
        self.session.user.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Code;
    use crate::server::record::Caller;
    use crate::server::scribe::House;
    use nix::unistd::Pid;

    fn known() -> Known {
        Known::new(vec![House { address: "tcp://here".into(), speaks_tls: false }], 0x1234)
    }

    fn session(peer: &str, user: Option<&str>) -> Session {
        let caller = Caller { pid: Pid::from_raw(7), serial: 5, at: 0, peer: peer.into() };
        Session { caller, user: user.map(str::to_owned) }
    }

    fn action(verb: Verb, path: &str, outcome: Outcome) -> Action {
        Action { verb: Some(verb), path: Some(path.into()), outcome, ..Action::unknown() }
    }

    fn after(event: Event, user: Option<&str>, action: &Action) -> Option<Vec<String>> {
        let job = Job::of_action(event, &known(), &session("[::1]:5", user), action)?;
        Some(job.environment(Path::new("/s")).into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn an_action_is_an_event_by_what_came_of_it() {
        let broke = Outcome::Broke(Code::Timeout);
        for (verb, outcome, event) in [
            (Verb::Upload, Outcome::Ok, Some(Event::Upload)),
            (Verb::Upload, Outcome::Failed(Code::NoSpace), Some(Event::UploadFailed)),
            (Verb::Upload, broke, Some(Event::UploadFailed)),
            (Verb::Upload, Outcome::Vanished, Some(Event::UploadFailed)),
            (Verb::Download, Outcome::Ok, Some(Event::Download)),
            (Verb::Download, broke, None),
            (Verb::Delete, Outcome::Ok, Some(Event::Delete)),
            (Verb::Rmdir, Outcome::Ok, Some(Event::Delete)),
            (Verb::Delete, Outcome::Failed(Code::NotFound), None),
            (Verb::Rename, Outcome::Ok, None),
            (Verb::View, Outcome::Ok, None),
        ] {
            assert_eq!(Event::of(&action(verb, "f", outcome)), event, "{verb} {outcome:?}");
        }
    }

    #[test]
    fn no_claim_leads_out_of_the_users_directory() {
        let file = |path: &str| {
            let told = after(Event::Upload, Some("alice"), &action(Verb::Upload, path, Outcome::Ok))?;
            told.iter().find_map(|word| word.strip_prefix("DFOS_FILE=")).map(str::to_owned)
        };
        assert_eq!(file("a%0A/%24%28b%29").unwrap(), "/s/alice/a\n/$(b)");
        for claim in
            ["../bob/f", "a/../../bob/f", "/etc/passwd", "a//b", "%2E%2E/bob/f", "a%2Fb", "a%00b", ".dfos/x", ""]
        {
            assert_eq!(file(claim), None, "{claim}");
            let told = after(Event::Upload, Some("alice"), &action(Verb::Upload, claim, Outcome::Ok));
            assert_eq!(told, None, "nothing was stored at {claim}");
        }
    }

    #[test]
    fn what_is_no_path_is_told_of_a_failure_without_it() {
        let failed = action(Verb::Upload, "../x", Outcome::Failed(Code::BadPath));
        let told = after(Event::UploadFailed, Some("alice"), &failed).unwrap();
        assert!(told.contains(&"DFOS_RESULT=bad-path".into()), "{told:?}");
        assert!(!told.iter().any(|word| word.starts_with("DFOS_PATH") || word.starts_with("DFOS_FILE")), "{told:?}");
    }

    #[test]
    fn of_nobody_there_is_no_file_and_a_value_that_cannot_be_told_is_left_out() {
        let mut done = action(Verb::Upload, "f", Outcome::Ok);
        assert_eq!(after(Event::Upload, None, &done), None);
        done.text = "a\0DFOS_USER=root".into();
        let told = after(Event::Upload, Some("alice"), &done).unwrap();
        assert!(told.contains(&"DFOS_USER=alice".into()), "{told:?}");
        assert!(!told.iter().any(|word| word.starts_with("DFOS_TEXT") || word.contains("root")), "{told:?}");
    }

    #[test]
    fn a_refused_login_tells_the_address_alone_as_well() {
        let told = |peer: &str, account| {
            let job = Job::of_login(&known(), &session(peer, None), 2, account, "wrong password");
            assert_eq!(job.owner(), "");
            job.environment(Path::new("/s")).into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        let known = told("[2001:db8::7]:5", Some("bob"));
        for word in ["DFOS_ADDRESS=2001:db8::7", "DFOS_PEER=[2001:db8::7]:5", "DFOS_ACCOUNT=bob", "DFOS_ATTEMPT=2"] {
            assert!(known.contains(&word.into()), "{known:?}");
        }
        let stranger = told("uid:5", None);
        for name in ["DFOS_ADDRESS", "DFOS_ACCOUNT", "DFOS_TEXT", "DFOS_USER"] {
            assert!(!stranger.iter().any(|word| word.starts_with(name)), "{stranger:?}");
        }
    }
}
