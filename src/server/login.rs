//! Before login: a stranger can ask for help, log in, and nothing else. There is no tree here to touch.

use super::ending::{Ending, KICKED};
use super::level::Level;
use super::own_passwords;
use super::record::{Log, Record};
use super::scoreboard::{Figure, Tally};
use super::talk::Talk;
use crate::auth::limits::{self as records, Barred};
use crate::auth::scram::{self, Awaiting, Binding, ServerExchange};
use crate::auth::table::{self, Found};
use crate::auth::{Limits, Password, UserName, rules};
use crate::net::wait::Errand;
use crate::net::wire::Filled;
use crate::net::{Cut, Peer, Until};
use crate::proto::line::{self, BadLine};
use crate::proto::{Access, Answer, Code, Fields, Incoming, Request, Verb, incoming, limits, path};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// A client of whom nothing is known but its address.
pub struct Stranger<'a> {
    /// The conversation.
    pub talk: Talk,
    /// Where it comes from.
    pub peer: Peer,
    /// The users, sealed.
    pub users: File,
    /// Their limits, sealed.
    pub limits: File,
    /// The storage directory, where passwords of the users' own lie.
    pub storage: BorrowedFd<'a>,
    /// The account that was asked for last, if it exists.
    pub asked: Option<UserName>,
    /// Why it may not log in, if that is so, or cannot; for the operator alone.
    pub barred: io::Result<Option<Barred>>,
    /// When it must have logged in; trickled bytes do not extend it.
    pub login_by: Instant,
}

/// What a request of a stranger comes to.
enum Step {
    /// Next request, please.
    Go,
    /// A login exchange has begun.
    Challenged(Awaiting),
    /// This user has logged in, and is told so once the directory is open.
    Admitted(UserName, Answer),
    /// A login was refused.
    Refused,
    /// The stranger says goodbye.
    Leaves,
}

/// Greets a client and lets it log in; with the user come the user's limits. The users' table is dropped with the stranger.
///
/// Never a part of its caller: what it leaves on the stack, verifiers and passwords, lies below the caller then, who wipes it.
#[inline(never)]
pub fn admit(mut stranger: Stranger, log: &Log, tally: &Tally) -> Result<(Talk, UserName, Answer, Limits), Ending> {
    let ending = match stranger.converse(log, tally) {
        Ok(Ok((user, welcome))) => match records::lookup(&stranger.limits, user.as_str()) {
            Ok(limits) => return Ok((stranger.talk, user, welcome, limits)),
            Err(why) => {
                log.line(Level::Error, format!("the limits of {user} cannot be read: {why}"));
                stranger.talk.farewell(Code::Internal, "your limits cannot be read; tell the operator");
                Ending::Failed
            }
        },
        Ok(Err(ending)) => ending,
        Err(cut) => stranger.part(cut),
    };
    Err(if stranger.talk.guessed { ending.after_a_guess(false) } else { ending })
}

impl Stranger<'_> {
    fn converse(&mut self, log: &Log, tally: &Tally) -> Result<Result<(UserName, Answer), Ending>, Cut> {
        let binding = self.binding()?;
        let clear = if self.may_speak_clearly() { ",LOGIN" } else { "" };
        let ways = format!("{}{clear}", binding.mechanism());
        self.talk.say(Answer::Ok(Fields::words("dfos/1 ready").with("auth", ways)))?;
        let (mut refused, mut errors, mut awaiting) = (0, 0, None);
        while errors < limits::ERRORS_BEFORE_LOGIN {
            self.talk.wire.flush(Until::idle(self.login_by))?;
            let line = self.line()?;
            let exchange = awaiting.take();
            match self.step(&line, exchange, binding, log) {
                Ok(Step::Go) => {}
                Ok(Step::Challenged(next)) => awaiting = Some(next),
                Ok(Step::Admitted(user, welcome)) => {
                    return Ok(Ok((user, welcome)));
                }
                Ok(Step::Refused) => {
                    refused += 1;
                    self.talk.guessed = true;
                    tally.add(Figure::Refusals, 1);
                    let why = match std::mem::replace(&mut self.barred, Ok(None)) {
                        Ok(why) => why.map_or_else(|| "wrong password".into(), |why| why.to_string()),
                        Err(why) => format!("passwords cannot be read: {why}"),
                    };
                    let account = self.asked.take().map(|account| account.to_string());
                    let why = account.as_ref().map(|_| why).unwrap_or_default(); // of nobody there is nothing to say
                    log.send(&Record::Refused(refused, account, why));
                    if refused >= limits::LOGIN_ATTEMPTS {
                        self.talk.farewell(Code::LoginRefused, "wrong name or password; that was the last attempt");
                        return Ok(Err(Ending::LoginRefused));
                    }
                    self.talk.say(Answer::Err(Code::LoginRefused, "wrong name or password".into()))?;
                }
                Ok(Step::Leaves) => {
                    self.talk.say(Answer::Ok(Fields::words("bye")))?;
                    self.talk.wire.goodbye();
                    return Ok(Err(Ending::LoggedOut));
                }
                Err(refusal) if refusal.fatal => {
                    self.talk.farewell(refusal.code, &refusal.text);
                    return Ok(Err(Ending::Protocol));
                }
                Err(refusal) => {
                    errors += 1;
                    self.talk.say(refusal)?;
                }
            }
        }
        self.talk.farewell(Code::BadRequest, "too many requests that are errors; log in first");
        Ok(Err(Ending::Protocol))
    }

    /// The next line. What can never become one (a TLS handshake, say) ends the connection before its line does.
    fn line(&mut self) -> Result<String, Cut> {
        let wire = &mut self.talk.wire;
        loop {
            // Asked with each line, not only while waiting: a stranger who never pauses has no more time than others.
            if wire.waiter.stop_requested() {
                return Err(Cut::Stopping);
            }
            if Instant::now() >= self.login_by {
                return Err(Cut::TimedOut);
            }
            if let Some(line) = wire.buffered_line()? {
                return Ok(line);
            }
            if line::has_control(wire.buffered()) {
                return Err(Cut::Line(BadLine::Control));
            }
            if wire.fill()? == Filled::Nothing {
                wire.wait_readable(Until::idle(self.login_by))?;
            }
        }
    }

    /// Carries out one line.
    fn step(
        &mut self,
        line: &str,
        exchange: Option<Awaiting>,
        binding: Binding,
        log: &Log,
    ) -> Result<Step, incoming::Refusal> {
        use incoming::Refusal;
        let request = match incoming::parse(line) {
            Ok(Incoming::Request(request)) => request,
            Ok(_) => return Err(Refusal::fatal(Code::BadRequest, "log in before you send a body")),
            Err(_) if incoming::looks_like_http(line) => {
                return Err(Refusal::fatal(Code::BadRequest, "this is a DFOS server; it does not speak HTTP"));
            }
            Err(refusal) => return Err(refusal),
        };
        match request.verb {
            Verb::Auth | Verb::Login if !log.may_act() => Err(Refusal::new(Code::Busy, super::verbs::NO_AUDIT)),
            Verb::Auth => self.auth(&request, exchange, binding),
            Verb::Login => self.login(&request),
            Verb::Help => {
                super::verbs::help::lines(&request, Access::Full)?.for_each(|line| self.talk.wire.queue_line(line));
                Ok(Step::Go)
            }
            Verb::Ping => {
                self.talk.wire.queue_line(Answer::Ok(Fields::words("pong")));
                Ok(Step::Go)
            }
            Verb::Logout => Ok(Step::Leaves),
            #[cfg(feature = "hostile")]
            Verb::Hostile => {
                let answer = super::verbs::hostile::answer(&request)?;
                self.talk.wire.queue_line(answer);
                Ok(Step::Go)
            }
            _ => Err(Refusal::new(Code::Denied, "log in first")),
        }
    }

    /// What a login is bound to: within TLS the channel, so that nobody between two channels can pass it on.
    fn binding(&self) -> Result<Binding, Cut> {
        self.talk.wire.tls().map_or(Ok(Binding::None), |tls| tls.binding().map(Binding::TlsExporter))
    }

    /// Whether a password in clear text reaches nobody else.
    fn may_speak_clearly(&self) -> bool {
        !self.peer.is_exposed(self.talk.wire.tls().is_some())
    }

    /// `AUTH mechanism base64`: one message of a SCRAM exchange. Whatever is wrong with it, the answer is the same.
    fn auth(
        &mut self,
        request: &Request,
        exchange: Option<Awaiting>,
        binding: Binding,
    ) -> Result<Step, incoming::Refusal> {
        let (mechanism, word) = (request.word(0).unwrap_or(""), request.word(1).unwrap_or(""));
        if mechanism != binding.mechanism() {
            let text = format!("the mechanism here is {}", binding.mechanism());
            return Err(incoming::Refusal::new(Code::BadRequest, text));
        }
        let Ok(message) = scram::decode(word) else { return Ok(Step::Refused) };
        match exchange {
            None => Ok(self.challenge(&message, binding).unwrap_or(Step::Refused)),
            Some(awaiting) => match awaiting.finish(&message) {
                Ok((user, signature)) => Ok(admitted(user, Some(&signature))),
                Err(_) => Ok(Step::Refused),
            },
        }
    }

    /// Who is meant by a name. An account that may not log in from here is looked up like any other, and nothing comes of it: the
    /// client sees what it sees of a wrong password, the operator's log tells more.
    fn find(&mut self, user: &str) -> Option<Found> {
        let found = table::lookup(&self.users, user).ok()?;
        (self.asked, self.barred) = (found.name(), Ok(None));
        let found = own_passwords::heed(self.storage, found).map_err(|why| self.barred = Err(why)).ok()?;
        let address = match self.peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix(_) => None,
        };
        let bar = rules::bar(&self.limits, user, address).ok()?;
        self.barred = Ok(bar);
        Some(if bar.is_some() { found.bar() } else { found })
    }

    fn challenge(&mut self, message: &str, binding: Binding) -> Option<Step> {
        let exchange = ServerExchange::begin(message, binding).ok()?;
        let found = self.find(exchange.user())?;
        let (awaiting, challenge) = exchange.challenge(found).ok()?;
        self.talk.wire.queue_line(Answer::Challenge(scram::encode(&challenge)));
        Some(Step::Challenged(awaiting))
    }

    /// `LOGIN user password`: in clear text, so only where nobody can listen.
    fn login(&mut self, request: &Request) -> Result<Step, incoming::Refusal> {
        if !self.may_speak_clearly() {
            let text = "LOGIN sends the password in clear text: here only AUTH is taken (dfos-client does it)";
            return Err(incoming::Refusal::new(Code::Denied, text));
        }
        let user = request.word(0).unwrap_or("");
        let password = path::decode(request.word(1).unwrap_or("")).ok().and_then(|bytes| Password::new(bytes).ok());
        let found = self.find(user);
        let known = found.zip(password).and_then(|(found, password)| found.check(&password));
        Ok(known.map_or(Step::Refused, |user| admitted(user, None)))
    }

    /// Ends a conversation that cannot go on.
    fn part(&mut self, cut: Cut) -> Ending {
        match cut {
            Cut::Closed | Cut::Io(_) => Ending::Vanished,
            Cut::Protocol | Cut::Tls(_) => Ending::Protocol,
            Cut::TimedOut => {
                self.talk.farewell(Code::Timeout, "the time to log in is over");
                Ending::LoginTimedOut
            }
            Cut::Stopping if self.talk.wire.waiter.errand() == Errand::MakeRoom => {
                let why = "others are waiting to log in; try again".to_owned();
                self.talk.wire.queue_line(Answer::Err(Code::Busy, why));
                self.talk.wire.hang_up();
                Ending::SentAway
            }
            Cut::Stopping if self.talk.wire.waiter.errand() == Errand::Kicked => {
                self.talk.farewell(Code::LoginRefused, KICKED);
                Ending::Kicked
            }
            Cut::Stopping => {
                self.talk.farewell(Code::ShuttingDown, "the server is ending");
                Ending::ShutDown
            }
            Cut::Line(why @ (BadLine::TooLong | BadLine::NotUtf8 | BadLine::Control)) => {
                self.talk.farewell(Code::BadRequest, &why.to_string());
                Ending::Protocol
            }
        }
    }
}

/// A login that succeeded; with SCRAM the server's proof goes with the welcome.
fn admitted(user: UserName, signature: Option<&str>) -> Step {
    let fields = Fields::words(format!("welcome {user}")).maybe("scram", signature.map(scram::encode));
    Step::Admitted(user, Answer::Ok(fields))
}
