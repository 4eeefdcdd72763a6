//! What the doctor found, a line each.

use crate::client::display::escape::escape_text;
use crate::client::display::output::Output;
use crate::client::failure::{Exit, Failure};
use serde::Serialize;
use std::time::Instant;

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Step {
    Configuration,
    Terminal,
    Password,
    Known,
    Resolve,
    Connect,
    Tls,
    Certificate,
    Key,
    Greeting,
    Login,
    Clock,
    Versions,
    Space,
}

/// The steps as they are told.
const NAMES: [(Step, &str); 14] = [
    (Step::Configuration, "configuration"),
    (Step::Terminal, "terminal"),
    (Step::Password, "password"),
    (Step::Known, "known servers"),
    (Step::Resolve, "resolve"),
    (Step::Connect, "connect"),
    (Step::Tls, "tls"),
    (Step::Certificate, "certificate"),
    (Step::Key, "key"),
    (Step::Greeting, "greeting"),
    (Step::Login, "login"),
    (Step::Clock, "clock"),
    (Step::Versions, "versions"),
    (Step::Space, "space"),
];

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failed,
}

/// One finding, as a program reads it.
#[derive(Serialize)]
struct Finding<'a> {
    v: u32,
    event: &'static str,
    step: Step,
    state: State,
    found: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    todo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
}

/// The findings so far.
pub struct Chart<'a> {
    output: &'a Output,
    /// The status of the first step that failed.
    pub first: Option<Exit>,
    last: Step,
}

impl<'a> Chart<'a> {
    /// An empty one.
    pub fn new(output: &'a Output) -> Self {
        Chart { output, first: None, last: Step::Configuration }
    }

    /// A step that is as it should be.
    pub fn fine(&mut self, step: Step, found: &str) -> Result<(), Failure> {
        self.tell(step, State::Ok, found, "", None)
    }

    /// A step that works, and what should be done about it all the same.
    pub fn warning(&mut self, step: Step, found: &str, todo: &str) -> Result<(), Failure> {
        self.tell(step, State::Warning, found, todo, None)
    }

    /// A step that does not work, and what to do.
    pub fn failed(&mut self, step: Step, failure: &Failure, todo: &str) -> Result<(), Failure> {
        self.first.get_or_insert(failure.exit);
        self.tell(step, State::Failed, &failure.text, todo, Some(failure.exit as u8))
    }

    /// Names the steps that were not reached.
    pub fn close(&mut self) -> Result<(), Failure> {
        let left: Vec<_> = NAMES.iter().filter(|(step, _)| *step > self.last).map(|(_, name)| *name).collect();
        if self.first.is_some() && !left.is_empty() {
            self.output.note(&format!("not tried after that: {}", left.join(", ")));
        }
        self.output.flush()
    }

    fn tell(&mut self, step: Step, state: State, found: &str, todo: &str, exit: Option<u8>) -> Result<(), Failure> {
        self.last = self.last.max(step);
        if self.output.json {
            let finding = Finding { v: 1, event: "check", step, state, found, todo, exit };
            let line = serde_json::to_string(&finding).map_err(|why| Failure::new(Exit::Other, why.to_string()))?;
            return self.output.line(&line);
        }
        let name = NAMES.iter().find(|(known, _)| *known == step).map_or("", |(_, name)| name);
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "failed",
        };
        let dash = if todo.is_empty() { "" } else { " - " };
        self.output.line(&escape_text(format!("{state:<7}  {name:<13}  {found}{dash}{todo}").as_bytes()))?;
        self.output.flush() // whoever waits sees how far it is
    }
}

/// The time since `began`, for people.
pub fn took(began: Instant) -> String {
    format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3)
}
