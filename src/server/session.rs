//! The life of a session, straight down the page: greet, log in, open the user's tree, answer requests, say goodbye.

use super::action::{Action, Outcome};
use super::confine::{self, Walls, descriptors};
use super::control::Control;
use super::ending::{Ending, KICKED};
use super::level::Level;
use super::login::{self, Stranger};
use super::member::Member;
use super::record::Log;
use super::scoreboard::{Figure, State, Tally};
use super::secure::secure;
use super::talk::Talk;
use super::verbs;
use super::words::Mouth;
use crate::auth::Limits;
use crate::net::wait::Errand;
use crate::net::{Cut, Peer, Side, Waiter, Wire};
use crate::proto::{Access, Answer, Code, Incoming, Verb, incoming, verb};
use crate::store::quota::Allowance;
use crate::store::tree::{Policy, Tree};
use crate::store::{Pulse, Trouble};
use crate::sys::signals::StopPipe;
use crate::sys::{allocator, stack};
use nix::unistd::{Pid, getppid};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a client hears who comes while the server ends. By the code clients know that trying again is worth it.
const ENDING: &str = "the server is ending";

/// What the listener hands to a child.
pub struct Brief {
    /// The accepted connection.
    pub socket: OwnedFd,
    /// Who is there.
    pub peer: Peer,
    /// The storage directory.
    pub storage: OwnedFd,
    /// The users, sealed.
    pub users: File,
    /// The server's certificate and key, sealed; `None` where plain text is spoken.
    pub identity: Option<File>,
    /// Their limits, sealed.
    pub limits: File,
    /// Where log records go.
    pub log: Log,
    /// Where the listener hears of the login.
    pub mouth: Mouth,
    /// This session's figures.
    pub tally: Tally,
    /// The operator's times.
    pub times: Times,
    /// The operator's decisions about trees.
    pub policy: Policy,
    /// What the kernel holds around this session.
    pub walls: Rc<Walls>,
    /// The process that ends when this one is to end.
    pub listener: Pid,
}

/// The operator's times.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From accept to login.
    pub login_by: Instant,
    /// Between two requests.
    pub idle: Duration,
    /// For the operation in hand when the server ends.
    pub grace: Duration,
}

/// Serves one client. `stop` has been installed already, so that no signal is missed.
pub fn run(mut brief: Brief, stop: StopPipe) -> Ending {
    allocator::wipe_what_is_freed(true); // until a user is there
    let waiter = Waiter::new(stop, brief.times.grace);
    descriptors::report_panics(&brief.log);
    let socket = descriptors::arrange(brief.socket).map_err(Cut::from);
    let mut talk = match socket.and_then(|socket| Wire::new(socket, Side::Server, waiter)) {
        Ok(wire) => Talk::new(wire),
        Err(cut) => return failed(&brief.log, &format!("cannot use the connection: {cut}")),
    };
    if let Err(breach) = brief.walls.first(brief.storage.as_fd(), brief.listener) {
        let ends = getppid() != brief.listener; // nothing is wrong with the walls, then
        if brief.identity.is_none() {
            match ends {
                true => talk.farewell(Code::ShuttingDown, ENDING),
                false => talk.farewell(Code::Internal, "the server cannot confine this session; tell its operator"),
            }
        }
        return if ends { Ending::ShutDown } else { failed(&brief.log, &breach.to_string()) };
    }
    if let Some(identity) = brief.identity {
        let secured = secure(&mut talk.wire, identity, brief.times.login_by, &brief.log);
        stack::wipe(); // of the server's key
        if let Err(ending) = secured {
            return ending;
        }
    }
    brief.tally.state(State::Login);
    let Brief { peer, users, limits, .. } = brief;
    let (storage, login_by) = (brief.storage.as_fd(), brief.times.login_by);
    let stranger = Stranger { talk, peer, users, limits, storage, login_by, asked: None, barred: Ok(None) };
    let (mut talk, user, welcome, limits) = match login::admit(stranger, &brief.log, &brief.tally) {
        Ok(admitted) => admitted,
        Err(ending) => return ending,
    };
    forget_secrets(&mut talk);
    talk.wire.waiter.stays();
    if let Err(cut) = brief.mouth.logged_in(&user, &mut talk.wire.waiter) {
        match cut {
            Cut::Closed | Cut::Stopping => talk.farewell(Code::ShuttingDown, ENDING),
            _ => talk.farewell(Code::Busy, "the server did not take note of your login; try again"),
        }
        return failed(&brief.log, &format!("cannot tell the listener of {user}'s login: {cut}"));
    }
    brief.log.has_user(); // the listener says who
    brief.tally.has_user(user);
    brief.tally.add(Figure::Logins, 1);
    let control = match Control::enter(brief.storage.as_fd(), &user, &limits) {
        Ok(control) => control,
        Err(trouble) => {
            brief.log.line(Level::of(trouble.code()), format!("no session for {user}: {trouble}"));
            talk.farewell(trouble.code(), &trouble.to_string());
            let ending = if trouble.code() == Code::Busy { Ending::Turned } else { Ending::Failed };
            return answer_for(&talk, ending);
        }
    };
    let policy = policy(brief.policy, &limits);
    let welcome = with_trash(welcome, policy.trash);
    let tree = match enter(&brief.walls, brief.storage, user.as_str(), policy, &mut talk) {
        Ok(tree) => tree,
        Err(trouble) => {
            talk.farewell(trouble.code(), &format!("your directory cannot be used: {trouble}"));
            let ending = failed(&brief.log, &format!("{user}'s directory cannot be used: {trouble}"));
            return answer_for(&talk, ending);
        }
    };
    let exposed = peer.is_exposed(talk.wire.tls().is_some());
    let mut member = Member::new(talk, tree, brief.log, brief.tally, brief.times.idle);
    member.exposed = exposed;
    member.limit(&limits, control);
    member.mouth = (limits.may_change_password() && !exposed).then_some(brief.mouth);
    let ending = match member.answer(welcome).and_then(|()| serve(&mut member)) {
        Ok(()) => Ending::LoggedOut,
        Err(cut) => part(&mut member, &cut),
    };
    let ending = answer_for(&member.talk, ending);
    member.log.line(Level::Debug, format!("ends: {ending}"));
    member.tally.add(Figure::Unsaid, member.log.unsaid()); // the listener says it
    ending
}

/// After a login or a change of password: leaves no verifier and no password, in what was read or on the stack. What was freed has been
/// wiped already.
fn forget_secrets(talk: &mut Talk) {
    talk.wire.forget();
    stack::wipe();
    allocator::wipe_what_is_freed(false);
}

/// Opens the user's root, closes all that lies outside, and lets the kernel hold the rest.
fn enter(walls: &Walls, storage: OwnedFd, user: &str, policy: Policy, pulse: &mut dyn Pulse) -> Result<Tree, Trouble> {
    let root = Tree::open_root(storage.as_fd(), user, policy)?;
    drop(storage);
    let access = if policy.read_only { confine::Access::ReadOnly } else { confine::Access::Full };
    walls.second(root.as_fd(), access).map_err(|breach| Trouble::new(Code::Internal, breach.to_string()))?;
    Tree::new(root, policy, pulse)
}

/// What the operator has decided about all trees, with the user's own limits.
fn policy(base: Policy, limits: &Limits) -> Policy {
    let quota = Allowance { bytes: limits.quota, files: limits.files };
    let trash = limits.trash.filter(|_| limits.access == Access::Full);
    Policy { quota, largest: limits.largest_file, trash, read_only: limits.access == Access::ReadOnly, ..base }
}

/// The welcome, which tells a client beforehand whether there is a trash.
fn with_trash(welcome: Answer, keep: Option<u64>) -> Answer {
    match welcome {
        Answer::Ok(fields) => Answer::Ok(fields.maybe("trash", keep)),
        other => other,
    }
}

/// How a session of a user ends that may have begun with a guess at another's password.
fn answer_for(talk: &Talk, ending: Ending) -> Ending {
    if talk.guessed { ending.after_a_guess(true) } else { ending }
}

fn failed(log: &Log, why: &str) -> Ending {
    log.line(Level::Error, why);
    Ending::Failed
}

/// Answers requests until LOGOUT.
fn serve(member: &mut Member) -> Result<(), Cut> {
    let mut secret = false;
    loop {
        if std::mem::take(&mut secret) {
            forget_secrets(&mut member.talk); // the request that held some has been dropped
        }
        let Some(line) = member.next_request()? else { continue };
        match incoming::parse(&line) {
            Ok(Incoming::Request(request)) => {
                member.discarding = false;
                secret = request.verb.row().secret;
                allocator::wipe_what_is_freed(secret);
                if verbs::carry_out(member, &request)? == verbs::Next::Goodbye {
                    return Ok(());
                }
            }
            Ok(Incoming::Data(count)) => {
                if !member.discarding {
                    member.refuse(Code::BadRequest, "no upload is open for this DATA")?;
                    member.discarding = true;
                }
                member.skip(count)?;
            }
            Ok(Incoming::End(_) | Incoming::Abort(_)) if member.discarding => member.discarding = false,
            Ok(Incoming::From(_) | Incoming::Wait) if member.discarding => {}
            Ok(Incoming::End(_) | Incoming::Abort(_) | Incoming::From(_) | Incoming::Wait) => {
                member.refuse(Code::BadRequest, "no upload is open for this line")?;
            }
            Err(_) if member.discarding && line.starts_with("END ") => member.discarding = false,
            Err(_) if member.discarding && line.starts_with("FROM") => {}
            Err(refusal) => {
                let mut action = Action::unknown();
                action.end(Outcome::Failed(refusal.code), &refusal.text);
                member.note(action, Instant::now())?;
                member.refuse(refusal.code, &refusal.text)?;
                if refusal.fatal {
                    member.log.line(Level::Warning, format!("connection closed: {}", refusal.text));
                    return Err(Cut::Protocol);
                }
                // The body of an upload that was no request may be on the way all the same.
                member.discarding = verb::find(&line).is_some_and(|(row, ..)| row.verb == Verb::Upload);
            }
        }
    }
}

/// Settles what is whole, tells the client why this is the end where it can still hear, and names the ending.
fn part(member: &mut Member, cut: &Cut) -> Ending {
    let settled = member.settle();
    if member.unheard {
        // It stands where the answer to what was done would: whoever hears it must not take that for undone.
        let text =
            "this may have been done: the server's audit does not take it, and nothing more is done; tell its operator";
        member.talk.farewell(Code::Uncertain, text);
        return failed(&member.log, "the audit does not take what was done");
    }
    let ending = match cut {
        Cut::Closed | Cut::Io(_) => {
            // A client that has said all it wants (`nc -N`) still listens; one that has gone costs an error here.
            let _ = settled.and_then(|()| member.talk.flush());
            return Ending::Vanished;
        }
        Cut::TimedOut => Ending::TimedOut,
        Cut::Stopping => match member.talk.wire.waiter.errand() {
            Errand::UserGone => Ending::SentAway,
            Errand::Kicked => Ending::Kicked,
            Errand::Ending | Errand::MakeRoom => Ending::ShutDown,
        },
        // Who is known has not forgotten TLS: it was damaged on the way, and the next connection of theirs is as welcome.
        Cut::Tls(_) => return Ending::Vanished,
        Cut::Line(_) | Cut::Protocol => Ending::Protocol,
    };
    if settled.is_err() {
        return ending;
    }
    match cut {
        Cut::TimedOut => member.talk.farewell(Code::Timeout, "you kept still for too long; log in again"),
        Cut::Stopping if ending == Ending::SentAway => {
            member.talk.farewell(Code::LoginRefused, "your login is no longer valid; log in again")
        }
        Cut::Stopping if ending == Ending::Kicked => member.talk.farewell(Code::LoginRefused, KICKED),
        Cut::Stopping => {
            member.talk.farewell(Code::ShuttingDown, "the server is ending; what is unfinished can be resumed")
        }
        Cut::Line(why) => member.talk.farewell(Code::BadRequest, &why.to_string()),
        _ => member.talk.wire.goodbye(),
    }
    ending
}
